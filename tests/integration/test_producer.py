"""The producer as a process, between the simulator (the real Google client's peer) and a real Kafka.

Each test has its own Kafka, because the topics' names are fixed. The simulator's oracle says what there was to find.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.topics import RAW
from tests.conftest import MakeServers
from tests.producer_stage import KEY, Stage, log_lines, producer_stage
from tests.service_process import ServiceProcess, wait_for

BACKLOG = 1300

pytestmark = pytest.mark.integration


@pytest.fixture
def stage(make_servers: MakeServers, tmp_path: Path) -> Iterator[Stage]:
    with producer_stage(make_servers(), tmp_path, backlog=BACKLOG) as stage:
        yield stage


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
        wait_for(lambda: len(stage.raw_ids()) > 100, 60, producer.tail)
        producer.kill()
        assert stage.expected() - stage.raw_ids(), "killed too late: nothing was left to find"

        producer.start().wait_until_ready()
        wait_for(lambda: len(stage.raw_ids()) > 300, 90, producer.tail)
        stage.set_faults()
        stage.wait_until_complete(producer)
        assert producer.terminate() == 0
    calls = stage.oracle("calls")
    assert 0 <= stage.debits() - calls["wire_requests"] <= 1, "the kill may fall between a debit and its call"
    assert "accountDelegationForbidden" in calls["outcomes"]["search"]
    assert len(stage.raw_ids()) >= BACKLOG
    assert KEY not in producer.log.read_text()


def test_calls_are_debited_one_by_one_and_only_videos_are_published(stage: Stage) -> None:
    stage.set_faults(connection_close=0.1, truncated_body=0.05, foreign_kinds=0.05)
    with stage.producer() as producer:
        producer.wait_until_ready()
        stage.wait_until_complete(producer, 120)
        assert producer.metric("yousync_items_ignored_total") > 0
        assert producer.terminate() == 0
        assert stage.debits() == stage.oracle("calls")["wire_requests"], "a call without a debit, or the other way"
        assert stage.debits() > 10

        producer.start().wait_until_ready()  # the ledger goes on after a restart
        debits = stage.debits()
        wait_for(lambda: stage.debits() > debits + 5, 30, producer.tail)
        assert producer.terminate() == 0
        assert stage.debits() == stage.oracle("calls")["wire_requests"]
    for record in stage.raw():
        item = json.loads(record.value)
        if item["kind"] == "youtube#searchResult":
            assert item["id"] == {"kind": "youtube#video", "videoId": record.key.decode()}
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
    seconds = Counter(line["timestamp"][:19] for line in log_lines(producer) if line["logger"] == "aiokafka")
    assert max(seconds.values()) < 500, "the clients must not spin while the brokers are away"


def test_a_missing_topic_and_a_refused_key_are_one_sentence(stage: Stage) -> None:
    with stage.producer(YOUSYNC_TOPIC_PARTITIONS="3") as producer:
        assert producer.process.wait(30) != 0
    assert RAW in producer.tail()
    assert "Traceback" not in producer.tail()

    stage.set_faults(key_invalid=1.0)
    with stage.producer() as producer:
        assert producer.process.wait(30) == 2
    assert "YOUTUBE_API_KEY: YouTube refuses it: key 1 of 1" in producer.tail()
    assert "Traceback" not in producer.tail()
    assert KEY not in producer.log.read_text()


def events(process: ServiceProcess) -> Counter[str]:
    return Counter(line["event"] for line in log_lines(process))
