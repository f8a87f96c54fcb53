"""What every `VideoReader` does, run against the one in memory and the one on MongoDB."""

import asyncio
import functools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from bson import Binary
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient

from contract.read_model import INDEXES, READ_MODEL, READ_MODEL_ID, VIDEOS
from contract.search_text import search_prefixes, search_words
from query_api import video_reader
from query_api.filters import EVERYTHING, Filters
from query_api.pagination import LAST_COUNTABLE
from query_api.stored import Generation, StoredVideo, WindowRow
from query_api.summaries import ChannelSummary
from query_api.video_reader import MongoVideoReader, ReadModelUnavailable, SlowRead, VideoReader
from tests.conftest import Servers
from tests.fakes.video_documents import NEWEST_MS, Document, make_document, make_id, make_marker
from tests.fakes.video_reader import InMemoryVideoReader
from yousync.local.server import free_port

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
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri)
    videos = client[database][VIDEOS]
    for index in INDEXES:
        await videos.create_index(index.keys, name=index.name, **index.options)

    async def put_in_mongodb(document: Document) -> None:
        await videos.replace_one({"_id": document["_id"]}, document, upsert=True)

    reader = MongoVideoReader(uri, database)
    yield Store(reader, put_in_mongodb)
    await reader.close()
    await client.drop_database(database)
    await client.close()


def _as_stored(document: Document) -> StoredVideo:
    return StoredVideo(document["k"], bytes(document["body"]))


def _document(
    number: int,
    *,
    title: str = "Tea",
    channel: str = "UC-tea",
    queries: Sequence[str] = ("tea",),
    published_ms: int | None = None,
    sequence: int = 0,
) -> Document:
    """Document `number` with what filters look at."""
    made = make_document(number, published_ms)
    made["q"] = search_prefixes(title)
    made["channel"] = {"id": channel, "title": f"Channel {channel}, as of {number}"}
    made["queries"] = sorted(queries)
    made["source"]["offset"] = sequence
    return made


async def test_nothing_stored_is_an_empty_list(store: Store) -> None:
    assert await store.reader.list_videos(limit=10) == []
    assert await store.reader.count_videos() == 0
    assert await store.reader.find_video(make_id(1)) is None
    assert await store.reader.newest_rows(None, limit=5) == []
    assert await store.reader.list_queries() == []
    assert await store.reader.list_channels(limit=5) == []
    assert await store.reader.summarise_query("tea") is None


async def test_videos_come_newest_first_and_ties_by_id_descending(store: Store) -> None:
    old, low, high, new = (make_document(n, NEWEST_MS + at) for n, at in ((9, 0), (1, 1000), (2, 1000), (3, 2000)))
    await store.put_all(high, old, new, low)

    listed = await store.reader.list_videos(limit=10)

    assert listed == [_as_stored(document) for document in (new, high, low, old)]


async def test_skip_bounds_and_limit_cut_the_same_list(store: Store) -> None:
    documents = [make_document(number) for number in range(7)]
    await store.put_all(*documents)
    whole = await store.reader.list_videos(limit=100)
    assert len(whole) == 7

    for limit in (1, 2, 3, 7, 8):
        for skip in range(9):
            assert await store.reader.list_videos(limit=limit, skip=skip) == whole[skip : skip + limit]
    for place, video in enumerate(whole, start=1):
        assert await store.reader.list_videos(limit=3, below=video.sort_key) == whole[place : place + 3]
        assert await store.reader.list_videos(limit=9, at_least=video.sort_key) == whole[:place]
    assert await store.reader.list_videos(limit=9, at_least=whole[4].sort_key, below=whole[1].sort_key) == whole[2:5]
    assert await store.reader.list_videos(limit=0) == []


async def test_a_bound_need_not_be_there_any_more(store: Store) -> None:
    await store.put_all(*(make_document(number) for number in (1, 2, 3)))
    gone = make_document(2)["k"]
    await store.put(make_marker(2))

    assert await store.reader.list_videos(limit=9, below=gone) == [_as_stored(make_document(1))]


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


async def test_a_page_of_more_bytes_than_one_reply_holds_is_whole(store: Store) -> None:
    large = [{**make_document(number), "body": Binary(bytes([number]) * (6 << 20))} for number in range(5)]
    await store.put_all(*large)

    listed = await store.reader.list_videos(limit=4, skip=1)

    assert [(len(video.body), video.body[0]) for video in listed] == [(6 << 20, number) for number in (3, 2, 1, 0)]


async def test_the_largest_skip_is_an_empty_list(store: Store) -> None:
    await store.put(make_document(1))

    assert await store.reader.list_videos(limit=101, skip=LAST_COUNTABLE - 101) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (EVERYTHING, "fedcba"),
        (Filters(query="tea"), "fdba"),
        (Filters(query="no such"), ""),
        (Filters(channel_id="UC-1"), "eca"),
        (Filters(search=search_words("GREEN tea")), "eba"),
        (Filters(search=search_words("te gre")), "eba"),
        (Filters(search=search_words("ea")), ""),
        (Filters(published_after_ms=NEWEST_MS + 2000), "fedc"),
        (Filters(published_before_ms=NEWEST_MS + 3000), "dcba"),
        (Filters(published_after_ms=NEWEST_MS + 2000, published_before_ms=NEWEST_MS + 3000), "dc"),
        (Filters(published_after_ms=NEWEST_MS + 2001, published_before_ms=NEWEST_MS + 2999), ""),
        (Filters(query="tea", published_after_ms=NEWEST_MS + 1000), "fdb"),
        (Filters(query="tea", channel_id="UC-1"), "a"),
        (Filters(query="tea", search=("green",)), "ba"),
        (Filters(channel_id="UC-1", search=("green",)), "ea"),
        (Filters(channel_id="UC-1", search=("g",), query="cocoa", published_after_ms=NEWEST_MS + 3000), "e"),
    ],
)
async def test_filters_narrow_lists_and_counts_alike(store: Store, filters: Filters, expected: str) -> None:
    for number, (name, title, channel, queries) in enumerate(
        [
            ("a", "Green tea", "UC-1", ["tea"]),
            ("b", "A tea of green", "UC-2", ["cocoa", "tea"]),
            ("c", "Black tea", "UC-1", ["cocoa"]),
            ("d", "Sea", "UC-2", ["tea"]),
            ("e", "Teapot, greenish", "UC-1", ["cocoa", "milk"]),
            ("f", "Tee", "UC-2", ["tea"]),
        ]
    ):
        made = _document(number, title=title, channel=channel, queries=queries)
        await store.put({**made, "body": Binary(name.encode())})

    listed = await store.reader.list_videos(filters, limit=9)

    assert b"".join(video.body for video in listed).decode() == expected
    assert await store.reader.count_videos(filters) == len(expected)
    assert await store.reader.count_videos(filters, cap=2) == min(2, len(expected))
    assert await store.reader.count_videos(filters, cap=0) == 0
    assert await store.reader.list_videos(filters, limit=2, skip=1) == listed[1:3]
    if listed:
        last = listed[-1].sort_key
        assert await store.reader.list_videos(filters, limit=9, at_least=last) == listed
        assert await store.reader.list_videos(filters, limit=9, below=last) == []
        assert await store.reader.count_videos(filters, below=last) == 0
        assert await store.reader.count_videos(filters, at_least=last) == len(listed)


async def test_rows_for_a_window_say_what_they_contain_already(store: Store) -> None:
    rows = [_document(n, sequence=100 + n, queries=["tea"] if n == 2 else ["cocoa", "tea"]) for n in (1, 2, 3)]
    await store.put_all(*rows)

    found = await store.reader.newest_rows(None, limit=2)

    assert found == [
        WindowRow(make_id(3), rows[2]["k"], bytes(rows[2]["body"]), 103, ("cocoa", "tea")),
        WindowRow(make_id(2), rows[1]["k"], bytes(rows[1]["body"]), 102, ("tea",)),
    ]
    older = await store.reader.newest_rows(None, limit=9, below=rows[1]["k"])
    assert [row.video_id for row in older] == [make_id(1)]
    cocoa = await store.reader.newest_rows("cocoa", limit=9)
    assert [row.video_id for row in cocoa] == [make_id(3), make_id(1)]


async def test_queries_are_told_once_each_with_their_newest_video(store: Store) -> None:
    await store.put_all(
        _document(1, queries=["tea", "*"]),
        _document(2, queries=["cocoa"]),
        _document(3, queries=["tea"]),
        _document(4, queries=[]),
        _document(5, queries=["Äpfel", "茶"]),
        make_marker(6),
    )

    assert await store.reader.list_queries() == ["*", "cocoa", "tea", "Äpfel", "茶"]
    assert await store.reader.summarise_query("tea") == make_document(3)["k"]
    assert await store.reader.summarise_query("*") == make_document(1)["k"]
    assert await store.reader.summarise_query("milk") is None


async def test_channels_are_told_by_id_with_what_their_newest_video_says(store: Store) -> None:
    for number in range(12):
        await store.put(_document(number, channel=f"UC-{number % 4}"))
    await store.put(make_marker(20))
    expected = [
        ChannelSummary(f"UC-{n}", f"Channel UC-{n}, as of {8 + n}", 3, make_document(8 + n)["published_at"])
        for n in range(4)
    ]

    assert await store.reader.list_channels(limit=9) == expected
    assert await store.reader.list_channels(limit=3) == expected[:3]
    assert await store.reader.list_channels(limit=2, after="UC-1") == expected[2:]
    assert await store.reader.list_channels(limit=2, after="UC-10") == expected[2:]
    assert await store.reader.list_channels(limit=2, after="UC-3") == []
    assert await store.reader.list_channels(limit=0) == []


@pytest.mark.integration
async def test_the_generation_is_the_collection_with_the_version_that_was_said_of_it(servers: Servers) -> None:
    name = f"generation_{uuid.uuid4().hex}"
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(servers.mongodb_uri)
    reader = MongoVideoReader(servers.mongodb_uri, name)
    assert await reader.generation() is None
    await client[name].create_collection("another")
    assert await reader.generation() is None

    await client[name].create_collection(VIDEOS)
    first = await reader.generation()
    assert first is not None
    assert first.projection_version is None
    versions = {"versions": {first.id: 7, "another": 1}}
    await client[name][READ_MODEL].insert_one({"_id": READ_MODEL_ID, **versions})
    assert await reader.generation() == Generation(first.id, 7)

    await client[name]["another"].rename(VIDEOS, dropTarget=True)
    second = await reader.generation()
    assert second is not None
    assert second.id != first.id
    assert second.projection_version is None

    await reader.close()
    await client.drop_database(name)
    await client.close()


async def test_a_fake_that_is_slow_is_so_where_the_time_is_bounded() -> None:
    reader = InMemoryVideoReader()
    reader.slow_reads = 2
    assert await reader.list_videos(limit=1) == []
    with pytest.raises(SlowRead):
        await reader.list_videos(limit=1, seconds=0.1)
    with pytest.raises(SlowRead):
        await reader.count_videos(seconds=0.1)
    assert await reader.count_videos(seconds=0.1) == 0


@pytest.mark.integration
async def test_a_read_that_takes_longer_than_it_may_is_slow_and_the_next_is_not(servers: Servers) -> None:
    database = f"slow_{uuid.uuid4().hex}"
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(servers.mongodb_uri)
    reader = MongoVideoReader(servers.mongodb_uri, database)
    await _swap_in(client, database, [_document(n, title=("sun", "moon")[n % 2]) for n in range(10_000)])
    never_meet = Filters(search=("sun", "moon"))

    for read in (
        reader.list_videos(never_meet, limit=1, seconds=0.001),
        reader.count_videos(never_meet, seconds=0.001),
    ):
        with pytest.raises(SlowRead):
            await read

    assert await reader.list_videos(never_meet, limit=1) == []
    assert await reader.count_videos(Filters(search=("sun",)), seconds=2.0) == 5_000
    await reader.close()
    await client.drop_database(database)
    await client.close()


async def _everything(reader: VideoReader) -> list[Any]:
    """What each read says, or how it fails."""
    every = Filters("tea", "UC-tea", NEWEST_MS, NEWEST_MS + 99_000, ("te",))
    return await asyncio.gather(
        reader.list_videos(limit=5),
        reader.list_videos(every, limit=2, skip=1, seconds=1.0),
        reader.count_videos(),
        reader.count_videos(every, cap=3, seconds=1.0),
        reader.find_video(make_id(1)),
        reader.newest_rows("tea", limit=3),
        reader.list_queries(),
        reader.list_channels(limit=2),
        reader.summarise_query("tea"),
        reader.generation(),
        return_exceptions=True,
    )


async def test_no_server_is_unavailable_for_every_read() -> None:
    reader = MongoVideoReader(f"mongodb://127.0.0.1:{free_port()}", "nowhere")

    answers = await _everything(reader)

    assert [type(answer) for answer in answers] == [ReadModelUnavailable] * 10
    for fault in map(str, answers):
        assert fault.startswith("MongoDB does not answer: ")
        assert "no answer within" not in fault, "what is not there is told from what is slow"
    await reader.close()


@pytest.mark.integration
async def test_motor_in_place_of_the_driver_reads_the_same(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    database = f"drivers_{uuid.uuid4().hex}"
    reader = MongoVideoReader(servers.mongodb_uri, database)
    monkeypatch.setattr(video_reader, "CLIENT", AsyncIOMotorClient)
    by_motor = MongoVideoReader(servers.mongodb_uri, database)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(servers.mongodb_uri)
    await _swap_in(client, database, [make_document(number) for number in range(20)])

    answers = await _everything(reader)

    assert not [answer for answer in answers if isinstance(answer, Exception)]
    assert await _everything(by_motor) == answers
    await by_motor.close()
    await reader.close()
    await client.drop_database(database)
    await client.close()


@pytest.mark.integration
async def test_a_swap_kills_no_read(servers: Servers) -> None:
    """MongoDB ends reads of a collection that a replay's rename drops; readers get their answer all the same."""
    uri, database = servers.mongodb_uri, f"swapped_{uuid.uuid4().hex}"
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri)
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
        await reader.close()
        await client.drop_database(database)
        await client.close()


async def _swap_in(client: "AsyncMongoClient[dict[str, Any]]", database: str, documents: list[Document]) -> None:
    shadow = client[database]["shadow"]
    await shadow.insert_many(documents)
    for index in INDEXES:
        await shadow.create_index(index.keys, name=index.name, **index.options)
    await shadow.rename(VIDEOS, dropTarget=True)


async def _killed_reads(client: "AsyncMongoClient[dict[str, Any]]") -> int:
    """How many reads have failed since the server started."""
    commands = (await client.admin.command("serverStatus"))["metrics"]["commands"]
    return sum(int(commands[name]["failed"]) for name in ("find", "aggregate", "count"))
