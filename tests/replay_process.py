"""`yousync replay` as a process of its own, for tests that stop, pause and kill it; and what it must leave behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil
import pymongo

from contract.read_model import READ_MODEL, READ_MODEL_ID, REPLAY_ID, SHADOW_PREFIX, VIDEOS, generation_name
from tests import crashing_replay
from tests.service_process import wait_for

SILENT_SECONDS: Final = 1.5
"""A run that was silent for so long may be taken over by a replay started here."""


class ReplayProcess:
    """`yousync replay <options>`; with `point` it sends itself `deed` there (see `tests.crashing_replay`)."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str],
        *options: str,
        point: str | None = None,
        deed: signal.Signals = signal.SIGKILL,
    ) -> None:
        self._number = len(list(folder.glob("replay-*.out")))
        self._answers = folder / f"replay-{self._number}.out"
        self._words = folder / f"replay-{self._number}.err"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "COLUMNS": "200",
            "YOUSYNC_LOG_FORMAT": "json",
            "YOUSYNC_HOME": str(folder / "home"),
            crashing_replay.SILENT_SECONDS: str(SILENT_SECONDS),
            **settings,
        }
        if point is not None:
            environment |= {crashing_replay.POINT: point, crashing_replay.SIGNAL: deed.name}
        with self._answers.open("wb") as answers, self._words.open("wb") as words:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.crashing_replay", "replay", *options],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=answers,
                stderr=words,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def finish(self, seconds: float = 120) -> int:
        """Its exit code, when it ends."""
        return self.process.wait(seconds)

    @property
    def answer(self) -> str:
        """All that it printed for the caller."""
        return self._answers.read_text()

    @property
    def words(self) -> str:
        """All that it printed for people."""
        return self._words.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """With `--json`: what it has told so far."""
        return [json.loads(line) for line in self.answer.splitlines(keepends=True) if line.endswith("\n")]

    def wait_for_phase(self, phase: str, seconds: float = 60) -> Self:
        """With `--json`: until it has told of something done in the phase."""
        wait_for(
            lambda: any(one["phase"] == phase and one.get("done", 1) for one in self.lines),
            seconds,
            lambda: f"never in phase {phase}: {self.answer}\n{self.words}",
        )
        return self

    def wait_until_stopped(self, seconds: float = 60) -> Self:
        """Until it has stopped itself, as a paused process."""
        try:
            wait_for(
                lambda: psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED,
                seconds,
                lambda: f"never stopped: {self.answer}\n{self.words}",
            )
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self


def replayed(folder: Path, settings: Mapping[str, str], *options: str) -> dict[str, Any]:
    """Carry out `yousync replay --execute --json <options>` to its good end; what it came to."""
    with ReplayProcess(folder, settings, "--execute", "--json", *options) as replay:
        assert replay.finish() == 0, f"{replay.answer}\n{replay.words}"
        return replay.lines[-1]


def refusal(folder: Path, settings: Mapping[str, str], *options: str) -> str:
    """The words of a `yousync replay <options>` that ends with exit code 1."""
    with ReplayProcess(folder, settings, *options) as replay:
        assert replay.finish() == 1, f"{replay.answer}\n{replay.words}"
        assert "Traceback" not in replay.words
        return replay.words


def check_tidied(mongodb_uri: str, database: str = "yousync") -> str:
    """Assert that nothing of any replay is left but the store and its one finished run; the generation."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_uri) as client:
        there = {one["name"]: one for one in client[database].list_collections()}
        state = {one["_id"]: one for one in client[database][READ_MODEL].find()}
    left = [name for name in there if name.startswith(SHADOW_PREFIX)]
    assert not left, f"{left} are left"
    generation = generation_name(there[VIDEOS]["info"]["uuid"])
    run, said = state[REPLAY_ID], state[READ_MODEL_ID]
    assert (run["phase"], run["owner"]) == ("done", None), run
    assert set(said["applied"]) == set(said["versions"]) == {generation}, f"{said}, but {generation} is live: {run}"
    assert set(state) == {REPLAY_ID, READ_MODEL_ID}, state
    return generation


def generation_of(mongodb_uri: str, database: str = "yousync") -> str | None:
    """UUID of the collection that readers read."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_uri) as client:
        found = list(client[database].list_collections(filter={"name": VIDEOS}))
    return generation_name(found[0]["info"]["uuid"]) if found else None
