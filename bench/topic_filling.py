"""Topics filled for benchmarks: raw items of full size, and the documents that they come to.

A video has two raw records: its search item and, close behind it, its completion by `videos.list` (pages of fifty,
as the producer writes them). Texts are those of a catalogue of real videos when there is one beside the project, else
generated; each video has an id of its own, without order. Items are made once for some two thousand videos and then
given other ids and publish times, so that a million take half a minute.
"""

import asyncio
import base64
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2

from bench.servers import PARTITIONS
from contract import events
from contract.events import RawEnvelope, raw_headers
from contract.read_model import BODY
from contract.times import format_seconds
from contract.topics import DAY_MS, RAW, RAW_MAX_BYTES, TopicSpec
from processors.decode import Item, Record, decode
from processors.document import Document, SourcePosition, to_stored
from processors.fold import Folded, fold
from simulator.catalogue import CatalogueVideo, read_catalogue
from simulator.generated import generated_video
from simulator.responses import search_item, video_item
from simulator.video_index import PublishedVideo

DOCUMENTS: Final = "bench.documents"
"""For each raw record, in the same places, the document of its video in the end, as a JSON object without `_id`."""

CATALOGUE: Final = Path(__file__).resolve().parents[2] / "shared" / "catalogue" / "talks.jsonl.gz"

PAGE: Final = 50
QUERIES: Final = ("python", "tea")
_TEMPLATES: Final = 2000
_PUBLISHED_EVERY_MS: Final = 20_000
_BATCH_BYTES: Final = 512 << 10
_BATCHES_IN_FLIGHT: Final = 4

# What stands for the id and the publish time in what is made once; no text holds them.
_ID: Final = b"iDpLaCe-_42"
_MS: Final = 1_111_111_111_000
_AT: Final = format_seconds(_MS).encode()


class Template(NamedTuple):
    """JSON of one video's search item, `videos.list` item and document."""

    search: bytes
    video: bytes
    document: bytes


class Filled(msgspec.Struct):
    """What was written: messages to each topic and bytes of their values, before compression."""

    messages: int
    bytes_by_topic: dict[str, int]

    def mean_bytes(self, topic: str) -> float:
        return self.bytes_by_topic[topic] / self.messages


def documents_topic() -> TopicSpec:
    return TopicSpec(DOCUMENTS, PARTITIONS, {"max.message.bytes": str(RAW_MAX_BYTES)})


def video_id(number: int) -> str:
    """The id of a number's video: 11 characters in no order, as YouTube's are."""
    return base64.urlsafe_b64encode(blake2b(number.to_bytes(8), digest_size=8).digest())[:11].decode()


def partition_of(key: bytes) -> int:
    return int((murmur2(key) & 0x7FFFFFFF) % PARTITIONS)


def fill_topics(bootstrap: str, messages: int, topics: Sequence[str], first: int = 0) -> Filled:
    """Write `messages` records of the videos from number `first` on to each topic; returns when Kafka has them all.

    The work is shared by as many processes as there are cores, each with partitions of its own.
    """
    workers = min(PARTITIONS, os.cpu_count() or 1)
    now_ms = time.time_ns() // 1_000_000
    shares = [
        _Share(bootstrap, messages, topics, first, now_ms, tuple(range(number, PARTITIONS, workers)))
        for number in range(workers)
    ]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        parts = pool.map(_write, shares)
    total = {topic: sum(part.bytes_by_topic[topic] for part in parts) for topic in topics}
    filled = Filled(sum(part.messages for part in parts), total)
    assert filled.messages == messages, filled
    return filled


class _Share(NamedTuple):
    """What one process writes."""

    bootstrap: str
    messages: int
    topics: Sequence[str]
    first: int
    now_ms: int
    partitions: Sequence[int]


def _write(share: _Share) -> Filled:
    return asyncio.run(_send(share))


async def _send(share: _Share) -> Filled:
    templates = make_templates()
    filled = Filled(0, dict.fromkeys(share.topics, 0))
    producer = AIOKafkaProducer(
        bootstrap_servers=share.bootstrap,
        compression_type="zstd",
        max_batch_size=_BATCH_BYTES,
        max_request_size=2 << 20,
    )
    await producer.start()
    try:
        batches = {
            (topic, partition): _Batches(producer, topic, partition)
            for topic in share.topics
            for partition in share.partitions
        }
        for number, is_video in sequence(share.messages):
            key = video_id(share.first + number).encode()
            partition = partition_of(key)
            if partition not in share.partitions:
                continue
            template = templates[number % len(templates)]
            published_ms = share.now_ms - 2 * DAY_MS - (share.first + number) * _PUBLISHED_EVERY_MS
            filled.messages += 1
            for topic in share.topics:
                made = template.document if topic == DOCUMENTS else template.video if is_video else template.search
                value = fill_in(made, key, published_ms)
                headers = item_headers(key.decode(), is_video, share.now_ms) if topic == RAW else []
                filled.bytes_by_topic[topic] += len(value)
                await batches[topic, partition].add(key, value, headers)
        for rest in batches.values():
            await rest.finish()
    finally:
        await producer.stop()
    return filled


class _Batches:
    """Record batches of one partition, a few in flight; they stay in order."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partition: int) -> None:
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._batch = producer.create_batch()
        self._in_flight: deque[Any] = deque()

    async def add(self, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        if self._batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
            await self._send()
            assert self._batch.append(timestamp=None, key=key, value=value, headers=headers) is not None

    async def _send(self) -> None:
        self._in_flight.append(await self._producer.send_batch(self._batch, self._topic, partition=self._partition))
        self._batch = self._producer.create_batch()
        while len(self._in_flight) > _BATCHES_IN_FLIGHT:
            await self._in_flight.popleft()

    async def finish(self) -> None:
        if self._batch.record_count():
            await self._send()
        while self._in_flight:
            await self._in_flight.popleft()


def sequence(messages: int) -> Iterator[tuple[int, bool]]:
    """Video numbers in the order of their records, and whether the record is the completion: page by page."""
    videos = (messages + 1) // 2
    left = messages
    for begin in range(0, videos, PAGE):
        page = range(begin, min(begin + PAGE, videos))
        for is_video in (False, True):
            for number in page[:left]:
                left -= 1
                yield number, is_video


def fill_in(made: bytes, key: bytes, published_ms: int) -> bytes:
    """What was made for no video in particular, for this one."""
    published = format_seconds(published_ms).encode()
    value = made.replace(_ID, key).replace(_AT, published)
    return value.replace(b"%d" % _MS, b"%d" % (published_ms // 1000 * 1000))


def item_headers(video: str, is_video: bool, now_ms: int) -> list[tuple[str, bytes]]:
    """Headers as the producer writes them; the completion was fetched a second after the search."""
    return raw_headers(
        RawEnvelope(
            type=events.ITEM_FETCHED,
            source=events.VIDEOS if is_video else events.SEARCH,
            id=f"bench-{video}-{is_video:d}",
            time_ms=now_ms + 1000 * is_video,
            subject=video,
            queries=QUERIES,
            first_seen_ms=now_ms,
        )
    )


def make_templates() -> list[Template]:
    """Of every so-manieth video of the catalogue, or of generated ones."""
    if CATALOGUE.exists():
        videos = read_catalogue(CATALOGUE)
        videos = videos[:: max(1, len(videos) // _TEMPLATES)]
    else:
        videos = [generated_video(1, number) for number in range(_TEMPLATES)]
    return [make_template(video) for video in videos]


def make_template(video: CatalogueVideo) -> Template:
    """The items as the API's stand-in shows them, and the document as the fold makes it and MongoDB keeps it."""
    of_no_video = msgspec.structs.replace(video, video_id=_ID.decode())
    published = PublishedVideo(video=of_no_video, published_ms=_MS, searchable_ms=_MS)
    search = orjson.dumps(search_item(published, (), with_snippet=True))
    completion = orjson.dumps(video_item(published, frozenset({"snippet", "contentDetails", "status"}), _MS))
    document: Document | None = None
    for offset, (value, is_video) in enumerate(((search, False), (completion, True))):
        headers = tuple(item_headers(_ID.decode(), is_video, _MS))
        said = decode(Record(RAW, 0, offset, _MS, _ID, value, headers), lambda _key: 0)
        assert isinstance(said, Item), said
        folded = fold(document, said, SourcePosition(RAW, 0, offset))
        assert isinstance(folded, Folded), folded
        document = folded.document
    assert document is not None
    return Template(search, completion, _as_json(document))


def _as_json(document: Document) -> bytes:
    """The stored document, its bytes as text and its dates as numbers of the same size."""
    stored = to_stored(document, datetime.now())  # noqa: DTZ005  # of no marker: not used
    del stored["_id"]
    stored[BODY] = stored[BODY].decode()
    return orjson.dumps(stored, default=_milliseconds, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _milliseconds(value: object) -> int:
    assert isinstance(value, datetime)
    return int(value.timestamp() * 1000)
