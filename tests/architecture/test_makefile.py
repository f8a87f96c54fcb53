"""The Makefile: a newcomer's two commands make their environment, and say in one sentence why they cannot."""

import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_wrong_python_gets_one_clear_sentence(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")

    done = subprocess.run(
        ["make", "up", "PYTHON=/bin/false"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(said) == 1
    assert "YouSync needs Python 3.11, 3.12 or 3.13" in said[0]
    assert not (tmp_path / ".venv").exists()


def test_help_lists_every_target_that_a_developer_calls() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony

    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    ).stdout
    assert {line.split()[0] for line in listed.splitlines()} == set(phony[1].split())


def test_ci_runs_lint_and_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text().splitlines()

    assert [line for line in script if line.startswith("make")] == ["make lint", "make test"]


def test_no_registry_host_and_no_index_stands_in_a_lock() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text
        assert "--index-url" not in text
