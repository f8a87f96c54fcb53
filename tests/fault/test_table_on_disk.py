"""A worker whose table on disk is of another changelog, or damaged, begins without it, and the history stays right."""

import asyncio
import shutil
from pathlib import Path
from typing import Final

import pytest

from contract.topics import CHANGELOG, topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from processors.decode import Record
from tests.conftest import MakeServers, Servers
from tests.history import check_history, is_consumed, produce
from tests.kafka_faults import delete_topic
from tests.raw_items import NOW_MS, PARTITIONS, record, search_item
from tests.service_process import ServiceProcess, wait_for

pytestmark = pytest.mark.fault

VIDEOS: Final = 40
MADE_ANEW: Final = "the table on disk is made anew from its changelog"


class Stage:
    """A fresh pair of servers, and workers that each consume what is there and stop."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self._servers = servers
        self._folder = folder
        self._time_ms = NOW_MS
        self._specs = topic_specs(PARTITIONS)
        asyncio.run(create_missing_topics(KafkaConnection(servers.kafka_bootstrap), self._specs, 1))

    def home(self, name: str) -> Path:
        return self._folder / name

    def say(self, title: str, numbers: range = range(VIDEOS)) -> None:
        """A search finds these videos with that title."""
        self._time_ms += 1000
        said: list[Record] = [
            record(number, 0, search_item(number, title=title), time_ms=self._time_ms) for number in numbers
        ]
        asyncio.run(produce(self._servers.kafka_bootstrap, said))

    def consume(self, home: str) -> str:
        """A worker with that home works until nothing is left; its log."""
        settings = {
            "KAFKA_BOOTSTRAP_SERVERS": self._servers.kafka_bootstrap,
            "MONGODB_URI": self._servers.mongodb_uri,
            "YOUSYNC_SESSION_TIMEOUT_SECONDS": "6",
            "YOUSYNC_HOME": str(self.home(home)),
        }
        with ServiceProcess("processor", self._folder, settings) as worker:
            wait_for(lambda: asyncio.run(is_consumed(self._servers.kafka_bootstrap)), 60, worker.tail)
            assert worker.terminate() == 0
        return worker.log.read_text()

    def recreate_changelog(self) -> None:
        asyncio.run(delete_topic(self._servers.kafka_bootstrap, CHANGELOG))
        asyncio.run(create_missing_topics(KafkaConnection(self._servers.kafka_bootstrap), self._specs, 1))

    def check(self) -> None:
        asyncio.run(check_history(self._servers.kafka_bootstrap, self._servers.mongodb_uri))


@pytest.fixture
def stage(make_servers: MakeServers, tmp_path: Path) -> Stage:
    return Stage(make_servers(), tmp_path)


def test_a_changelog_that_was_deleted_does_not_keep_its_workers_from_starting(stage: Stage) -> None:
    stage.say("A talk")
    stage.consume("one")
    stage.recreate_changelog()
    stage.say("A better talk", range(VIDEOS // 2))
    assert MADE_ANEW in stage.consume("one")
    stage.check()


def test_a_table_of_a_deleted_changelog_is_not_believed_when_the_new_one_is_longer(stage: Stage) -> None:
    stage.say("A talk")
    stage.consume("one")
    stage.say("A better talk")
    stage.consume("two")
    stage.recreate_changelog()
    # The new changelog grows past the place at which the first worker's table stands, and says nothing of its videos.
    stage.say("A talk", range(VIDEOS, 4 * VIDEOS))
    stage.consume("two")

    stage.say("A talk")  # which the first worker's table has heard already
    said = stage.consume("one")
    stage.check()
    assert MADE_ANEW in said


def test_a_table_of_the_same_changelog_is_kept(stage: Stage) -> None:
    stage.say("A talk")
    stage.consume("one")
    stage.say("A better talk")
    stage.consume("two")
    stage.say("Another talk")
    assert MADE_ANEW not in stage.consume("one")
    stage.check()


@pytest.mark.parametrize("damage", ["truncated", "missing", "foreign"])
def test_damaged_files_are_given_up(stage: Stage, damage: str) -> None:
    stage.say("A talk")
    stage.consume("one")
    tables = sorted(stage.home("one").rglob("known_videos-*.db"))
    assert len(tables) == PARTITIONS
    for table in tables:
        if damage == "foreign":
            shutil.rmtree(table)
            table.write_text("not a folder")
            continue
        for file in table.glob("MANIFEST-*"):
            if damage == "missing":
                file.unlink()
            else:
                file.write_bytes(file.read_bytes()[:7])
    stage.say("A better talk")
    assert MADE_ANEW in stage.consume("one")
    stage.check()
