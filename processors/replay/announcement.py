"""Says on `youtube.videos` what a swap changes for readers, before it and again after it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from contract import events
from contract.events import VideoEnvelope
from processors.document import OwedEvent
from processors.kafka_output import KafkaVideoEvents
from processors.replay.comparison import Row
from processors.waiting import Patience

VideoEvent = tuple[VideoEnvelope, bytes | None]
FindRows = Callable[[Sequence[str]], Awaitable[list[Row]]]


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
    noted: Mapping[str, bool], find_rows: FindRows, output: KafkaVideoEvents, patience: Patience, *, until_still: bool
) -> None:
    """Say what these videos are now; `noted`: by id, whether it is new to readers.

    `until_still`: a worker may speak of one of them at the same time, and its event must stay the last one of its key,
    which is what compaction keeps: so what has moved on meanwhile is said again, as it then is.
    """
    said: dict[str, OwedEvent] = {}
    waiting = list(noted)
    while waiting:
        now = await patience.until_available(lambda: find_rows(waiting))  # noqa: B023  # awaited within the turn
        moved = [row for row in now if said.get(row.video_id) != row.event]
        spoken = [announcement(row, is_new=noted[row.video_id]) for row in moved]
        await patience.until_available(lambda: output.send(spoken))  # noqa: B023  # awaited within the turn
        said |= {row.video_id: row.event for row in moved}
        waiting = [row.video_id for row in moved] if until_still else []
