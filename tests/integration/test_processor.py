"""The processor as a process on the real Kafka and MongoDB: the poison matrix, outages, rebalances, stop and start."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import orjson
import pymongo
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from contract import events
from contract.topics import RAW, topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from processors.decode import Record
from tests.conftest import MakeServers, Servers
from tests.history import Expected, check_history, is_consumed, markers, produce, raw_records
from tests.raw_items import ITEM_MAKERS, NOW_MS, PARTITIONS, partition_of, record, search_item, video_id
from tests.service_process import ServiceProcess, wait_for

pytestmark = pytest.mark.integration


@pytest.fixture
def stack(make_servers: MakeServers) -> Servers:
    """Servers of this test's own, with the topics."""
    servers = make_servers()
    asyncio.run(create_missing_topics(KafkaConnection(servers.kafka_bootstrap), topic_specs(PARTITIONS), 1))
    return servers


@pytest.fixture
def settings(stack: Servers) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap,
        "MONGODB_URI": stack.mongodb_uri,
        "YOUSYNC_SESSION_TIMEOUT_SECONDS": "6",
    }


@pytest.fixture
def processor(tmp_path: Path, settings: dict[str, str]) -> Iterator[ServiceProcess]:
    with ServiceProcess("processor", tmp_path, settings) as process:
        yield process


def wait_until_complete(stack: Servers, process: ServiceProcess, seconds: float = 90) -> None:
    wait_for(
        lambda: asyncio.run(is_consumed(stack.kafka_bootstrap)), seconds, lambda: f"not complete:\n{process.tail()}"
    )


def poison() -> list[Record]:
    """One record of each kind that the design names, each on a video of its own, in its own partition."""
    good = [record(number, 0, search_item(number)) for number in range(12)]
    replace = msgspec.structs.replace
    foreign = video_id(5).encode()
    return [
        replace(good[0], value=b"nonsense"),
        replace(good[1], value=b'{"kind":"youtube#searchResult","id":"\xff"}'),
        replace(good[2], value=orjson.dumps({"kind": "youtube#searchResult", "id": 7})),
        replace(good[3], key=None),
        replace(good[4], key=b""),
        replace(good[5], partition=(partition_of(foreign) + 1) % PARTITIONS),
        replace(good[6], key=b"not-an-id"),
        record(7, 0, search_item(8)),
        record(8, 0, search_item(8, publishedAt="1999-01-01T00:00:00Z")),
        record(9, 0, search_item(9, title="x" * 1_040_000)),
        replace(good[10], headers=(("ce_type", b"io.yousync.item.fetched.v9"),)),
        replace(good[11], key=None, value=b""),
    ]


def accepted_oddities() -> list[Record]:
    return [
        record(20, 0, search_item(20, title="nul\0 inside", surprise={"a": [1]})),
        record(21, 0, None),
        msgspec.structs.replace(record(22, 0, search_item(22)), headers=()),
        record(23, 0, search_item(23, description="d" * 900_000)),
    ]


def test_poison_neither_blocks_the_stream_nor_vanishes(stack: Servers, processor: ServiceProcess) -> None:
    good = [record(number, 0, search_item(number)) for number in range(100, 150)]
    asyncio.run(produce(stack.kafka_bootstrap, [*poison(), *accepted_oddities(), *good]))

    wait_until_complete(stack, processor)

    expected = asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))
    assert sorted(expected.dead_letters.values()) == sorted(
        [
            "not_json",
            "not_utf8",
            "schema",
            "no_key",
            "no_key",
            "wrong_partition",
            "bad_id",
            "key_mismatch",
            "bad_time",
            "too_large",
            "unknown_type",
            "no_key",
        ]
    )
    assert len(expected.documents) == 53
    assert processor.metric('yousync_records_total{outcome="dead_letter"}') == 12
    assert processor.metric("yousync_records_total") == len(asyncio.run(raw_records(stack.kafka_bootstrap)))
    assert processor.terminate() == 0


def random_log(seed: int, count: int) -> list[Record]:
    """Repeats, changes, sightings and removals of few enough videos that all meet."""
    chance = random.Random(seed)
    log = []
    for step in range(count):
        number, time_ms = chance.randrange(count // 8), NOW_MS + step * 1000
        if chance.random() < 0.05:
            log.append(record(number, 0, None, time_ms=time_ms))
            continue
        source = chance.choice(sorted(ITEM_MAKERS))
        item = ITEM_MAKERS[source](number, title=chance.choice("ABC"))
        queries = tuple(chance.sample(["tea", "how", "*"], chance.randint(0, 2)))
        log.append(record(number, 0, item, source=source, time_ms=time_ms, queries=queries))
    return log


def test_workers_that_join_and_leave_give_what_the_sequential_fold_gives(
    stack: Servers, tmp_path: Path, settings: dict[str, str], processor: ServiceProcess
) -> None:
    log = random_log(7, 6000)
    processor.wait_until_ready()
    asyncio.run(produce(stack.kafka_bootstrap, log[:2000]))
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    with ServiceProcess("processor", other_folder, settings) as other:
        asyncio.run(produce(stack.kafka_bootstrap, log[2000:4000]))
        other.wait_until_ready()
        asyncio.run(produce(stack.kafka_bootstrap, log[4000:]))
        assert other.terminate() == 0

    wait_until_complete(stack, processor)
    expected = asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))
    assert markers(expected.documents)
    assert not expected.dead_letters


def test_mongodb_away_in_the_middle_is_waited_out(stack: Servers, processor: ServiceProcess) -> None:
    processor.wait_until_ready()
    asyncio.run(produce(stack.kafka_bootstrap, random_log(1, 500)))
    wait_until_complete(stack, processor)
    stack.mongod.stop()
    asyncio.run(produce(stack.kafka_bootstrap, random_log(2, 500)))

    wait_for(lambda: processor.readiness() == 503, 30, lambda: "readiness never said that MongoDB is away")
    assert processor.admin_status("/livez") == 200
    wait_for(lambda: processor.metric("yousync_consumer_lag") == 500, 10, processor.tail)
    assert processor.metric("yousync_waiting") == 1
    stack.mongod.start()
    wait_until_complete(stack, processor)
    processor.wait_until_ready()
    wait_for(lambda: processor.metric("yousync_consumer_lag") == 0, 10, processor.tail)
    assert processor.metric("yousync_waiting") == 0
    expected = asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))
    assert not expected.dead_letters
    assert "waiting" in processor.tail(20_000)


def test_kafka_killed_in_the_middle_is_waited_out(stack: Servers, processor: ServiceProcess) -> None:
    processor.wait_until_ready()
    asyncio.run(produce(stack.kafka_bootstrap, random_log(1, 500)))
    stack.kafka.kill()
    stack.kafka.start()
    asyncio.run(produce(stack.kafka_bootstrap, random_log(2, 500)))
    if processor.process.poll() is not None:
        processor.start()  # fenced: whatever supervises it starts it again

    wait_until_complete(stack, processor)
    asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))


def test_servers_away_at_start_are_waited_for(stack: Servers, processor: ServiceProcess) -> None:
    processor.kill()
    stack.mongod.stop()
    stack.kafka.stop()
    processor.start()
    wait_for(lambda: "KAFKA_BOOTSTRAP_SERVERS" in processor.tail(), 30, processor.tail)
    assert processor.admin_status("/livez") == 200
    assert processor.readiness() == 503
    stack.kafka.start()
    wait_for(lambda: "MONGODB_URI" in processor.tail(), 30, processor.tail)
    stack.mongod.start()

    processor.wait_until_ready()


def test_a_stop_leaves_nothing_to_do_again(stack: Servers, processor: ServiceProcess) -> None:
    asyncio.run(produce(stack.kafka_bootstrap, random_log(3, 1000)))
    wait_until_complete(stack, processor)
    assert processor.terminate() == 0
    with pymongo.MongoClient(stack.mongodb_uri) as client:  # type: ignore[var-annotated]  # documents of any shape
        client["yousync"]["videos"].delete_many({})
    asyncio.run(produce(stack.kafka_bootstrap, [record(9_999, 0, search_item(9_999))]))
    processor.start().wait_until_ready()

    def stored() -> list[str]:
        with pymongo.MongoClient(stack.mongodb_uri) as client:  # type: ignore[var-annotated]  # as above
            return [one["_id"] for one in client["yousync"]["videos"].find()]

    wait_for(lambda: bool(stored()), 30, processor.tail)
    assert stored() == [video_id(9_999)]


def test_sigterm_while_mongodb_is_away_ends_in_time_and_loses_nothing(
    stack: Servers, processor: ServiceProcess
) -> None:
    processor.wait_until_ready()
    stack.mongod.pause()
    asyncio.run(produce(stack.kafka_bootstrap, random_log(4, 300)))
    wait_for(lambda: "waiting" in processor.tail(), 60, processor.tail)
    assert processor.terminate() == 0
    stack.mongod.resume()
    processor.start().wait_until_ready()

    wait_until_complete(stack, processor)
    asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))


def test_the_dead_letter_limit_stops_the_worker_and_keeps_what_it_did(
    stack: Servers, tmp_path: Path, settings: dict[str, str]
) -> None:
    bad = [msgspec.structs.replace(record(number, 0, search_item(number)), value=b"bad") for number in range(400)]
    asyncio.run(produce(stack.kafka_bootstrap, bad))
    with ServiceProcess("processor", tmp_path, {**settings, "YOUSYNC_DEAD_LETTER_MAX_CONSECUTIVE": "50"}) as worker:
        assert worker.process.wait(60) == 2
        assert "YOUSYNC_DEAD_LETTER_MAX_CONSECUTIVE" in worker.tail()
        assert "Traceback" not in worker.tail(100_000)
    with ServiceProcess("processor", tmp_path, {**settings, "YOUSYNC_DEAD_LETTER_MAX_CONSECUTIVE": "500"}) as worker:
        asyncio.run(produce(stack.kafka_bootstrap, [record(1, 0, search_item(1))]))
        wait_until_complete(stack, worker)
        expected = asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))
        assert len(expected.dead_letters) == 400


def test_missing_topics_stop_it_with_one_sentence(make_servers: MakeServers, tmp_path: Path) -> None:
    servers = make_servers()
    settings = {"KAFKA_BOOTSTRAP_SERVERS": servers.kafka_bootstrap, "MONGODB_URI": servers.mongodb_uri}
    with ServiceProcess("processor", tmp_path, settings) as worker:
        assert worker.process.wait(30) == 2
        assert "yousync topics" in worker.tail()
        assert "Traceback" not in worker.tail()


def test_an_update_is_announced_with_the_key_it_had(stack: Servers, processor: ServiceProcess) -> None:
    moved = search_item(1, publishedAt="2026-01-01T00:00:00Z")
    asyncio.run(produce(stack.kafka_bootstrap, [record(1, 0, search_item(1)), record(1, 0, moved, time_ms=NOW_MS + 1)]))
    wait_until_complete(stack, processor)
    document = Expected(asyncio.run(raw_records(stack.kafka_bootstrap))).documents[video_id(1)]

    assert document.event.type == events.VIDEO_UPDATED
    assert document.event.previous_sort_key == f"{NOW_MS - 1000}{video_id(1)}"
    asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))


async def recreate_raw_topic(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([RAW])
    finally:
        await admin.close()
    while RAW not in await create_missing_topics(KafkaConnection(bootstrap), topic_specs(PARTITIONS), 1):  # noqa: ASYNC110  # the broker's
        await asyncio.sleep(0.2)


def test_a_recreated_topic_stops_it_with_one_sentence(stack: Servers, processor: ServiceProcess) -> None:
    asyncio.run(produce(stack.kafka_bootstrap, random_log(5, 200)))
    wait_until_complete(stack, processor)
    assert processor.terminate() == 0
    asyncio.run(asyncio.wait_for(recreate_raw_topic(stack.kafka_bootstrap), 30))

    asyncio.run(produce(stack.kafka_bootstrap, random_log(6, 40)))
    processor.start()
    assert processor.process.wait(30) == 2
    assert "the topic was recreated" in processor.tail()
    assert "Traceback" not in processor.tail()
