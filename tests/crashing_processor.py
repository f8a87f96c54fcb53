"""The real processor, with one thing added: it kills itself at the n-th passage of a named point. For tests only.

`CRASH_POINT=events-half-sent python -m tests.crashing_processor processor`: settings, parts and loop
are the service's own; one method at its edges is wrapped, so the product has no hooks.
"""

import itertools
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from contract.topics import CHANGELOG, VIDEOS
from processors.kafka_output import KafkaDeadLetters, KafkaOutput
from processors.known_videos import FaustKnownVideos
from processors.read_model_writer import MongoReadModel
from processors.service import _Service
from yousync import cli

POINT: Final = "CRASH_POINT"


class Point(NamedTuple):
    """Where in a method the process dies: before it, when it has done half of its first argument, or after it.

    `topic` narrows the sending of messages to one topic; a call with less than two things has no half. `passage`: at
    the second, another partition of the batch is somewhere else in its steps, or done.
    """

    owner: type
    method: str
    when: Literal["before", "half", "after"]
    topic: str | None = None
    passage: int = 2


POINTS: Final[Mapping[str, Point]] = {
    "decoded": Point(KafkaDeadLetters, "send", "before"),
    "dead-letters-half-sent": Point(KafkaDeadLetters, "send", "half"),
    "dead-letters-sent": Point(KafkaDeadLetters, "send", "after"),
    "table-looked-up": Point(FaustKnownVideos, "read", "after"),
    "documents-read": Point(MongoReadModel, "documents", "after"),
    "before-write": Point(MongoReadModel, "write", "before"),
    "half-written": Point(MongoReadModel, "write", "half"),
    "written": Point(MongoReadModel, "write", "after"),
    "events-half-sent": Point(KafkaOutput, "send", "half", VIDEOS),
    "events-sent": Point(KafkaOutput, "send", "after", VIDEOS),
    "changelog-half-sent": Point(KafkaOutput, "send", "half", CHANGELOG),
    "changelog-sent": Point(KafkaOutput, "send", "after", CHANGELOG),
    "table-set": Point(FaustKnownVideos, "write", "after"),
    "before-acknowledging": Point(_Service, "_project", "after", passage=1),
    "acknowledged": Point(_Service, "_acknowledged", "before", passage=1),
}
"""In the order of effects (design, section 4). `changelog-sent`: the table's own store does not have it yet.

The last two are passed once a batch, and all that waits may be one batch.
"""


def arm(point: Point) -> None:
    """From now on the process dies at the point."""
    wrapped = _crashing_read if point.method == "read" else _crashing_call
    passages = itertools.count(1)
    original = getattr(point.owner, point.method)
    setattr(point.owner, point.method, wrapped(original, point, lambda: next(passages) == point.passage))


def _crashing_read(original: Callable[..., Any], point: Point, is_last: Callable[[], bool]) -> Callable[..., Any]:
    """The table's look-up is the one method that awaits nothing."""

    def crashing(*arguments: Any) -> Any:
        answer = original(*arguments)
        return _die() if is_last() else answer

    return crashing


def _crashing_call(
    original: Callable[..., Awaitable[Any]], point: Point, is_last: Callable[[], bool]
) -> Callable[..., Awaitable[Any]]:
    async def crashing(itself: object, *arguments: Any) -> Any:
        if not _concerns(point, arguments) or not is_last():
            return await original(itself, *arguments)
        if point.when == "half":
            things, *rest = arguments
            await original(itself, things[: len(things) // 2], *rest)
        elif point.when == "after":
            await original(itself, *arguments)
        return _die()

    return crashing


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _concerns(point: Point, arguments: Sequence[Any]) -> bool:
    if point.topic is not None and {message.topic for message in arguments[0]} != {point.topic}:
        return False
    return point.when != "half" or len(arguments[0]) > 1


def main() -> None:
    arm(POINTS[os.environ[POINT]])
    cli.main()


if __name__ == "__main__":
    main()
