"""The README's commands, run as they stand there: only ports, folders and the file's name are put in their place."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
START_SECONDS = 300
FIRST_VIDEO_SECONDS = 60
PROCESSES = {"MongoDB", "Kafka", "simulator", "processor", "producer", "api"}


def readme_commands() -> list[str]:
    """Every command after a `$ ` in the README's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


KNOWN = {
    "up": "make up",
    "curl": "curl -s 'http://127.0.0.1:8080/v1/videos?page=1&limit=1'",
    "status": ".venv/bin/yousync status",
    "catalogue": 'make up ARGS="--catalogue talks.jsonl.gz --rate 100"',
    "youtube": "YOUTUBE_API_KEY=YOUR_KEY YOUSYNC_QUERIES='tea;coffee' make up",
    "test": "make test",
}


def test_the_readme_shows_these_commands_and_no_others() -> None:
    assert sorted(readme_commands()) == sorted(KNOWN.values())


def environment(home: Path) -> dict[str, str]:
    """Ours, without settings of YouSync and without what a make above this test tells the ones below it."""
    ours = ("YOUSYNC_", "YOUTUBE_", "KAFKA_", "MONGODB_", "MAKE", "MFLAGS", "ARGS")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
        "YOUSYNC_HOME": str(home),
    }


@contextmanager
def running(command: str, home: Path, **settings: str) -> Iterator[str]:
    """The command in the project's folder until the block ends; yields the API's address."""
    output = home.with_suffix(".out")
    with output.open("wb") as to:
        process = subprocess.Popen(  # noqa: S602  # the README's own line
            command,
            shell=True,
            cwd=ROOT,
            env={**environment(home), "YOUSYNC_API_PORT": "0", **settings},
            stdout=to,
            stderr=to,
            start_new_session=True,
        )
    try:
        yield wait_for_url(process, output)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


def wait_for_url(process: "subprocess.Popen[bytes]", output: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while not (match := re.search(r"^YouSync is up: (http://[^/]+)/v1/videos$", output.read_text(), re.MULTILINE)):
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.2)
    return match[1]


def shell(command: str, home: Path) -> str:
    done = subprocess.run(  # noqa: S602  # as above
        command,
        shell=True,
        cwd=ROOT,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_for_total(address: str, wanted: int) -> None:
    deadline = time.monotonic() + FIRST_VIDEO_SECONDS
    while True:
        with urllib.request.urlopen(f"{address}/v1/videos", timeout=10) as answer:  # noqa: S310  # loopback
            total = json.load(answer)["total"]
        if total >= wanted:
            return
        assert time.monotonic() < deadline, f"{total} of {wanted} videos"
        time.sleep(0.5)


def wait_until_all_are_ready(home: Path) -> None:
    """The status shows every process, and each becomes ready; the processor may store before it says so."""
    deadline = time.monotonic() + FIRST_VIDEO_SECONDS
    while True:
        status = shell(KNOWN["status"], home)
        ready = {name for name in PROCESSES if re.search(rf"^{name}\s+ready", status, re.MULTILINE)}
        if ready == PROCESSES:
            return
        assert time.monotonic() < deadline, status
        time.sleep(0.5)


def test_the_first_run_shows_what_the_readme_shows(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running(KNOWN["up"], home) as address:
        wait_for_total(address, 1)
        page = json.loads(shell(KNOWN["curl"].replace("http://127.0.0.1:8080", address), home))
        wait_until_all_are_ready(home)

    assert [*page] == ["items", "page", "limit", "total", "total_is_exact", "complete", "next_cursor"]
    assert len(page["items"]) == 1


def test_a_file_of_videos_is_played_through_the_pipeline(tmp_path: Path) -> None:
    catalogue = tmp_path / "talks.jsonl"
    lines = [json.dumps({"video_id": f"talk{number:07d}", "title": f"Talk {number}"}) for number in range(40)]
    catalogue.write_text("\n".join(lines))
    command = KNOWN["catalogue"].replace("talks.jsonl.gz", str(catalogue))

    with running(command, tmp_path / "home", YOUSYNC_POLL_SECONDS="1") as address:
        wait_for_total(address, 40)


def test_make_test_runs_every_test() -> None:
    assert "-m pytest" in shell(f"{KNOWN['test'].replace('make', 'make --dry-run')}", ROOT)
