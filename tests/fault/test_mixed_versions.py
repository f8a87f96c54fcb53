"""Two versions at work together, as in every rolling upgrade: nothing is lost, and no byte is another.

The older version comes out of the history. Both work in one consumer group, on one topic, one store and one state, and
take over from each other in both directions: an upgrade must be possible, and so must its undoing.
"""

import asyncio
import itertools
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import pytest

from contract.topics import topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from processors.document import VideoDocument
from tests.api_process import ApiProcess, api_process, becomes
from tests.conftest import Servers, start_servers
from tests.fault.record_writer import QUERIES, RecordWriter
from tests.fault.test_standby_producer import (
    assert_epochs_grow,
    assert_goes_on,
    wait_until_it_has_searched,
    wait_until_one_leads,
)
from tests.history import check_acknowledged, check_history, is_consumed
from tests.older_version import older_tree, settings_of
from tests.producer_stage import GENEROUS, producer_stage
from tests.raw_items import PARTITIONS
from tests.service_process import ServiceProcess, wait_for

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

BACKLOG: Final = 300
"""Videos that the producers find."""

WORKERS: Final = 2
SEED: Final = 6


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """One pair for both tests: neither minds the records of the other."""
    servers = start_servers(tmp_path_factory.mktemp("servers"))
    yield servers
    servers.stop()


@pytest.fixture
def older(tmp_path: Path) -> dict[str, str]:
    """Settings with which a process is one of the older version."""
    return settings_of(older_tree(tmp_path))


PRESENT: Final[Mapping[str, str]] = {}


class Workers:
    """Processors of one group, each with a folder of its own that its successors take over, table and all."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self._servers = servers
        self._folders = [folder / f"worker-{number}" for number in range(WORKERS)]
        self._stack = ExitStack()
        self._running: dict[int, ServiceProcess] = {}

    def __enter__(self) -> Self:
        for folder in self._folders:
            folder.mkdir()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def run(self, number: int, version: Mapping[str, str]) -> None:
        """Let this version do the work of worker `number` from now on; returns when it and the others do."""
        if before := self._running.pop(number, None):
            assert before.terminate(30) == 0, before.tail()
        settings = {
            "KAFKA_BOOTSTRAP_SERVERS": self._servers.kafka_bootstrap,
            "MONGODB_URI": self._servers.mongodb_uri,
            **version,
        }
        self._running[number] = self._stack.enter_context(ServiceProcess("processor", self._folders[number], settings))

    def wait_until_all_work(self) -> None:
        """Each has taken records since now, so each had partitions in the present generation of the group."""
        for worker in self._running.values():
            worker.wait_until_ready()
        before = {worker: taken(worker) for worker in self._running.values()}
        for worker, count in before.items():
            wait_for(lambda worker=worker, count=count: taken(worker) > count, 60, worker.tail)  # type: ignore[misc]


def taken(worker: ServiceProcess) -> float:
    """How many records it has taken; none while it starts."""
    return worker.metric("yousync_records_total")


def test_processors_are_upgraded_and_rolled_back_one_by_one(
    pair: Servers, older: dict[str, str], tmp_path: Path
) -> None:
    kafka = pair.kafka_bootstrap
    asyncio.run(create_missing_topics(KafkaConnection(kafka), topic_specs(PARTITIONS), 1))
    writer = RecordWriter(kafka, SEED)
    with Workers(pair, tmp_path) as workers:
        with writer:
            for steps in (
                [(0, older), (1, older)],
                [(0, PRESENT)],
                [(1, PRESENT)],
                [(0, older)],  # rolled back
                [(0, PRESENT)],
            ):
                for worker, version in steps:
                    workers.run(worker, version)
                workers.wait_until_all_work()
        wait_for(lambda: asyncio.run(is_consumed(kafka)), 60, lambda: "the backlog is not consumed")

        asyncio.run(check_acknowledged(kafka, writer.acknowledged))
        expected = asyncio.run(check_history(kafka, pair.mongodb_uri))
        assert expected.dead_letters
        living = [one.body for one in expected.documents.values() if isinstance(one, VideoDocument)]
        with running_api(pair, tmp_path / "before", older) as before, running_api(pair, tmp_path / "now") as now:
            compare_answers(before, now, living)


def test_producers_take_over_from_each_other(pair: Servers, older: dict[str, str], tmp_path: Path) -> None:
    quick = {"YOUSYNC_POLL_SECONDS": "0.1", "YOUSYNC_UNITS_PER_DAY": GENEROUS}
    generous = {"YOUSYNC_SIMULATOR_UNITS_PER_DAY": GENEROUS}
    with producer_stage(pair, tmp_path, backlog=BACKLOG, **generous) as stage, ExitStack() as stack:
        leader = stack.enter_context(stage.producer(**quick, **older))
        wait_for(lambda: leader.readiness() == 200 and leader.metric("yousync_leader") == 1, 60, leader.tail)
        for version in (PRESENT, older):  # upgraded, and rolled back
            standby = stack.enter_context(stage.producer(**quick, **version))
            assert wait_until_one_leads(leader, standby) == (leader, standby)
            wait_until_it_has_searched(leader)
            assert leader.terminate() == 0
            assert_goes_on(leader, standby)
            leader = standby
        wait_for(lambda: stage.expected() <= {(one.key or b"").decode() for one in stage.raw()}, 60, leader.tail)
        assert leader.terminate() == 0
        assert_epochs_grow(stage, take_overs=3)
        assert stage.debits() == stage.wire_requests(), "each version counts on with what the other has counted"


@contextmanager
def running_api(servers: Servers, folder: Path, version: Mapping[str, str] = PRESENT) -> Iterator[ApiProcess]:
    """The API of that version, once it has counted what is stored."""
    folder.mkdir()
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": servers.kafka_bootstrap,
        "MONGODB_URI": servers.mongodb_uri,
        "YOUSYNC_TOPIC_PARTITIONS": str(PARTITIONS),
        **version,
    }
    command = (sys.executable, "-m", "yousync.cli", "api")
    with api_process(folder, command=command, variables=variables) as api:
        becomes(lambda: answer(api, "/v1/videos?search=talk").status == 200, seconds=60)
        becomes(lambda: all(query.encode() in answer(api, "/v1/queries").body for query in QUERIES), seconds=60)
        yield api


class Answer(NamedTuple):
    """What a reader keeps of an answer."""

    status: int
    body: bytes
    tag: str | None
    links: str | None


def answer(api: ApiProcess, path: str) -> Answer:
    """To a GET."""
    try:
        with urllib.request.urlopen(api.url + path, timeout=10) as found:  # noqa: S310  # our own
            return Answer(found.status, found.read(), found.headers["ETag"], found.headers["Link"])
    except urllib.error.HTTPError as refused:
        with refused:
            return Answer(refused.code, refused.read(), None, None)


def compare_answers(before: ApiProcess, now: ApiProcess, living: Sequence[bytes]) -> None:
    """The same bytes and tags from both, and a listing that changes sides with every page is the whole listing."""

    def same(path: str) -> dict[str, Any]:
        answers = [answer(api, path) for api in (before, now)]
        assert answers[0] == answers[1], f"{path}\n{answers[0]}\n{answers[1]}"
        page: dict[str, Any] = json.loads(answers[1].body)
        return page

    some = json.loads(living[0])
    for path in (
        "/v1/videos",
        "/v1/videos?page=2&limit=7",
        "/v1/videos?query=tea&limit=100",
        f"/v1/videos?channel_id={some['channel']['id']}",
        "/v1/videos?search=better+talk",
        f"/v1/videos/{some['id']}",
        "/v1/videos/no-such-one",
        "/v1/videos?limit=0",
        "/v1/queries",
        "/v1/channels",
    ):
        same(path)

    listed: list[str] = []
    page, path = same("/v1/videos?limit=100"), "/v1/videos?limit=100&cursor="
    sides = itertools.cycle((before, now))
    while True:
        listed += [json.dumps(one) for one in page["items"]]
        if page["next_cursor"] is None:
            break
        page = json.loads(answer(next(sides), path + page["next_cursor"]).body)
    assert sorted(listed) == sorted(json.dumps(json.loads(one)) for one in living)
