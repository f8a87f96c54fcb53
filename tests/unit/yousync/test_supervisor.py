"""Restarting: the decision as a table, then real small processes that die."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from yousync.local import supervisor as supervisor_module
from yousync.local.server import LocalServer, LocalStackError, free_port
from yousync.local.supervisor import (
    DEATHS_BEFORE_GIVING_UP,
    LONGEST_PAUSE_SECONDS,
    GiveUp,
    Restart,
    Supervisor,
    decide_after_death,
    how_it_ended,
)


@pytest.mark.parametrize(
    ("exit_code", "deaths", "ran", "ever_ready", "decision"),
    [
        (1, 1, 1.0, True, Restart(0.5)),
        (-9, 2, 1.0, True, Restart(1.0)),
        (0, 3, 1.0, True, Restart(2.0)),
        (1, 40, 1.0, True, Restart(LONGEST_PAUSE_SECONDS)),
        (1, 7, 61.0, True, Restart(0.5)),
        (1, DEATHS_BEFORE_GIVING_UP - 1, 1.0, False, Restart(4.0)),
        (1, DEATHS_BEFORE_GIVING_UP, 1.0, False, GiveUp("it died 5 times in a row before it was ready")),
        (2, 1, 1.0, False, GiveUp("starting it again would not help")),
        (2, 1, 999.0, True, GiveUp("starting it again would not help")),
    ],
)
def test_a_death_is_answered_by_what_it_was(
    exit_code: int, deaths: int, ran: float, ever_ready: bool, decision: Restart | GiveUp
) -> None:
    assert decide_after_death(exit_code, deaths_in_a_row=deaths, ran_seconds=ran, ever_ready=ever_ready) == decision


def test_an_exit_is_put_in_words() -> None:
    assert (how_it_ended(-9), how_it_ended(1)) == ("signal 9", "exit code 1")


class Script(LocalServer):
    """A Python one-liner that counts as ready when it has written its marker."""

    def __init__(self, name: str, folder: Path, code: str, start_seconds: float = 20) -> None:
        self.marker = folder / f"{name}.ready"
        super().__init__(
            name,
            free_port(),
            folder / f"{name}.log",
            start_seconds=start_seconds,
            stop_seconds=5,
        )
        self._code = f"import pathlib, sys, time; marker = pathlib.Path({str(self.marker)!r}); {code}"

    def command(self) -> list[str]:
        return [sys.executable, "-S", "-c", self._code]

    def answers(self) -> bool:
        return self.marker.exists()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(supervisor_module, "_POLL_SECONDS", 0.02)


@asynccontextmanager
async def running(told: list[str]) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(told.append)
    try:
        yield supervisor
    finally:
        supervisor.close()


@pytest.mark.usefixtures("quick")
async def test_a_killed_child_is_named_and_started_again(tmp_path: Path) -> None:
    told: list[str] = []
    script = Script("sleeper", tmp_path, "marker.touch(); print('at work', flush=True); time.sleep(60)")
    async with running(told) as supervisor:
        await supervisor.start(script)
        watching = asyncio.create_task(supervisor.watch())
        first = script.pid

        script.kill()

        async with asyncio.timeout(30):
            while script.pid in {first, None}:  # noqa: ASYNC110 - a process has no event
                await asyncio.sleep(0.02)
        assert supervisor.children[0].restarts == 1
        assert told == [f"sleeper died (signal 9: at work); starting it again in 0.01 s, log: {script.log_file}"]

        await supervisor.stop("sleeper")
        await asyncio.sleep(0.2)
        assert script.exit_code is not None
        assert not watching.done()
        watching.cancel()


@pytest.mark.usefixtures("quick")
async def test_wrong_settings_of_a_child_end_the_stack_with_what_it_said(tmp_path: Path) -> None:
    script = Script("api", tmp_path, "print('YOUSYNC_API_PORT: is in use', flush=True); sys.exit(2)")
    async with running([]) as supervisor:
        with pytest.raises(
            LocalStackError, match="api cannot run, starting it again would not help: YOUSYNC_API_PORT: is in use"
        ):
            await supervisor.start(script)


@pytest.mark.usefixtures("quick")
async def test_a_child_that_was_ready_and_asks_for_its_operator_ends_the_stack(tmp_path: Path) -> None:
    told: list[str] = []
    code = "marker.touch(); time.sleep(1); print('too many dead letters', flush=True); sys.exit(2)"
    async with running(told) as supervisor:
        await supervisor.start(Script("processor", tmp_path, code))
        with pytest.raises(LocalStackError, match=r"processor cannot run, .* would not help: too many dead letters"):
            async with asyncio.timeout(30):
                await supervisor.watch()
    assert told == []


@pytest.mark.usefixtures("quick")
async def test_why_a_child_is_not_ready_is_known_until_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "_CHECK_SECONDS", 0.02)
    script = Script("processor", tmp_path, "marker.touch(); time.sleep(60)")
    async with running([]) as supervisor:
        await supervisor.start(script)
        child = supervisor.children[0]
        for change, seen in (
            (script.marker.unlink, ("not ready", "it does not answer")),
            (script.marker.touch, ("ready", "")),
        ):
            change()
            async with asyncio.timeout(30):
                while (child.state, child.fault) != seen:  # noqa: ASYNC110 - a state has no event
                    await asyncio.sleep(0.02)


@pytest.mark.usefixtures("quick")
async def test_a_child_that_never_gets_ready_ends_the_stack(tmp_path: Path) -> None:
    told: list[str] = []
    async with running(told) as supervisor:
        with pytest.raises(LocalStackError, match="it died 5 times in a row before it was ready: no luck"):
            await supervisor.start(Script("broken", tmp_path, "print('no luck', flush=True); sys.exit(1)"))
    assert len(told) == DEATHS_BEFORE_GIVING_UP - 1


@pytest.mark.usefixtures("quick")
async def test_a_child_that_hangs_at_its_start_ends_the_stack(tmp_path: Path) -> None:
    async with running([]) as supervisor:
        with pytest.raises(LocalStackError, match=r"mute did not get ready within 0 s: it said nothing in .*mute\.log"):
            await supervisor.start(Script("mute", tmp_path, "time.sleep(60)", start_seconds=0.1))


@pytest.mark.usefixtures("quick")
async def test_a_child_that_ignores_the_stop_is_killed(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); marker.touch(); time.sleep(60)"
    script = Script("stubborn", tmp_path, code)
    script._stop_seconds = 0.1
    async with running([]) as supervisor:
        await supervisor.start(script)
        await supervisor.stop("stubborn")
        assert (script.pid, script.exit_code) == (None, -9)
