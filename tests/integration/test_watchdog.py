"""The watchdog on the real Kafka and MongoDB: a worker that stands still for good is told from one that waits or idles.

Its limit is seconds here (`tests/impatient_processor.py`), and longer than MongoDB takes to be found away.
"""

import asyncio
import json
import re
import time
import urllib.error
import urllib.request
from itertools import count, islice
from pathlib import Path

import pytest

from contract.topics import RAW, topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from processors.decode import Record
from processors.watchdog import REMEDY
from tests.conftest import MakeServers, Servers
from tests.history import check_history, is_consumed, produce
from tests.impatient_processor import STUCK
from tests.raw_items import PARTITIONS, partition_of, record, search_item, video_id
from tests.service_process import ServiceProcess, wait_for

pytestmark = pytest.mark.integration

STALL_SECONDS = 10
PARTITION = 2
VIDEOS = 200


@pytest.fixture
def stack(make_servers: MakeServers) -> Servers:
    """Servers of this test's own, with the topics and some videos."""
    servers = make_servers()
    asyncio.run(create_missing_topics(KafkaConnection(servers.kafka_bootstrap), topic_specs(PARTITIONS), 1))
    asyncio.run(produce(servers.kafka_bootstrap, [record(number, 0, search_item(number)) for number in range(VIDEOS)]))
    return servers


def processor(stack: Servers, folder: Path, fault: str | None = None) -> ServiceProcess:
    """With an impatient watchdog, and perhaps with a fault of `tests.impatient_processor`."""
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap,
        "MONGODB_URI": stack.mongodb_uri,
        "YOUSYNC_SESSION_TIMEOUT_SECONDS": "6",
        "IMPATIENT_STALL_SECONDS": str(STALL_SECONDS),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    if fault is not None:
        settings["IMPATIENT_FAULT"] = fault
    return ServiceProcess("processor", folder, settings, module="tests.impatient_processor")


def wait_until_complete(stack: Servers, worker: ServiceProcess) -> None:
    wait_for(lambda: asyncio.run(is_consumed(stack.kafka_bootstrap)), 90, lambda: f"not complete:\n{worker.tail()}")


def of_one_partition(start: int) -> list[int]:
    """Numbers of ten videos of the partition, from a number on."""
    return list(islice((one for one in count(start) if partition_of(video_id(one).encode()) == PARTITION), 10))


def stuck_messages() -> list[Record]:
    """Two that the worker gets stuck at (Faust commits over a gap of one) and eight good ones, all in one partition."""
    titles = [STUCK, STUCK, *["A talk"] * 8]
    return [
        record(number, 0, search_item(number, title=title))
        for number, title in zip(of_one_partition(1_000), titles, strict=True)
    ]


def liveness_fault(worker: ServiceProcess) -> str | None:
    """What the watchdog says at `/livez`."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.admin_port}/livez", timeout=5):
            return None
    except urllib.error.HTTPError as refusal:
        with refusal:
            return str(json.load(refusal)["faults"]["watchdog"])


def wait_for_a_fault(worker: ServiceProcess) -> str:
    said: list[str] = []

    def faulty() -> bool:
        fault = liveness_fault(worker)
        if fault is not None:
            said.append(fault)
        return bool(said)

    wait_for(faulty, 60, lambda: f"never unhealthy:\n{worker.tail()}")
    return said[0]


def stays_alive(worker: ServiceProcess, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert liveness_fault(worker) is None
        time.sleep(0.2)


@pytest.mark.parametrize("fault", ["hang", "gap"])
def test_a_worker_that_is_stuck_says_so_and_ends_and_the_next_one_loses_nothing(
    stack: Servers, tmp_path: Path, fault: str
) -> None:
    with processor(stack, tmp_path, fault) as worker:
        wait_until_complete(stack, worker)
        asyncio.run(produce(stack.kafka_bootstrap, stuck_messages()))

        said = wait_for_a_fault(worker)

        assert re.match(rf"{RAW}, partition {PARTITION}: for 1\d s nothing has been committed ", said)
        assert "messages wait (10 now), and the worker waits for nothing. " in said
        assert said.endswith(REMEDY)
        assert worker.metric("yousync_stalled") == 1
        assert worker.metric("yousync_consumer_lag") == 10
        assert worker.metric("yousync_commit_standing_seconds") >= STALL_SECONDS
        assert worker.readiness() == 503
        assert worker.process.wait(3 * STALL_SECONDS) == 1
        assert said[:40] in worker.tail()
        assert "Traceback" not in worker.tail(100_000)
    with processor(stack, tmp_path) as worker:
        wait_until_complete(stack, worker)
        assert liveness_fault(worker) is None
    asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))


def test_a_recovery_that_does_not_get_on_is_a_stall_too(stack: Servers, tmp_path: Path) -> None:
    with processor(stack, tmp_path) as worker:
        wait_until_complete(stack, worker)
        assert worker.terminate() == 0
    (tmp_path / "home").rename(tmp_path / "lost")
    asyncio.run(produce(stack.kafka_bootstrap, stuck_messages()))

    with processor(stack, tmp_path, "recovery") as worker:
        wait_for(lambda: worker.admin_status("/metrics") == 200, 30, worker.tail)
        wait_for(lambda: worker.metric("yousync_recovery_remaining") >= VIDEOS, 30, worker.tail)
        said = wait_for_a_fault(worker)
        left = re.search(r"; the recovery of the table does not get on, (\d+) records are left\. ", said)
        assert left, said
        assert int(left[1]) == worker.metric("yousync_recovery_remaining")
        assert worker.process.wait(3 * STALL_SECONDS) == 1
    with processor(stack, tmp_path) as worker:
        wait_until_complete(stack, worker)
        wait_for(lambda: worker.metric("yousync_table_entries") >= VIDEOS, 30, worker.tail)
        assert worker.metric("yousync_table_bytes") > 0
        assert worker.metric("yousync_recovery_remaining") == 0


def test_an_idle_worker_and_one_that_waits_for_mongodb_are_alive(stack: Servers, tmp_path: Path) -> None:
    with processor(stack, tmp_path) as worker:
        wait_until_complete(stack, worker)
        wait_for(lambda: worker.metric("yousync_consumer_lag") == 0, 30, worker.tail)
        stays_alive(worker, 2 * STALL_SECONDS)
        assert worker.metric("yousync_commit_standing_seconds") == 0

        stack.mongod.stop()
        asyncio.run(produce(stack.kafka_bootstrap, stuck_messages()))
        wait_for(lambda: worker.metric("yousync_waiting") == 1, 30, worker.tail)
        stays_alive(worker, 3 * STALL_SECONDS)
        assert worker.metric("yousync_commit_standing_seconds") > 2 * STALL_SECONDS
        assert worker.metric("yousync_stalled") == 0

        stack.mongod.start()
        wait_until_complete(stack, worker)
        wait_for(lambda: worker.metric("yousync_commit_standing_seconds") == 0, 30, worker.tail)
        stays_alive(worker, STALL_SECONDS)
        assert worker.terminate() == 0
    asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))


def test_a_worker_whose_kafka_goes_away_while_messages_wait_is_alive(stack: Servers, tmp_path: Path) -> None:
    with processor(stack, tmp_path) as worker:
        wait_until_complete(stack, worker)
        stack.mongod.stop()
        asyncio.run(produce(stack.kafka_bootstrap, stuck_messages()))
        wait_for(lambda: worker.metric("yousync_consumer_lag") == 10, 30, worker.tail)
        stack.kafka.pause()
        stack.mongod.start()
        stays_alive(worker, 2 * STALL_SECONDS)
        stack.kafka.resume()

        def complete() -> bool:
            if not worker.runs:
                worker.start()  # fenced: whatever supervises it starts it again
            return asyncio.run(is_consumed(stack.kafka_bootstrap))

        wait_for(complete, 90, worker.tail)
    asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))
