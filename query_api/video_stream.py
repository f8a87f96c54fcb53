"""Reads `youtube.videos` as it grows, for one API process: all partitions, without a consumer group.

Nothing is committed: each process begins at the end of the topic, for what lies before is in the read model. Where it
is then is only known here, so a Kafka that goes away and comes back is gone on with from there.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from contract.topics import VIDEOS
from ops.kafka_client import RETRY_BACKOFF_MS, pace_metadata_requests, stop_client
from ops.kafka_connection import KafkaConnection, refusal
from ops.kafka_topics import kafka_fault
from ops.logging import get_logger
from ops.record_reader import tolerate_header_names
from query_api.video_event import VideoEvent, read_event

_WAIT_MS: Final = 250
_MOST_RECORDS: Final = 1_000
_ANSWER_SECONDS: Final = 5.0

_SILENT_SECONDS: Final = 5.0
"""A broker answers a fetch at least twice a second. Later than this the consumer is replaced: it may never recover."""

_METADATA_MS: Final = 30_000
_FETCH_BYTES: Final = 2 << 20

log = get_logger(__name__)


class StreamAway(Exception):
    """Kafka cannot be read now; a later try goes on in the same place. The message says why, for operators."""


class PlaceLost(Exception):
    """The topic is no longer the one that was read: it was made anew, or has other partitions. Begin again."""


class VideoStream:
    """The events of `youtube.videos` from where `begin` was called. One task reads; the others may ask for its end."""

    def __init__(self, connection: KafkaConnection, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection: Final = connection
        self._clock: Final = clock
        self._consumer: AIOKafkaConsumer | None = None
        self._next: dict[int, int] = {}
        self._polled: dict[int, int | None] = {}
        self._answered_at = 0.0
        self._complete_at: float | None = None

    @property
    def next_offsets(self) -> Mapping[int, int]:
        """Of each partition the offset after the last record that was read."""
        return self._next

    @property
    def complete_at(self) -> float | None:
        """When all that there was had been read, by the clock that was given; None before that."""
        return self._complete_at

    async def begin(self) -> dict[int, int]:
        """Read from the present end on, whatever was read before; the offsets where that is.

        Raises:
            StreamAway: Kafka does not answer, or the topic is missing.
        """
        await self.close()
        self._next, self._complete_at = {}, None
        await self._connected()
        return dict(self._next)

    async def ends(self) -> dict[int, int]:
        """Where the partitions end now.

        Raises:
            StreamAway: Kafka does not answer.
        """
        consumer = self._consumer
        if consumer is None:
            raise StreamAway("Kafka is away")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await _ends(consumer)
        except (KafkaError, OSError, TimeoutError) as error:
            raise StreamAway(f"Kafka does not say where the topic ends: {error!r}") from error

    async def read(self) -> list[VideoEvent]:
        """The events that follow, those of each partition in their order; none when none came for a moment.

        Raises:
            StreamAway: Kafka does not answer.
            PlaceLost: begin again.
        """
        consumer = await self._connected()
        try:
            found = await consumer.getmany(timeout_ms=_WAIT_MS, max_records=_MOST_RECORDS)
            await self._look_around(consumer)
        except OffsetOutOfRangeError as error:
            await self.close()
            raise PlaceLost(f"{VIDEOS} ends before what was read of it") from error
        except (KafkaError, OSError) as error:
            await self.close()
            raise StreamAway(f"Kafka cannot be read: {refusal(error, self._connection) or repr(error)}") from error
        events = (read_event(record) for records in found.values() for record in records)
        return [event for event in events if event is not None]

    async def close(self) -> None:
        """Let go of the brokers; a later `read` goes on where this one was."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_client(consumer)

    async def _look_around(self, consumer: AIOKafkaConsumer) -> None:
        """Note where the reading is, and whether that is the end."""
        if (found := consumer.partitions_for_topic(VIDEOS)) is not None and found != self._next.keys():
            raise PlaceLost(f"{VIDEOS} has {len(found)} partitions now")
        places = {partition: TopicPartition(VIDEOS, partition) for partition in self._next}
        self._next = {partition: await consumer.position(place) for partition, place in places.items()}
        polled = {partition: consumer.last_poll_timestamp(place) for partition, place in places.items()}
        now = self._clock()
        if all(polled[partition] not in (None, self._polled.get(partition)) for partition in polled):
            self._polled, self._answered_at = polled, now
            if all(self._next[partition] >= consumer.highwater(place) for partition, place in places.items()):
                self._complete_at = now
        elif now - self._answered_at > _SILENT_SECONDS:
            await self.close()
            raise StreamAway("Kafka does not answer")

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            # Looked at first: aiokafka logs an error for each address that refuses.
            fault = await kafka_fault(self._connection)
            if fault is not None:
                raise StreamAway(f"Kafka: {fault}")
            self._consumer = await self._connect()
            self._polled, self._answered_at = {}, self._clock()
        return self._consumer

    async def _connect(self) -> AIOKafkaConsumer:
        tolerate_header_names()
        consumer = AIOKafkaConsumer(
            **self._connection.options(),
            client_id="yousync-api",
            enable_auto_commit=False,
            auto_offset_reset="none",
            retry_backoff_ms=RETRY_BACKOFF_MS,
            metadata_max_age_ms=_METADATA_MS,
            max_partition_fetch_bytes=_FETCH_BYTES,
        )
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await consumer.start()
                pace_metadata_requests(consumer._client)  # noqa: SLF001  # no public way: ADR 3
                self._next = _places(self._next, await _ends(consumer))
            # No pause between the two: the consumer would ask where to begin.
            consumer.assign([TopicPartition(VIDEOS, partition) for partition in self._next])
            for partition, offset in self._next.items():
                consumer.seek(TopicPartition(VIDEOS, partition), offset)
        except BaseException as error:
            await stop_client(consumer)
            if isinstance(error, KafkaError | OSError | TimeoutError):
                raise StreamAway(f"Kafka does not say where {VIDEOS} ends: {error!r}") from error
            raise
        return consumer


def _places(left: dict[int, int], ends: dict[int, int]) -> dict[int, int]:
    """Where to go on: at the places that were left, or at the ends when there are none yet."""
    if left and left.keys() != ends.keys():
        raise PlaceLost(f"{VIDEOS} has {len(ends)} partitions now")
    return left or ends


async def _ends(consumer: Any) -> dict[int, int]:
    # The first partition's answer brings the metadata that names them all.
    await consumer.end_offsets([TopicPartition(VIDEOS, 0)])
    partitions = sorted(consumer.partitions_for_topic(VIDEOS) or ())
    ends = await consumer.end_offsets([TopicPartition(VIDEOS, partition) for partition in partitions])
    return {place.partition: offset for place, offset in ends.items()}
