"""A node of the API on the real Kafka and MongoDB, and a processor's part: the document first, then its event."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection

from contract.events import VIDEO_REMOVED, VIDEO_UPDATED, VideoEnvelope, video_headers
from contract.read_model import INDEXES, VIDEOS
from contract.topics import VIDEOS as VIDEO_EVENTS
from contract.topics import topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from ops.metrics import ApiMetrics
from query_api.node import Node
from query_api.pagination import PageRequest, Total
from query_api.video_event import VideoEvent
from query_api.video_reader import MongoVideoReader
from query_api.video_stream import VideoStream
from tests.conftest import Servers
from tests.fakes.video_documents import NEWEST_MS, Document, make_id, make_marker, make_video, video_document

PARTITIONS = 3
PATIENCE_SECONDS = 60

Documents = AsyncCollection[dict[str, Any]]


class Feed:
    """Takes what a node publishes."""

    def __init__(self) -> None:
        self.beginnings: list[Mapping[int, int]] = []
        self.published: list[VideoEvent] = []

    def start_at(self, next_offsets: Mapping[int, int]) -> None:
        self.beginnings.append(next_offsets)

    def publish(self, events: Sequence[VideoEvent]) -> None:
        self.published += events


class Processor:
    """Writes videos as a processor does, into a database of its own."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self._client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(servers.mongodb_uri)
        self.database = self._client[f"hot_{uuid.uuid4().hex}"]
        self.sequence = 0
        self.keys: dict[str, str] = {}
        self._producer: AIOKafkaProducer | None = None

    async def prepare(self) -> None:
        """Topics, and a store without videos."""
        await create_missing_topics(KafkaConnection(self.servers.kafka_bootstrap), topic_specs(PARTITIONS), 1)
        await create_indexes(self.database[VIDEOS])

    async def close(self) -> None:
        await self.reconnect()
        await self._client.close()

    async def reconnect(self) -> None:
        """Let go of Kafka."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def store_many(self, count: int) -> None:
        """Videos 0 to `count` - 1, of which no event tells."""
        self.sequence += 1
        documents = [self.document(number) for number in range(count)]
        await self.database[VIDEOS].insert_many(documents)
        self.keys |= {document["_id"]: document["k"] for document in documents}

    def document(self, number: int, published_ms: int | None = None, queries: Sequence[str] = ("tea",)) -> Document:
        published = NEWEST_MS + number * 1000 if published_ms is None else published_ms
        video = make_video(number, published)
        video.queries[:] = queries
        return video_document(video, published, self.sequence)

    async def store(self, number: int, published_ms: int | None = None, *, queries: Sequence[str] = ("tea",)) -> None:
        self.sequence += 1
        document = self.document(number, published_ms, queries)
        await self.database[VIDEOS].replace_one({"_id": document["_id"]}, document, upsert=True)
        await self._send(number, VIDEO_UPDATED, document["k"], bytes(document["body"]))
        self.keys[document["_id"]] = document["k"]

    async def remove(self, number: int) -> None:
        self.sequence += 1
        await self.database[VIDEOS].replace_one({"_id": make_id(number)}, make_marker(number), upsert=True)
        await self._send(number, VIDEO_REMOVED, self.keys.get(make_id(number)), None)

    async def _send(self, number: int, type_: str, sort_key: str | None, body: bytes | None) -> None:
        if self._producer is None:
            self._producer = AIOKafkaProducer(bootstrap_servers=self.servers.kafka_bootstrap)
            await self._producer.start()
        envelope = VideoEnvelope(
            type=type_,
            partition=0,
            sequence=self.sequence,
            subject=make_id(number),
            sort_key=sort_key,
            previous_sort_key=self.keys.get(make_id(number)),
        )
        await self._producer.send_and_wait(
            VIDEO_EVENTS, body, key=make_id(number).encode(), headers=video_headers(envelope)
        )

    async def swap(self, numbers: Sequence[int]) -> None:
        """A replay's end: another collection, with these videos, in place of the one that is read."""
        shadow = self.database["videos_replay_test"]
        await create_indexes(shadow)
        await shadow.insert_many([self.document(number) for number in numbers])
        await shadow.rename(VIDEOS, dropTarget=True)


class RunningNode:
    """A node, and what it shows."""

    def __init__(self, processor: Processor) -> None:
        self.reader = MongoVideoReader(processor.servers.mongodb_uri, processor.database.name)
        self.stream = VideoStream(KafkaConnection(processor.servers.kafka_bootstrap))
        self.feed = Feed()
        self.registry = CollectorRegistry()
        self.node = Node(self.reader, self.stream, self.feed, ApiMetrics(self.registry))

    def shown(self, asked: PageRequest) -> tuple[list[str], Total] | None:
        """Ids and total of a page; None when it is not in a window."""
        hot = self.node.hot_page(asked)
        return None if hot is None else ([video.sort_key[13:] for video in hot.page.items], hot.page.total)

    async def until_shown(self, numbers: Sequence[int], total: int, asked: PageRequest | None = None) -> None:
        wanted = [make_id(number) for number in numbers], Total(total)
        page = PageRequest() if asked is None else asked
        await until(lambda: self.shown(page) == wanted, lambda: self.shown(page))

    async def until_published(self, count: int) -> None:
        await until(lambda: len(self.feed.published) == count)

    async def until_fresh(self) -> None:
        await until(lambda: time.monotonic() < self.node.fresh_until)

    async def until_stale(self) -> None:
        await until(lambda: time.monotonic() > self.node.fresh_until)


@asynccontextmanager
async def running_node(processor: Processor) -> AsyncIterator[RunningNode]:
    """A node over what this processor writes."""
    running = RunningNode(processor)
    task = asyncio.create_task(running.node.run())
    try:
        yield running
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await running.reader.close()


async def create_indexes(videos: Documents) -> None:
    for index in INDEXES:
        await videos.create_index(index.keys, name=index.name, **index.options)


async def until(holds: Callable[[], bool], told: Callable[[], object] = lambda: "") -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, told()
        await asyncio.sleep(0.002)
