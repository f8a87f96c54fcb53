"""The servers of the one-machine stack: they answer, keep their data over a kill, and leave no process behind."""

import asyncio
from typing import Any

import msgspec
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from pymongo import MongoClient, WriteConcern

from contract.topics import RAW, TopicSpec, topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import TopicsError, create_missing_topics, require_topics, topic_faults, wait_for_kafka
from tests.conftest import MakeServers, Servers
from yousync.local.kafka import KafkaServer
from yousync.local.server import free_ports

pytestmark = pytest.mark.integration


async def _send(servers: Servers, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers.kafka_bootstrap, enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(RAW, value, partition=0)
    finally:
        await producer.stop()


async def _first_value(servers: Servers) -> bytes | None:
    consumer = AIOKafkaConsumer(RAW, bootstrap_servers=servers.kafka_bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        value: bytes | None = (await asyncio.wait_for(consumer.getone(), 20)).value
        return value
    finally:
        await consumer.stop()


def _database(servers: Servers) -> MongoClient[dict[str, Any]]:
    return MongoClient(servers.mongodb_uri, serverSelectionTimeoutMS=1000)


async def test_created_topics_match_the_contract(servers: Servers) -> None:
    bootstrap = servers.kafka_bootstrap
    specs = [msgspec.structs.replace(spec, name=f"fresh.{spec.name}") for spec in topic_specs(4)]

    with pytest.raises(TopicsError, match=r"topic fresh\.youtube\.videos\.raw is missing.*yousync topics"):
        await require_topics(KafkaConnection(bootstrap), specs)

    assert await create_missing_topics(KafkaConnection(bootstrap), specs, 1) == [spec.name for spec in specs]
    assert await create_missing_topics(KafkaConnection(bootstrap), specs, 1) == []
    assert await topic_faults(KafkaConnection(bootstrap), specs) == []
    await require_topics(KafkaConnection(bootstrap), specs)


async def test_drifted_topics_are_named_with_wanted_and_found(servers: Servers) -> None:
    await create_missing_topics(
        KafkaConnection(servers.kafka_bootstrap),
        [TopicSpec("drifted", 2, {"retention.ms": "5", "cleanup.policy": "compact"})],
        1,
    )
    wanted = [TopicSpec("drifted", 3, {"retention.ms": "7", "cleanup.policy": "compact"})]

    assert await topic_faults(KafkaConnection(servers.kafka_bootstrap), wanted) == [
        "topic drifted has 2 partitions, wanted are 3",
        "topic drifted: retention.ms is 5, wanted is 7",
    ]
    with pytest.raises(TopicsError, match="2 partitions, wanted are 3"):
        await require_topics(KafkaConnection(servers.kafka_bootstrap), wanted)
    await require_topics(KafkaConnection(servers.kafka_bootstrap), [TopicSpec("drifted", 2, {"retention.ms": "7"})])


async def test_killed_servers_keep_what_they_acknowledged(make_servers: MakeServers) -> None:
    servers = make_servers()
    await create_missing_topics(KafkaConnection(servers.kafka_bootstrap), topic_specs(1), 1)
    await _send(servers, b"kept")
    with _database(servers) as client:
        client.test.get_collection("kept", write_concern=WriteConcern(j=True)).insert_one({"_id": "kept"})

        servers.kafka.kill()
        servers.mongod.kill()
        assert (servers.kafka.pid, servers.mongod.pid) == (None, None)
        servers.kafka.start()
        servers.mongod.start()

        assert await _first_value(servers) == b"kept"
        assert client.test.kept.find_one() == {"_id": "kept"}


async def test_stopped_servers_leave_no_process_and_kafka_goes_on_at_other_ports(make_servers: MakeServers) -> None:
    servers = make_servers()
    await create_missing_topics(KafkaConnection(servers.kafka_bootstrap), topic_specs(1), 1)
    await _send(servers, b"kept")
    processes = [psutil.Process(server.pid) for server in (servers.kafka, servers.mongod)]

    servers.stop()

    assert psutil.wait_procs(processes, timeout=5)[1] == []
    assert (servers.kafka.pid, servers.mongod.pid) == (None, None)

    port, controller_port = free_ports(2)
    moved = KafkaServer(servers.kafka._folder, servers.kafka.log_file, port, controller_port, servers.kafka._jars)
    waiting = asyncio.create_task(wait_for_kafka(KafkaConnection(moved.address)))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    try:
        moved.start()
        await asyncio.wait_for(waiting, 20)
        assert await _first_value(Servers(moved, servers.mongod)) == b"kept"
    finally:
        moved.stop()


def test_a_paused_server_does_not_answer_until_resumed(servers: Servers) -> None:
    assert servers.mongod.answers()
    servers.mongod.pause()
    try:
        assert not servers.mongod.answers()
    finally:
        servers.mongod.resume()
    assert servers.mongod.answers()
