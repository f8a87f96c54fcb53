"""What the processor asks of Kafka (`VideoEvents`, `DeadLetters` of `processors.projection`), of fakes and a broker."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from aiokafka import ConsumerRecord

from contract import events
from contract.events import Headers, VideoEnvelope, read_dead_letter_headers, read_video_headers, video_headers
from contract.topics import DEAD_LETTER, RAW, VIDEOS, topic_specs
from contract.version import VERSION
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from processors.decode import Record, Refusal
from processors.kafka_output import KafkaDeadLetters, KafkaVideoEvents, kafka_output
from processors.known_videos import FaustKnownVideos
from processors.projection import DeadLetters, VideoEvents
from processors.waiting import Unavailable
from tests.conftest import MakeServers, Servers
from tests.fakes.processor_edges import FakeDeadLetters, FakeVideoEvents
from tests.raw_items import NOW_MS, PARTITIONS, partition_of, video_id
from tests.suites.processor_edges import FAKE_AND_REAL, Reader, known_entry, new_records, opened_table


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
    async with new_records(bootstrap, VIDEOS) as read, kafka_output(KafkaConnection(bootstrap)) as output:

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
    async with new_records(bootstrap, DEAD_LETTER) as read, kafka_output(KafkaConnection(bootstrap)) as output:

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
    async with new_records(bootstrap, DEAD_LETTER) as read, kafka_output(KafkaConnection(bootstrap)) as output:
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


# A broker that is away.


@pytest.mark.integration
async def test_without_the_broker_all_of_kafka_is_unavailable_until_it_is_back(
    make_servers: MakeServers, tmp_path: Path
) -> None:
    servers = make_servers()
    bootstrap = servers.kafka_bootstrap
    await create_missing_topics(KafkaConnection(bootstrap), topic_specs(PARTITIONS), 1)
    async with kafka_output(KafkaConnection(bootstrap)) as output, opened_table(tmp_path) as table:
        known_videos = FaustKnownVideos(table, output)
        sends: list[Callable[[], Awaitable[None]]] = [
            lambda: KafkaVideoEvents(output).send([(event(1, 1), b"{}")]),
            lambda: KafkaDeadLetters(output).send([(BAD_RECORDS[1], Refusal("schema", "x"))]),
            lambda: known_videos.write(1, {video_id(1): known_entry(1)}),
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
        assert known_videos.read(1, [video_id(1)]) == {video_id(1): known_entry(1)}


async def _until_sent(send: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await send()
            except Unavailable:
                await asyncio.sleep(0.1)
            else:
                return
