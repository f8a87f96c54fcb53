"""What the producer asks of Kafka: the same laws for the fakes that its tests use and for the real thing.

The writer returns when records are durable, and hands back what is too large.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from aiokafka.partitioner import murmur2

from contract.topics import RAW_MAX_BYTES, TopicSpec
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from producer.kafka_record import KafkaRecord
from producer.kafka_writer import KafkaWriter
from producer.publisher import RecordWriter
from tests.conftest import Servers
from tests.fakes.producer_edges import MemoryWriter
from tests.producer_stage import read_topic

PARTITIONS = 4


@dataclass
class Edges:
    """A writer to test with its topic, and a way to see what is in it."""

    writer: RecordWriter
    topic: str
    stored: Callable[[], "asyncio.Future[list[KafkaRecord]] | asyncio.Task[list[KafkaRecord]]"]


@pytest.fixture(params=["fake", "kafka"])
async def edges(request: pytest.FixtureRequest) -> AsyncIterator[Edges]:
    if request.param == "fake":
        writer = MemoryWriter()

        async def stored() -> list[KafkaRecord]:
            return writer.records

        yield Edges(writer, "raw", lambda: asyncio.ensure_future(stored()))
        return
    servers: Servers = request.getfixturevalue("servers")
    bootstrap, name = servers.kafka_bootstrap, f"producer-edges-{uuid.uuid4().hex}"
    raw = TopicSpec(f"{name}-raw", PARTITIONS, {"max.message.bytes": str(RAW_MAX_BYTES)})
    await create_missing_topics(KafkaConnection(bootstrap), [raw], 1)
    kafka = KafkaWriter(KafkaConnection(bootstrap))
    try:
        yield Edges(kafka, raw.name, lambda: asyncio.ensure_future(read_records(bootstrap, raw.name)))
    finally:
        await kafka.close()


async def read_records(bootstrap: str, topic: str) -> list[KafkaRecord]:
    """Every record, partition after partition."""
    found = await read_topic(bootstrap, topic, PARTITIONS)
    for record in found:
        expected = (murmur2(record.key) & 0x7FFFFFFF) % PARTITIONS
        assert record.partition == expected, "not where Java's partitioner puts it"
    return [KafkaRecord(topic, record.key, record.value, tuple(record.headers)) for record in found]


def record(topic: str, number: int, value: bytes | None = b"{}") -> KafkaRecord:
    return KafkaRecord(topic, f"vid{number:08d}".encode(), value, (("ce_id", str(number).encode()), ("empty", b"")))


async def test_what_was_written_is_there(edges: Edges) -> None:
    records = [record(edges.topic, number, b'{"n": %d}' % number) for number in range(500)]
    assert await edges.writer.write(records) == []
    assert sorted(await edges.stored(), key=lambda each: each.key) == records


async def test_nothing_to_write_is_nothing(edges: Edges) -> None:
    assert await edges.writer.write([]) == []
    assert await edges.stored() == []


async def test_what_is_too_large_comes_back_and_the_rest_is_there(edges: Edges) -> None:
    small, huge = record(edges.topic, 1), record(edges.topic, 2, os.urandom(RAW_MAX_BYTES + 1))
    last = record(edges.topic, 3)
    assert await edges.writer.write([small, huge, last]) == [huge]
    assert sorted(await edges.stored(), key=lambda each: each.key) == [small, last]


async def test_a_record_just_under_the_limit_is_taken(edges: Edges) -> None:
    """Incompressible, so that nothing but the limit decides; the allowance is for key, headers and framing."""
    large = record(edges.topic, 1, os.urandom(RAW_MAX_BYTES - 2048))
    assert await edges.writer.write([large, record(edges.topic, 2)]) == []
    assert len(await edges.stored()) == 2


async def test_the_records_of_a_key_keep_their_order(edges: Edges) -> None:
    for number in range(20):
        await edges.writer.write([record(edges.topic, 7, b"%d" % number)])
    assert [b"%d" % number for number in range(20)] == [each.value for each in await edges.stored()]


async def test_a_record_without_a_value_is_there(edges: Edges) -> None:
    await edges.writer.write([record(edges.topic, 1), record(edges.topic, 1, None)])
    assert [each.value for each in await edges.stored()] == [b"{}", None]


async def test_callers_at_the_same_time_wait_for_one_another(edges: Edges) -> None:
    numbers = range(20)
    await asyncio.gather(*(edges.writer.write([record(edges.topic, number)]) for number in numbers))
    assert sorted(each.key for each in await edges.stored()) == [record(edges.topic, number).key for number in numbers]
