"""What every `VideoReader` does, run against the one in memory and the one on MongoDB."""

import asyncio
import functools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from contract.read_model import INDEXES, VIDEOS
from query_api.pagination import LAST_COUNTABLE, StoredVideo
from query_api.video_reader import NEWEST_FIRST, MongoVideoReader, VideoReader
from tests.conftest import Servers
from tests.fakes.video_documents import NEWEST_MS, Document, make_document, make_id, make_marker
from tests.fakes.video_reader import InMemoryVideoReader

_MANY = 3_000
_SWAP_SECONDS = 120


@dataclass
class Store:
    """A reader, and a way to put documents where it reads."""

    reader: VideoReader
    put: Callable[[Document], Awaitable[object]]

    async def put_all(self, *documents: Document) -> None:
        for document in documents:
            await self.put(document)


@pytest.fixture(params=["memory", pytest.param("mongodb", marks=pytest.mark.integration)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        memory = InMemoryVideoReader()

        async def put_in_memory(document: Document) -> None:
            memory.put(document)

        yield Store(memory, put_in_memory)
        return
    uri, database = request.getfixturevalue("servers").mongodb_uri, f"reader_{uuid.uuid4().hex}"
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(uri)
    videos = client[database][VIDEOS]
    for index in INDEXES:
        await videos.create_index(index.keys, name=index.name, **index.options)

    async def put_in_mongodb(document: Document) -> None:
        await videos.replace_one({"_id": document["_id"]}, document, upsert=True)

    reader = MongoVideoReader(uri, database)
    yield Store(reader, put_in_mongodb)
    reader.close()
    await client.drop_database(database)
    client.close()


def _as_stored(document: Document) -> StoredVideo:
    return StoredVideo(document["k"], bytes(document["body"]))


def test_lists_are_ordered_by_the_index_called_newest_first() -> None:
    assert {index.name: index.keys for index in INDEXES}["newest_first"] == NEWEST_FIRST


async def test_nothing_stored_is_an_empty_list(store: Store) -> None:
    assert await store.reader.list_videos(limit=10) == []
    assert await store.reader.count_videos() == 0
    assert await store.reader.find_video(make_id(1)) is None


async def test_videos_come_newest_first_and_ties_by_id_descending(store: Store) -> None:
    old, low, high, new = (make_document(n, NEWEST_MS + at) for n, at in ((9, 0), (1, 1000), (2, 1000), (3, 2000)))
    await store.put_all(high, old, new, low)

    listed = await store.reader.list_videos(limit=10)

    assert listed == [_as_stored(document) for document in (new, high, low, old)]


async def test_skip_after_and_limit_cut_the_same_list(store: Store) -> None:
    documents = [make_document(number) for number in range(7)]
    await store.put_all(*documents)
    whole = await store.reader.list_videos(limit=100)
    assert len(whole) == 7

    for limit in (1, 2, 3, 7, 8):
        for skip in range(9):
            assert await store.reader.list_videos(limit=limit, skip=skip) == whole[skip : skip + limit]
    for place, video in enumerate(whole, start=1):
        assert await store.reader.list_videos(limit=3, after=video.sort_key) == whole[place : place + 3]


async def test_after_need_not_be_there_any_more(store: Store) -> None:
    await store.put_all(*(make_document(number) for number in (1, 2, 3)))
    gone = make_document(2)["k"]
    await store.put(make_marker(2))

    assert await store.reader.list_videos(limit=9, after=gone) == [_as_stored(make_document(1))]


async def test_markers_of_removed_videos_are_never_seen(store: Store) -> None:
    await store.put_all(make_document(1), make_document(2), make_document(3))
    await store.put_all(make_marker(2), make_marker(8))

    listed = await store.reader.list_videos(limit=10)

    assert listed == [_as_stored(make_document(3)), _as_stored(make_document(1))]
    assert await store.reader.count_videos() == 2
    assert await store.reader.find_video(make_id(2)) is None
    assert await store.reader.find_video(make_id(8)) is None


async def test_a_video_is_found_by_its_id_as_the_stored_bytes(store: Store) -> None:
    await store.put_all(make_document(1), make_document(2))

    assert await store.reader.find_video(make_id(2)) == bytes(make_document(2)["body"])


async def test_the_largest_skip_is_an_empty_list(store: Store) -> None:
    await store.put(make_document(1))

    assert await store.reader.list_videos(limit=101, skip=LAST_COUNTABLE - 101) == []


@pytest.mark.integration
async def test_a_swap_kills_no_read(servers: Servers) -> None:
    """MongoDB ends reads of a collection that a replay's rename drops; readers get their answer all the same."""
    uri, database = servers.mongodb_uri, f"swapped_{uuid.uuid4().hex}"
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(uri)
    reader = MongoVideoReader(uri, database)
    documents = [make_document(number) for number in range(_MANY)]
    await _swap_in(client, database, documents)
    killed_before, stopping = await _killed_reads(client), asyncio.Event()

    async def keep_reading(read: Callable[[], Awaitable[Any]], answer: Callable[[Any], bool]) -> None:
        while not stopping.is_set():
            assert answer(await read())

    try:
        async with asyncio.timeout(_SWAP_SECONDS), asyncio.TaskGroup() as readers:
            for _ in range(4):
                readers.create_task(keep_reading(reader.count_videos, _MANY.__eq__))
                far_down = functools.partial(reader.list_videos, limit=101, skip=_MANY - 101)
                readers.create_task(keep_reading(far_down, lambda found: len(found) == 101))
            while await _killed_reads(client) < killed_before + 3:
                await _swap_in(client, database, documents)
            stopping.set()
    finally:
        reader.close()
        await client.drop_database(database)
        client.close()


async def _swap_in(client: "AsyncIOMotorClient[dict[str, Any]]", database: str, documents: list[Document]) -> None:
    shadow = client[database]["shadow"]
    await shadow.insert_many(documents)
    for index in INDEXES:
        await shadow.create_index(index.keys, name=index.name, **index.options)
    await shadow.rename(VIDEOS, dropTarget=True)


async def _killed_reads(client: "AsyncIOMotorClient[dict[str, Any]]") -> int:
    """How many reads have failed since the server started."""
    commands = (await client.admin.command("serverStatus"))["metrics"]["commands"]
    return sum(int(commands[name]["failed"]) for name in ("find", "aggregate"))
