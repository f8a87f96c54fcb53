"""Two producers, of which one polls: it is killed, paused and stopped, and the other goes on from where it was.

All is seen from outside: logs, metrics, the state topic, and the simulator's count of the calls on the wire. A paused
process (SIGSTOP) is one that wakes up after its session has ended and does not know it.
"""

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer

from contract.producer_state import LEADER_KEY, FollowedVideo, Leader, video_key
from contract.times import format_millis, parse_rfc3339_ms
from contract.topics import PRODUCER_STATE, RAW
from ops.kafka_connection import KafkaConnection
from producer.kafka_record import KafkaRecord
from producer.kafka_writer import KafkaWriter
from producer.state_log import StateFold, epoch_headers
from tests.conftest import MakeServers
from tests.producer_stage import GENEROUS, Stage, log_lines, producer_stage
from tests.service_process import ServiceProcess, wait_for

KNOWN_VIDEOS = 100_000
BACKLOG = 1300
LEAST_PAUSES, MOST_PAUSES = 3, 6
KILLS = 2
OVERLAP_MS = 30_000

SHORT = {"YOUSYNC_SESSION_TIMEOUT_SECONDS": "6"}
"""The shortest that Kafka's default settings allow."""

LONG = {"YOUSYNC_SESSION_TIMEOUT_SECONDS": "300"}
"""Nothing that a test waits for comes from the end of such a session."""

BUSY = {"YOUSYNC_POLL_SECONDS": "0.05", "YOUSYNC_UNITS_PER_DAY": GENEROUS}
"""So many calls that one is under way at most moments."""

SEARCHING = {"YOUSYNC_POLL_SECONDS": "0.05", "YOUSYNC_OVERLAP_SECONDS": "1", "YOUSYNC_UNITS_PER_DAY": "1"}
"""Most calls bring new videos, and what is remembered of a video is not soon written again for another reason."""

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]


@pytest.fixture
def stage(make_servers: MakeServers, tmp_path: Path) -> Iterator[Stage]:
    more = {"YOUSYNC_SIMULATOR_UNITS_PER_DAY": GENEROUS}
    with producer_stage(make_servers(), tmp_path, backlog=BACKLOG, **more) as stage:
        yield stage


def test_a_standby_polls_soon_after_a_kill_with_100_000_known_videos(stage: Stage) -> None:
    asyncio.run(write_known_videos(stage.servers.kafka_bootstrap))
    with stage.producer() as one, stage.producer() as other:  # with the default session timeout
        leader, standby = wait_until_one_leads(one, other)
        wait_until_calling(leader, 0)
        assert (leader.metric("yousync_leader_epoch"), standby.metric("yousync_leader_epoch")) == (2, 0)
        assert calls(standby) == 0
        leader.kill()
        assert seconds_until_it_polls(standby) < 20
        assert standby.metric("yousync_leader_epoch") == 3
        assert events(standby)["leading"][-1]["keys"] > KNOWN_VIDEOS
        assert standby.terminate() == 0
    assert 0 <= stage.debits() - stage.wire_requests() <= 1


def test_a_paused_leader_is_deposed_and_stands_by_when_it_wakes_up(stage: Stage) -> None:
    chance = random.Random(4)
    late = Counter[str]()
    with stage.producer(**SHORT, **SEARCHING) as one, stage.producer(**SHORT, **SEARCHING) as other:
        unused = dict.fromkeys((one, other), 0)
        pauses = 0
        while pauses < LEAST_PAUSES or (pauses < MOST_PAUSES and not late["video"]):
            leader, standby = wait_until_one_leads(one, other)
            if pauses % 2 == 0:
                wait_until_calling(leader, chance.uniform(0, 0.006))  # most likely its debit is under way
                leader.pause()
            else:
                asyncio.run(pause_when_published(stage, leader))
            pauses += 1
            decided = decisions(leader) - unused[leader]
            seconds_until_it_polls(standby)
            wait_until_it_has_searched(standby)  # it has written itself what will come late

            leader.resume()
            assert wait_until_one_leads(one, other) == (standby, leader)
            assert standby.metric("yousync_leader_epoch") > leader.metric("yousync_leader_epoch")
            assert calls(leader) <= decided, "it made a call beyond the one that was in flight"
            unused[leader] = decisions(leader) - calls(leader)
            wait_for(lambda: not hidden_by_void_records(stage), 30, lambda: f"{hidden_by_void_records(stage)}")
            late = void_records(stage)
            print(f"late records of woken leaders: {dict(late)}")  # noqa: T201

        leader, standby = wait_until_one_leads(one, other)
        leader.kill()
        seconds_until_it_polls(standby)
        stage.wait_until_complete(standby)
        assert standby.terminate() == 0
    assert not hidden_by_void_records(stage)
    assert late, "no pause fell between deciding to write and writing: the test has proved little"
    assert_epochs_grow(stage, take_overs=pauses + 2)
    assert 0 <= stage.debits() - stage.wire_requests() <= pauses + 1


def test_a_clean_stop_hands_over_at_once(stage: Stage) -> None:
    chance = random.Random(15)
    with stage.producer(**LONG, **BUSY) as one, stage.producer(**LONG, **BUSY) as other:
        for _ in range(2):
            leader, standby = wait_until_one_leads(one, other)
            wait_until_it_has_searched(leader)
            wait_until_calling(leader, chance.uniform(0, 0.008))
            stopped_at = time.monotonic()
            assert leader.terminate() == 0
            seconds_until_it_polls(standby, stopped_at)
            assert events(leader)["next call"][-1]["timestamp"] < events(standby)["leading"][-1]["timestamp"]
            assert_goes_on(leader, standby)
            leader.start()
        leader, standby = wait_until_one_leads(one, other)
        stage.wait_until_complete(leader)
        assert standby.terminate() == 0
        assert leader.terminate() == 0
    assert_epochs_grow(stage, take_overs=3)
    assert stage.debits() == stage.wire_requests(), "a clean stop falls between two calls"


def test_the_ledger_and_the_oracle_agree_after_kills_under_faults(stage: Stage) -> None:
    chance = random.Random(9)
    stage.set_faults(delegation403=0.1, connection_close=0.1, truncated_body=0.05, disorder=0.3)
    with stage.producer(**SHORT, **BUSY) as one, stage.producer(**SHORT, **BUSY) as other:
        for _ in range(KILLS):
            leader, _ = wait_until_one_leads(one, other)
            wait_until_calling(leader, chance.uniform(0, 0.04))
            leader.kill()
            leader.start()  # now two stand by, and either may take over
        stage.set_faults()
        leader, standby = wait_until_one_leads(one, other)
        stage.wait_until_complete(leader)
        assert standby.terminate() == 0
        assert leader.terminate() == 0
    assert_epochs_grow(stage, take_overs=KILLS + 1)
    assert 0 <= stage.debits() - stage.wire_requests() <= KILLS, "a kill may fall between a debit and its call"


async def write_known_videos(bootstrap: str) -> None:
    """As a leader of epoch 1 that is no more."""
    now = format_millis(time.time_ns() // 1_000_000)
    leader = msgspec.json.encode(Leader(1, "no-more", now))
    video = msgspec.json.encode(FollowedVideo(now, now, ("a query of some length", "another"), completed=True))
    entries = {LEADER_KEY: leader} | {video_key(f"known{number:06d}"): video for number in range(KNOWN_VIDEOS)}
    writer = KafkaWriter(KafkaConnection(bootstrap))
    await writer.write([KafkaRecord(PRODUCER_STATE, *entry, epoch_headers(1)) for entry in entries.items()])
    await writer.close()


def wait_until_one_leads(one: ServiceProcess, other: ServiceProcess) -> tuple[ServiceProcess, ServiceProcess]:
    """The leader and the standby, once both are in the group."""
    pair = (one, other)

    def settled() -> bool:
        joined = [events(each)["joined the group"][-1:] for each in pair]
        generations = [entry["generation"] for entries in joined for entry in entries]
        return (
            [each.readiness() for each in pair] == [200, 200]
            and len(generations) == 2
            and len(set(generations)) == 1
            and sorted(each.metric("yousync_leader") for each in pair) == [0, 1]
        )

    wait_for(settled, 60, lambda: "\n\n".join(each.tail() for each in pair))
    return (one, other) if one.metric("yousync_leader") else (other, one)


def wait_until_calling(leader: ServiceProcess, seconds: float) -> None:
    """Return so long after the leader has decided to make a call."""
    with leader.log.open("rb") as log:
        log.seek(0, os.SEEK_END)
        deadline = time.monotonic() + 60
        while b'"next call"' not in log.read():
            assert time.monotonic() < deadline, leader.tail()
            time.sleep(0.0005)
    time.sleep(seconds)


async def pause_when_published(stage: Stage, leader: ServiceProcess) -> None:
    """Pause it when the raw topic has a new record, of a video that it is about to remember."""
    consumer = AIOKafkaConsumer(RAW, bootstrap_servers=stage.servers.kafka_bootstrap, auto_offset_reset="latest")
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            await consumer.seek_to_end()
            await consumer.getone()
        leader.pause()
    finally:
        await consumer.stop()


def seconds_until_it_polls(standby: ServiceProcess, since: float | None = None) -> float:
    """From `since` (monotonic, default now) to the standby's first call; it is ready all the time."""
    since = time.monotonic() if since is None else since
    before = calls(standby)

    def polls() -> bool:
        assert standby.readiness() == 200, standby.tail()
        return calls(standby) > before and standby.metric("yousync_leader") == 1

    wait_for(polls, 60, standby.tail)
    seconds = time.monotonic() - since
    print(f"the standby polls after {seconds:.1f} s")  # noqa: T201
    return seconds


def assert_goes_on(leader: ServiceProcess, successor: ServiceProcess) -> None:
    """The successor's first search begins where the leader's last one ended, but for the overlap."""
    wait_until_it_has_searched(successor)
    ended, began = newest_passes(leader)[-1]["published_before"], newest_passes(successor)[0]["published_after"]
    assert began >= format_millis(parse_rfc3339_ms(ended) - OVERLAP_MS)


def calls(process: ServiceProcess) -> int:
    """How many calls it made that are over."""
    return int(process.metric("yousync_youtube_calls_total"))


def decisions(process: ServiceProcess) -> int:
    """How many calls it has decided to make; the one that it was deposed at is not made."""
    return len(events(process)["next call"])


def wait_until_it_has_searched(process: ServiceProcess) -> None:
    wait_for(lambda: bool(newest_passes(process)), 60, process.tail)


def newest_passes(process: ServiceProcess) -> list[dict[str, Any]]:
    """Of its last term, those over the newest stretch that are complete."""
    lines = log_lines(process)
    began = max((number for number, line in enumerate(lines) if line["event"] == "leading"), default=len(lines))
    return [line for line in lines[began:] if line["event"] == "search pass complete" and line["over"] == "newest"]


def events(process: ServiceProcess) -> dict[str, list[dict[str, Any]]]:
    """What it has logged, by event."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in log_lines(process):
        found[line["event"]].append(line)
    return found


def assert_epochs_grow(stage: Stage, take_overs: int) -> None:
    """As often as there were take-overs, if not more often: on a busy machine a session may end by itself."""
    fold = StateFold()
    leaders = [record.value for record in stage.state_log() if fold.take(record) and record.key == LEADER_KEY]
    epochs = list(dict.fromkeys(msgspec.json.decode(leader or b"", type=Leader).epoch for leader in leaders))
    assert epochs == sorted(epochs)
    assert len(epochs) >= take_overs


def void_records(stage: Stage) -> Counter[str]:
    """By the first part of their keys."""
    fold = StateFold()
    void = [record.key for record in stage.state_log() if not fold.take(record)]
    return Counter(key.decode().partition("/")[0] for key in void)


def hidden_by_void_records(stage: Stage) -> set[bytes]:
    """Keys whose last value, which is all that the log cleaner keeps, is not the one that counts."""
    fold, cleaned = StateFold(), dict[bytes, bytes | None]()
    for record in stage.state_log():
        fold.take(record)
        cleaned[record.key] = record.value
    leader = msgspec.json.decode(cleaned.pop(LEADER_KEY) or b"null", type=Leader | None)
    hidden = {key for key in cleaned | fold.values if cleaned.get(key) != fold.values.get(key)}
    is_leader = leader is not None and (leader.epoch, leader.id) == (fold.epoch, fold.leader_id)
    return hidden if is_leader else hidden | {LEADER_KEY}
