"""The history checker: what a run left on the real servers, against what the rules give on the raw topic (P1, P2, P7).

It reads the raw topic, folds it record by record, and compares: acknowledged ids = stored ids and dead letters and
removals; each document with the oracle's, hidden fields included; `youtube.videos` by highest sequence with the
collection.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pymongo
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from bson.codec_options import CodecOptions

from contract import events
from contract.events import first_failure, read_dead_letter_headers, read_video_headers
from contract.topics import DEAD_LETTER, PROJECTOR_GROUP, RAW, VIDEOS
from ops.record_reader import tolerate_header_names
from processors.decode import Record, Refusal, decode
from processors.document import Document, Marker, SourcePosition, VideoDocument, from_stored
from processors.fold import fold
from processors.raw_log import to_record
from tests.raw_items import PARTITIONS, partition_of


async def produce(bootstrap: str, records: Sequence[Record]) -> None:
    """Write records to the raw topic, each to its own partition; returns when all are acknowledged."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        enable_idempotence=True,
        linger_ms=5,
        max_batch_size=256 << 10,
        max_request_size=2 << 20,
    )
    await producer.start()
    try:
        pending = [
            await producer.send(
                RAW,
                one.value if one.value is not None or one.key is not None else b"",
                key=one.key,
                partition=one.partition,
                headers=list(one.headers),
            )
            for one in records
        ]
        for acknowledgement in pending:
            await acknowledgement
    finally:
        await producer.stop()


async def read_topic(bootstrap: str, topic: str) -> list[Any]:
    """Every record of a topic up to its end now, in offset order within each partition."""
    tolerate_header_names()
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = sorted(consumer.assignment())
        assert partitions
        ends = await consumer.end_offsets(partitions)
        found: list[Any] = []
        while [one for one in partitions if await consumer.position(one) < ends[one]]:
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                found.extend(batch)
        return found
    finally:
        await consumer.stop()


async def raw_records(bootstrap: str) -> list[Record]:
    """The raw topic as the processors see it."""
    return [to_record(one) for one in await read_topic(bootstrap, RAW)]


def stored_documents(mongodb_uri: str, database: str = "yousync") -> dict[str, Document]:
    """Every document and marker."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_uri) as client:
        videos = client[database].get_collection("videos", codec_options=CodecOptions(tz_aware=True))
        return {one["_id"]: from_stored(one) for one in videos.find()}


class Acknowledged(NamedTuple):
    """A raw record that Kafka acknowledged to its writer."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class Expected:
    """What the raw topic comes to: documents, and dead letters by origin."""

    def __init__(self, log: Sequence[Record]) -> None:
        self.documents: dict[str, Document] = {}
        self.dead_letters: dict[str, str] = {}
        for one in log:
            self._take(one)

    def _take(self, one: Record) -> None:
        origin, _ = first_failure(one.headers, f"{one.topic}/{one.partition}/{one.offset}")
        said = decode(one, partition_of)
        if isinstance(said, Refusal):
            self.dead_letters[origin] = said.reason
            return
        folded = fold(self.documents.get(said.video_id), said, SourcePosition(one.topic, one.partition, one.offset))
        if isinstance(folded, Refusal):
            self.dead_letters[origin] = folded.reason
        elif folded.document is not None:
            self.documents[said.video_id] = folded.document


async def is_consumed(bootstrap: str) -> bool:
    """The processors have acknowledged every raw record, so all effects are there. False also if Kafka is away."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=PROJECTOR_GROUP, enable_auto_commit=False)
    try:
        await consumer.start()
        partitions = [TopicPartition(RAW, number) for number in range(PARTITIONS)]
        ends = await consumer.end_offsets(partitions)
        return all([(await consumer.committed(one) or 0) == end for one, end in ends.items()])  # awaits
    except KafkaError:
        return False
    finally:
        await consumer.stop()


async def check_acknowledged(bootstrap: str, acknowledged: Iterable[Acknowledged]) -> None:
    """Assert that each record stands in the raw topic where Kafka said it does: the history begins with these."""
    found = {(one.partition, one.offset): (one.key, one.value) for one in await raw_records(bootstrap)}
    for one in acknowledged:
        assert found.get((one.partition, one.offset)) == (one.key, one.value), f"{RAW} has lost or changed {one[:3]}"


async def check_history(bootstrap: str, mongodb_uri: str) -> Expected:
    """Assert that the read model, the stream and the dead letters are what the raw topic comes to."""
    log = await raw_records(bootstrap)
    expected = Expected(log)
    stored = stored_documents(mongodb_uri)
    _assert_same("documents", stored, expected.documents)
    await _check_dead_letters(bootstrap, log, expected)

    living = {one: document.body for one, document in stored.items() if isinstance(document, VideoDocument)}
    _assert_same(f"{VIDEOS} by highest sequence", await followed_stream(bootstrap), living)
    return expected


async def _check_dead_letters(bootstrap: str, log: Sequence[Record], expected: Expected) -> None:
    """Each refused record is there under its origin, in its own bytes, as often as it likes; and nothing else is."""
    raw = {f"{one.topic}/{one.partition}/{one.offset}": one for one in log}
    reasons = {}
    for letter in await read_topic(bootstrap, DEAD_LETTER):
        said = read_dead_letter_headers(letter.headers)
        original = raw[said.origin]
        # A record of neither key nor value has an empty key as a dead letter.
        assert (letter.key or None, letter.value) == (original.key or None, original.value), said
        reasons[said.origin] = said.reason
    _assert_same("dead letters", reasons, expected.dead_letters)


def _assert_same(what: str, found: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    """The first few differences say more than two large mappings."""
    different = [one for one in {**wanted, **found} if found.get(one) != wanted.get(one)]
    shown = "\n".join(f"{one}:\n  found  {found.get(one)}\n  wanted {wanted.get(one)}" for one in different[:5])
    assert not different, f"{len(different)} {what} differ of {len(wanted)}\n{shown}"


async def followed_stream(bootstrap: str) -> dict[str, bytes]:
    """What a consumer of `youtube.videos` ends with that keeps the highest sequence of each key.

    Events of one sequence speak of one record, so however often they are sent they carry the same value.
    """
    kept: dict[str, tuple[int, bytes | None]] = {}
    said: dict[tuple[str, int], bytes | None] = {}
    for one in await read_topic(bootstrap, VIDEOS):
        envelope = read_video_headers(one.headers)
        assert one.key == envelope.subject.encode()
        assert (envelope.type == events.VIDEO_REMOVED) == (one.value is None)
        assert said.setdefault((envelope.subject, envelope.sequence), one.value) == one.value, envelope
        if envelope.sequence >= kept.get(envelope.subject, (-1, None))[0]:
            kept[envelope.subject] = envelope.sequence, one.value
    return {video_id: value for video_id, (_, value) in kept.items() if value is not None}


def markers(documents: dict[str, Document]) -> set[str]:
    return {one for one, document in documents.items() if isinstance(document, Marker)}
