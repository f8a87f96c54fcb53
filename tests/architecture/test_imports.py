"""Who may import whom: the contracts of pyproject.toml hold, and would be noticed if they did not."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]

INDEPENDENT: Final = "Services meet only through the contract"
CONTRACT: Final = "The contract knows no service and opens no socket"
PLUMBING: Final = "Operators' plumbing knows no service"
RULES: Final = "Rules do no I/O"
DRIVER: Final = "Only the video reader knows the MongoDB driver"


@pytest.fixture
def copied_project(tmp_path: Path) -> Path:
    """Our packages and their contracts, to be damaged."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _broken_contracts(project: Path) -> set[str]:
    """Names of the contracts that do not hold in a project."""
    program = Path(sys.executable).with_name("lint-imports")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(project), "COLUMNS": "200"}
    linted = subprocess.run(
        [program, "--no-cache"], cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    judged = dict(re.findall(r"^(.+?) (KEPT|BROKEN)\b", linted.stdout, re.MULTILINE))
    assert {INDEPENDENT, CONTRACT, PLUMBING, RULES, DRIVER} <= set(judged), linted.stdout + linted.stderr
    broken = {name for name, verdict in judged.items() if verdict == "BROKEN"}
    assert (linted.returncode != 0) == bool(broken)
    return broken


def test_every_contract_holds() -> None:
    assert _broken_contracts(ROOT) == set()


def test_a_copy_is_judged_like_the_original(copied_project: Path) -> None:
    assert _broken_contracts(copied_project) == set()


@pytest.mark.parametrize(
    ("planted", "broken"),
    [
        ({"query_api/planted.py": "import processors.fold"}, {INDEPENDENT}),
        # Through another package, which is not itself at fault for the first import.
        (
            {"producer/planted.py": "import ops.planted", "ops/planted.py": "import simulator"},
            {INDEPENDENT, PLUMBING},
        ),
        ({"contract/planted.py": "import aiohttp"}, {CONTRACT}),
        (
            {"contract/planted.py": "import contract.deeper", "contract/deeper.py": "def later():\n    import motor"},
            {CONTRACT},
        ),
        ({"ops/planted.py": "from query_api import pagination"}, {PLUMBING}),
        ({"query_api/routes.py": "import bson"}, {DRIVER}),
        (
            {"query_api/planted.py": "import pymongo.errors", "query_api/routes.py": "import query_api.planted"},
            {DRIVER},
        ),
        ({"query_api/pagination.py": "import asyncio"}, {RULES}),
        # Transitive: the rules import a module that is free to do I/O.
        ({"contract/planted.py": "import asyncio", "query_api/pagination.py": "import contract.planted"}, {RULES}),
        ({"contract/planted.py": "import asyncio", "processors/fold.py": "import contract.planted"}, {RULES}),
    ],
)
def test_a_planted_breach_is_noticed(copied_project: Path, planted: dict[str, str], broken: set[str]) -> None:
    for name, line in planted.items():
        with (copied_project / name).open("a") as module:
            module.write(f"\n{line}\n")

    assert _broken_contracts(copied_project) == broken
