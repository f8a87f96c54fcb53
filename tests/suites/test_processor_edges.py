"""What the processor asks of its edges (the protocols of `processors.projection`), of the fakes and of the real ones.

Its property tests stand on the fakes, so every law that those rely on is asked of MongoDB, Kafka and RocksDB too.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import bson
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from faust.types import TP
from pymongo.errors import BulkWriteError

from contract import events, read_model
from contract.events import Headers, VideoEnvelope, read_dead_letter_headers, read_video_headers, video_headers
from contract.settings import load_settings
from contract.topics import CHANGELOG, DEAD_LETTER, RAW, VIDEOS, topic_specs
from contract.version import VERSION
from contract.video import Thumbnail
from ops.kafka_topics import create_missing_topics
from processors.app import create_app, known_videos_table
from processors.decode import Record, Refusal, decode
from processors.dedup import KnownVideo, encode_known, known_video
from processors.document import Document, Marker, SourcePosition, VideoDocument, to_stored
from processors.fold import fold
from processors.kafka_output import KafkaDeadLetters, KafkaVideoEvents, kafka_output
from processors.known_videos import FaustKnownVideos
from processors.projection import DeadLetters, KnownVideos, ReadModel, Unavailable, VideoEvents
from processors.read_model_writer import DUPLICATE_KEY, RETRIED_CODES, MongoReadModel, _read_errors, mongo_client
from tests.conftest import MakeServers, Servers
from tests.fakes.processor_edges import FakeDeadLetters, FakeKnownVideos, FakeReadModel, FakeVideoEvents
from tests.raw_items import ITEM_MAKERS, NOW_MS, PARTITIONS, partition_of, record, video_id
from yousync.local.server import free_port

Kind = TypeVar("Kind", VideoDocument, Marker)
FAKE_AND_REAL = ["fake", pytest.param("real", marks=pytest.mark.integration)]


def folded(number: int, offset: int, *, title: str = "A talk", on: Document | None = None) -> VideoDocument:
    """The document of video `number` after an item at `offset`; every hidden field says something."""
    source = sorted(ITEM_MAKERS)[offset % len(ITEM_MAKERS)]
    item = ITEM_MAKERS[source](number, title=title)
    raw = record(number, offset, item, source=source, time_ms=NOW_MS + offset + 123, queries=("tea", "té \0"))
    return _fold(raw, on, VideoDocument)


def marker(number: int, offset: int, *, on: VideoDocument) -> Marker:
    """What a removal at `offset` leaves of the video."""
    return _fold(record(number, offset, None, time_ms=NOW_MS + offset + 456), on, Marker)


def _fold(raw: Record, on: Document | None, kind: type[Kind]) -> Kind:
    said = decode(raw, partition_of)
    assert not isinstance(said, Refusal)
    after = fold(on, said, SourcePosition(raw.topic, raw.partition, raw.offset))
    assert not isinstance(after, Refusal)
    assert isinstance(after.document, kind)
    return after.document


# The read model.


@dataclass
class Store:
    """A read model, what is really stored of an id, and a way to drop the collection."""

    read_model: ReadModel
    stored: Callable[[str], Awaitable[Mapping[str, Any] | None]]
    drop: Callable[[], Awaitable[object]]

    async def write(self, *documents: Document) -> tuple[set[str], set[str]]:
        """Ids that were overtaken, and rejected."""
        result = await self.read_model.write(documents)
        return set(result.overtaken), set(result.rejected)

    async def holds(self, *documents: Document) -> bool:
        return await self.read_model.documents([one.id for one in documents]) == {one.id: one for one in documents}


@asynccontextmanager
async def mongo_store(servers: Servers) -> AsyncIterator[tuple[MongoReadModel, Any]]:
    """A prepared read model, and its database, which is the test's own."""
    async with mongo_client(servers.mongodb_uri) as client:
        name = f"edges_{uuid.uuid4().hex}"
        model = MongoReadModel(client, name)
        await model.prepare()
        yield model, client[name]
        await client.drop_database(name)


def fake_store() -> Store:
    fake = FakeReadModel()

    async def stored(one: str) -> Mapping[str, Any] | None:
        return fake.stored.get(one)

    async def drop() -> None:
        fake.drop()

    return Store(fake, stored, drop)


@pytest.fixture(params=FAKE_AND_REAL)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "fake":
        yield fake_store()
        return
    async with mongo_store(request.getfixturevalue("servers")) as (model, database):
        videos = database[read_model.VIDEOS]
        yield Store(model, lambda one: videos.find_one({"_id": one}), videos.drop)


async def test_nothing_stored_is_no_document(store: Store) -> None:
    assert await store.read_model.documents([video_id(1)]) == {}
    assert await store.read_model.documents([]) == {}
    assert await store.write() == (set(), set())


async def test_documents_come_back_as_they_were_written_hidden_fields_too(store: Store) -> None:
    plain, odd = folded(1, 10), folded(2, 11, title="nul\0, “é” and 🦆")
    updated = folded(2, 12, title="another", on=odd)
    gone = marker(3, 13, on=folded(3, 9))
    assert len(updated.registers) == 2

    assert await store.write(plain, updated, gone) == (set(), set())

    assert await store.holds(plain, updated, gone)
    assert await store.read_model.documents([video_id(2), video_id(99)]) == {video_id(2): updated}


async def test_what_readers_and_operators_see_is_stored_beside_the_state(store: Store) -> None:
    document = folded(1, 10)
    await store.write(document)

    stored = await store.stored(document.id)

    assert stored is not None
    assert (stored["k"], bytes(stored["body"])) == (document.sort_key, document.body)
    assert stored["projection_version"] == read_model.PROJECTION_VERSION
    assert set(stored) == set(to_stored(document, datetime.now(UTC)))


@pytest.mark.parametrize("offset", [0, 9, 10])
async def test_a_write_at_or_below_the_stored_position_is_overtaken_and_changes_nothing(
    store: Store, offset: int
) -> None:
    first = folded(1, 10)
    await store.write(first)

    assert await store.write(folded(1, offset, title="late")) == ({first.id}, set())

    assert await store.holds(first)


async def test_the_next_offset_is_no_longer_overtaken(store: Store) -> None:
    await store.write(first := folded(1, 10))

    assert await store.write(second := folded(1, 11, title="newer", on=first)) == (set(), set())

    assert await store.holds(second)


async def test_a_write_whose_answer_was_lost_is_overtaken_by_itself(store: Store) -> None:
    documents: list[Document] = [folded(1, 10), marker(2, 11, on=folded(2, 5))]
    await store.write(*documents)

    assert await store.write(*documents) == ({one.id for one in documents}, set())

    assert await store.holds(*documents)


async def test_of_a_mixed_bulk_all_but_the_overtaken_is_applied(store: Store) -> None:
    old = [folded(number, 10) for number in range(6)]
    await store.write(*old)
    new, newer, gone = folded(7, 20), folded(1, 20, title="B", on=old[1]), marker(2, 21, on=old[2])
    late, same, late_removal = folded(3, 9, title="C"), old[4], marker(5, 10, on=old[5])

    overtaken, rejected = await store.write(late, new, same, newer, late_removal, gone)

    assert (overtaken, rejected) == ({late.id, same.id, late_removal.id}, set())
    assert await store.holds(old[0], newer, gone, old[3], old[4], old[5], new)


async def test_a_marker_replaces_the_document_and_hides_the_sort_key(store: Store) -> None:
    await store.write(document := folded(1, 10))

    await store.write(gone := marker(1, 11, on=document))

    assert await store.holds(gone)
    stored = await store.stored(gone.id)
    assert stored is not None
    assert set(stored) == {"_id", "removed_at", "source", "event", "expires_at"}


async def test_an_item_after_the_marker_replaces_it(store: Store) -> None:
    await store.write(gone := marker(1, 11, on=folded(1, 10)))

    await store.write(again := folded(1, 12, title="back", on=gone))

    assert await store.holds(again)
    stored = await store.stored(again.id)
    assert stored is not None
    assert stored["k"] == again.sort_key
    assert not {"expires_at", "removed_at"} & set(stored)


async def test_the_generation_is_stable_until_the_collection_is_dropped(store: Store) -> None:
    before = await store.read_model.generation()
    await store.write(document := folded(1, 10))
    assert await store.read_model.generation() == before

    await store.drop()

    after = await store.read_model.generation()
    assert after != before
    assert await store.read_model.generation() == after
    assert await store.read_model.documents([document.id]) == {}
    assert await store.write(folded(1, 3)) == (set(), set())


# The read model, in MongoDB only.


@pytest.fixture
async def mongo(servers: Servers) -> AsyncIterator[tuple[MongoReadModel, Any]]:
    async with mongo_store(servers) as made:
        yield made


Mongo = tuple[MongoReadModel, Any]


@pytest.mark.integration
async def test_prepared_twice_there_are_the_indexes_and_one_generation_document(mongo: Mongo) -> None:
    model, database = mongo
    generation = await model.generation()
    await asyncio.gather(model.prepare(), model.prepare())

    assert await model.generation() == generation
    found = await database[read_model.VIDEOS].index_information()
    assert set(found) == {"_id_", *(index.name for index in read_model.INDEXES)}
    for index in read_model.INDEXES:
        assert found[index.name]["key"] == index.keys
        assert index.options.items() <= found[index.name].items()
    assert await database[read_model.READ_MODEL].find().to_list(None) == [
        {"_id": read_model.READ_MODEL_ID, "projection_version": read_model.PROJECTION_VERSION, "applied": {}}
    ]


@pytest.mark.integration
async def test_a_dropped_collection_comes_back_with_its_indexes(mongo: Mongo) -> None:
    model, database = mongo
    await database[read_model.VIDEOS].drop()

    await model.generation()

    assert len(await database[read_model.VIDEOS].index_information()) == 1 + len(read_model.INDEXES)


@pytest.mark.integration
async def test_a_marker_expires_a_day_after_it_was_written(mongo: Mongo) -> None:
    model, database = mongo
    before = datetime.now(UTC)
    await model.write([gone := marker(1, 10, on=folded(1, 9))])

    stored = await database[read_model.VIDEOS].find_one({"_id": gone.id})

    # MongoDB keeps milliseconds, and the driver gives naive UTC unless told otherwise.
    written = stored["expires_at"].replace(tzinfo=UTC) - timedelta(days=1)
    assert timedelta(milliseconds=-1) <= written - before < timedelta(seconds=30)


async def test_a_server_that_is_away_is_unavailable_within_seconds() -> None:
    async with mongo_client(f"mongodb://127.0.0.1:{free_port()}") as client:
        model = MongoReadModel(client, "nowhere")
        began = time.monotonic()

        answers = await asyncio.gather(
            model.prepare(),
            model.generation(),
            model.documents([video_id(1)]),
            model.write([folded(1, 1)]),
            return_exceptions=True,
        )

    assert [type(answer) for answer in answers] == [Unavailable] * 4
    assert {answer.part for answer in answers if isinstance(answer, Unavailable)} == {"MongoDB"}
    assert time.monotonic() - began < 4


def unsendable(number: int) -> list[VideoDocument]:
    """Documents that the driver cannot, or MongoDB would not, take: each for another reason."""
    documents = [folded(number + step, 10) for step in range(3)]
    name, size = (
        {"a\0b": Thumbnail("https://i.ytimg.com/x.jpg")},
        {"x": Thumbnail("https://i.ytimg.com/x.jpg", 2**70, 1)},
    )
    return [
        msgspec.structs.replace(documents[0], body=b"x" * (16 << 20)),
        _with_thumbnails(documents[1], name),
        _with_thumbnails(documents[2], size),
    ]


def _with_thumbnails(document: VideoDocument, thumbnails: dict[str, Thumbnail]) -> VideoDocument:
    return msgspec.structs.replace(document, video=msgspec.structs.replace(document.video, thumbnails=thumbnails))


@pytest.mark.integration
async def test_a_document_that_cannot_be_sent_is_rejected_and_the_others_are_written(mongo: Mongo) -> None:
    model, _ = mongo
    bad, good = unsendable(100), [folded(number, 10) for number in (1, 2)]
    await model.write([folded(3, 10)])

    result = await model.write([good[0], *bad, folded(3, 4), good[1]])

    assert set(result.rejected) == {one.id for one in bad}
    assert all(result.rejected.values())
    assert set(result.overtaken) == {video_id(3)}
    assert await model.documents([one.id for one in (*good, *bad)]) == {one.id: one for one in good}


@pytest.mark.integration
async def test_a_bulk_of_nothing_but_rejected_documents_is_no_fault(mongo: Mongo) -> None:
    model, _ = mongo
    assert set((await model.write(bad := unsendable(100))).rejected) == {one.id for one in bad}


@pytest.mark.integration
async def test_the_largest_document_that_counts_as_sendable_is_taken(mongo: Mongo) -> None:
    model, _ = mongo
    small = msgspec.structs.replace(folded(1, 10), body=b"")
    room = (16 << 20) - len(bson.encode(to_stored(small, datetime.now(UTC))))
    largest = msgspec.structs.replace(small, body=b"x" * room)
    too_large = msgspec.structs.replace(folded(2, 10), body=b"x" * (room + 1))

    result = await model.write([largest, too_large])

    assert set(result.rejected) == {too_large.id}
    assert await model.documents([largest.id]) == {largest.id: largest}


@pytest.mark.integration
async def test_a_document_that_the_server_refuses_is_rejected_and_the_others_are_written(mongo: Mongo) -> None:
    model, database = mongo
    await model.write([there := folded(4, 10)])
    await database.command({"collMod": read_model.VIDEOS, "validator": {"title": {"$ne": "refused"}}})
    bad = [folded(1, 10, title="refused"), folded(4, 11, title="refused", on=there)]
    good = [folded(number, 10) for number in (2, 3)]
    unsent = unsendable(100)[0]

    result = await model.write([unsent, good[0], *bad, folded(4, 9), good[1]])

    assert set(result.rejected) == {unsent.id, *(one.id for one in bad)}
    assert result.rejected[bad[0].id].startswith("code 121: ")
    assert await model.documents([one.id for one in (*good, *bad)]) == {one.id: one for one in (*good, there)}


IDS = ["first", "second", "third"]


def read_errors(*write_errors: Mapping[str, Any], concerns: Sequence[Mapping[str, Any]] = ()) -> Any:
    details = {"writeErrors": list(write_errors), "writeConcernErrors": list(concerns)}
    return _read_errors(BulkWriteError(details), IDS, {"unsendable": "too large"})


def write_error(index: int, code: int, **more: Any) -> dict[str, Any]:
    return {"index": index, "code": code, "errmsg": f"what {code} says", **more}


DUPLICATE_ID = {"keyPattern": {"_id": 1}}
DUPLICATE_SORT_KEY = {"keyPattern": {"k": -1}}


def test_a_duplicate_id_is_overtaken_and_any_other_duplicate_is_rejected() -> None:
    result = read_errors(
        write_error(2, DUPLICATE_KEY, **DUPLICATE_ID),
        write_error(0, DUPLICATE_KEY, **DUPLICATE_SORT_KEY),
        write_error(1, 121),
    )

    assert result.overtaken == {"third"}
    assert result.rejected == {
        "first": "code 11000: what 11000 says",
        "second": "code 121: what 121 says",
        "unsendable": "too large",
    }


@pytest.mark.parametrize("code", sorted(RETRIED_CODES))
def test_an_error_that_speaks_of_the_server_is_waited_out_whatever_else_failed(code: int) -> None:
    with pytest.raises(Unavailable, match=f"MongoDB is unavailable: what {code} says"):
        read_errors(write_error(0, 121), write_error(1, code), write_error(2, DUPLICATE_KEY, **DUPLICATE_ID))


def test_a_write_that_no_majority_has_is_waited_out() -> None:
    with pytest.raises(Unavailable, match="waiting for replication timed out"):
        read_errors(concerns=[{"code": 64, "errmsg": "waiting for replication timed out"}])


# Kafka: video events and dead letters.

Reader = Callable[[], Awaitable[list[ConsumerRecord]]]


@asynccontextmanager
async def new_records(bootstrap: str, topic: str) -> AsyncIterator[Reader]:
    """A reader of what the topic got since, by partition and offset; topics are made when missing."""
    await create_missing_topics(bootstrap, topic_specs(PARTITIONS), 1)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        numbers = range(1 if topic == DEAD_LETTER else PARTITIONS)
        consumer.assign([TopicPartition(topic, number) for number in numbers])
        starts = await consumer.end_offsets(consumer.assignment())

        async def read() -> list[ConsumerRecord]:
            ends = await consumer.end_offsets(consumer.assignment())
            for partition, start in starts.items():
                consumer.seek(partition, start)
            found: list[ConsumerRecord] = []
            async with asyncio.timeout(20):
                while len(found) < sum(ends.values()) - sum(starts.values()):
                    for batch in (await consumer.getmany(timeout_ms=1000)).values():
                        found += batch
            return sorted(found, key=lambda one: (one.partition, one.offset))

        yield read
    finally:
        await consumer.stop()


@dataclass(frozen=True)
class SentEvent:
    """An event as a consumer gets it."""

    partition: int
    key: bytes
    envelope: VideoEnvelope
    value: bytes | None


@dataclass
class Events:
    """An edge for events, and what was sent through it, by partition."""

    edge: VideoEvents
    sent: Callable[[], Awaitable[list[SentEvent]]]


@pytest.fixture(params=FAKE_AND_REAL)
async def video_events(request: pytest.FixtureRequest) -> AsyncIterator[Events]:
    if request.param == "fake":
        fake = FakeVideoEvents()

        async def sent_to_fake() -> list[SentEvent]:
            sent = [SentEvent(one.partition, one.subject.encode(), one, value) for one, value in fake.sent]
            return sorted(sent, key=lambda one: one.partition)

        yield Events(fake, sent_to_fake)
        return
    bootstrap = request.getfixturevalue("servers").kafka_bootstrap
    async with new_records(bootstrap, VIDEOS) as read, kafka_output(bootstrap) as output:

        async def sent_to_kafka() -> list[SentEvent]:
            return [_sent_event(one) for one in await read()]

        yield Events(KafkaVideoEvents(output), sent_to_kafka)


def _sent_event(got: ConsumerRecord) -> SentEvent:
    envelope = read_video_headers(got.headers)
    assert list(got.headers) == video_headers(envelope)
    return SentEvent(got.partition, got.key, envelope, got.value)


def event(number: int, sequence: int, type_: str = events.VIDEO_UPDATED, partition: int | None = None) -> VideoEnvelope:
    key = video_id(number)
    return VideoEnvelope(
        type=type_,
        partition=partition_of(key.encode()) if partition is None else partition,
        sequence=sequence,
        subject=key,
        sort_key=f"{NOW_MS}{key}",
        previous_sort_key=f"{NOW_MS - 1}{key}" if type_ == events.VIDEO_UPDATED else None,
    )


async def test_events_are_there_with_key_value_and_envelope_in_their_order(video_events: Events) -> None:
    owed: list[tuple[VideoEnvelope, bytes | None]] = [
        (event(1, 1, events.VIDEO_DISCOVERED), b'{"n":1}'),
        (event(2, 2, events.VIDEO_DISCOVERED), "é🦆".encode()),
        (event(1, 3), b'{"n":3}'),
        (event(1, 4, events.VIDEO_REMOVED), None),
        (replace_sort_key(event(9, 5, events.VIDEO_REMOVED)), None),
    ]
    await video_events.edge.send(owed[:3])
    await video_events.edge.send(owed[3:])

    expected = [SentEvent(one.partition, one.subject.encode(), one, value) for one, value in owed]
    assert await video_events.sent() == sorted(expected, key=lambda one: one.partition)


def replace_sort_key(envelope: VideoEnvelope) -> VideoEnvelope:
    """A removal of a video that was never stored."""
    return msgspec.structs.replace(envelope, sort_key=None)


async def test_an_event_goes_to_the_partition_that_it_names(video_events: Events) -> None:
    elsewhere = [event(1, number, partition=number) for number in range(PARTITIONS)]

    await video_events.edge.send([(one, b"{}") for one in elsewhere])

    assert [(one.partition, one.key) for one in await video_events.sent()] == [
        (number, video_id(1).encode()) for number in range(PARTITIONS)
    ]


async def test_an_event_sent_again_is_there_again(video_events: Events) -> None:
    await video_events.edge.send([(event(1, 1), b"{}")])
    await video_events.edge.send([(event(1, 1), b"{}")])

    assert len(await video_events.sent()) == 2


async def test_no_events_are_none(video_events: Events) -> None:
    await video_events.edge.send([])

    assert await video_events.sent() == []


@dataclass(frozen=True)
class Letter:
    """What every dead letter keeps: the record, and why it is dead."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    reason: str
    detail: str


@dataclass
class Letters:
    """An edge for dead letters, and what was sent through it."""

    edge: DeadLetters
    sent: Callable[[], Awaitable[list[Letter]]]


@pytest.fixture(params=FAKE_AND_REAL)
async def dead_letters(request: pytest.FixtureRequest) -> AsyncIterator[Letters]:
    if request.param == "fake":
        fake = FakeDeadLetters()

        async def sent_to_fake() -> list[Letter]:
            return [Letter(one.key, one.value, list(one.headers), said.reason, said.detail) for one, said in fake.sent]

        yield Letters(fake, sent_to_fake)
        return
    bootstrap = request.getfixturevalue("servers").kafka_bootstrap
    async with new_records(bootstrap, DEAD_LETTER) as read, kafka_output(bootstrap) as output:

        async def sent_to_kafka() -> list[Letter]:
            return [_letter(one) for one in await read()]

        yield Letters(KafkaDeadLetters(output), sent_to_kafka)


def _letter(got: ConsumerRecord) -> Letter:
    said = read_dead_letter_headers(got.headers)
    original = [(name, value) for name, value in got.headers if not name.startswith("dl_")]
    return Letter(got.key, got.value, original, said.reason, said.detail)


def bad_record(number: int, *, key: bytes | None, value: bytes | None, headers: Headers = ()) -> Record:
    return Record(RAW, 3, 1000 + number, NOW_MS, key, value, tuple(headers))


BAD_RECORDS = [
    bad_record(
        1, key=b"k\xff\0", value=b"\xff\xfe\0", headers=[("ce_type", b"\xff"), ("twice", b"1"), ("twice", b"2")]
    ),
    bad_record(2, key=None, value=b"no key"),
    bad_record(3, key=b"no value", value=None, headers=[("empty", b"")]),
    bad_record(4, key=b"", value=b""),
    bad_record(5, key=b"large", value=bytes(range(256)) * 4096),
]


async def test_dead_letters_keep_the_bytes_and_say_why(dead_letters: Letters) -> None:
    refused = [(one, Refusal("schema", f"fault {one.offset}, “é”")) for one in BAD_RECORDS]
    await dead_letters.edge.send(refused[:2])
    await dead_letters.edge.send(refused[2:])

    assert await dead_letters.sent() == [
        Letter(one.key, one.value, list(one.headers), said.reason, said.detail) for one, said in refused
    ]


async def test_no_dead_letters_are_none(dead_letters: Letters) -> None:
    await dead_letters.edge.send([])

    assert await dead_letters.sent() == []


# Dead letters, in Kafka only.


@pytest.fixture
async def kafka_letters(servers: Servers) -> AsyncIterator[tuple[KafkaDeadLetters, Reader]]:
    bootstrap = servers.kafka_bootstrap
    async with new_records(bootstrap, DEAD_LETTER) as read, kafka_output(bootstrap) as output:
        yield KafkaDeadLetters(output), read


KafkaLetters = tuple[KafkaDeadLetters, Reader]


@pytest.mark.integration
async def test_a_dead_letter_says_where_when_and_by_whom(kafka_letters: KafkaLetters) -> None:
    edge, read = kafka_letters
    began_ms = time.time() * 1000

    await edge.send([(BAD_RECORDS[0], Refusal("not_utf8", "x"))])

    said = read_dead_letter_headers((await read())[0].headers)
    assert (said.origin, said.attempt, said.version) == (f"{RAW}/3/1001", 1, VERSION)
    assert began_ms - 1 <= said.failed_at_ms <= time.time() * 1000


@pytest.mark.integration
async def test_a_retried_dead_letter_keeps_its_origin_and_counts_its_attempt(kafka_letters: KafkaLetters) -> None:
    edge, read = kafka_letters
    await edge.send([(BAD_RECORDS[0], Refusal("not_utf8", "the first time"))])
    (first,) = await read()
    again = Record(RAW, 1, 77, NOW_MS, first.key, first.value, tuple(first.headers))

    await edge.send([(again, Refusal("schema", "the second time"))])

    _, second = await read()
    assert [name for name, _ in second.headers] == [name for name, _ in first.headers]
    said = read_dead_letter_headers(second.headers)
    assert (said.origin, said.attempt) == (f"{RAW}/3/1001", 2)
    assert (said.reason, said.detail) == ("schema", "the second time")


@pytest.mark.integration
async def test_a_record_of_neither_key_nor_value_gets_an_empty_key(kafka_letters: KafkaLetters) -> None:
    edge, read = kafka_letters

    await edge.send([(bad_record(1, key=None, value=None, headers=[("a", b"b")]), Refusal("no_key", "nothing there"))])

    (got,) = await read()
    assert (got.key, got.value) == (b"", None)
    assert got.headers[0] == ("a", b"b")


# The table.


@dataclass
class Table:
    """The edge, and a way to put bytes of any kind where it reads."""

    edge: KnownVideos
    plant: Callable[[int, str, bytes], None]


@dataclass
class RealTable:
    """The table's store, and the changelog since."""

    edge: FaustKnownVideos
    table: Any
    changelog: Reader


@asynccontextmanager
async def real_table(bootstrap: str, folder: Path) -> AsyncIterator[RealTable]:
    async with new_records(bootstrap, CHANGELOG) as read, kafka_output(bootstrap) as output, opened(folder) as table:
        yield RealTable(FaustKnownVideos(table, output), table, read)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Any]:
    """The processor's table on an own folder; no worker runs."""
    table = known_videos_table(create_app(load_settings(home=folder)), PARTITIONS)
    table.data.path.mkdir(parents=True, exist_ok=True)
    yield table
    await table.data.stop()


@pytest.fixture(params=FAKE_AND_REAL)
async def table(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Table]:
    if request.param == "fake":
        fake = FakeKnownVideos()
        yield Table(fake, lambda partition, one, value: fake.entries.update({(partition, one): value}))
        return
    async with real_table(request.getfixturevalue("servers").kafka_bootstrap, tmp_path) as real:
        yield Table(
            real.edge,
            lambda partition, one, value: real.table.data._db_for_partition(partition).put(one.encode(), value),
        )


def entry(number: int, offset: int = 10) -> KnownVideo:
    return known_video(folded(number, offset), "generation é")


async def test_an_entry_is_read_as_it_was_set_in_its_partition(table: Table) -> None:
    await table.edge.write(1, {video_id(1): entry(1), video_id(2): entry(2)})
    await table.edge.write(2, {video_id(3): entry(3)})

    wanted = [video_id(number) for number in (3, 2, 99, 1)]
    assert table.edge.read(1, wanted) == {video_id(1): entry(1), video_id(2): entry(2)}
    assert table.edge.read(2, wanted) == {video_id(3): entry(3)}
    assert table.edge.read(0, wanted) == table.edge.read(1, []) == {}


async def test_the_later_of_two_writes_is_read(table: Table) -> None:
    await table.edge.write(1, {video_id(1): entry(1, 10)})
    await table.edge.write(1, {video_id(1): entry(1, 11)})

    assert entry(1, 10) != entry(1, 11)
    assert table.edge.read(1, [video_id(1)]) == {video_id(1): entry(1, 11)}


async def test_a_deleted_entry_is_unknown_until_it_is_set_again(table: Table) -> None:
    await table.edge.write(1, {video_id(1): entry(1), video_id(2): entry(2)})
    await table.edge.write(1, {video_id(1): None, video_id(99): None})
    assert table.edge.read(1, [video_id(1), video_id(2)]) == {video_id(2): entry(2)}

    await table.edge.write(1, {video_id(1): entry(1, 12)})
    assert table.edge.read(1, [video_id(1)]) == {video_id(1): entry(1, 12)}


@pytest.mark.parametrize("value", [b"", b"\x80\x04pickle", b"null", b'{"registers":{}}', b"[{},[],1]"])
async def test_an_entry_that_another_version_wrote_is_unknown_and_can_be_replaced(table: Table, value: bytes) -> None:
    await table.edge.write(1, {video_id(2): entry(2)})
    table.plant(1, video_id(1), value)
    assert table.edge.read(1, [video_id(1), video_id(2)]) == {video_id(2): entry(2)}

    await table.edge.write(1, {video_id(1): entry(1)})
    assert table.edge.read(1, [video_id(1)]) == {video_id(1): entry(1)}


async def test_a_write_of_nothing_changes_nothing(table: Table) -> None:
    await table.edge.write(1, {})

    assert table.edge.read(1, [video_id(1)]) == {}


# The table, in RocksDB with its changelog in Kafka only.


@pytest.fixture
async def faust_table(servers: Servers, tmp_path: Path) -> AsyncIterator[RealTable]:
    async with real_table(servers.kafka_bootstrap, tmp_path / "first") as real:
        yield real


async def fill(edge: KnownVideos) -> None:
    await edge.write(1, {video_id(1): entry(1), video_id(2): entry(2), video_id(3): entry(3)})
    await edge.write(2, {video_id(4): entry(4)})
    await edge.write(1, {video_id(1): None, video_id(2): entry(2, 20)})


@pytest.mark.integration
async def test_the_changelog_holds_exactly_what_was_written(faust_table: RealTable) -> None:
    await fill(faust_table.edge)

    changes = await faust_table.changelog()
    assert [(one.partition, one.key.decode(), one.value) for one in changes] == [
        (1, video_id(1), encode_known(entry(1))),
        (1, video_id(2), encode_known(entry(2))),
        (1, video_id(3), encode_known(entry(3))),
        (1, video_id(1), None),
        (1, video_id(2), encode_known(entry(2, 20))),
        (2, video_id(4), encode_known(entry(4))),
    ]
    ends = {one.partition: one.offset for one in changes}
    for partition, last in ends.items():
        assert faust_table.table.data.persisted_offset(TP(CHANGELOG, partition)) == last


@dataclass(frozen=True)
class ChangelogMessage:
    """As much of Faust's message as recovery hands to the store."""

    tp: TP
    partition: int
    offset: int
    key: bytes
    value: bytes | None


@dataclass(frozen=True)
class ChangelogEvent:
    """The same of its event."""

    message: ChangelogMessage


@pytest.mark.integration
async def test_an_empty_folder_recovers_the_same_entries_from_the_changelog(
    faust_table: RealTable, tmp_path: Path
) -> None:
    await fill(faust_table.edge)
    changes = [
        ChangelogEvent(ChangelogMessage(TP(CHANGELOG, one.partition), one.partition, one.offset, one.key, one.value))
        for one in await faust_table.changelog()
    ]
    wanted = [video_id(number) for number in range(6)]
    async with opened(tmp_path / "second") as second:
        recovered = FaustKnownVideos(second, faust_table.edge._output)
        assert recovered.read(1, wanted) == {}

        second.apply_changelog_batch(changes)

        for partition in range(PARTITIONS):
            assert recovered.read(partition, wanted) == faust_table.edge.read(partition, wanted)
        assert recovered.read(1, wanted) == {video_id(2): entry(2, 20), video_id(3): entry(3)}
        for partition in (1, 2):
            mark = TP(CHANGELOG, partition)
            assert second.data.persisted_offset(mark) == faust_table.table.data.persisted_offset(mark)


@pytest.mark.integration
async def test_entries_are_there_when_the_folder_is_opened_again(servers: Servers, tmp_path: Path) -> None:
    async with real_table(servers.kafka_bootstrap, tmp_path) as first:
        await fill(first.edge)
    async with opened(tmp_path) as again:
        known = FaustKnownVideos(again, first.edge._output).read(1, [video_id(2), video_id(3)])

    assert known == {video_id(2): entry(2, 20), video_id(3): entry(3)}


# A broker that is away.


@pytest.mark.integration
async def test_without_the_broker_all_of_kafka_is_unavailable_until_it_is_back(
    make_servers: MakeServers, tmp_path: Path
) -> None:
    servers = make_servers()
    bootstrap = servers.kafka_bootstrap
    await create_missing_topics(bootstrap, topic_specs(PARTITIONS), 1)
    async with kafka_output(bootstrap) as output, opened(tmp_path) as table:
        known_videos = FaustKnownVideos(table, output)
        sends: list[Callable[[], Awaitable[None]]] = [
            lambda: KafkaVideoEvents(output).send([(event(1, 1), b"{}")]),
            lambda: KafkaDeadLetters(output).send([(BAD_RECORDS[1], Refusal("schema", "x"))]),
            lambda: known_videos.write(1, {video_id(1): entry(1)}),
        ]
        for send in sends:
            await send()
        await known_videos.write(1, {video_id(1): None})
        servers.kafka.kill()
        try:
            async with asyncio.timeout(30):
                answers = await asyncio.gather(*(send() for send in sends), return_exceptions=True)
        finally:
            await asyncio.to_thread(servers.kafka.start)

        assert [type(answer) for answer in answers] == [Unavailable] * 3
        assert {answer.part for answer in answers if isinstance(answer, Unavailable)} == {"Kafka"}
        assert known_videos.read(1, [video_id(1)]) == {}
        await asyncio.gather(*(_until_sent(send) for send in sends))
        assert known_videos.read(1, [video_id(1)]) == {video_id(1): entry(1)}


async def _until_sent(send: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await send()
            except Unavailable:
                await asyncio.sleep(0.1)
            else:
                return
