"""`kill -9` of the processor in the middle of 20,000 items: nothing is lost, nothing is there twice.

The history checker compares every document, event and dead letter with what the rules give on the raw topic.
"""

import asyncio
import random
from pathlib import Path
from typing import Any

import pymongo
import pytest

from contract.topics import topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from processors.decode import Record
from tests.conftest import MakeServers
from tests.history import check_history, is_consumed, produce
from tests.raw_items import NOW_MS, PARTITIONS, record, search_item
from tests.service_process import ServiceProcess, wait_for

pytestmark = pytest.mark.fault

ITEMS = 20_000
VIDEOS = 12_000
SESSION_SECONDS = 6


def twenty_thousand_items() -> list[Record]:
    """Every video once, then repeats and changes of random ones, in random order."""
    chance = random.Random(20_000)
    numbers = list(range(VIDEOS)) + [chance.randrange(VIDEOS) for _ in range(ITEMS - VIDEOS)]
    chance.shuffle(numbers)
    return [
        record(
            number,
            0,
            search_item(number, title=chance.choice(["A talk", "A talk", "A better talk"])),
            time_ms=NOW_MS + at,
        )
        for at, number in enumerate(numbers)
    ]


@pytest.mark.parametrize("wiped", [False, True], ids=["volume-kept", "volume-lost"])
def test_a_processor_killed_in_the_middle_loses_nothing(make_servers: MakeServers, tmp_path: Path, wiped: bool) -> None:
    servers = make_servers()
    asyncio.run(create_missing_topics(KafkaConnection(servers.kafka_bootstrap), topic_specs(PARTITIONS), 1))
    asyncio.run(produce(servers.kafka_bootstrap, twenty_thousand_items()))
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": servers.kafka_bootstrap,
        "MONGODB_URI": servers.mongodb_uri,
        "YOUSYNC_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
    }

    def stored() -> int:
        with pymongo.MongoClient[dict[str, Any]](servers.mongodb_uri) as client:
            return client["yousync"]["videos"].estimated_document_count()

    with ServiceProcess("processor", tmp_path, settings) as processor:
        wait_for(lambda: stored() > VIDEOS // 4, 90, processor.tail)
        processor.kill()
        killed_at = stored()
        if wiped:
            (tmp_path / "home").rename(tmp_path / "lost")
        processor.start()
        wait_for(lambda: asyncio.run(is_consumed(servers.kafka_bootstrap)), 120, processor.tail)
        assert processor.terminate() == 0

    assert killed_at < VIDEOS, "the kill came too late to prove anything"
    asyncio.run(check_history(servers.kafka_bootstrap, servers.mongodb_uri))
