"""Keeps the processes of the one-machine stack running: restarts what dies, with growing pauses, and names it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from yousync.local.server import LocalServer, LocalStackError, last_line

NEEDS_OPERATOR: Final = 2
"""Exit code of a service that can go on only once somebody has changed something, settings for one."""

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
HEALTHY_SECONDS: Final = 60.0
"""A process that ran this long starts again with the first pause when it dies."""

DEATHS_BEFORE_GIVING_UP: Final = 5
"""So often in a row may a process die that has never answered."""

_POLL_SECONDS: Final = 0.2
_CHECK_SECONDS: Final = 2.0

State = Literal["stopped", "starting", "ready", "not ready", "restarting", "stopping"]


class Restart(msgspec.Struct, frozen=True):
    """Start the process again after a pause."""

    after_seconds: float


class GiveUp(msgspec.Struct, frozen=True):
    """Starting it again would not help."""

    reason: str


def decide_after_death(
    exit_code: int | None, *, deaths_in_a_row: int, ran_seconds: float, ever_ready: bool
) -> Restart | GiveUp:
    """What to do about a process that ended by itself; `deaths_in_a_row` counts this one."""
    if exit_code == NEEDS_OPERATOR:
        return GiveUp("starting it again would not help")
    if ran_seconds >= HEALTHY_SECONDS:
        return Restart(FIRST_PAUSE_SECONDS)
    if not ever_ready and deaths_in_a_row >= DEATHS_BEFORE_GIVING_UP:
        return GiveUp(f"it died {deaths_in_a_row} times in a row before it was ready")
    return Restart(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (deaths_in_a_row - 1)))


@dataclass
class Child:
    """One process and what has happened to it."""

    server: LocalServer
    state: State = "stopped"
    restarts: int = 0
    deaths_in_a_row: int = 0
    ever_ready: bool = False
    launched_at: float = 0.0
    restart_at: float | None = None
    fault: str = ""
    wanted: bool = field(default=False)

    @property
    def name(self) -> str:
        return self.server.name


class Supervisor:
    """Starts, watches and stops children. Launches from the thread of the event loop: see `LocalServer`."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.children: Final[list[Child]] = []
        self._checks: list[asyncio.Task[None]] = []

    async def start(self, *servers: LocalServer) -> None:
        """Launch these together and return when all of them answer.

        Raises:
            LocalStackError: one of them cannot be started.
        """
        children = [Child(server) for server in servers]
        self.children.extend(children)
        await asyncio.gather(*(asyncio.to_thread(server.prepare) for server in servers))
        for child in children:
            self._launch(child)
            self._checks.append(asyncio.create_task(self._check(child)))
        while late := [child for child in children if not child.ever_ready]:
            self._look()
            for child in late:
                self._require_in_time(child)
            await asyncio.sleep(_POLL_SECONDS)

    async def watch(self) -> None:
        """Keep the children running until cancelled.

        Raises:
            LocalStackError: one of them cannot be kept running.
        """
        while True:
            self._look()
            await asyncio.sleep(_POLL_SECONDS)

    async def stop(self, *names: str) -> None:
        """Stop the children of these names, together, and return when they have ended."""
        chosen = [child for child in self.children if child.name in names]
        for child in chosen:
            child.wanted, child.state = False, "stopping"
        await asyncio.gather(*(asyncio.to_thread(child.server.stop) for child in chosen))
        for child in chosen:
            child.state = "stopped"

    def close(self) -> None:
        """End what is still running, by force."""
        for check in self._checks:
            check.cancel()
        for child in self.children:
            child.wanted, child.state = False, "stopped"
            child.server.kill()

    def _look(self) -> None:
        now = time.monotonic()
        for child in self.children:
            if child.wanted and child.restart_at is None and child.server.pid is None:
                self._died(child, now)
            elif child.wanted and child.restart_at is not None and now >= child.restart_at:
                child.restarts += 1
                self._launch(child)

    async def _check(self, child: Child) -> None:
        """Keep `state` true; a task per child, since a frozen one takes seconds to be asked."""
        while True:
            if child.server.pid is not None:
                fault = await asyncio.to_thread(child.server.fault)
                if child.wanted and child.server.pid is not None:
                    self._note(child, fault)
            await asyncio.sleep(_POLL_SECONDS if child.state == "starting" else _CHECK_SECONDS)

    @staticmethod
    def _note(child: Child, fault: str | None) -> None:
        if fault is None:
            child.state, child.ever_ready, child.fault = "ready", True, ""
        elif child.state in {"ready", "not ready"}:
            child.state, child.fault = "not ready", fault

    @staticmethod
    def _require_in_time(child: Child) -> None:
        if child.restart_at is None and time.monotonic() - child.launched_at > child.server.start_seconds:
            raise LocalStackError(
                f"{child.name} did not get ready within {child.server.start_seconds:.0f} s: "
                f"{last_line(child.server.log_file)} (log: {child.server.log_file})"
            )

    def _launch(self, child: Child) -> None:
        child.restart_at = None
        child.wanted, child.state = True, "starting"
        child.launched_at = time.monotonic()
        child.server.launch()

    def _died(self, child: Child, now: float) -> None:
        exit_code = child.server.exit_code
        ran = now - child.launched_at
        child.deaths_in_a_row = 1 if ran >= HEALTHY_SECONDS else child.deaths_in_a_row + 1
        said = last_line(child.server.log_file)
        decision = decide_after_death(
            exit_code, deaths_in_a_row=child.deaths_in_a_row, ran_seconds=ran, ever_ready=child.ever_ready
        )
        if isinstance(decision, GiveUp):
            raise LocalStackError(f"{child.name} cannot run, {decision.reason}: {said} (log: {child.server.log_file})")
        child.state, child.fault = "restarting", f"{how_it_ended(exit_code)}: {said}"
        child.restart_at = now + decision.after_seconds
        self._tell(
            f"{child.name} died ({child.fault}); starting it again in {decision.after_seconds:g} s, "
            f"log: {child.server.log_file}"
        )


def how_it_ended(exit_code: int | None) -> str:
    """An exit code in words; negative ones are signals."""
    if exit_code is not None and exit_code < 0:
        return f"signal {-exit_code}"
    return f"exit code {exit_code}"
