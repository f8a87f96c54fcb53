"""Brokers behind TLS, SCRAM and an authorizer, and a MongoDB with users: every service with the rights of deploy/."""

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from pymongo import MongoClient

from contract.read_model import VIDEOS as COLLECTION
from contract.topics import RAW, VIDEOS, topic_specs
from ops.kafka_client import running_admin
from ops.kafka_connection import KafkaConnection, KafkaRefusal
from ops.kafka_topics import TopicsError, enter_kafka, kafka_fault, require_topics
from tests.guarded_mongod import GuardedMongod, guarded_mongod
from tests.producer_stage import GENEROUS, KEY
from tests.secured_kafka import ADMIN, SecuredKafka, apply_rules, listed_rules, password, yousync
from tests.service_process import ServiceProcess, wait_for
from yousync.local.server import free_port

DATABASE = "yousync"


@dataclass(frozen=True)
class Stack:
    """The secured broker with its topics, and a guarded MongoDB."""

    kafka: SecuredKafka
    mongod: GuardedMongod
    folder: Path

    def settings(self, user: str, **more: str) -> dict[str, str]:
        return {
            **self.kafka.settings(user),
            "MONGODB_URI": self.mongod.uri_of("yousync-processor" if user == "yousync-processor" else "yousync-api"),
            **more,
        }

    def service(self, service: str, user: str, **more: str) -> ServiceProcess:
        return ServiceProcess(service, self.folder, self.settings(user, **more))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("secured")
    with ExitStack() as running:
        mongod = running.enter_context(guarded_mongod(folder))
        kafka = SecuredKafka(folder)
        running.callback(kafka.stop)
        kafka.start()
        asyncio.run(apply_rules(kafka.connection(ADMIN), listed_rules(folder)))
        made = yousync("topics", settings=kafka.settings("yousync-operator"), folder=folder)
        assert made.returncode == 0, made.stderr
        yield Stack(kafka, mongod, folder)


def test_every_service_does_its_work_with_its_own_principal_and_no_more_rights_than_listed(stack: Stack) -> None:
    port = free_port()
    simulated = {
        "YOUSYNC_SIMULATOR_PORT": str(port),
        "YOUSYNC_SIMULATOR_BACKLOG": "60",
        "YOUSYNC_SIMULATOR_INDEXING_DELAY_SECONDS": "0",
        "YOUSYNC_SIMULATOR_SEARCH_CALLS_PER_DAY": GENEROUS,
    }
    polling = {
        "YOUTUBE_API_KEY": KEY,
        "YOUTUBE_API_ENDPOINT": f"http://127.0.0.1:{port}",
        "YOUSYNC_QUERIES": "*",
        "YOUSYNC_POLL_SECONDS": "0.5",
        "YOUSYNC_SEARCH_CALLS_PER_DAY": GENEROUS,
    }
    api_port = str(free_port())
    with (
        MongoClient[dict[str, Any]](stack.mongod.uri_of("yousync-api")) as client,
        ServiceProcess("simulator", stack.folder, simulated) as simulator,
        stack.service("producer", "yousync-producer", **polling) as producer,
        stack.service("processor", "yousync-processor") as processor,
        stack.service("api", "yousync-api", YOUSYNC_API_PORT=api_port) as api,
    ):
        for service in (simulator, producer, processor, api):
            service.wait_until_ready()
        videos = client[DATABASE][COLLECTION]
        wait_for(lambda: videos.count_documents({}) >= 60, 60, lambda: producer.tail() + processor.tail())
        read = asyncio.run(read_in_group(stack.kafka.connection("ext-team"), VIDEOS, "ext.team.books", at_least=60))
        tail = ("tail", "videos", "--from-beginning", "--limit", "3", "--json")
        shown = yousync(*tail, settings=operator(stack), folder=stack.folder)
        seen = yousync("status", "--json", settings=stack.settings("yousync-operator"), folder=stack.folder)
        replayed = yousync("replay", "--execute", settings=stack.settings("yousync-processor"), folder=stack.folder)
        url = f"http://127.0.0.1:{api_port}/v1"
        wait_for(lambda: get(f"{url}/pipeline")["leader"] is not None, 30, api.tail)
        pipeline, page = get(f"{url}/pipeline"), get(f"{url}/videos?limit=1")
        commands = ("queries list", "quota", "dead-letters list")
        operated = [yousync(*one.split(), settings=operator(stack), folder=stack.folder) for one in commands]
        logs = [service.log.read_text() for service in (producer, processor, api)]
        figures = [service.metric("yousync_records_total") for service in (processor,)]

    assert len(set(read)) >= 60
    assert page["total"] >= 60
    assert pipeline["faults"] == []
    assert [name for name, figure in pipeline.items() if figure is None] == []
    assert [(each.returncode, each.stderr) for each in operated] == [(0, "")] * len(operated)
    assert shown.returncode == 0, shown.stderr
    assert [json.loads(line)["topic"] for line in shown.stdout.splitlines()] == [VIDEOS] * 3
    assert seen.returncode == 0, seen.stderr + seen.stdout
    assert figures[0] >= 60
    assert replayed.returncode == 0, replayed.stderr
    for log in logs:
        assert "-secret-3141" not in log
        assert "AUTHORIZATION" not in log.upper()


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - http on loopback
        return json.load(answer)


def operator(stack: Stack) -> dict[str, str]:
    return stack.kafka.settings("yousync-operator")


async def read_in_group(connection: KafkaConnection, topic: str, group: str, at_least: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        topic, **connection.options(), group_id=group, auto_offset_reset="earliest", enable_auto_commit=False
    )
    try:
        await consumer.start()
        read: list[bytes] = []
        async with asyncio.timeout(30):
            while len(read) < at_least:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    read += [record.key for record in records]
        await consumer.commit()
        return read
    finally:
        await consumer.stop()


async def test_a_team_reads_the_public_topic_in_its_own_groups_and_can_do_nothing_else(stack: Stack) -> None:
    team = stack.kafka.connection("ext-team")

    with pytest.raises(GroupAuthorizationFailedError):
        await read_in_group(team, VIDEOS, "yousync-projector", at_least=1)
    with pytest.raises(TopicAuthorizationFailedError):
        await read_in_group(team, RAW, "ext.team.books", at_least=1)
    producer = AIOKafkaProducer(**team.options(), enable_idempotence=False)
    await producer.start()
    try:
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(VIDEOS, b"{}", key=b"forged")
    finally:
        await producer.stop()
    async with running_admin(team) as admin:
        answer = await admin.create_topics([NewTopic("ext.team.topic", 1, 1)])
        assert [error[1] for error in answer.topic_errors] == [TopicAuthorizationFailedError.errno]
        assert await admin.list_topics() == [VIDEOS], "it is shown no other topic"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"password": "wrong"}, "KAFKA_SASL_PASSWORD: Kafka refuses yousync-api with this password (SCRAM-SHA-512)"),
        ({"sasl_mechanism": "PLAIN"}, "KAFKA_SASL_MECHANISM: Kafka does not take PLAIN"),
        ({"cafile": "other-ca.pem"}, "KAFKA_SSL_CAFILE: the broker's certificate is not accepted"),
        ({"username": "stranger"}, "KAFKA_SASL_PASSWORD: Kafka refuses stranger"),
    ],
)
async def test_who_is_refused_is_told_which_setting_to_mend(stack: Stack, changes: dict[str, str], told: str) -> None:
    if "cafile" in changes:
        changes = {"cafile": str(stack.kafka.certificates / changes["cafile"])}
    connection = stack.kafka.connection("yousync-api", **changes)

    with pytest.raises(KafkaRefusal) as refused:
        await enter_kafka(connection)

    assert str(refused.value).startswith(told)
    assert await kafka_fault(connection) == str(refused.value), "one that was served before is told the same, and waits"


async def test_topics_that_nobody_may_see_are_said_to_need_a_right(stack: Stack) -> None:

    with pytest.raises(TopicsError, match=f"topic {RAW} is missing.*grant DESCRIBE of them to nobody"):
        await require_topics(stack.kafka.connection("nobody"), topic_specs(4))


@pytest.mark.parametrize("service", ["producer", "processor", "api"])
def test_a_service_with_a_wrong_password_ends_at_once_with_the_setting(stack: Stack, service: str) -> None:
    wrong = stack.settings("yousync-api", KAFKA_SASL_PASSWORD=password("wrong"))
    wrong |= {"YOUTUBE_API_KEY": KEY, "YOUSYNC_QUERIES": "tea", "YOUSYNC_ADMIN_PORT": "0", "YOUSYNC_API_PORT": "0"}

    ended = yousync(service, settings=wrong, folder=stack.folder)

    assert ended.returncode == 2
    assert "KAFKA_SASL_PASSWORD: Kafka refuses yousync-api with this password" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "secret-3141" not in ended.stderr


def test_a_service_without_a_right_ends_with_the_right_that_it_lacks(stack: Stack) -> None:
    """The operator may see and write all topics, and use the producers' group only."""
    mongodb = stack.mongod.uri_of("yousync-processor")
    settings = stack.settings("yousync-operator", YOUSYNC_ADMIN_PORT="0", MONGODB_URI=mongodb)

    ended = yousync("processor", settings=settings, folder=stack.folder)

    assert ended.returncode in {1, 2}
    assert "may not use the consumer group yousync-projector: grant it READ" in ended.stderr
    assert password("yousync-operator") not in ended.stderr
