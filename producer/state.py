"""The producer's durable memory: topic `yousync.producer.state`, read whole at start, then written through.

Keys and values are declared in `contract.producer_state`. A value that cannot be read is passed over on the safe
side: a watermark as if there were none (the backfill is fetched again), a ledger as if its day were spent.
"""

from collections.abc import Mapping
from typing import Final, Protocol, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from contract.producer_state import (
    UNREADABLE_LEDGER,
    FollowedQuery,
    Ledger,
    Watermark,
    ledger_key,
    query_key,
    watermark_key,
)
from contract.times import format_millis, parse_rfc3339_ms
from contract.topics import PRODUCER_STATE
from ops.logging import get_logger
from producer.kafka_record import KafkaRecord
from producer.publisher import RecordWriter

_T = TypeVar("_T")

_READ_TIMEOUT_MS: Final = 1000

_log = get_logger(__name__)


class StateLog(Protocol):
    """A compacted log: the last value of each key counts."""

    async def read(self) -> dict[bytes, bytes]:
        """The last value of every key that has one, up to the log's end at the time of asking."""

    async def append(self, key: bytes, value: bytes) -> None:
        """Return once the value is durable."""


class KafkaStateLog:
    """The state topic."""

    def __init__(self, bootstrap: str, writer: RecordWriter, topic: str = PRODUCER_STATE) -> None:
        self._bootstrap: Final = bootstrap
        self._writer: Final = writer
        self._partition: Final = TopicPartition(topic, 0)

    async def read(self) -> dict[bytes, bytes]:
        """As in `StateLog`; the consumer belongs to no group.

        Raises:
            aiokafka.errors.KafkaError: the brokers went away.
        """
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            return await self._read_to_end(consumer)
        finally:
            await consumer.stop()

    async def append(self, key: bytes, value: bytes) -> None:
        """As in `StateLog`; waits for ever if Kafka is away."""
        await self._writer.write([KafkaRecord(self._partition.topic, key, value)])

    async def _read_to_end(self, consumer: AIOKafkaConsumer) -> dict[bytes, bytes]:
        values: dict[bytes, bytes] = {}
        consumer.assign([self._partition])
        await consumer.seek_to_beginning(self._partition)
        end = (await consumer.end_offsets([self._partition]))[self._partition]
        while await consumer.position(self._partition) < end:
            batch = await consumer.getmany(self._partition, timeout_ms=_READ_TIMEOUT_MS)
            for record in batch.get(self._partition, ()):
                if record.value is None:
                    values.pop(record.key, None)
                else:
                    values[record.key] = record.value
        return values


class ProducerState:
    """What the producer remembers, by name; every change is durable when its call returns."""

    def __init__(self, log: StateLog, values: Mapping[bytes, bytes]) -> None:
        self._log: Final = log
        self._values: Final = dict(values)

    def covered_until_ms(self, query: str) -> int | None:
        """The query's watermark; None if there is none yet."""
        watermark = self._read(watermark_key(query), Watermark)
        try:
            return None if watermark is None else parse_rfc3339_ms(watermark.covered_until)
        except ValueError as error:
            _log.error("watermark is not readable, fetching the backfill again", query=query, error=str(error))
            return None

    async def move_watermark(self, query: str, covered_until_ms: int) -> None:
        """Remember that everything up to then is in the raw topic."""
        await self._write(watermark_key(query), Watermark(format_millis(covered_until_ms)))

    def used(self, bucket: str, pacific_date: str) -> int:
        """What has been debited from a bucket on a day."""
        key = ledger_key(bucket, pacific_date)
        ledger = self._read(key, Ledger)
        if ledger is not None:
            return ledger.used
        return UNREADABLE_LEDGER.used if key in self._values else 0

    async def set_used(self, bucket: str, pacific_date: str, used: int) -> None:
        """Remember what has been debited from a bucket on a day."""
        await self._write(ledger_key(bucket, pacific_date), Ledger(used))

    async def follow(self, query: str, now_ms: int) -> None:
        """Remember that a query is followed, and since when, unless that is known."""
        if query_key(query) not in self._values:
            await self._write(query_key(query), FollowedQuery(format_millis(now_ms)))

    def _read(self, key: bytes, kind: type[_T]) -> _T | None:
        value = self._values.get(key)
        if value is None:
            return None
        try:
            return msgspec.json.decode(value, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.error("a value of the producer's state is not readable", key=key.decode(), error=str(error))
            return None

    async def _write(self, key: bytes, value: msgspec.Struct) -> None:
        encoded = msgspec.json.encode(value)
        await self._log.append(key, encoded)
        self._values[key] = encoded
