"""The simulator as a process: it starts, says where it listens, is killed, goes on, and stops when asked."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = """
import sys
from contract.settings import SettingsError, load_settings
from ops.logging import configure_logging
from simulator.service import run
configure_logging("info", "json", service="simulator")
try:
    run(load_settings())
except SettingsError as error:
    sys.exit(str(error))
"""
WAIT_SECONDS = 30


@contextmanager
def simulator(home: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "YOUSYNC_HOME": str(home),
        "YOUSYNC_SIMULATOR_PORT": "0",
        "YOUSYNC_ADMIN_PORT": "0",
        "YOUSYNC_SIMULATOR_RATE": "50",
        "YOUSYNC_SIMULATOR_BACKLOG": "10",
        **settings,
    }
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(WAIT_SECONDS)
        assert process.stderr is not None
        process.stderr.close()


def wait_for_line(process: subprocess.Popen[bytes], event: str) -> dict[str, Any]:
    assert process.stderr is not None
    for line in process.stderr:
        content: dict[str, Any] = json.loads(line)
        if content["event"] == event:
            return content
    raise AssertionError(f"the simulator ended without saying {event!r}")


def fetch(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=WAIT_SECONDS) as answer:
        return json.loads(answer.read())


def published(port: int, at_least: int) -> list[str]:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        ids = [video["id"] for video in fetch(port, "/_simulator/published")["videos"]]
        if len(ids) >= at_least:
            return ids
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_killed_and_started_again_it_goes_on_and_stops_when_asked(tmp_path: Path) -> None:
    with simulator(tmp_path) as process:
        admin_port = wait_for_line(process, "admin server listening")["port"]
        port = wait_for_line(process, "listening")["port"]
        seen = published(port, 25)
        assert fetch(admin_port, "/readyz")["ok"]
        process.kill()

    with simulator(tmp_path) as process:
        line = wait_for_line(process, "listening")
        assert line["published"] >= len(seen)
        again = published(line["port"], len(seen) + 10)
        assert set(seen) < set(again)
        assert len(again) == len(set(again))
        process.send_signal(signal.SIGTERM)
        assert wait_for_line(process, "stopping")["published"] >= len(again)
        assert process.wait(WAIT_SECONDS) == 0


def test_a_finished_catalogue_is_said(tmp_path: Path) -> None:
    catalogue = tmp_path / "talks.jsonl"
    catalogue.write_text('{"video_id": "video000001", "title": "Only one"}\n')

    with simulator(tmp_path, YOUSYNC_SIMULATOR_CATALOGUE=str(catalogue)) as process:
        port = wait_for_line(process, "listening")["port"]
        assert wait_for_line(process, "catalogue finished")["published"] == 1
        assert fetch(port, "/_simulator/published")["finished"]


def test_what_is_wrong_at_the_start_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for setting, value in (
            ("YOUSYNC_SIMULATOR_PORT", port),
            ("YOUSYNC_ADMIN_PORT", port),
            ("YOUSYNC_SIMULATOR_FAULTS", "nonsense=1"),
        ):
            with simulator(tmp_path, **{setting: value}) as process:
                assert process.stderr is not None
                said = process.stderr.read().decode()
                assert process.wait(WAIT_SECONDS) == 1
            assert said.splitlines()[-1].startswith(f"{setting}: "), said
            assert "Traceback" not in said
