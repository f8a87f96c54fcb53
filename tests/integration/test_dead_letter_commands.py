"""`yousync dead-letters` on the real Kafka and MongoDB, with a real processor that refuses, and takes late.

Kafka is each test's own, because the topics' names are fixed.
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from contract.topics import DEAD_LETTER, RAW, topic_specs
from ops.clock import now_ms
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from processors.decode import Record
from processors.document import VideoDocument
from tests.conftest import MakeServers, Servers
from tests.history import check_history, is_consumed, produce, raw_records, stored_documents
from tests.raw_items import NOW_MS, PARTITIONS, partition_of, record, search_item, video_id
from tests.service_process import ServiceProcess, wait_for

pytestmark = pytest.mark.integration

replace = msgspec.structs.replace


class Operator:
    """Types `yousync dead-letters …`."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.servers = servers
        self.folder = folder

    def start(self, *words: str, **settings: str) -> "subprocess.Popen[str]":
        environment = {
            "PATH": os.environ["PATH"],
            "KAFKA_BOOTSTRAP_SERVERS": self.servers.kafka_bootstrap,
            "YOUSYNC_HOME": str(self.folder / "home"),
            **settings,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "yousync.cli", "dead-letters", *words],
            env=environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def types(self, *words: str, exits_with: int = 0, **settings: str) -> str:
        """What the command says, on both outputs; never a character that a terminal would obey."""
        process = self.start(*words, **settings)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == exits_with, said
        assert "Traceback" not in said, said
        assert all(character.isprintable() or character == "\n" for character in said), repr(said)
        return said

    def rows(self, *words: str) -> list[Any]:
        return [json.loads(line) for line in self.types("list", "--json", *words).splitlines()]

    def raw(self) -> list[Record]:
        found = asyncio.run(raw_records(self.servers.kafka_bootstrap))
        return sorted(found, key=lambda one: (one.partition, one.offset))


@pytest.fixture
def stack(make_servers: MakeServers) -> Servers:
    """Servers of this test's own, with the topics."""
    servers = make_servers()
    asyncio.run(create_missing_topics(KafkaConnection(servers.kafka_bootstrap), topic_specs(PARTITIONS), 1))
    return servers


@pytest.fixture
def operator(stack: Servers, tmp_path: Path) -> Operator:
    return Operator(stack, tmp_path)


@pytest.fixture
def processor(stack: Servers, tmp_path: Path) -> Iterator[ServiceProcess]:
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap,
        "MONGODB_URI": stack.mongodb_uri,
        "YOUSYNC_SESSION_TIMEOUT_SECONDS": "6",
    }
    with ServiceProcess("processor", tmp_path, settings) as process:
        yield process


def wait_until_consumed(stack: Servers, process: ServiceProcess) -> None:
    wait_for(lambda: asyncio.run(is_consumed(stack.kafka_bootstrap)), 90, lambda: f"not consumed:\n{process.tail()}")


def write(stack: Servers, process: ServiceProcess, *records: Record) -> None:
    """Have these records processed."""
    asyncio.run(produce(stack.kafka_bootstrap, records))
    wait_until_consumed(stack, process)


def in_wrong_partition(one: Record) -> Record:
    return replace(one, partition=(one.partition + 1) % PARTITIONS)


def poison() -> list[Record]:
    """Records with escape sequences wherever a producer can put some."""
    good = [record(number, 0, search_item(number)) for number in range(4)]
    team: Any = (("x-team", b"\xff\x00"), ("x-none", None), ("x-\x1b[2J", b"\x1b]0;owned\x07"))
    return [
        replace(good[0], value=b"nonsense \x1b]0;owned\x07\x1b[31m \xc2\x9b31m"),
        replace(good[1], value='{"kind":"youtube#searchResult","id":"\u202e\u009b31m\x7f","n":1e400}'.encode()),
        replace(good[2], headers=(("ce_type", b"\x1b[31mio.yousync.item.fetched.v9"), *team)),
        replace(good[3], key=None),
    ]


def origins_by_reason(rows: list[Any]) -> dict[str, str]:
    return {row["reason"]: row["origin"] for row in rows}


def test_a_poison_is_looked_at_and_exported_and_fails_again_as_one_dead_letter(
    stack: Servers, operator: Operator, processor: ServiceProcess
) -> None:
    write(stack, processor, *poison())
    places = _looks(operator)
    _exports(operator)
    _fails_again(stack, operator, processor, places["not_json"])
    _is_put_back_once(stack, operator, processor, places["schema"])


def _looks(operator: Operator) -> dict[str, str]:
    rows = operator.rows()
    assert Counter(row["reason"] for row in rows) == Counter(["not_json", "schema", "unknown_type", "no_key"])
    assert {(row["attempts"], row["first_failed_at"] == row["last_failed_at"]) for row in rows} == {(1, True)}
    by_origin = sorted(rows, key=lambda row: row["origin"])
    assert rows == sorted(by_origin, key=lambda row: row["last_failed_at"], reverse=True)
    assert rows == operator.rows("--since", "1h")
    assert not operator.rows("--until", "1h")
    assert len(operator.rows("--reason", "schema", "--reason", "no_key", "--since", "2026-01-01T00:00:00Z")) == 2
    text = operator.types("list", "--limit", "1")
    assert "1 of 4 shown" in text
    assert "Dead letters: 4 (no_key 1, not_json 1, schema 1, unknown_type 1)." in text

    places = origins_by_reason(rows)
    dumped = operator.types("show", places["not_json"])
    assert "6e 6f 6e 73 65 6e 73 65 20 1b 5d" in dumped
    assert "|nonsense .]0;own|" in dumped
    assert video_id(0) in dumped
    assert '  "id": "\\u202e\\u009b31m\\u007f",\n  "n": 1e400\n' in operator.types("show", places["schema"])
    headers = operator.types("show", places["unknown_type"])
    assert "  x-team: hex ff 00\n  x-none: (null)\n  x-\\u001b[2J: \\u001b]0;owned\\u0007\n" in headers
    return places


def _exports(operator: Operator) -> None:
    assert "Dead letters written to all.jsonl: 4." in operator.types("export", "--output", "all.jsonl")
    assert "all.jsonl cannot be written" in operator.types("export", "--output", "all.jsonl", exits_with=1)
    lines = (operator.folder / "all.jsonl").read_text().splitlines()
    assert sorted(operator.types("export").splitlines()) == sorted(lines)
    restored = {line["origin"]: _original(line) for line in map(json.loads, lines)}
    assert restored == {f"{one.topic}/{one.partition}/{one.offset}": one for one in operator.raw()}


def _original(line: Any) -> Record:
    """The raw record that an exported dead letter was made of."""
    topic, partition, offset = line["origin"].split("/")
    headers: Any = tuple(
        (name, None if value is None else base64.b64decode(value))
        for name, value in line["headers"]
        if not name.startswith("dl_")
    )
    key, value = (None if line[part] is None else base64.b64decode(line[part]) for part in ("key", "value"))
    return Record(topic, int(partition), int(offset), line["original_timestamp_ms"], key, value, headers)


def _fails_again(stack: Servers, operator: Operator, processor: ServiceProcess, origin: str) -> None:
    before = operator.raw()
    plan = operator.types("retry", origin)
    assert "To be put back onto youtube.videos.raw: 1." in plan
    assert "fails again by the rules of this version: not_json" in plan
    assert "add --execute" in plan
    assert operator.raw() == before, "a plan writes nothing"

    assert "Put back: 1." in operator.types("retry", origin, origin, "--execute")
    wait_until_consumed(stack, processor)
    again, failed = [one for one in operator.raw() if one not in before], before[_index(before, origin)]
    assert [(one.key, one.value, one.timestamp_ms, one.partition) for one in again] == [
        (failed.key, failed.value, failed.timestamp_ms, failed.partition)
    ]
    assert again[0].headers == (*failed.headers, ("dl_origin", origin.encode()), ("dl_attempt", b"1"))
    rows = [row for row in operator.rows() if row["origin"] == origin]
    assert [(row["reason"], row["attempts"]) for row in rows] == [("not_json", 2)]
    assert rows[0]["first_failed_at"] < rows[0]["last_failed_at"]
    assert operator.rows()[0]["origin"] == origin, "what failed last comes first"
    assert "Dead letters: 4 (" in operator.types("list")
    shown = operator.types("show", origin)
    assert "attempts  2\n    1  20" in shown
    asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))


def _index(records: list[Record], origin: str) -> int:
    return [f"{one.topic}/{one.partition}/{one.offset}" for one in records].index(origin)


def _is_put_back_once(stack: Servers, operator: Operator, processor: ServiceProcess, origin: str) -> None:
    assert processor.terminate() == 0
    before = len(operator.raw())
    stopping = {"YOUSYNC_DEAD_LETTER_MAX_CONSECUTIVE": "1"}
    assert "1 in a row stop a processor" in operator.types("retry", origin, "--execute", exits_with=1, **stopping)
    assert len(operator.raw()) == before
    assert "Put back: 1." in operator.types("retry", "--reason", "schema", "--execute")
    repeated = operator.types("retry", "--reason", "schema", "--execute")
    assert f"  {origin}: put back as {RAW}/" in repeated
    assert "Put back: 0." in repeated
    assert len(operator.raw()) == before + 1

    processor.start()
    wait_until_consumed(stack, processor)
    assert "Put back: 1." in operator.types("retry", origin, "--execute"), "it has failed since"
    wait_until_consumed(stack, processor)
    assert [row["attempts"] for row in operator.rows("--reason", "schema")] == [3]


def test_an_old_record_that_succeeds_late_changes_no_newer_field(
    stack: Servers, operator: Operator, processor: ServiceProcess
) -> None:
    timed = record(1, 0, search_item(1, title="Old"), queries=("how",), time_ms=now_ms() - 60_000)
    untimed = record(2, 0, search_item(2, title="Old"), queries=("how",))
    without_times = tuple(one for one in untimed.headers if one[0] not in {"ce_time", "ce_firstseen"})
    alone = record(3, 0, search_item(3, title="Only"))
    write(stack, processor, *map(in_wrong_partition, [timed, replace(untimed, headers=without_times), alone]))
    failed = {one.key: one for one in operator.raw()}
    # Newer than the old ones, and older than their being put back.
    newer = [record(number, 0, search_item(number, title="New"), time_ms=now_ms()) for number in (1, 2)]
    write(stack, processor, *newer)
    before = stored_documents(stack.mongodb_uri)

    assert "Put back: 3." in operator.types("retry", "--reason", "wrong_partition", "--execute")
    wait_until_consumed(stack, processor)

    after = stored_documents(stack.mongodb_uri)
    for number, first_seen_ms in ((1, now_ms()), (2, failed[untimed.key].timestamp_ms)):
        was, now = before[video_id(number)], after[video_id(number)]
        assert isinstance(was, VideoDocument)
        assert isinstance(now, VideoDocument)
        assert now.registers == was.registers
        assert now.video == replace(was.video, queries=["how", "tea"], first_seen_at=now.video.first_seen_at)
        assert now.first_seen_ms <= first_seen_ms
        assert now.first_seen_ms < was.first_seen_ms
    late = after[video_id(3)]
    assert isinstance(late, VideoDocument)
    assert late.video.title == "Only"
    asyncio.run(check_history(stack.kafka_bootstrap, stack.mongodb_uri))

    assert {row["attempts"] for row in operator.rows()} == {1}, "the topic does not say what succeeded"
    assert "not failed since, left out: 3." in operator.types("retry", "--execute")


def test_what_cannot_go_back_is_named_and_everything_else_goes(
    stack: Servers, operator: Operator, processor: ServiceProcess
) -> None:
    assert "No dead letters." in operator.types("list")
    good = [record(number, 0, search_item(number)) for number in range(8)]
    forged = (("dl_origin", b"yousync.producer.state/0/1"), ("dl_attempt", b"4"))
    unkeyed = record(1, 0, None)
    # The record itself just fits; with `dl_origin` and `dl_attempt` it does not.
    large = replace(good[2], value=b"x" * 1_048_150)
    removal = replace(record(4, 0, None, time_ms=NOW_MS), partition=partition_of(video_id(4).encode()))
    write(
        stack,
        processor,
        replace(good[0], value=b"forged", headers=(*good[0].headers, *forged)),
        replace(unkeyed, key=b""),
        large,
        in_wrong_partition(good[3]),
        in_wrong_partition(removal),
        in_wrong_partition(good[5]),
    )
    write(
        stack,
        processor,
        record(3, 0, None, time_ms=NOW_MS + 5_000),
        record(4, 0, search_item(4), time_ms=NOW_MS + 5_000),
    )
    before = operator.raw()
    living = stored_documents(stack.mongodb_uri)

    said = operator.types("retry", "--execute", exits_with=1)

    assert "To be put back onto youtube.videos.raw: 1." in said
    assert "Cannot be put back: 5." in said
    assert "yousync.producer.state/0/1: its origin is no place in youtube.videos.raw" in said
    assert "it has neither key nor value" in said
    assert "it is larger than youtube.videos.raw takes (1,048,576)" in said
    assert f"the video {video_id(3)} was removed at 2026-05-28T20:26:45.000Z, after this item" in said
    assert f"it removes the video {video_id(4)}, which was seen again at 2026-05-28T20:26:45.000Z" in said
    wait_until_consumed(stack, processor)
    assert len(operator.raw()) == len(before) + 1
    after = stored_documents(stack.mongodb_uri)
    assert after.keys() - living.keys() == {video_id(5)}
    assert {one: after[one] for one in living} == living

    assert "No dead letter has the origin 'nowhere/0/0'" in operator.types("retry", "nowhere/0/0", exits_with=1)
    assert "No dead letter has the origin 'nowhere'" in operator.types("show", "nowhere", exits_with=1)


def test_kafka_killed_in_the_middle_leaves_nothing_twice(
    stack: Servers, operator: Operator, processor: ServiceProcess
) -> None:
    write(stack, processor, *(in_wrong_partition(record(number, 0, search_item(number))) for number in range(60)))
    assert processor.terminate() == 0

    running = operator.start("retry", "--execute", "--rate", "10")
    wait_for(lambda: len(operator.raw()) > 75, 60, lambda: "nothing was put back")
    stack.kafka.kill()
    said, _ = running.communicate(timeout=120)
    assert running.returncode == 1, said
    assert "Traceback" not in said, said
    assert "Run the same command again: what was put back is left out." in said

    stack.kafka.start()
    assert "not failed since, left out: " in operator.types("retry", "--execute")
    put_back = Counter(dict(one.headers).get("dl_origin") for one in operator.raw())
    del put_back[None]
    assert len(put_back) == 60
    assert set(put_back.values()) == {1}


def test_strangers_are_passed_over_and_missing_parts_are_named(make_servers: MakeServers, tmp_path: Path) -> None:
    operator = Operator(make_servers(), tmp_path)
    bootstrap = operator.servers.kafka_bootstrap
    assert "`yousync topics`" in operator.types("list", exits_with=2)
    asyncio.run(create_missing_topics(KafkaConnection(bootstrap), topic_specs(PARTITIONS), 1))

    asyncio.run(_send_stranger(bootstrap))
    assert "are no dead letters, passed over: 1." in operator.types("list")

    operator.servers.kafka.stop()
    assert "Kafka does not answer" in operator.types("list", exits_with=1)


async def _send_stranger(bootstrap: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(DEAD_LETTER, b"{}", headers=[("dl_origin", b"youtube.videos.raw/0/0")])
    finally:
        await producer.stop()
