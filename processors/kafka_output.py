"""What the processors send to Kafka: video events, dead letters and the table's changelog, through one producer.

Every send is awaited to its acknowledgement. Faust's own producer is not used: it sends tables and forgets.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata, TopicPartition

from contract.events import DeadLetterEnvelope, VideoEnvelope, dead_letter_headers, first_failure, video_headers
from contract.topics import DEAD_LETTER, MIB, VIDEOS
from contract.version import VERSION
from ops.clock import now_ms
from ops.kafka_client import pace_metadata_requests
from ops.kafka_connection import KafkaConnection, WriteRights
from processors.decode import Record, Refusal
from processors.waiting import Unavailable

_PART: Final = "Kafka"
_SEND_SECONDS: Final = 10.0

_MAX_REQUEST_BYTES: Final = 256 * MIB
"""The client counts before compression, the topic's limit after it: what came in compressed goes out compressed."""


class Message(NamedTuple):
    """One record to send; `partition` None leaves the choice to the partitioner."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class KafkaOutput:
    """Sends messages and waits for all of their acknowledgements."""

    def __init__(self, producer: AIOKafkaProducer, connection: KafkaConnection) -> None:
        self._producer = producer
        self._rights = WriteRights(connection)

    async def send(self, messages: Sequence[Message]) -> list[RecordMetadata]:
        """Where each message came to stand.

        Raises:
            Unavailable: Kafka did not acknowledge all of them in time; some may have arrived.
            KafkaRefusal: it has never let us write to one of the topics.
            KafkaError: another fault that waiting does not mend.
        """
        topics = {message.topic for message in messages}
        try:
            sent = await self._send(messages)
        except TimeoutError as error:
            raise Unavailable(_PART, f"no acknowledgement within {_SEND_SECONDS:g} s") from error
        except KafkaError as error:
            refused = self._rights.taken_back(error, topics)
            if refused is not None or error.retriable or isinstance(error, KafkaTimeoutError):
                raise Unavailable(_PART, refused or repr(error)) from error
            raise
        self._rights.grant(topics)
        return sent

    async def _send(self, messages: Sequence[Message]) -> list[RecordMetadata]:
        if all(message.partition is not None for message in messages):
            return await self._send_batches(messages)
        pending = [
            await self._producer.send(
                message.topic,
                message.value,
                key=message.key,
                partition=message.partition,
                headers=list(message.headers),
            )
            for message in messages
        ]
        # An idempotent producer never gives up by itself; what it holds may still arrive.
        async with asyncio.timeout(_SEND_SECONDS):
            return list(await asyncio.gather(*pending))

    async def _send_batches(self, messages: Sequence[Message]) -> list[RecordMetadata]:
        """As `send`, for messages that name their partitions: they go in batches made here, not one by one."""
        batches: list[tuple[BatchBuilder, TopicPartition, list[int]]] = []
        filling: dict[TopicPartition, tuple[BatchBuilder, list[int]]] = {}
        for at, message in enumerate(messages):
            place = TopicPartition(message.topic, message.partition)
            if place not in filling or not _append(filling[place][0], message):
                filling[place] = self._producer.create_batch(), []
                batches.append((filling[place][0], place, filling[place][1]))
                _append(filling[place][0], message)
            filling[place][1].append(at)
        pending = [
            await self._producer.send_batch(batch, place.topic, partition=place.partition)
            for batch, place, _ in batches
        ]
        async with asyncio.timeout(_SEND_SECONDS):
            written = await asyncio.gather(*pending)
        found: dict[int, RecordMetadata] = {}
        for (_, _, members), first in zip(batches, written, strict=True):
            found |= {at: first._replace(offset=first.offset + place) for place, at in enumerate(members)}
        return [found[at] for at in range(len(messages))]


def _append(batch: BatchBuilder, message: Message) -> bool:
    """Whether the batch had room; an empty one always has."""
    said = batch.append(timestamp=None, key=message.key, value=message.value, headers=list(message.headers))
    return said is not None


class KafkaVideoEvents:
    """`processors.projection.VideoEvents` on Kafka."""

    def __init__(self, output: KafkaOutput) -> None:
        self._output = output

    async def send(self, events: Sequence[tuple[VideoEnvelope, bytes | None]]) -> None:
        # Both topics have the same partitions and partitioner, so a video keeps its partition's number.
        await self._output.send(
            [
                Message(VIDEOS, envelope.partition, envelope.subject.encode(), value, video_headers(envelope))
                for envelope, value in events
            ]
        )


class KafkaDeadLetters:
    """`processors.projection.DeadLetters` on Kafka."""

    def __init__(self, output: KafkaOutput) -> None:
        self._output = output

    async def send(self, refused: Sequence[tuple[Record, Refusal]]) -> None:
        failed_at_ms = now_ms()
        await self._output.send([_dead_letter(record, refusal, failed_at_ms) for record, refusal in refused])


def _dead_letter(record: Record, refusal: Refusal, failed_at_ms: int) -> Message:
    origin, attempt = first_failure(record.headers, f"{record.topic}/{record.partition}/{record.offset}")
    envelope = DeadLetterEnvelope(
        reason=refusal.reason,
        detail=refusal.detail,
        origin=origin,
        attempt=attempt,
        version=VERSION,
        failed_at_ms=failed_at_ms,
        timestamp_ms=record.timestamp_ms,
    )
    # A record of neither key nor value cannot be sent; an empty key stands for the missing one.
    key = b"" if record.key is None and record.value is None else record.key
    return Message(DEAD_LETTER, None, key, record.value, dead_letter_headers(record.headers, envelope))


@asynccontextmanager
async def kafka_output(connection: KafkaConnection) -> AsyncIterator[KafkaOutput]:
    """An idempotent producer with acks=all; flushed and closed at the end of the block.

    Raises:
        KafkaError: the brokers cannot be reached.
    """
    producer = AIOKafkaProducer(
        **connection.options(),
        client_id="yousync-processor",
        enable_idempotence=True,
        acks="all",
        compression_type="zstd",
        max_batch_size=256 << 10,
        max_request_size=_MAX_REQUEST_BYTES,
        request_timeout_ms=10_000,
    )
    await producer.start()
    pace_metadata_requests(producer.client)
    try:
        yield KafkaOutput(producer, connection)
    finally:
        await producer.stop()
