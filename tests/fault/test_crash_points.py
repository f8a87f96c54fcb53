"""The processor dies at every step of the order of effects (design, section 4): nothing is lost, nothing is twice.

All points share one pair of servers and a growing log, which is folded anew and compared after each.
"""

import asyncio
import itertools
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from contract.topics import topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from processors.decode import Record
from tests.conftest import Servers, start_servers
from tests.crashing_processor import POINT, POINTS
from tests.fault.record_writer import RecordSource
from tests.history import check_history, is_consumed, produce
from tests.raw_items import NOW_MS, PARTITIONS, record, search_item
from tests.service_process import ServiceProcess, wait_for

pytestmark = pytest.mark.fault

RECORDS: Final = 300
POISON: Final = 3


class Story:
    """Records of every kind about the same videos through all points, and between them videos that come only once.

    What a crash leaves undone for a video of which more is heard is mended by the next record, and would not show.
    """

    def __init__(self) -> None:
        self._source = RecordSource(random.Random(1))
        self._once = itertools.count(10_000_000)

    def records(self, count: int) -> list[Record]:
        """As many, and some dead letters in each partition: by chance alone there may be too few to die between."""
        mixed = [one for _ in range(count // 2) for one in (self._source.record(), self._heard_once())]
        return [*mixed[: count // 2], *self._poison(), *mixed[count // 2 :]]

    def _heard_once(self) -> Record:
        number = next(self._once)
        return record(number, 0, search_item(number), time_ms=NOW_MS)

    def _poison(self) -> list[Record]:
        return [
            replace(self._heard_once(), partition=partition, value=b"{")
            for partition in range(PARTITIONS)
            for _ in range(POISON)
        ]


@pytest.fixture(scope="module")
def story() -> Story:
    return Story()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = start_servers(tmp_path_factory.mktemp("crash-points"))
    asyncio.run(create_missing_topics(KafkaConnection(servers.kafka_bootstrap), topic_specs(PARTITIONS), 1))
    yield servers
    servers.stop()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home, so that the table on disk goes through all the crashes, too."""
    return tmp_path_factory.mktemp("home")


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_there_changes_nothing(pair: Servers, story: Story, home: Path, tmp_path: Path, point: str) -> None:
    loop = os.environ.get("YOUSYNC_STORM_LOOP")
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": pair.kafka_bootstrap,
        "MONGODB_URI": pair.mongodb_uri,
        "YOUSYNC_SESSION_TIMEOUT_SECONDS": "6",
        "YOUSYNC_HOME": str(home),
        **({"YOUSYNC_PROCESSOR_LOOP": loop} if loop else {}),
    }
    asyncio.run(produce(pair.kafka_bootstrap, story.records(RECORDS)))
    fatal = {**settings, POINT: point}
    with ServiceProcess("processor", tmp_path, fatal, module="tests.crashing_processor") as crashing:
        wait_for(lambda: not crashing.runs, 60, lambda: f"{point} was not reached:\n{crashing.tail()}")
        assert crashing.process.returncode == -signal.SIGKILL, crashing.tail()

    with ServiceProcess("processor", tmp_path, settings) as processor:
        wait_for(lambda: asyncio.run(is_consumed(pair.kafka_bootstrap)), 90, processor.tail)
        assert processor.terminate() == 0
    asyncio.run(check_history(pair.kafka_bootstrap, pair.mongodb_uri))
