"""The producer as a process, between the simulator (the real Google client's peer) and a real Kafka.

Each test has its own Kafka, because the topics' names are fixed. The simulator's oracle says what there was to find.
"""

import asyncio
import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from contract.topics import PRODUCER_STATE, RAW, topic_specs
from ops.kafka_topics import create_missing_topics
from tests.conftest import MakeServers, Servers
from tests.service_process import ServiceProcess, wait_for
from yousync.local.server import free_port

KEY = "AIzaSyNoRealKeyButOfTheRightShape_-0123"
BACKLOG = 1300
GENEROUS = "1000000"

pytestmark = pytest.mark.integration


@dataclass
class Stage:
    """A Kafka with its topics, a running simulator, and the settings of producers."""

    servers: Servers
    simulator: ServiceProcess
    simulator_port: int
    folder: Path

    def producer(self, **settings: str) -> ServiceProcess:
        return ServiceProcess(
            "producer",
            self.folder,
            {
                "YOUTUBE_API_KEY": KEY,
                "YOUTUBE_API_ENDPOINT": f"http://127.0.0.1:{self.simulator_port}",
                "KAFKA_BOOTSTRAP_SERVERS": self.servers.kafka_bootstrap,
                "YOUSYNC_QUERIES": "*",
                "YOUSYNC_POLL_SECONDS": "0.2",
                "YOUSYNC_OVERLAP_SECONDS": "30",
                "YOUSYNC_SEARCH_CALLS_PER_DAY": GENEROUS,
                "YOUSYNC_YOUTUBE_TIMEOUT_SECONDS": "2",
                "YOUSYNC_LOG_LEVEL": "debug",
                **settings,
            },
        )

    def oracle(self, path: str, method: str = "GET", body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.simulator_port}/_simulator/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - http on loopback
            return json.load(answer)

    def expected(self) -> set[str]:
        return set(self.oracle("expected")["ids"])

    def set_faults(self, **probabilities: float) -> None:
        self.oracle("faults", "PUT", probabilities)

    def raw(self) -> list[ConsumerRecord]:
        return asyncio.run(read_topic(self.servers.kafka_bootstrap, RAW, 4))

    def raw_ids(self) -> set[str]:
        return {record.key.decode() for record in self.raw()}

    def state(self) -> dict[str, Any]:
        records = asyncio.run(read_topic(self.servers.kafka_bootstrap, PRODUCER_STATE, 1))
        return {record.key.decode(): json.loads(record.value) for record in records}

    def debits(self) -> int:
        return sum(value["used"] for key, value in self.state().items() if key.startswith("ledger/search/"))

    def wait_until_complete(self, producer: ServiceProcess, seconds: float = 60) -> None:
        def missing() -> set[str]:
            return self.expected() - self.raw_ids()

        wait_for(lambda: not missing(), seconds, lambda: f"{len(missing())} videos are missing:\n{producer.tail()}")


@pytest.fixture
def stage(make_servers: MakeServers, tmp_path: Path) -> Iterator[Stage]:
    servers = make_servers()
    asyncio.run(create_missing_topics(servers.kafka_bootstrap, topic_specs(4), 1))
    port = free_port()
    settings = {
        "YOUSYNC_SIMULATOR_PORT": str(port),
        "YOUSYNC_SIMULATOR_BACKLOG": str(BACKLOG),
        "YOUSYNC_SIMULATOR_RATE": "5",
        "YOUSYNC_SIMULATOR_INDEXING_DELAY_SECONDS": "0",
        "YOUSYNC_SIMULATOR_SEARCH_CALLS_PER_DAY": GENEROUS,
    }
    with ServiceProcess("simulator", tmp_path, settings) as simulator:
        simulator.wait_until_ready()
        yield Stage(servers, simulator, port, tmp_path)


async def read_topic(bootstrap: str, topic: str, partitions: int) -> list[ConsumerRecord]:
    """Every record up to the end at the time of asking."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        all_partitions = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(all_partitions)
        await consumer.seek_to_beginning(*all_partitions)
        ends = await consumer.end_offsets(all_partitions)
        records: list[ConsumerRecord] = []
        for partition, end in ends.items():
            while await consumer.position(partition) < end:
                records += (await consumer.getmany(partition, timeout_ms=1000)).get(partition, [])
        return records
    finally:
        await consumer.stop()


def test_everything_searchable_ends_in_the_raw_topic_through_the_cap_faults_and_a_kill(stage: Stage) -> None:
    stage.set_faults(
        delegation403=0.2,
        burst429=0.02,
        error500_json=0.02,
        error502_html=0.02,
        truncated_body=0.03,
        bad_json_200=0.03,
        connection_close=0.05,
        invalid_page_token=0.03,
        slow_trickle=0.01,
        disorder=0.3,
        duplicates_across_pages=0.2,
        foreign_kinds=0.02,
        missing_thumbnails=0.1,
    )
    with stage.producer() as producer:
        wait_for(lambda: len(stage.raw_ids()) > 300, 60, producer.tail)
        producer.kill()
        assert "watermark/*" not in stage.state(), "killed too late: the first pass was complete"
        assert stage.expected() - stage.raw_ids(), "killed too late: nothing was left to find"

        producer.start().wait_until_ready()
        wait_for(lambda: "watermark/*" in stage.state(), 90, producer.tail)
        stage.set_faults()
        stage.wait_until_complete(producer)
        assert producer.terminate() == 0
    calls = stage.oracle("calls")
    assert 0 <= stage.debits() - calls["wire_requests"] <= 1, "the kill may fall between a debit and its call"
    assert calls["outcomes"]["search"].keys() >= {"accountDelegationForbidden", "connection_close", "truncated_body"}
    assert len(stage.raw_ids()) >= BACKLOG
    assert KEY not in producer.log.read_text()


def test_calls_are_debited_one_by_one_and_only_videos_are_published(stage: Stage) -> None:
    """Every pass reads everything again, so that what one answer leaves out is found in another."""
    stage.set_faults(connection_close=0.1, truncated_body=0.05, missing_video_id=0.05, foreign_kinds=0.05, omission=0.1)
    with stage.producer(YOUSYNC_OVERLAP_SECONDS="604800") as producer:
        producer.wait_until_ready()
        stage.wait_until_complete(producer, 120)
        assert producer.terminate() == 0
        assert stage.debits() == stage.oracle("calls")["wire_requests"], "a call without a debit, or the other way"

        producer.start().wait_until_ready()  # the ledger goes on after a restart
        debits = stage.debits()
        wait_for(lambda: stage.debits() > debits + 5, 30, producer.tail)
        assert producer.terminate() == 0
        assert stage.debits() == stage.oracle("calls")["wire_requests"]
    for record in stage.raw():
        item = json.loads(record.value)
        assert item["id"] == {"kind": "youtube#video", "videoId": record.key.decode()}
    ignored = [line["ignored"] for line in log_lines(producer) if line["event"] == "search pass complete"]
    assert {"other_kind", "no_video_id"} <= set().union(*ignored)
    assert KEY not in producer.log.read_text()


def test_kafka_away_at_start_and_in_the_middle_loses_nothing(stage: Stage) -> None:
    stage.servers.kafka.stop()
    with stage.producer() as producer:
        wait_for(lambda: events(producer)["waiting for Kafka: it does not answer"] > 0, 30, producer.tail)
        assert producer.readiness() == 503
        assert producer.admin_status("/livez") == 200

        stage.servers.kafka.start()
        producer.wait_until_ready()
        stage.wait_until_complete(producer)

        stage.servers.kafka.stop()
        published = stage.oracle("published")
        wait_for(lambda: len(stage.oracle("published")["videos"]) > len(published["videos"]) + 30, 30, producer.tail)
        wait_for(lambda: events(producer)["waiting for Kafka to acknowledge"] > 0, 30, producer.tail)
        assert producer.admin_status("/livez") == 200

        stage.servers.kafka.start()
        stage.wait_until_complete(producer)
        assert producer.terminate() == 0
    assert stage.debits() == stage.oracle("calls")["wire_requests"]
    assert len(log_lines(producer)) < 1000, "the client must not spin while the brokers are away"


def test_a_missing_topic_and_a_refused_key_are_one_sentence(stage: Stage) -> None:
    with stage.producer(YOUSYNC_TOPIC_PARTITIONS="3") as producer:
        assert producer.process.wait(30) != 0
    assert RAW in producer.tail()
    assert "Traceback" not in producer.tail()

    stage.set_faults(key_invalid=1.0)
    with stage.producer() as producer:
        assert producer.process.wait(30) == 2
    assert "YOUTUBE_API_KEY: YouTube refuses it: HTTP 400: API key not valid" in producer.tail()
    assert "Traceback" not in producer.tail()
    assert KEY not in producer.log.read_text()


def log_lines(process: ServiceProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]


def events(process: ServiceProcess) -> Counter[str]:
    return Counter(line["event"] for line in log_lines(process))
