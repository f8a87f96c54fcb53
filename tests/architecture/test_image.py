"""The image's rules that can be seen without building it; what compose has to do with it is in test_deployment."""

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import CollectorRegistry

from ops.admin_server import admin_server
from ops.health import Health

ROOT: Final = Path(__file__).parents[2]
BASE: Final = re.compile(r"^ARG PYTHON_IMAGE=python:3\.(\d+)-slim$", re.MULTILINE)


def read_dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text().replace("\\\n", " ")


def read_ignored() -> str:
    return (ROOT / ".dockerignore").read_text()


def test_the_image_keeps_our_rules() -> None:
    assert image_faults(read_dockerfile(), read_ignored()) == []


def image_faults(dockerfile: str, ignored: str) -> list[str]:
    """Every fault, one a line."""
    return [
        *_base_faults(dockerfile),
        *_install_faults(dockerfile),
        *_last_stage_faults(dockerfile),
        *_context_faults(dockerfile, ignored),
    ]


def _base_faults(dockerfile: str) -> list[str]:
    """Both stages stand on the one base that may be chosen, for an environment holds paths of its Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lowest, highest = (int(minor) for minor in re.findall(r"3\.(\d+)", project["requires-python"]))
    base = BASE.search(dockerfile)
    faults = []
    if base is None or not lowest <= int(base[1]) < highest:
        faults.append("the base is no Python of ours, or not pinned")
    stages = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    if stages != ["${PYTHON_IMAGE}"] * 2:
        faults.append(f"stages stand on {stages}")
    if re.search(r"(^RUN|&&) *(python|pip)\b", dockerfile, re.MULTILINE):
        faults.append("a command's name is not in every base")
    if f"image.version={project['version']} " not in dockerfile:
        faults.append("the label's version is not the project's")
    return faults


def _install_faults(dockerfile: str) -> list[str]:
    """Nothing is downloaded but what the lock has the hash of, and two builds give the same files."""
    faults = []
    for command in re.findall(r"pip install ([^&\n]+)", dockerfile):
        locked = "--require-hashes -r requirements/${REQUIREMENTS}.txt" in command
        ours = "--no-deps --no-build-isolation ." in command
        if not (locked or ours) or "--no-compile" not in command:
            faults.append(f"pip install {command}")
    if re.search(r"^ADD |\b(curl|wget|apt-get)\b", dockerfile, re.MULTILINE):
        faults.append("more is downloaded")
    fixed = ("--invalidation-mode unchecked-hash", "--date=@${SOURCE_DATE_EPOCH}", "PYTHONHASHSEED=0")
    return faults + [f"two builds differ without {wanted}" for wanted in fixed if wanted not in dockerfile]


def _last_stage_faults(dockerfile: str) -> list[str]:
    last = dockerfile.rpartition("\nFROM ")[2]
    faults = []
    if not re.search(r"^USER [1-9]\d+:[1-9]\d+$", last, re.MULTILINE):
        faults.append("the user is not a number, which is all that Kubernetes can tell from root")
    if re.search(r"^(RUN|ADD) ", last, re.MULTILINE):
        faults.append("the last stage makes files of its own")
    if re.search(r"(KEY|PASSWORD|TOKEN|URI)=", last):
        faults.append("the image has a secret")
    return faults


def _context_faults(dockerfile: str, ignored: str) -> list[str]:
    """The builder is sent what is copied, and nothing else."""
    sent = set(re.findall(r"^!(\S+)$", ignored, re.MULTILINE))
    copied = {
        path for paths in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE) for path in paths.split()
    }
    faults = [f"{path} is sent and not copied, or copied and not sent" for path in sorted(sent ^ copied)]
    if "\n*\n" not in ignored or not ignored.endswith("**/__pycache__\n"):
        faults.append("more is sent than what is named")
    return faults


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("python:3.12-slim", "python:latest", "not pinned"),
        ("python:3.12-slim", "python:3.14-slim", "no Python of ours"),
        ("FROM ${PYTHON_IMAGE}\n", "FROM python:3.12-slim\n", "stages stand on"),
        ("RUN python3 -m venv", "RUN python -m venv", "not in every base"),
        ("image.version=0.1.0", "image.version=0.0.9", "label's version"),
        ("--no-deps --no-build-isolation .", ".", "pip install"),
        ("--require-hashes ", "", "pip install"),
        ("--invalidation-mode unchecked-hash ", "", "two builds differ"),
        ("USER 10001:10001", "USER yousync", "not a number"),
        ("USER 10001:10001", "RUN id", "files of its own"),
        ("COPY ops ops", "COPY ops ops\nCOPY docs docs", "docs is sent and not copied, or"),
    ],
)
def test_a_changed_dockerfile_is_noticed(old: str, new: str, fault: str) -> None:
    dockerfile = read_dockerfile()
    assert old in dockerfile

    assert any(fault in found for found in image_faults(dockerfile.replace(old, new), read_ignored()))


def test_a_file_sent_for_nothing_is_noticed() -> None:
    ignored = read_ignored().replace("!ops\n", "!ops\n!.env\n")

    assert any(".env" in found for found in image_faults(read_dockerfile(), ignored))


def health_check() -> list[str]:
    """The image's own check, on this Python."""
    command: list[str] = json.loads(re.findall(r"^HEALTHCHECK .* CMD (\[.+\])$", read_dockerfile(), re.MULTILINE)[0])
    assert command[0] == "python3"
    return [sys.executable, *command[1:]]


@pytest.mark.parametrize(("fault", "code"), [(None, 0), ("it stands still", 1)])
async def test_the_health_check_says_whether_a_service_lives(fault: str | None, code: int) -> None:
    health = Health()

    async def check() -> str | None:
        return fault

    health.add_liveness("test", check)
    async with admin_server(health, CollectorRegistry(), "127.0.0.1", 0) as port:
        assert await ended_with(port) == code


async def test_the_health_check_notices_that_nobody_is_there() -> None:
    async with admin_server(Health(), CollectorRegistry(), "127.0.0.1", 0) as port:
        pass

    assert await ended_with(port) == 1


async def ended_with(port: int) -> int:
    process = await asyncio.create_subprocess_exec(
        *health_check(), env={"YOUSYNC_ADMIN_PORT": str(port)}, stderr=subprocess.DEVNULL
    )
    return await process.wait()
