"""The poison matrix on the real servers: one processor, all of it at once, among good records (P1, P3).

Every record ends as `tests.poison` says, and those around it are none the worse.
"""

import asyncio
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pymongo
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from bson.codec_options import CodecOptions
from msgspec.structs import replace

from contract import events
from contract.events import read_dead_letter_headers, read_video_headers
from contract.topics import DEAD_LETTER, DEAD_LETTER_MAX_BYTES, RAW, VIDEOS, topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from processors.decode import Record
from tests.conftest import MakeServers, Servers
from tests.foreign_batch import ForeignBatchBuilder
from tests.history import check_history, is_consumed, raw_records, read_topic
from tests.poison import Case, good, plain, poison_matrix
from tests.raw_items import PARTITIONS, video_id
from tests.replay_process import replayed
from tests.service_process import ServiceProcess, wait_for

pytestmark = pytest.mark.integration

SEED = 20_260_528
GOOD_AROUND = 40
MATRIX = poison_matrix()


@pytest.fixture
def stack(make_servers: MakeServers) -> Servers:
    """Servers of this test's own, with the topics."""
    servers = make_servers()
    asyncio.run(create_missing_topics(KafkaConnection(servers.kafka_bootstrap), topic_specs(PARTITIONS), 1))
    return servers


@pytest.fixture(params=["stock", "chunked"])
def processor(request: pytest.FixtureRequest, stack: Servers, tmp_path: Path) -> Iterator[ServiceProcess]:
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap,
        "MONGODB_URI": stack.mongodb_uri,
        "YOUSYNC_PROCESSOR_LOOP": request.param,
    }
    with ServiceProcess("processor", tmp_path, settings) as process:
        yield process


async def send(bootstrap: str, records: Iterable[Record]) -> list[Record]:
    """Write records as they are, even those that a producer of today would not; they come back with their offsets."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=DEAD_LETTER_MAX_BYTES) as producer:
        sent = []
        for one in records:
            batch = producer.create_batch()
            batch._builder = ForeignBatchBuilder()
            assert batch.append(timestamp=None, key=one.key, value=one.value, headers=list(one.headers))
            acknowledged = await (await producer.send_batch(batch, one.topic, partition=one.partition))
            sent.append(replace(one, offset=acknowledged.offset))
        return sent


def mixed(matrix: Sequence[Case], seed: int) -> list[Record]:
    """The matrix in an order of chance, good records before it, after each of its records, and after it."""
    chance = random.Random(seed)
    order = chance.sample(matrix, len(matrix))
    amid = [[case.record, good(number)] for number, case in enumerate(order, 2 * GOOD_AROUND)]
    # A known video's good record comes first, somewhere among those of the others.
    known = [case.before for case in order if case.before]
    before = [*(good(number) for number in range(GOOD_AROUND)), *known]
    after = [good(number) for number in range(GOOD_AROUND, 2 * GOOD_AROUND)]
    return [*before, *(one for pair in amid for one in pair), *after]


def origin(one: Record) -> str:
    return f"{one.topic}/{one.partition}/{one.offset}"


def identity(one: Record) -> tuple[int, bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]:
    return one.partition, one.key, one.value, one.headers


def stored(uri: str) -> dict[str, dict[str, Any]]:
    with pymongo.MongoClient[dict[str, Any]](uri) as client:
        videos = client["yousync"].get_collection("videos", codec_options=CodecOptions(tz_aware=True))
        return {one["_id"]: one for one in videos.find()}


def test_each_record_ends_as_the_matrix_says_and_the_good_ones_are_none_the_worse(
    stack: Servers, processor: ServiceProcess, tmp_path: Path
) -> None:
    bootstrap = stack.kafka_bootstrap
    sent = asyncio.run(send(bootstrap, mixed(MATRIX, SEED)))
    by_identity = {identity(one): one for one in sent}
    assert len(by_identity) == len(sent)

    wait_for(lambda: asyncio.run(is_consumed(bootstrap)), 120, processor.tail)

    log = asyncio.run(raw_records(bootstrap))
    assert Counter(map(identity, log)) == Counter(map(identity, sent))
    timestamps = {origin(one): one.timestamp_ms for one in log}
    check_dead_letters(bootstrap, by_identity)
    check_documents(stack.mongodb_uri, by_identity, timestamps, len(sent))
    check_removals(bootstrap)
    # Hidden fields and the whole stream, by the oracle.
    expected = asyncio.run(check_history(bootstrap, stack.mongodb_uri))
    assert len(expected.dead_letters) == processor.metric('yousync_records_total{outcome="dead_letter"}')
    assert processor.metric("yousync_records_total") == len(sent)

    check_commands(stack, tmp_path, sent)
    assert asyncio.run(check_history(bootstrap, stack.mongodb_uri)).dead_letters == expected.dead_letters
    assert processor.terminate() == 0
    assert "Traceback" not in processor.log.read_text()


def check_dead_letters(bootstrap: str, by_identity: dict[Any, Record]) -> None:
    """One for each refused record, with its reason and origin, and bytes, key and headers as they were."""
    letters = {}
    for one in asyncio.run(read_topic(bootstrap, DEAD_LETTER)):
        said = read_dead_letter_headers(one.headers)
        assert said.origin not in letters
        letters[said.origin] = one, said
    refused = {origin(by_identity[identity(case.record)]): case for case in MATRIX if case.reason}
    assert letters.keys() == refused.keys()
    for place, case in refused.items():
        letter, said = letters[place]
        assert (case.name, said.reason, said.attempt) == (case.name, case.reason, 1)
        assert said.detail
        assert letter.value == case.record.value
        # Kafka's clients send no record of neither key nor value.
        nothing_at_all = case.record.key is None and case.record.value is None
        assert letter.key == (b"" if nothing_at_all else case.record.key)
        assert [one for one in letter.headers if not one[0].startswith("dl_")] == list(case.record.headers)
    assert "write_rejected" not in {said.reason for _, said in letters.values()}


def check_documents(uri: str, by_identity: dict[Any, Record], timestamps: dict[str, int], records: int) -> None:
    """The documents are those of the good records and of what the matrix accepts, markers those of its removals."""
    living = {case.number: case for case in MATRIX if case.public is not None}
    documents = stored(uri)
    markers = {video_id(case.number) for case in MATRIX if case.leaves_a_marker}
    goods = range(2 * GOOD_AROUND + len(MATRIX))
    assert records == len(goods) + len(MATRIX) + sum(case.before is not None for case in MATRIX)
    assert {one for one, document in documents.items() if "k" not in document} == markers
    assert documents.keys() - markers == {video_id(number) for number in (*goods, *living)}
    for number in goods:
        assert public_fields(documents[video_id(number)]) == plain(number)
    for number, case in living.items():
        document = documents[video_id(number)]
        timestamp_ms = timestamps[origin(by_identity[identity(case.record)])]
        assert (case.name, bytes(document["body"])) == (case.name, case.body(timestamp_ms))
        assert (case.name, public_fields(document)) == (case.name, case.fields(timestamp_ms))


def public_fields(document: dict[str, Any]) -> dict[str, Any]:
    hidden = {"_id", "body", "k", "registers", "confirmed_at", "source", "event", "projection_version", "q"}
    return {"id": document["_id"], **{name: field for name, field in document.items() if name not in hidden}}


def check_removals(bootstrap: str) -> None:
    """Each accepted null is said on the stream, also of a video that was never there."""
    envelopes = [read_video_headers(one.headers) for one in asyncio.run(read_topic(bootstrap, VIDEOS))]
    removed = Counter(one.subject for one in envelopes if one.type == events.VIDEO_REMOVED)
    wanted = [case for case in MATRIX if case.reason is None and case.record.value is None]
    assert removed == Counter(video_id(case.number) for case in wanted)


def check_commands(stack: Servers, folder: Path, sent: Sequence[Record]) -> None:
    """A replay, and what else reads the raw topic, reads all of it too."""
    settings = {"KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap, "MONGODB_URI": stack.mongodb_uri}

    def types(*words: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "yousync.cli", *words],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(sys.path),
                "YOUSYNC_HOME": str(folder),
                **settings,
            },
            stdout=subprocess.PIPE,
            check=True,
            timeout=60,
            text=True,
        ).stdout

    assert replayed(folder, settings)["records"] == len(sent)
    assert types("tail", "raw", "--from-beginning", "--limit", str(len(sent)), "--json").count("\n") == len(sent)
    refused = next(one for one in sent if one.value == b"{" and "caf\\xe9" in dict(one.headers))
    assert f"To be put back onto {RAW}: 1." in types("dead-letters", "retry", origin(refused))


def test_a_byte_more_than_the_topic_takes_is_refused_by_the_broker(stack: Servers) -> None:
    """So what the matrix calls as large as the topic takes is just that."""
    full = [case.record for case in MATRIX if case.name.startswith("as large as the topic takes")]
    assert full
    for one in full:
        assert one.value
        with pytest.raises(MessageSizeTooLargeError):
            asyncio.run(send(stack.kafka_bootstrap, [replace(one, value=one.value + b" ")]))
    assert asyncio.run(read_topic(stack.kafka_bootstrap, RAW)) == []
