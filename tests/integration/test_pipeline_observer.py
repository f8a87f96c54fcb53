"""What Kafka itself is asked: lag, dead letters and the producer's state, while it is there, away, and back."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contract.producer_state import EPOCH_HEADER, LEADER_KEY, FollowedQuery, Leader, Ledger, ledger_key, query_key
from contract.settings import Settings, load_settings
from contract.times import pacific_date
from contract.topics import DEAD_LETTER, PRODUCER_STATE, PROJECTOR_GROUP, RAW, topic_specs
from ops.clock import now_ms
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from ops.pipeline_observer import PipelineObserver, QuotaLeft
from query_api.pipeline import Pipeline, PipelineHealth
from tests.conftest import MakeServers

pytestmark = pytest.mark.integration

LEADER = Leader(3, "producer-a", "2026-11-23T08:00:00.000Z")
SINCE = "2026-11-23T08:00:00.000Z"
PATIENCE_SECONDS = 60


async def _write(settings: Settings, *records: tuple[str, bytes, object, int | None]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    for topic, key, value, epoch in records:
        headers = [] if epoch is None else [(EPOCH_HEADER, b"%d" % epoch)]
        await producer.send_and_wait(topic, msgspec.json.encode(value), key, headers=headers)
    await producer.stop()


async def _acknowledge(settings: Settings, partition: int, offset: int) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers, group_id=PROJECTOR_GROUP)
    place = TopicPartition(RAW, partition)
    await consumer.start()
    consumer.assign([place])
    await consumer.commit({place: offset})
    await consumer.stop()


async def _health_when(pipeline: Pipeline, lag: int | None) -> PipelineHealth:
    """The first answer of a look that says so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        health = await pipeline.health()
        if health.checked_at is not None and health.lag == lag:
            return health
        assert time.monotonic() < deadline, health
        await asyncio.sleep(0.2)


async def test_figures_follow_kafka_and_are_unknown_without_it(
    make_servers: MakeServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    servers = make_servers()
    settings = load_settings(kafka_bootstrap_servers=servers.kafka_bootstrap, search_calls_per_day=100)
    today = pacific_date(now_ms())
    observer = PipelineObserver(settings)
    assert (await observer.observe(datetime.now(UTC))).fault == f"topic {RAW} is missing"

    await create_missing_topics(KafkaConnection(servers.kafka_bootstrap), topic_specs(2), 1)
    await _write(
        settings,
        *((RAW, b"key", {}, None) for _ in range(7)),
        (DEAD_LETTER, b"key", {}, None),
        (PRODUCER_STATE, LEADER_KEY, LEADER, None),
        (PRODUCER_STATE, ledger_key("search", today), Ledger(39), 3),
        (PRODUCER_STATE, ledger_key("search", today), Ledger(12), 2),
        (PRODUCER_STATE, b"video/x", {}, 3),
        (PRODUCER_STATE, query_key("tea"), FollowedQuery(SINCE), 3),
        (PRODUCER_STATE, query_key("coffee"), FollowedQuery(SINCE, enabled=False), None),
    )
    seen = await observer.observe(datetime.now(UTC))
    assert (seen.lag, seen.dead_letters, seen.fault) == (7, 1, None)
    assert seen.quota_left == QuotaLeft(61, settings.units_per_day)
    assert (seen.leader, seen.queries) == (LEADER, {"tea": True, "coffee": False})

    (partition,) = [number for number in range(2) if await _end(settings, number)]
    await _acknowledge(settings, partition, 5)
    await _write(settings, (PRODUCER_STATE, ledger_key("units", today), Ledger(1), 3))
    seen = await observer.observe(datetime.now(UTC))
    assert seen.lag == 2
    assert seen.quota_left == QuotaLeft(61, settings.units_per_day - 1)

    stale = 0.0
    pipeline = Pipeline(settings, lambda: stale)
    health = await _health_when(pipeline, 2)
    assert health.queries == ["tea"]
    assert health.faults == []
    assert await pipeline.followed_queries() == {"tea": True, "coffee": False}

    servers.kafka.stop()
    stale = 4.5
    began = time.monotonic()
    away = await _health_when(pipeline, None)
    assert (away.dead_letters, away.quota_left, away.leader, away.queries, away.stale_seconds) == (*[None] * 4, 4.5)
    # In words of ours: Kafka's name addresses.
    assert away.faults == ["Kafka does not tell everything: what it does not tell is null."]
    # What was followed stays known for the list of queries.
    assert await pipeline.followed_queries() == {"tea": True, "coffee": False}
    assert (await observer.observe(datetime.now(UTC))).fault is not None
    assert time.monotonic() - began < PATIENCE_SECONDS

    servers.kafka.start()
    # For a moment the brokers have not yet loaded what was acknowledged.
    back = await _health_when(pipeline, 2)
    assert (back.leader, back.faults) == (LEADER, [])
    await observer.close()
    await pipeline.close()


async def _end(settings: Settings, partition: int) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await consumer.start()
    place = TopicPartition(RAW, partition)
    end = (await consumer.end_offsets([place]))[place]
    await consumer.stop()
    return int(end)


async def test_without_kafka_the_first_answer_comes_soon_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # A port that accepts and never speaks, which is worse than one that refuses.
    connections = []

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    silent = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    pipeline = Pipeline(load_settings(kafka_bootstrap_servers=f"127.0.0.1:{port}"), lambda: 0.0)

    answers = await asyncio.wait_for(asyncio.gather(*(pipeline.health() for _ in range(50))), 4)

    assert {tuple(each.faults) for each in answers} == {("Kafka has not answered yet.",)}
    assert all(each.lag is None and each.checked_at is None for each in answers)
    assert await pipeline.followed_queries() is None
    assert len(connections) == 1
    await pipeline.close()
    for writer in connections:
        writer.close()
    silent.close()
