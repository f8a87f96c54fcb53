"""Puts raw records into the raw topic, and returns when Kafka has them."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from ops import tracing
from ops.logging import get_logger
from ops.metrics import ProducerMetrics
from producer.kafka_record import KafkaRecord

_log = get_logger(__name__)


class RecordWriter(Protocol):
    """Where records go; see `KafkaWriter`."""

    async def write(self, records: Sequence[KafkaRecord]) -> list[KafkaRecord]:
        """Return when all but those over the size limit, which are returned, are durable."""


class Publisher:
    """Raw records to Kafka."""

    def __init__(self, writer: RecordWriter, metrics: ProducerMetrics) -> None:
        self._writer: Final = writer
        self._metrics: Final = metrics

    async def publish(self, records: Sequence[KafkaRecord]) -> set[str]:
        """Return the ids of the videos whose records Kafka acknowledged: all but those that are too large.

        Waits for ever while Kafka is away.
        """
        if not records:
            return set()
        trace = tracing.carried()
        if trace:
            records = [msgspec.structs.replace(record, headers=(*record.headers, *trace)) for record in records]
        too_large = await self._writer.write(records)
        for record in too_large:
            _log.error("item is too large to publish", video_id=record.key.decode(), bytes=len(record.value or b""))
            self._metrics.items_ignored.labels("too_large").inc()
        self._metrics.items_published.inc(len(records) - len(too_large))
        refused = {record.key for record in too_large}
        return {record.key.decode() for record in records if record.key not in refused}
