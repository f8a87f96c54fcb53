"""The real replay, with one thing added: at a named point it kills itself, or stops like a paused one. For tests only.

`REPLAY_POINT=swapped REPLAY_SIGNAL=SIGKILL python -m tests.crashing_replay replay --execute`: options, steps and edges
are the command's own; one method is wrapped, so the product has no hooks. `REPLAY_SILENT_SECONDS` stands in for the
time after which a silent run may be taken over, so that tests need not wait that long, and `REPLAY_BUFFER_BYTES` for
what is held back while it loads, so that a small topic is written piece by piece, too.
"""

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

from processors.kafka_output import KafkaVideoEvents
from processors.replay import replay, store
from processors.replay.replay import _Replay
from processors.replay.store import ReplayStore
from yousync import cli

POINT: Final = "REPLAY_POINT"
SIGNAL: Final = "REPLAY_SIGNAL"
SILENT_SECONDS: Final = "REPLAY_SILENT_SECONDS"
BUFFER_BYTES: Final = "REPLAY_BUFFER_BYTES"


class Point(NamedTuple):
    """Before or after the first call of a method."""

    owner: type
    method: str
    when: Literal["before", "after"]


POINTS: Final[Mapping[str, Point]] = {
    "shadow-made": Point(ReplayStore, "new_shadow", "after"),
    "loaded": Point(_Replay, "_create_indexes", "before"),
    "verifying": Point(ReplayStore, "newest", "before"),
    "announcing": Point(KafkaVideoEvents, "send", "after"),
    "applied-said": Point(ReplayStore, "say_applied", "after"),
    "before-swap": Point(ReplayStore, "swap", "before"),
    "swapped": Point(ReplayStore, "swap", "after"),
    "announced-again": Point(ReplayStore, "forget_old_generations", "before"),
    "tidying": Point(ReplayStore, "forget_old_generations", "after"),
}
"""In the order of a replay's steps. `before-swap`: nothing is asked any more before the rename."""


def arm(point: Point, deed: signal.Signals) -> None:
    """From now on the process sends itself the signal at the first passage of the point."""
    original: Callable[..., Awaitable[Any]] = getattr(point.owner, point.method)
    passed = False

    async def signalling(itself: object, *arguments: Any) -> Any:
        nonlocal passed
        first, passed = not passed, True
        if first and point.when == "before":
            os.kill(os.getpid(), deed)
        answer = await original(itself, *arguments)
        if first and point.when == "after":
            os.kill(os.getpid(), deed)
        return answer

    setattr(point.owner, point.method, signalling)


def main() -> None:
    if POINT in os.environ:
        arm(POINTS[os.environ[POINT]], signal.Signals[os.environ[SIGNAL]])
    if SILENT_SECONDS in os.environ:
        vars(store)["_SILENT_SECONDS"] = float(os.environ[SILENT_SECONDS])
    if BUFFER_BYTES in os.environ:
        vars(replay)["BUFFER_BYTES"] = int(os.environ[BUFFER_BYTES])
    cli.main()


if __name__ == "__main__":
    main()
