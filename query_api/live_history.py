"""Reads events of `youtube.videos` that are older than the process's ring, for clients that were away for longer."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition

from contract.topics import DAY_MS, VIDEOS
from ops.clock import now_ms
from ops.kafka_client import RETRY_BACKOFF_MS, running_consumer
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import kafka_fault
from ops.logging import get_logger
from ops.record_reader import tolerate_header_names
from query_api.live_client import HistoryLost, HistoryUnavailable
from query_api.live_feed import LastEvents
from query_api.live_id import Offsets, furthest, reaches
from query_api.video_event import VideoEvent, read_event

log = get_logger(__name__)

READERS: Final = 4
"""So many clients of a process are read for at once; others wait in line."""

OLDEST_MS: Final = 6 * DAY_MS
"""The topic forgets removals after 7 days (`delete.retention.ms`), so that what is older may lack one."""

MOST_EVENTS: Final = 100_000
"""Who missed more loads again, which is sooner done than telling it."""

REWOUND: Final = 500
"""Reading begins so many offsets earlier: a repeat is told by the event that it repeats."""

_MOST_KEPT: Final = 2_000
"""A reading of so many events at most is kept for the next in line: after a restart all miss about the same."""

_CHUNK: Final = 250
_POLL_MS: Final = 500
_ANSWER_SECONDS: Final = 5.0
"""How long Kafka may say nothing."""


class _Reading(msgspec.Struct, frozen=True):
    """What was read: all news below `until` for whoever has at least `floor`, and no more than there was (`ends`)."""

    floor: Offsets
    until: Offsets
    ends: Offsets
    events: Sequence[VideoEvent]

    def serves(self, since: Offsets, until: Offsets) -> bool:
        return until == self.until and reaches(since, self.floor) and reaches(self.ends, since)


class KafkaHistory:
    """`query_api.live_client.History` on Kafka; a consumer of its own, without a group, for each reading."""

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        readers: int = READERS,
        most_events: int = MOST_EVENTS,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._connection: Final = connection
        self._line: Final = asyncio.Semaphore(readers)
        self._most_events: Final = most_events
        self._clock: Final = clock
        self._kept: _Reading | None = None
        self._away = False

    async def read(self, since: Offsets, until: Offsets) -> AsyncGenerator[Sequence[VideoEvent]]:
        """The events from `since` up to, not including, `until`, in chunks, each partition's in order, less repeats.

        Raises:
            HistoryLost: not all of them are there, or `since` lies beyond what there is.
            HistoryUnavailable: Kafka is away.
        """
        missed = sum(max(0, end - begin) for begin, end in zip(since, until, strict=True))
        if missed > self._most_events:
            raise HistoryLost("Too much was missed.")
        async with self._line:
            kept = self._kept
            if kept is not None and kept.serves(since, until):
                events = _since(since, kept.events)
                for at in range(0, len(events), _CHUNK):
                    yield events[at : at + _CHUNK]
                return
            try:
                async with aclosing(self._read(since, until)) as reading:
                    async for events in reading:
                        yield events
            except (NoOffsetForPartitionError, OffsetOutOfRangeError):
                raise HistoryLost("What was missed is no longer kept.") from None
            except (KafkaError, OSError, TimeoutError) as error:
                raise self._unavailable(error) from error

    async def _read(self, since: Offsets, until: Offsets) -> AsyncGenerator[list[VideoEvent]]:
        async with _consumer(self._connection) as consumer:
            extent = await _extent(consumer, len(since), self._clock() - OLDEST_MS)
            self._away = False
            extent.require(since)
            if reaches(since, until):
                return
            starts = tuple(
                max(begin, min(known, end) - REWOUND)
                for begin, known, end in zip(extent.begins, since, until, strict=True)
            )
            last_events, read = LastEvents(), list[VideoEvent]()
            async with aclosing(_records(consumer, starts, until)) as records:
                async for some in records:
                    news = _news(some, last_events, until)
                    if len(read) <= _MOST_KEPT:
                        read += news
                    if events := _since(since, news):
                        yield events
        if len(read) <= _MOST_KEPT:
            self._kept = _Reading(furthest(starts, extent.oldest), until, extent.ends, read)

    def _unavailable(self, error: Exception) -> HistoryUnavailable:
        """The error for the client; the log gets one line when it begins, however many clients wait."""
        if not self._away:
            log.warning("live clients cannot be told what they missed: Kafka does not answer", reason=repr(error)[:200])
        self._away = True
        return HistoryUnavailable(repr(error))


class _Extent(msgspec.Struct, frozen=True):
    """What the topic has, by partition; a client must have what is below `oldest`."""

    begins: Offsets
    ends: Offsets
    oldest: Offsets

    def require(self, since: Offsets) -> None:
        if not reaches(self.ends, since):
            raise HistoryLost("Last-Event-ID lies beyond the last event: the topic was made anew.")
        if not reaches(since, self.oldest):
            raise HistoryLost("Last-Event-ID is too old.")


@asynccontextmanager
async def _consumer(connection: KafkaConnection) -> AsyncGenerator[AIOKafkaConsumer]:
    # Looked at first: aiokafka logs an error for each address that refuses.
    fault = await kafka_fault(connection)
    if fault is not None:
        raise TimeoutError(f"Kafka: {fault}")
    tolerate_header_names()
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(_ANSWER_SECONDS):
            consumer = await stack.enter_async_context(
                running_consumer(
                    connection,
                    auto_offset_reset="none",
                    retry_backoff_ms=RETRY_BACKOFF_MS,
                    client_id="yousync-api-live-history",
                )
            )
        yield consumer


async def _extent(consumer: AIOKafkaConsumer, partitions: int, oldest_ms: int) -> _Extent:
    places = [TopicPartition(VIDEOS, partition) for partition in range(partitions)]
    async with asyncio.timeout(_ANSWER_SECONDS):
        begins, ends, recent = await asyncio.gather(
            consumer.beginning_offsets(places),
            consumer.end_offsets(places),
            consumer.offsets_for_times(dict.fromkeys(places, oldest_ms)),
        )
    first_recent = (ends[place] if recent[place] is None else recent[place].offset for place in places)
    by_partition = tuple(begins[place] for place in places)
    return _Extent(
        begins=by_partition,
        ends=tuple(ends[place] for place in places),
        oldest=furthest(by_partition, tuple(first_recent)),
    )


async def _records(consumer: AIOKafkaConsumer, starts: Offsets, until: Offsets) -> AsyncGenerator[list[Any]]:
    """What lies between, and a little more."""
    left = {
        TopicPartition(VIDEOS, partition): end
        for partition, (start, end) in enumerate(zip(starts, until, strict=True))
        if start < end
    }
    consumer.assign(list(left))
    for place in left:
        consumer.seek(place, starts[place.partition])
    loop = asyncio.get_running_loop()
    heard_at = loop.time()
    while left:
        found = await consumer.getmany(*left, timeout_ms=_POLL_MS, max_records=_CHUNK)
        if found:
            yield list(itertools.chain.from_iterable(found.values()))
            heard_at = loop.time()
        # Positions move on where compaction left nothing, too.
        left = {place: end for place, end in left.items() if await consumer.position(place) < end}
        if loop.time() - heard_at > _ANSWER_SECONDS:
            raise TimeoutError("Kafka does not answer")


def _news(records: Iterable[Any], last_events: LastEvents, until: Offsets) -> list[VideoEvent]:
    return [
        event
        for event in map(read_event, records)
        if event is not None and event.offset < until[event.partition] and last_events.is_news(event)
    ]


def _since(since: Offsets, events: Iterable[VideoEvent]) -> list[VideoEvent]:
    return [event for event in events if event.offset >= since[event.partition]]
