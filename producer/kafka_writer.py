"""Writes records to Kafka and returns only when all of them are acknowledged, however long that takes.

The client retries by itself while the brokers are away. When it gives a record up all the same (its sequence numbers
are lost, say) a new client writes what is still unacknowledged: a record may then be there twice, but never not at
all. A client is left only when nothing is under way in it, so that no old record arrives after a newer one.

Brokers that refuse a topic's first record are not waited for: a right is missing. Later they may take it back, and give
it again.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    UnknownTopicOrPartitionError,
)

from contract.topics import RAW_MAX_BYTES
from ops.kafka_client import RETRY_BACKOFF_MS, pace_metadata_requests
from ops.kafka_connection import KafkaConnection, WriteRights
from ops.kafka_topics import wait_for_kafka
from ops.logging import get_logger
from producer.kafka_record import KafkaRecord

_LINGER_MS: Final = 5
_BATCH_BYTES: Final = 256 << 10
_PAUSE_SECONDS: Final = 1.0
_REMIND_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0

_log = get_logger(__name__)


class KafkaWriter:
    """One writer for all that a process writes: its callers wait for one another."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection: Final = connection
        self._producer: AIOKafkaProducer | None = None
        self._turn: Final = asyncio.Lock()
        self._rights: Final = WriteRights(connection)

    async def write(self, records: Sequence[KafkaRecord]) -> list[KafkaRecord]:
        """Return when Kafka acknowledged all records but those over the size limit, which are returned.

        Raises:
            KafkaRefusal: the brokers have never let us write to one of the topics.
        """
        async with self._turn:
            return await self._write(records)

    async def close(self) -> None:
        """Let go of the brokers; what is under way has a few seconds to be acknowledged."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            await asyncio.wait_for(producer.stop(), _STOP_SECONDS)
        except TimeoutError:
            _log.warning("Kafka did not answer while stopping")

    async def _write(self, records: Sequence[KafkaRecord]) -> list[KafkaRecord]:
        too_large: list[KafkaRecord] = []
        pending: Sequence[KafkaRecord] = records
        while pending:
            attempt = await _attempt(await self._connected(), pending)
            too_large += attempt.too_large
            failed = {record.topic for record in attempt.failed}
            self._rights.grant({record.topic for record in pending} - failed)
            pending = attempt.failed
            if pending:
                if attempt.error is not None:
                    self._rights.taken_back(attempt.error, failed)
                await self._start_over(attempt.error, len(pending))
        return too_large

    async def _connected(self) -> AIOKafkaProducer:
        while self._producer is None:
            await wait_for_kafka(self._connection)
            producer = _new_producer(self._connection)
            try:
                await producer.start()
            except KafkaError as error:
                _log.warning("cannot write to Kafka yet", error=repr(error))
                await producer.stop()
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                pace_metadata_requests(producer.client)
                self._producer = producer
        return self._producer

    async def _start_over(self, fault: BaseException | None, pending: int) -> None:
        _log.warning("Kafka did not take every record, writing the rest again", error=repr(fault), records=pending)
        await self.close()
        await asyncio.sleep(_PAUSE_SECONDS)


@dataclass
class _Attempt:
    too_large: list[KafkaRecord] = field(default_factory=list)
    failed: list[KafkaRecord] = field(default_factory=list)
    error: BaseException | None = None


def _new_producer(connection: KafkaConnection) -> AIOKafkaProducer:
    # The default partitioner is Java's murmur2, which the topic's contract names.
    return AIOKafkaProducer(
        **connection.options(),
        enable_idempotence=True,
        acks="all",
        compression_type="zstd",
        linger_ms=_LINGER_MS,
        max_batch_size=_BATCH_BYTES,
        max_request_size=RAW_MAX_BYTES,
        retry_backoff_ms=RETRY_BACKOFF_MS,
    )


async def _attempt(producer: AIOKafkaProducer, records: Sequence[KafkaRecord]) -> _Attempt:
    """Hand all records to the client and wait until it has settled each of them."""
    attempt = _Attempt()
    sent: list[tuple[KafkaRecord, asyncio.Future[Any]]] = []
    untried: Sequence[KafkaRecord] = ()
    for number, record in enumerate(records):
        try:
            sent.append((record, await _send(producer, record)))
        except MessageSizeTooLargeError:
            attempt.too_large.append(record)
        except KafkaError as error:  # the client is broken for good
            attempt.error, untried = error, records[number:]
            break
    await _wait_until_settled([future for _, future in sent])
    for record, future in sent:
        if future.exception() is not None:
            attempt.error = future.exception()
            attempt.failed.append(record)
    attempt.failed += untried
    return attempt


async def _send(producer: AIOKafkaProducer, record: KafkaRecord) -> "asyncio.Future[Any]":
    while True:
        try:
            future: asyncio.Future[Any] = await producer.send(
                record.topic, value=record.value, key=record.key, headers=list(record.headers)
            )
        except (KafkaTimeoutError, UnknownTopicOrPartitionError) as error:  # its buffer is full, or nobody answers
            _log.warning("waiting for Kafka to take records", topic=record.topic, error=type(error).__name__)
        else:
            return future


async def _wait_until_settled(futures: "Sequence[asyncio.Future[Any]]") -> None:
    reminded = False
    waiting = set(futures)
    while waiting:
        _, waiting = await asyncio.wait(waiting, timeout=_REMIND_SECONDS)
        if waiting:
            reminded = True
            _log.warning("waiting for Kafka to acknowledge", records=len(waiting))
    if reminded:
        _log.info("Kafka acknowledges again")
