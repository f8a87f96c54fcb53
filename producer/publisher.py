"""Puts the items of an answer into the raw topic, and returns when Kafka has them."""

import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from ops.logging import get_logger
from ops.metrics import ProducerMetrics
from producer.kafka_record import KafkaRecord
from producer.raw_item import sort_items, to_record

_log = get_logger(__name__)


class RecordWriter(Protocol):
    """Where records go; see `KafkaWriter`."""

    async def write(self, records: Sequence[KafkaRecord]) -> list[KafkaRecord]:
        """Return when all but those over the size limit, which are returned, are durable."""


class Published(msgspec.Struct, frozen=True):
    """What became of an answer's items: how many are with Kafka, and why the others are not."""

    items: int
    ignored: Counter[str]


class Publisher:
    """Raw items to Kafka."""

    def __init__(self, writer: RecordWriter, metrics: ProducerMetrics) -> None:
        self._writer: Final = writer
        self._metrics: Final = metrics

    async def publish(self, items: Sequence[Any], *, query: str, fetched_at_ms: int) -> Published:
        """Return when Kafka acknowledged every item that can be published; waits for ever if it is away."""
        found = sort_items(items)
        records = [
            to_record(video_id, item, query=query, fetched_at_ms=fetched_at_ms, event_id=uuid.uuid4().hex)
            for video_id, item in found.videos
        ]
        too_large = await self._writer.write(records)
        for record in too_large:
            _log.error("item is too large to publish", video_id=record.key.decode(), bytes=len(record.value))
        ignored = found.ignored + Counter(too_large=len(too_large))
        self._count(len(records) - len(too_large), ignored)
        return Published(len(records) - len(too_large), ignored)

    def _count(self, published: int, ignored: Counter[str]) -> None:
        self._metrics.items_published.inc(published)
        for reason, count in ignored.items():
            self._metrics.items_ignored.labels(reason).inc(count)
