"""Reads a stretch of the raw topic without a consumer group: for the seam of a replay, and for the replay itself."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from contract.topics import RAW
from ops.kafka_client import running_consumer
from ops.kafka_connection import KafkaConnection
from ops.record_reader import tolerate_header_names
from processors.decode import Record
from processors.waiting import Unavailable

_PART: Final = "Kafka"
_POLL_MS: Final = 500
_CHUNK: Final = 1_000


class KafkaRawLog:
    """`processors.seam.RawLog` on Kafka; a client of its own for each reading."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection

    async def read(self, partition: int, start: int, end: int) -> AsyncGenerator[Sequence[Record]]:
        """The records from `start` up to, not including, `end`, in chunks; what retention ate is passed over.

        Raises:
            Unavailable: Kafka is away.
        """
        tolerate_header_names()
        place = TopicPartition(RAW, partition)
        try:
            async with running_consumer(self._connection, auto_offset_reset="earliest") as consumer:
                consumer.assign([place])
                begin, log_end = await _bounds(consumer, place)
                end = min(end, log_end)
                position = max(start, begin)
                consumer.seek(place, position)
                while position < end:
                    found = (await consumer.getmany(place, timeout_ms=_POLL_MS, max_records=_CHUNK)).get(place, [])
                    if found:
                        yield [to_record(one) for one in found if one.offset < end]
                    position = await consumer.position(place)
        except (KafkaError, OSError) as error:
            raise Unavailable(_PART, repr(error)) from error


async def _bounds(consumer: AIOKafkaConsumer, place: TopicPartition) -> tuple[int, int]:
    begins = await consumer.beginning_offsets([place])
    ends = await consumer.end_offsets([place])
    return begins[place], ends[place]


def to_record(found: Any) -> Record:
    """A record from aiokafka's."""
    return Record(
        found.topic, found.partition, found.offset, found.timestamp, found.key, found.value, tuple(found.headers)
    )
