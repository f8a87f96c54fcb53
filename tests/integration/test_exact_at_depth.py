"""Totals and deep pages of a store with 50,000 videos on the real MongoDB, while videos come and go."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from contract.read_model import INDEXES, VIDEOS, sort_key
from query_api.filters import Filters
from query_api.rank import BUCKET_ROWS
from query_api.ranking import Ranking
from query_api.video_reader import MongoVideoReader
from tests.conftest import Servers
from tests.fakes.video_documents import NEWEST_MS, Document, make_id

pytestmark = pytest.mark.integration

_VIDEOS: Final = 50_000
_LIMIT: Final = 100
_SECONDS: Final = 3_000_000
"""Publish times lie this far apart at most, and a tenth of them within one second."""


@dataclass
class Store:
    """The collection, what ought to be in it, and the rankings that are told of each change."""

    database: AsyncDatabase[dict[str, Any]]
    reader: MongoVideoReader
    rankings: dict[str | None, Ranking]
    rng: random.Random = field(default_factory=lambda: random.Random(20261123))
    keys: dict[int, str] = field(default_factory=dict)

    def document(self, number: int) -> Document:
        """Video `number`, published at some moment."""
        second = 0 if self.rng.random() < 0.1 else self.rng.randrange(_SECONDS)
        self.keys[number] = sort_key(NEWEST_MS - second * 1000, make_id(number))
        return {"_id": make_id(number), "k": self.keys[number], "body": b"%d" % number, "queries": _queries(number)}

    def newest_first(self, query: str | None) -> list[str]:
        """All sort keys as they ought to be."""
        return sorted((key for number, key in self.keys.items() if query in {None, *_queries(number)}), reverse=True)

    async def change(self) -> None:
        """A video comes, goes, or is published at another time; then the rankings are told, as by its event."""
        number = self.rng.randrange(_VIDEOS * 11 // 10)
        before = self.keys.pop(number, None)
        if before is None or self.rng.random() < 0.5:
            document = self.document(number)
            await self.database[VIDEOS].replace_one({"_id": make_id(number)}, document, upsert=True)
        else:
            await self.database[VIDEOS].delete_one({"_id": make_id(number)})
        for query in (None, *_queries(number)):
            self.rankings[query].mark(before, self.keys.get(number))


def _queries(number: int) -> list[str]:
    return ["coffee"] if number % 3 else ["coffee", "tea"]


@pytest.fixture
async def store(servers: Servers) -> AsyncIterator[Store]:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(servers.mongodb_uri)
    database = client[f"depth_{uuid.uuid4().hex}"]
    reader = MongoVideoReader(servers.mongodb_uri, database.name)
    store = Store(database, reader, {query: Ranking(reader, query) for query in (None, "coffee", "tea")})
    for begin in range(0, _VIDEOS, 10_000):
        await database[VIDEOS].insert_many([store.document(number) for number in range(begin, begin + 10_000)])
    for index in INDEXES:
        await database[VIDEOS].create_index(index.keys, name=index.name, **index.options)
    await asyncio.gather(*(ranking.load() for ranking in store.rankings.values()))
    yield store
    await reader.close()
    await client.drop_database(database.name)
    await client.close()


async def _check_page(store: Store, query: str | None, row: int, expected: list[str]) -> None:
    place = await store.rankings[query].place_of(row)
    found = await store.reader.list_videos(Filters(query=query), limit=_LIMIT, skip=place.skip, below=place.below)
    assert [video.sort_key for video in found] == expected[row : row + _LIMIT]


@pytest.mark.parametrize("query", [None, "tea"])
async def test_pages_at_any_depth_are_slices_of_the_sorted_list(store: Store, query: str | None) -> None:
    ranking = store.rankings[query]
    assert ranking.total == len(store.newest_first(query))

    for _ in range(40):
        for _ in range(5):
            await store.change()
        expected = store.newest_first(query)
        row = store.rng.choice([0, len(expected) - 1, len(expected), store.rng.randrange(len(expected))])
        await _check_page(store, query, row, expected)
        assert ranking.total == len(expected)
        lower, upper = sorted(store.rng.sample(expected, 2))
        assert await ranking.count_between(lower, upper) == expected.index(lower) - expected.index(upper)


async def test_counts_are_exact_after_changes_that_came_during_counts(store: Store) -> None:
    changing = asyncio.create_task(_change(store, 1_000))
    while not changing.done():
        await asyncio.gather(*(ranking.refresh() for ranking in store.rankings.values()))
        await store.rankings[None].recount_round()
    await changing

    for query, ranking in store.rankings.items():
        expected = store.newest_first(query)
        for row in (0, 1, BUCKET_ROWS, len(expected) // 2, len(expected) - 1):
            await _check_page(store, query, row, expected)
        assert ranking.total == len(expected)


async def _change(store: Store, changes: int) -> None:
    for _ in range(changes):
        await store.change()


async def test_the_round_finds_thousands_of_untold_videos(store: Store) -> None:
    added = [store.document(_VIDEOS + number) for number in range(5_000)]
    await store.database[VIDEOS].insert_many(added)
    ranking = store.rankings[None]
    assert await ranking.count_between("", None) == _VIDEOS

    await ranking.recount_round()

    assert ranking.total == _VIDEOS + 5_000
    await _check_page(store, None, 44_444, store.newest_first(None))


@pytest.mark.parametrize("query", [None, "coffee"])
async def test_a_deep_page_looks_at_a_bucket_at_most(store: Store, query: str | None) -> None:
    total = store.rankings[query].total
    await store.database.command("profile", 2)
    for row in (0, total // 4, total // 2, total - _LIMIT, *(store.rng.randrange(total) for _ in range(20))):
        place = await store.rankings[query].place_of(row)
        assert await store.reader.list_videos(Filters(query=query), limit=_LIMIT, skip=place.skip, below=place.below)
    await store.database.command("profile", 0)

    reads = await store.database["system.profile"].find({"ns": store.database[VIDEOS].full_name}).to_list(None)

    assert len(reads) == 24
    for read in reads:
        assert read["keysExamined"] <= 2 * BUCKET_ROWS + _LIMIT + 1
        assert not read.get("hasSortStage", False)


async def test_every_count_looks_at_a_bucket_at_most(store: Store) -> None:
    await store.database.command("profile", 2)
    loaded = Ranking(store.reader, None)
    await loaded.load()
    await loaded.count_between(sort_key(NEWEST_MS - _SECONDS * 700, ""), sort_key(NEWEST_MS - 5_000, ""))
    await loaded.recount_round()
    await store.database.command("profile", 0)

    reads = await store.database["system.profile"].find({"ns": store.database[VIDEOS].full_name}).to_list(None)

    assert loaded.total == _VIDEOS
    assert len(reads) >= 2 * _VIDEOS // (2 * BUCKET_ROWS)
    for read in reads:
        assert read["keysExamined"] <= 2 * BUCKET_ROWS + 2
        assert read["docsExamined"] <= 1
