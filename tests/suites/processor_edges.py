"""What the suites of the processor's edges share: documents of the real fold, the table, and what a topic got."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from contract.settings import load_settings
from contract.topics import DEAD_LETTER, topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from processors.app import create_app, known_videos_table
from processors.decode import Record, Refusal, decode
from processors.dedup import KnownVideo, known_video
from processors.document import Document, Marker, SourcePosition, VideoDocument
from processors.fold import fold
from tests.raw_items import ITEM_MAKERS, NOW_MS, PARTITIONS, partition_of, record

Kind = TypeVar("Kind", VideoDocument, Marker)
FAKE_AND_REAL = ["fake", pytest.param("real", marks=pytest.mark.integration)]


def folded(number: int, offset: int, *, title: str = "A talk", on: Document | None = None) -> VideoDocument:
    """The document of video `number` after an item at `offset`; every hidden field says something."""
    source = sorted(ITEM_MAKERS)[offset % len(ITEM_MAKERS)]
    item = ITEM_MAKERS[source](number, title=title)
    raw = record(number, offset, item, source=source, time_ms=NOW_MS + offset + 123, queries=("tea", "té \0"))
    return _fold(raw, on, VideoDocument)


def marker(number: int, offset: int, *, on: VideoDocument) -> Marker:
    """What a removal at `offset` leaves of the video."""
    return _fold(record(number, offset, None, time_ms=NOW_MS + offset + 456), on, Marker)


def _fold(raw: Record, on: Document | None, kind: type[Kind]) -> Kind:
    said = decode(raw, partition_of)
    assert not isinstance(said, Refusal)
    after = fold(on, said, SourcePosition(raw.topic, raw.partition, raw.offset))
    assert not isinstance(after, Refusal)
    assert isinstance(after.document, kind)
    return after.document


Reader = Callable[[], Awaitable[list[ConsumerRecord]]]


@asynccontextmanager
async def new_records(bootstrap: str, topic: str) -> AsyncIterator[Reader]:
    """A reader of what the topic got since, by partition and offset; topics are made when missing."""
    await create_missing_topics(KafkaConnection(bootstrap), topic_specs(PARTITIONS), 1)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        numbers = range(1 if topic == DEAD_LETTER else PARTITIONS)
        consumer.assign([TopicPartition(topic, number) for number in numbers])
        starts = await consumer.end_offsets(consumer.assignment())

        async def read() -> list[ConsumerRecord]:
            ends = await consumer.end_offsets(consumer.assignment())
            for partition, start in starts.items():
                consumer.seek(partition, start)
            found: list[ConsumerRecord] = []
            async with asyncio.timeout(20):
                while len(found) < sum(ends.values()) - sum(starts.values()):
                    for batch in (await consumer.getmany(timeout_ms=1000)).values():
                        found += batch
            return sorted(found, key=lambda one: (one.partition, one.offset))

        yield read
    finally:
        await consumer.stop()


@asynccontextmanager
async def opened_table(folder: Path) -> AsyncIterator[Any]:
    """The processor's table on an own folder; no worker runs."""
    table = known_videos_table(create_app(load_settings(home=folder)), PARTITIONS)
    table.data.path.mkdir(parents=True, exist_ok=True)
    yield table
    await table.data.stop()


def known_entry(number: int, offset: int = 10) -> KnownVideo:
    return known_video(folded(number, offset), "generation é")
