"""What a swap announces: everything noted, and what a worker moved on meanwhile once more, as it then is."""

from collections.abc import Sequence
from typing import cast

import msgspec

from contract import events
from contract.events import VideoEnvelope
from contract.topics import RAW
from processors.document import OwedEvent, SourcePosition
from processors.kafka_output import KafkaVideoEvents
from processors.replay.announcement import announce
from processors.replay.comparison import Row
from processors.waiting import Patience


def row(video_id: str, offset: int) -> Row:
    return Row(
        video_id, f"key-{video_id}", b"body", SourcePosition(RAW, 0, offset), OwedEvent(offset, "any", None), 1, None
    )


class Collection:
    """Documents that a worker changes as soon as they have been spoken of, so many times."""

    def __init__(self, *rows: Row, changes: int = 0) -> None:
        self.rows_there = {one.video_id: one for one in rows}
        self.changes = changes
        self.sent: list[tuple[str, str, int]] = []

    async def rows(self, video_ids: Sequence[str]) -> list[Row]:
        return [self.rows_there[one] for one in video_ids if one in self.rows_there]

    async def owed_events(self, video_ids: Sequence[str]) -> dict[str, OwedEvent]:
        return {one: self.rows_there[one].event for one in video_ids if one in self.rows_there}

    async def send(self, spoken: Sequence[tuple[VideoEnvelope, bytes | None]]) -> None:
        self.sent += [(one.subject, one.type, one.sequence) for one, _ in spoken]
        if self.changes:
            self.changes -= 1
            first = next(iter(self.rows_there.values()))
            event = msgspec.structs.replace(first.event, offset=first.event.offset + 10)
            self.rows_there[first.video_id] = msgspec.structs.replace(first, event=event)


async def announced(collection: Collection, noted: dict[str, bool], *, until_still: bool) -> list[tuple[str, str, int]]:
    output = cast("KafkaVideoEvents", collection)
    await announce(noted, collection, output, Patience(), until_still=until_still)
    return collection.sent


async def test_each_is_said_once_as_new_or_changed() -> None:
    collection = Collection(row("a", 1), row("b", 2))

    assert await announced(collection, {"a": True, "b": False, "gone": False}, until_still=True) == [
        ("a", events.VIDEO_DISCOVERED, 1),
        ("b", events.VIDEO_UPDATED, 2),
    ]


async def test_what_a_worker_moved_on_is_said_again_until_it_stands_still() -> None:
    """Compaction keeps the last record of a key: it must not be our older one."""
    collection = Collection(row("a", 1), row("b", 2), changes=2)

    sent = await announced(collection, {"a": False, "b": False}, until_still=True)

    assert [(video_id, sequence) for video_id, _, sequence in sent] == [("a", 1), ("b", 2), ("a", 11), ("a", 21)]


async def test_before_the_swap_once_is_enough() -> None:
    collection = Collection(row("a", 1), changes=1)

    assert len(await announced(collection, {"a": True}, until_still=False)) == 1
