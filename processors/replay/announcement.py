"""Says on `youtube.videos` what a swap changes for readers, before it and again after it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from contract import events
from contract.events import VideoEnvelope
from processors.document import OwedEvent
from processors.kafka_output import KafkaVideoEvents
from processors.replay.comparison import Row
from processors.waiting import Patience

VideoEvent = tuple[VideoEnvelope, bytes | None]


class Announced(Protocol):
    """The collection that is spoken of; its methods raise `Unavailable` when to be tried again."""

    async def rows(self, video_ids: Sequence[str]) -> list[Row]:
        """What stands there of these ids."""

    async def owed_events(self, video_ids: Sequence[str]) -> dict[str, OwedEvent]:
        """The last event that each of these documents owes."""


def announcement(row: Row, *, is_new: bool) -> VideoEvent:
    """The event of a document as it now is, with the sequence of the last event that it owes: the later one wins."""
    owed = row.event
    living = events.VIDEO_DISCOVERED if is_new else events.VIDEO_UPDATED
    envelope = VideoEnvelope(
        type=living if row.is_living else events.VIDEO_REMOVED,
        partition=row.source.partition,
        sequence=owed.offset,
        subject=row.video_id,
        sort_key=row.sort_key if row.is_living else owed.previous_sort_key,
        previous_sort_key=owed.previous_sort_key if row.is_living else None,
    )
    return envelope, row.body


async def announce(
    noted: Mapping[str, bool], documents: Announced, output: KafkaVideoEvents, patience: Patience, *, until_still: bool
) -> None:
    """Say what these videos are now; `noted`: by id, whether it is new to readers.

    `until_still`: a worker may speak of one of them at the same time, and its event must stay the last one of its key,
    which is what compaction keeps: so what has moved on meanwhile is said again, as it then is.
    """
    waiting = list(noted)
    while waiting:
        rows = await patience.until_available(lambda: documents.rows(waiting))  # noqa: B023  # awaited within the turn
        spoken = [announcement(row, is_new=noted[row.video_id]) for row in rows]
        await patience.until_available(lambda: output.send(spoken))  # noqa: B023  # awaited within the turn
        if not until_still:
            return
        now = await patience.until_available(lambda: documents.owed_events(waiting))  # noqa: B023  # awaited within the turn
        waiting = [row.video_id for row in rows if now.get(row.video_id, row.event) != row.event]
