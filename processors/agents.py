"""The agent: takes batches from the raw topic, has them projected, and acknowledges them last of all.

It is one agent, whichever loop delivers the records: Faust's own, an event for each record, or the chunked one, an
event for each chunk of records.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import faust

from contract.topics import RAW
from processors import raw_log
from processors.chunked_consumer import QUEUED_CHUNKS, ChunkedTransport, ChunkMessage
from processors.decode import Record

MAX_BATCH: Final = 2_000
MAX_CHUNKS: Final = 8
"""Of 500 records each."""

MAX_WAIT_SECONDS: Final = 0.05
"""A record waits this long at most for others to share its batch."""

Project = Callable[[Sequence[Record]], Awaitable[None]]
Acknowledged = Callable[[], Awaitable[None]]


def register_agent(app: faust.App, project: Project, acknowledged: Acknowledged) -> None:
    """Make `app` consume the raw topic. `project` returns when all effects of a batch are done.

    An exception of `project` leaves the batch unacknowledged and ends the worker (see the app's supervisor).
    """
    chunked = isinstance(app.transport, ChunkedTransport)
    raw = app.topic(RAW, key_type=bytes, value_type=bytes, maxsize=QUEUED_CHUNKS if chunked else None)
    max_events = MAX_CHUNKS if chunked else MAX_BATCH

    async def project_videos(stream: Any) -> None:
        async for events in stream.noack_take(max_events, within=MAX_WAIT_SECONDS):
            records = [record for event in events for record in records_of(event.message)]
            await project(records)
            for event in events:
                await stream.ack(event)
            await acknowledged()

    app.agent(raw, name="project_videos")(project_videos)


def records_of(message: Any) -> Iterator[Record]:
    """The records that one of Faust's messages carries: those of its chunk, or the message itself."""
    if isinstance(message, ChunkMessage):
        yield from map(raw_log.to_record, message.records)
    else:
        yield to_record(message)


def to_record(message: Any) -> Record:
    """A record from Faust's consumer message, whose timestamp is in seconds."""
    headers = message.headers or ()
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=round((message.timestamp or 0) * 1000),
        key=message.key,
        value=message.value,
        headers=tuple(headers.items() if isinstance(headers, dict) else headers),
    )


def by_partition(records: Sequence[Record]) -> list[list[Record]]:
    """The records of each partition, in their order."""
    parts: dict[int, list[Record]] = {}
    for record in records:
        parts.setdefault(record.partition, []).append(record)
    return list(parts.values())
