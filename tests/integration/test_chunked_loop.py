"""The chunked loop on the real Kafka and MongoDB: killed, joined and left, without its broker, over holes in the log.

What the rules give is the same for both loops, so each test ends with the history checker.
"""

import asyncio
import random
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from contract.topics import RAW, topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from processors.decode import Record
from tests.conftest import MakeServers, Servers
from tests.history import check_history, is_consumed, produce
from tests.raw_items import NOW_MS, PARTITIONS, record, search_item, video_item
from tests.service_process import ServiceProcess, wait_for

pytestmark = pytest.mark.integration

ITEMS = 20_000
VIDEOS = 12_000


@pytest.fixture
def stack(make_servers: MakeServers) -> Servers:
    """Servers of this test's own, with the topics."""
    servers = make_servers()
    asyncio.run(create_missing_topics(KafkaConnection(servers.kafka_bootstrap), topic_specs(PARTITIONS), 1))
    return servers


def worker_of(stack: Servers, folder: Path) -> ServiceProcess:
    folder.mkdir(exist_ok=True)
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap,
        "MONGODB_URI": stack.mongodb_uri,
        "YOUSYNC_SESSION_TIMEOUT_SECONDS": "6",
        "YOUSYNC_PROCESSOR_LOOP": "chunked",
    }
    return ServiceProcess("processor", folder, settings)


def items(count: int) -> list[Record]:
    """New videos, repeats, changes and removals, in random order."""
    chance = random.Random(count)
    log = []
    for at in range(count):
        number, time_ms = chance.randrange(count * VIDEOS // ITEMS), NOW_MS + at
        make = chance.choice([search_item, search_item, video_item])
        item = None if chance.random() < 0.02 else make(number, title=chance.choice(["A talk", "A better talk"]))
        source = "/youtube/v3/videos" if make is video_item else "/youtube/v3/search"
        log.append(record(number, 0, item, time_ms=time_ms, source=source))
    return log


def done(process: ServiceProcess) -> float:
    return process.metric("yousync_records_total")


def wait_until_complete(stack: Servers, process: ServiceProcess) -> None:
    wait_for(lambda: asyncio.run(is_consumed(stack.kafka_bootstrap)), 120, lambda: f"not complete:\n{process.tail()}")


def test_killed_in_the_middle_of_a_backlog(stack: Servers, tmp_path: Path) -> None:
    asyncio.run(produce(stack.kafka_bootstrap, items(ITEMS)))
    with worker_of(stack, tmp_path) as worker:
        worker.wait_until_ready()
        wait_for(lambda: done(worker) > 0, 60, worker.tail)
        worker.kill()
        assert not asyncio.run(is_consumed(stack.kafka_bootstrap)), "the kill came too late to prove anything"
        worker.start()
        wait_until_complete(stack, worker)
        assert done(worker) > 0
        assert worker.terminate() == 0

    asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))


def test_workers_that_join_and_leave(stack: Servers, tmp_path: Path) -> None:
    log = items(ITEMS)
    with worker_of(stack, tmp_path / "one") as one, worker_of(stack, tmp_path / "two") as two:
        one.wait_until_ready()
        asyncio.run(produce(stack.kafka_bootstrap, log[:8_000]))
        two.wait_until_ready()
        asyncio.run(produce(stack.kafka_bootstrap, log[8_000:14_000]))
        wait_for(lambda: done(two) > 0, 60, two.tail)
        assert two.terminate() == 0
        asyncio.run(produce(stack.kafka_bootstrap, log[14_000:]))
        wait_until_complete(stack, one)

    asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))


def test_a_broker_that_restarts(stack: Servers, tmp_path: Path) -> None:
    log = items(ITEMS)
    with worker_of(stack, tmp_path) as worker:
        worker.wait_until_ready()
        asyncio.run(produce(stack.kafka_bootstrap, log[:15_000]))
        stack.kafka.kill()
        stack.kafka.start()
        asyncio.run(produce(stack.kafka_bootstrap, log[15_000:]))
        if worker.process.poll() is not None:
            worker.start()  # fenced: whatever supervises it starts it again
        wait_until_complete(stack, worker)

    asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))


async def produce_in_transactions(bootstrap: str, log: list[Record]) -> None:
    """Each commit leaves an offset without a record in every partition that it wrote to."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id="test-chunked-loop")
    await producer.start()
    try:
        for begin in range(0, len(log), 7):
            async with producer.transaction():
                for one in log[begin : begin + 7]:
                    await producer.send(RAW, one.value, key=one.key, partition=one.partition, headers=list(one.headers))
    finally:
        await producer.stop()


def test_offsets_without_a_record_hold_nothing_up(stack: Servers, tmp_path: Path) -> None:
    log = items(700)
    with worker_of(stack, tmp_path) as worker:
        asyncio.run(produce_in_transactions(stack.kafka_bootstrap, log[:350]))
        worker.wait_until_ready()
        asyncio.run(produce_in_transactions(stack.kafka_bootstrap, log[350:]))
        asyncio.run(produce(stack.kafka_bootstrap, items(100)))
        wait_until_complete(stack, worker)
        wait_for(lambda: worker.metric("yousync_consumer_lag") == 0, 10, worker.tail)
        assert worker.terminate() == 0

    asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))


def test_a_stop_leaves_nothing_to_do_again(stack: Servers, tmp_path: Path) -> None:
    with worker_of(stack, tmp_path) as worker:
        asyncio.run(produce(stack.kafka_bootstrap, items(3_000)))
        wait_until_complete(stack, worker)
        assert worker.terminate() == 0
        asyncio.run(produce(stack.kafka_bootstrap, items(40)))
        worker.start()
        wait_until_complete(stack, worker)

        assert done(worker) == 40
