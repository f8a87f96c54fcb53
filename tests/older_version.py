"""An older version of this project beside the present one: its tree out of the history, its services as processes.

They run with the present interpreter and libraries; only what a clone has of the history can be run.
"""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

import pytest

COMMIT: Final = "684411938e12"
"""The last one before security of the brokers, traces and contracts of the streams."""

_ROOT: Final = Path(__file__).parents[1]


def older_tree(folder: Path) -> Path:
    """Its files in a new folder; the test is skipped where the history does not have it."""
    try:
        archive = subprocess.run(["git", "archive", COMMIT], cwd=_ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"no commit {COMMIT} here: needs git, and a clone with its history")
    tree = folder / f"yousync-{COMMIT}"
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(tree, filter="data")
    _require_used(tree, folder)
    return tree


def settings_of(tree: Path) -> dict[str, str]:
    """What makes a process of the tests run the code of that tree, and not of this one."""
    return {"PYTHONPATH": str(tree)}


def _require_used(tree: Path, folder: Path) -> None:
    """With these settings every package comes from there: else the test would compare this version with itself."""
    packages = ("contract", "ops", "processors", "producer", "query_api", "yousync")
    program = (
        f"import {', '.join(packages)}\nprint(*({', '.join(f'{one}.__path__[0]' for one in packages)}), sep='\\n')"
    )
    used = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"], **settings_of(tree)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert used.splitlines() == [str(tree / one) for one in packages]
