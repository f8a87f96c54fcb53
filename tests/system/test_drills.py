"""The disaster drills of docs/operations/drills.md, command by command; only ports, folders and process ids are others.

The page is the script: a test takes its own commands from it, in their order, and must have run all of them. The
tests share one stack, in whatever order they run; each leaves it running and sound.
"""

import ast
import asyncio
import json
import re
import shutil
import signal
import subprocess
import urllib.error
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pymongo
import pytest

from contract.read_model import INDEXES
from tests.history import produce, raw_records
from tests.programs import required_program
from tests.system.test_readme_commands import environment
from tests.system.test_up import by_cursor, get, until
from yousync.local.server import free_ports

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ROOT: Final = Path(__file__).parents[2]
DRILLS: Final = ROOT / "docs" / "operations" / "drills.md"
UPGRADE: Final = ROOT / "docs" / "operations" / "upgrade.md"

PATIENCE_SECONDS: Final = 120
PIDS: Final = {"MongoDB": 2941, "Kafka": 2942, "processor": 3707, "producer": 3708, "api": 3709}
"""As the page's `yousync status` shows them."""

LEAST_VIDEOS: Final = 40
ROW: Final = r"^{name}\s+(\w+)\s+(\d+)\s+(\d+) "

Videos = dict[str, Any]


def blocks(page: Path) -> list[tuple[str | None, str]]:
    """Every console block with the comment on the line before it."""
    marked = r"(?:^<!-- ([^\n]*) -->\n)?^```console\n(.*?)^```"
    return re.findall(marked, page.read_text(), re.DOTALL | re.MULTILINE)


def commands_of(test: str) -> list[str]:
    """What the page shows for a test to run."""
    wanted = f"run by tests/system/{Path(__file__).name}::{test}"
    shown = [block for mark, block in blocks(DRILLS) if mark == wanted]
    return [line.removeprefix("$ ") for block in shown for line in block.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("page", [DRILLS, UPGRADE], ids=lambda page: page.name)
def test_every_command_names_the_test_that_runs_it_or_says_why_none_does(page: Path) -> None:
    for mark, block in blocks(page):
        run = re.fullmatch(r"run by (tests/\S+\.py)::(test_\w+)", mark or "")
        assert run or re.fullmatch(r"not run here: .{10,}", mark or ""), f"{mark}\n{block}"
        if run:
            functions = ast.walk(ast.parse((ROOT / run[1]).read_text()))
            assert run[2] in {one.name for one in functions if isinstance(one, ast.FunctionDef)}, mark


def test_the_page_shows_the_process_ids_that_its_commands_use() -> None:
    text = DRILLS.read_text()
    for name, pid in PIDS.items():
        found = re.search(ROW.format(name=name), text, re.MULTILINE)
        assert found, name
        assert int(found[2]) == pid


class Stack:
    """One machine's stack in a home of its own, and what an operator types beside it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self._output = folder / "up.out"
        self._process: subprocess.Popen[bytes] | None = None
        self._pids: Mapping[str, int] = {}
        api, kafka, mongodb = free_ports(3)
        self._kafka, self._mongodb = f"127.0.0.1:{kafka}", f"mongodb://127.0.0.1:{mongodb}"
        self.url = f"http://127.0.0.1:{api}/v1/videos"
        self._settings = {**environment(self.home), "YOUSYNC_API_PORT": str(api), "YOUSYNC_POLL_SECONDS": "1"}
        self._names = {
            "/backup/yousync": str(folder / "backup"),
            ".yousync": str(self.home),
            "127.0.0.1:8080": f"127.0.0.1:{api}",
            "127.0.0.1:9092": self._kafka,
            "127.0.0.1:27017": f"127.0.0.1:{mongodb}",
            "--kafka-port 9092": f"--kafka-port {kafka}",
            "--mongodb-port 27017": f"--mongodb-port {mongodb}",
        }

    def here(self, command: str) -> str:
        """The command with our ports, folders and process ids in place of the page's."""
        names = self._names | {str(PIDS[name]): str(pid) for name, pid in self._pids.items()}
        either = "|".join(rf"(?<!\w){re.escape(name)}\b" for name in names)
        return re.sub(either, lambda found: names[found[0]], command)

    def up(self, command: str) -> None:
        """Start it in the background."""
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S602  # the page's own line
                f"exec {self.here(command)}",
                shell=True,
                cwd=ROOT,
                env=self._settings,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def run(self, command: str) -> str:
        done = subprocess.run(  # noqa: S602  # as above
            self.here(command),
            shell=True,
            cwd=ROOT,
            env=self._settings,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def said(self) -> str:
        return self._output.read_text(errors="replace")

    def wait_until_ready(self, restarts: Mapping[str, int] | None = None) -> None:
        """Until all processes are ready, each after at least so many restarts."""

        def ready() -> bool:
            assert self.process.poll() is None, self.said()
            if not (self.home / "up.json").exists():
                return False
            rows = {row["name"]: row for row in json.loads((self.home / "up.json").read_text())["processes"]}
            self._pids = {name: rows[name]["pid"] for name in PIDS if name in rows}
            return all(
                name in rows
                and rows[name]["state"] == "ready"
                and rows[name]["restarts"] >= (restarts or {}).get(name, 0)
                for name in PIDS
            )

        until(ready, PATIENCE_SECONDS, self.said)

    def restarts(self, *names: str) -> dict[str, int]:
        """How many restarts each will have after one more."""
        rows = json.loads((self.home / "up.json").read_text())["processes"]
        return {row["name"]: row["restarts"] + 1 for row in rows if row["name"] in names}

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None
        return self._process

    def stop(self) -> None:
        """Ctrl-C."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)

    def videos(self) -> Videos:
        """What readers see, by id; those that the producer has completed, for the others are about to change."""
        listed = {one["id"]: one for one in by_cursor(self.url, 100)}
        return {name: one for name, one in listed.items() if "duration_seconds" in one}

    def wait_for_completed(self) -> Videos:
        until(lambda: len(self.videos()) >= LEAST_VIDEOS, PATIENCE_SECONDS, self.said)
        return self.videos()

    def indexes(self) -> set[str]:
        with pymongo.MongoClient[dict[str, Any]](self._mongodb) as client:
            return set(client["yousync"]["videos"].index_information())

    def use_high_offsets(self) -> None:
        """Repeat all raw records, which changes nothing, until a video has come that is of an offset past these.

        A new topic cannot have as many records so soon, so that its processor will find out.
        """
        raw = asyncio.run(raw_records(self._kafka))
        asyncio.run(produce(self._kafka, raw * 5))
        ends = Counter(one.partition for one in raw * 6)
        late = [{"source.partition": number, "source.offset": {"$gte": end}} for number, end in ends.items()]
        with pymongo.MongoClient[dict[str, Any]](self._mongodb) as client:
            videos = client["yousync"]["videos"]
            until(lambda: videos.find_one({"k": {"$gt": ""}, "$or": late}), PATIENCE_SECONDS, self.said)

    def wait_for_the_same(self, before: Videos) -> None:
        """Until readers see each of these videos as it was."""

        def others() -> list[str]:
            try:
                now = self.videos()
            except urllib.error.URLError:  # not back yet
                return [*before]
            return [name for name, one in before.items() if now.get(name) != one]

        until(lambda: not others(), PATIENCE_SECONDS, lambda: f"{others()} are not as they were\n{self.said()}")


class Script:
    """The page's commands for the test that runs, in their order; all of them, and no others."""

    def __init__(self, test: str) -> None:
        self._left = commands_of(test)
        assert self._left, f"the page has no commands for {test}"

    def next(self, beginning: str) -> str:
        """The next command, which begins so: the test knows what it is about to do."""
        command = self._left.pop(0)
        assert command.startswith(beginning), command
        return command

    def finish(self) -> None:
        assert not self._left, "commands of the page that the test does not run"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Started by the page's own command; settled, with videos."""
    folder = tmp_path_factory.mktemp("drills")
    stack = Stack(folder)
    try:
        stack.up(commands_of("test_a_killed_process_comes_back")[0])
        stack.wait_until_ready()
        stack.wait_for_completed()
        yield stack
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def script(request: pytest.FixtureRequest) -> Script:
    return Script(request.node.name)


def test_a_killed_process_comes_back(stack: Stack, script: Script) -> None:
    script.next(".venv/bin/yousync up")  # the fixture has done it
    status = stack.run(script.next(".venv/bin/yousync status"))
    assert all(re.search(ROW.format(name=name), status, re.MULTILINE) for name in PIDS)
    before, restarts = stack.videos(), stack.restarts(*PIDS)
    for _ in PIDS:
        stack.run(script.next("kill -9 "))
    script.finish()

    stack.wait_until_ready(restarts)
    stack.wait_for_the_same(before)


def test_a_lost_table_is_read_anew(stack: Stack, script: Script) -> None:
    before, restarts = stack.videos(), stack.restarts("processor")
    table = stack.home / "simulated" / "processor"
    held = table.stat().st_ino
    stack.run(script.next("kill -STOP "))
    stack.run(script.next("rm -r "))
    assert not table.exists()
    stack.run(script.next("kill -KILL "))
    script.finish()

    stack.wait_until_ready(restarts)
    assert table.stat().st_ino != held
    stack.wait_for_the_same(before)


def test_a_lost_database_is_replayed(stack: Stack, script: Script) -> None:
    before = stack.videos()
    stack.run(script.next(".venv/bin/python -c "))
    until(lambda: get(stack.url)["total"] < len(before), PATIENCE_SECONDS, stack.said)
    assert stack.run(script.next(".venv/bin/yousync replay")).startswith("Plan: ")
    assert "Swapped in: " in stack.run(script.next(".venv/bin/yousync replay --execute"))
    script.finish()

    stack.wait_for_the_same(before)
    assert stack.indexes() >= {index.name for index in INDEXES}
    assert get(stack.url, search="python")["items"]


def test_a_poison_record_is_listed_and_put_back(stack: Stack, script: Script) -> None:
    required_program("kcat", "kcat")
    for _ in range(2):
        stack.run(script.next("echo "))
    listing = script.next(".venv/bin/yousync dead-letters list")
    until(lambda: stack.run(listing).count("wrong_partition") and "not_json" in stack.run(listing), 60, stack.said)
    assert "to partition 0" in stack.run(script.next(".venv/bin/yousync dead-letters retry --reason"))
    assert "Put back: 1." in stack.run(script.next(".venv/bin/yousync dead-letters retry --reason"))
    asking = script.next("curl ")
    script.finish()

    until(lambda: '"title":"A drill"' in stack.run(asking), PATIENCE_SECONDS, stack.said)


def test_kafka_is_lost_and_the_backup_restored(stack: Stack, script: Script) -> None:
    stack.use_high_offsets()
    before = stack.videos()
    stack.stop()
    stack.run(script.next("cp -a "))
    stack.run(script.next("rm -r "))
    stack.up(script.next(".venv/bin/yousync up"))
    assert stack.process.wait(PATIENCE_SECONDS) == 1
    assert "the topic was recreated" in stack.said()

    stack.run(script.next("rm -r "))
    stack.run(script.next("cp -a "))
    stack.up(script.next(".venv/bin/yousync up"))
    script.finish()
    stack.wait_until_ready()
    stack.wait_for_the_same(before)
