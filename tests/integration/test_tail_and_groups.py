"""`yousync tail` and the consumer groups of `yousync status`, on a Kafka of their own: the topics' names are fixed."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contract.events import VIDEO_DISCOVERED, VIDEO_UPDATED
from contract.times import format_millis
from contract.topics import PROJECTOR_GROUP, RAW, VIDEOS, TopicSpec, topic_specs
from contract.video import Channel, encode
from ops.clock import now_ms
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from tests.published_videos import make_video
from yousync.consumer_groups import GroupLag, find_groups
from yousync.local.kafka import KafkaServer, kafka_jars
from yousync.local.server import free_ports

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 60
HOUR_MS = 3_600_000
FOREIGN, PAST, PRESENT = "foreign", "past", "present"
"""Topics of one test each."""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    folder = tmp_path_factory.mktemp("kafka")
    port, controller_port = free_ports(2)
    server = KafkaServer(folder / "kafka", folder / "kafka.log", port, controller_port, kafka_jars(lambda *_: None))
    server.start()
    others = (TopicSpec(name, 2, {}) for name in (FOREIGN, PAST, PRESENT))
    try:
        # Brokers that were never asked for a group have no topic of offsets yet: no groups, and no error.
        assert asyncio.run(find_groups(KafkaConnection(server.address))) == []
        asyncio.run(create_missing_topics(KafkaConnection(server.address), (*topic_specs(2), *others), 1))
        yield server
    finally:
        server.stop()


class Operator:
    """Types `yousync …`."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "MONGODB_URI": "mongodb://127.0.0.1:1",
            "YOUSYNC_HOME": str(folder / "home"),
        }
        self._folder = folder

    def starts(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "yousync.cli", *words],
            env={**self._environment, "PYTHONPATH": str(Path(__file__).parents[2])},
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def types(self, *words: str, exits_with: int = 0) -> str:
        process = self.starts(*words)
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == exits_with, said
        assert "Traceback" not in said
        return said

    def keys(self, *words: str) -> list[str]:
        """Of the records that a tail shows."""
        return [json.loads(line)["key"] for line in self.types("tail", *words, "--json").splitlines()]


@pytest.fixture
def operator(kafka: KafkaServer, tmp_path: Path) -> Operator:
    return Operator(kafka.address, tmp_path)


async def publish_videos(bootstrap: str, topic: str, *videos: tuple[str, int, str, list[str], str]) -> None:
    """Each a key, a time, a kind, queries and a channel."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for number, (key, time_ms, kind, queries, channel) in enumerate(videos):
            value = encode(make_video(number, id=key, queries=queries, channel=Channel(channel, "A channel")))
            headers = [("ce_type", kind.encode())]
            await producer.send_and_wait(topic, value, key.encode(), timestamp_ms=time_ms, headers=headers)


async def test_a_tail_begins_where_it_is_told_and_shows_what_is_asked_for(
    kafka: KafkaServer, operator: Operator
) -> None:
    now = now_ms()
    await publish_videos(
        kafka.address,
        PAST,
        ("five-hours-", now - 5 * HOUR_MS, VIDEO_DISCOVERED, ["tea"], "UC-1"),
        ("three-hours", now - 3 * HOUR_MS, VIDEO_UPDATED, ["coffee"], "UC-1"),
        ("one-hour---", now - 1 * HOUR_MS, VIDEO_DISCOVERED, ["coffee", "tea"], "UC-2"),
        ("now--------", now, VIDEO_DISCOVERED, ["tea"], "UC-1"),
    )
    four_hours_ago = format_millis(now - 4 * HOUR_MS)

    def keys(*words: str) -> list[str]:
        return operator.keys(PAST, *words)

    assert set(keys("--from", "2h", "--limit", "2")) == {"one-hour---", "now--------"}
    assert set(keys("--from", four_hours_ago, "--query", " tea ", "--limit", "2")) == {"one-hour---", "now--------"}
    assert keys("--from-beginning", "--channel", "UC-1", "--type", "updated", "--limit", "1") == ["three-hours"]


async def test_a_tail_without_a_beginning_shows_only_what_comes(kafka: KafkaServer, operator: Operator) -> None:
    await publish_videos(kafka.address, PRESENT, ("before-----", now_ms(), VIDEO_DISCOVERED, [], "UC-1"))
    tail = operator.starts("tail", PRESENT, "--limit", "1", "--json")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while tail.poll() is None:  # nobody tells when it has begun to read
        assert time.monotonic() < deadline
        await publish_videos(kafka.address, PRESENT, ("after------", now_ms(), VIDEO_DISCOVERED, [], "UC-1"))
        await asyncio.sleep(0.1)

    assert json.loads(tail.communicate()[0])["key"] == "after------"


async def commit(bootstrap: str, group: str, place: TopicPartition, offset: int) -> None:
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False) as consumer:
        consumer.assign([place])
        await consumer.commit({place: offset})


async def test_every_group_on_our_topics_is_shown_with_its_lag(kafka: KafkaServer, operator: Operator) -> None:
    bootstrap = kafka.address
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for number in range(7):
            await producer.send_and_wait(RAW, b"{}", partition=number % 2)
        for _ in range(3):
            await producer.send_and_wait(VIDEOS, b"{}", b"key", partition=1)
    await commit(bootstrap, PROJECTOR_GROUP, TopicPartition(RAW, 0), 3)
    await commit(bootstrap, "ext.other\x1b[31m", TopicPartition(VIDEOS, 1), 1)
    await commit(bootstrap, "ext.other\x1b[31m", TopicPartition(FOREIGN, 0), 0)
    await commit(bootstrap, "on foreign topics only", TopicPartition(FOREIGN, 0), 0)
    ours: dict[str, Any] = {"bootstrap_servers": bootstrap, "group_id": "ext.live", "auto_offset_reset": "earliest"}
    async with AIOKafkaConsumer(RAW, VIDEOS, **ours, enable_auto_commit=False) as consumer:
        await consumer.getmany(timeout_ms=0)
        await consumer.commit({TopicPartition(RAW, 0): 4, TopicPartition(RAW, 1): 1})
        await consumer.commit({TopicPartition(VIDEOS, 1): 0})

        groups = await find_groups(KafkaConnection(bootstrap))
        text = operator.types("status", exits_with=1)
        seen: dict[str, Any] = json.loads(operator.types("status", "--json", exits_with=1))

    assert groups == [
        GroupLag("ext.live", VIDEOS, 3, 1, "Stable"),
        GroupLag("ext.live", RAW, 2, 1, "Stable"),
        GroupLag("ext.other\x1b[31m", VIDEOS, 2, 0, "Empty"),
        GroupLag(PROJECTOR_GROUP, RAW, 1 + 3, 0, "Empty"),
    ]
    rows = [line.split() for line in text.splitlines()]
    assert ["group", "topic", "lag", "members", "state"] in rows
    assert ["ext.live", RAW, "2", "1", "Stable"] in rows
    assert ["ext.other?[31m", VIDEOS, "2", "0", "Empty"] in rows
    assert seen["groups"][1] == {
        "group": "ext.live",
        "topic": RAW,
        "lag": 2,
        "members": 1,
        "state": "Stable",
        "fault": None,
    }
    assert [fault.partition(":")[0] for fault in seen["pipeline"]["faults"]] == ["MongoDB does not say"]
