"""The operators' commands against a real Kafka: with nobody polling, and beside a producer that does.

Kafka is the test's own, because the topics' names are fixed.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from contract import producer_state as wire
from contract.producer_state import FollowedQuery, FollowedVideo, Leader, Ledger, PurgeRequest, Watermark
from contract.times import format_millis, pacific_date
from contract.topics import DAY_MS, PRODUCER_STATE, RAW, topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from producer.kafka_writer import KafkaWriter
from producer.leadership import Leadership
from producer.purging import PER_STEP
from producer.state import Entry
from producer.state_log import StateFold, StateRecord, epoch_headers, read_epoch
from tests.conftest import MakeServers, Servers
from tests.producer_stage import read_topic

OLD = [f"old{number:08d}" for number in range(PER_STEP + 5)]
COFFEE_ONLY = "coffeeonly1"
BOTH = "bothqueries"

pytestmark = pytest.mark.integration


class Operator:
    """Types commands."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.bootstrap = servers.kafka_bootstrap
        self._folder = folder

    async def types(self, *words: str, exits_with: int = 0) -> str:
        """What a command says, on both outputs."""
        environment = {
            "PATH": os.environ["PATH"],
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "YOUSYNC_HOME": str(self._folder / "home"),
            "YOUSYNC_SESSION_TIMEOUT_SECONDS": "6",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "yousync.cli", *words),
            env=environment,
            cwd=self._folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == exits_with, said.decode()
        assert "Traceback" not in said.decode()
        return said.decode()

    async def state(self) -> dict[bytes, bytes]:
        fold = StateFold()
        for record in await read_topic(self.bootstrap, PRODUCER_STATE, 1):
            fold.take(StateRecord(record.key, record.value, read_epoch(record.headers)))
        return fold.values

    async def removed(self) -> list[str]:
        return [record.key.decode() for record in await read_topic(self.bootstrap, RAW, 4) if record.value is None]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def write_as_leader(bootstrap: str, entries: Sequence[Entry], epoch: int) -> None:
    leader = (wire.LEADER_KEY, msgspec.json.encode(Leader(epoch, f"leader-{epoch}", format_millis(now_ms()))))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for key, value in (leader, *entries):
            await producer.send(PRODUCER_STATE, key=key, value=value, headers=list(epoch_headers(epoch)))
    finally:
        await producer.stop()


def remembered() -> list[Entry]:
    """What a producer knew that is no more: two queries, and videos of which most were not refreshed for long."""
    now, long_ago = format_millis(now_ms()), format_millis(now_ms() - 31 * DAY_MS)
    videos = {video_id: FollowedVideo(long_ago, long_ago, ("tea",), completed=True) for video_id in OLD}
    videos[COFFEE_ONLY] = FollowedVideo(long_ago, now, ("green coffee",), completed=True)
    videos[BOTH] = FollowedVideo(long_ago, now, ("green coffee", "tea"), completed=True)
    return [
        (wire.query_key("tea"), msgspec.json.encode(FollowedQuery(long_ago))),
        (wire.watermark_key("tea"), msgspec.json.encode(Watermark(now, completed_at=now, videos_per_day=12.5))),
        (wire.ledger_key("search", pacific_date(now_ms())), msgspec.json.encode(Ledger(30))),
        *((wire.video_key(video_id), msgspec.json.encode(video)) for video_id, video in videos.items()),
    ]


async def test_commands_with_nobody_polling_and_beside_a_producer(make_servers: MakeServers, tmp_path: Path) -> None:
    operator = Operator(make_servers(), tmp_path)
    await _queries_and_quota(operator)
    await _purge_with_nobody_polling(operator)
    await _beside_a_producer(operator)


async def _queries_and_quota(operator: Operator) -> None:
    assert "`yousync topics`" in await operator.types("queries", "list", exits_with=2)
    await create_missing_topics(KafkaConnection(operator.bootstrap), topic_specs(4), 1)
    assert "No query was ever followed" in await operator.types("queries", "list")
    await write_as_leader(operator.bootstrap, remembered(), epoch=3)

    assert "when one does" in await operator.types("queries", "add", " green   coffee", "water")
    refused = await operator.types("queries", "remove", "water", "milk", exits_with=1)
    assert "'milk'" in refused
    assert "'green coffee', 'tea', 'water'" in refused
    assert "to be removed: 1." in await operator.types("queries", "remove", "green coffee", "--purge")
    rows = {row["query"]: row for row in json.loads(await operator.types("queries", "list", "--json"))}
    assert {query: (row["followed"], row["from"]) for query, row in rows.items()} == {
        "tea": (True, "settings"),
        "water": (True, "command"),
        "green coffee": (False, "command"),
    }
    assert rows["tea"]["videos_per_day"] == 12.5

    buckets = json.loads(await operator.types("quota", "--json"))["buckets"]
    assert [(each["granted"], each["used"], each["left"]) for each in buckets] == [(100, 30, 70), (10_000, 0, 10_000)]
    why = await operator.types("quota", "--explain")
    assert "'water' was never searched" in why
    assert f"{len(OLD) + 2:,} known" in why


async def _purge_with_nobody_polling(operator: Operator) -> None:
    asked = await operator.types("purge", "--older-than", "30d", exits_with=2)
    assert f": {len(OLD):,}. Add --yes" in asked
    assert not await operator.removed()
    await operator.types("purge", "--older-than", "30d", "--yes")
    assert sorted(await operator.removed()) == sorted([*OLD, COFFEE_ONLY])
    keys = await operator.state()
    assert {key for key in keys if key.startswith((wire.VIDEO_PREFIX, wire.PURGE_PREFIX))} == {wire.video_key(BOTH)}
    assert "nothing to remove" in await operator.types("purge", "--older-than", "30d")
    assert "when one does" in await operator.types("queries", "add", "milk"), "the command has left the group"


async def _beside_a_producer(operator: Operator) -> None:
    writer = KafkaWriter(KafkaConnection(operator.bootstrap))
    async with Leadership(KafkaConnection(operator.bootstrap), writer, 6.0) as leadership:
        term = await leadership.lead()
        await term.append(remembered())
        removed = await operator.removed()
        assert "next tick" in await operator.types("queries", "add", "water")

        waiting = asyncio.create_task(operator.types("purge", "--older-than", "30d", "--yes"))
        changes: list[Entry] = []
        while len(changes) < 2 and not waiting.done():
            changes += term.operator_changes()
            await asyncio.sleep(0.05)
        (query, followed), (purge, request) = changes
        assert query == wire.query_key("water")
        assert msgspec.json.decode(followed or b"", type=FollowedQuery).origin == "command"
        assert msgspec.json.decode(request or b"", type=PurgeRequest).query is None
        assert not waiting.done(), "the producer has not carried it out yet"
        await term.append([(purge, None)])
        await waiting
        await term.hold()
    await writer.close()
    assert await operator.removed() == removed, "removing was the producer's business"
