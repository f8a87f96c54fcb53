"""Every read goes by an index, in its order: MongoDB is asked to explain the very commands that the reader sends."""

import functools
import itertools
import random
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from contract.read_model import BY_CHANNEL, BY_QUERY, BY_SEARCH, INDEXES, NEWEST_FIRST, VIDEOS, IndexSpec
from contract.search_text import search_prefixes, search_words
from query_api.filters import Filters
from query_api.video_reader import MongoVideoReader, ReadModelUnavailable, VideoReader, index_for
from tests.conftest import Servers
from tests.fakes.video_documents import NEWEST_MS, Document, make_document, make_id, make_marker

pytestmark = pytest.mark.integration

Read = Callable[[VideoReader], Awaitable[Any]]
Videos = Database[dict[str, Any]]

_MANY = 3_000
_WORDS = ("tea", "how", "make", "green", "best", "milk", "cup", "rare")
_BELOW = f"{NEWEST_MS + 2_000_000}"

_UNWANTED = {"COLLSCAN", "SORT", "SORT_KEY_GENERATOR"}

_QUERY: tuple[Filters, ...] = (Filters(), Filters(query="tea"))
_CHANNEL = (Filters(), Filters(channel_id="UC-3"))
_RANGE = (Filters(), Filters(published_after_ms=NEWEST_MS + 1_000, published_before_ms=NEWEST_MS + 2_500_000))
_SEARCH = (Filters(), *(Filters(search=search_words(text)) for text in ("te", "tea how", "ri ma how", "absent tea")))


def _combined(parts: Sequence[Filters]) -> Filters:
    given = {
        name: value
        for part in parts
        for name, value in zip(part.__struct_fields__, _values(part), strict=True)
        if value
    }
    return Filters(**given)


def _values(filters: Filters) -> list[Any]:
    return [getattr(filters, name) for name in filters.__struct_fields__]


FILTERS = [_combined(parts) for parts in itertools.product(_QUERY, _CHANNEL, _RANGE, _SEARCH)]
"""Every combination that the API documents."""


@dataclass(frozen=True)
class Ran:
    """One command as MongoDB got it, and its plan."""

    command: Mapping[str, Any]
    stages: frozenset[str]
    indexes: frozenset[str]
    documents: int
    rejected: int


@pytest.fixture(scope="module")
def database(servers: Servers) -> Iterator[Videos]:
    """A few thousand videos with all indexes, and some markers."""
    client: MongoClient[dict[str, Any]] = MongoClient(servers.mongodb_uri)
    made = client[f"plans_{uuid.uuid4().hex}"]
    made[VIDEOS].insert_many([*map(_document, range(_MANY)), *map(make_marker, range(_MANY, _MANY + 50))])
    for index in INDEXES:
        made[VIDEOS].create_index(index.keys, name=index.name, **index.options)
    yield made
    client.drop_database(made.name)
    client.close()


def _document(number: int) -> Document:
    chosen = random.Random(number)
    made = make_document(number)
    made["q"] = search_prefixes(" ".join(chosen.choices(_WORDS, range(len(_WORDS), 0, -1), k=4)))
    made["channel"]["id"] = f"UC-{number % 7}"
    made["queries"] = sorted(chosen.sample(["tea", "cocoa", "coffee"], k=chosen.randint(1, 3)))
    return made


async def _explained(servers: Servers, database: Videos, *reads: Read) -> list[Ran]:
    """What MongoDB was sent by these reads, with the plan and cost of each."""
    reader = MongoVideoReader(servers.mongodb_uri, database.name)
    database["system.profile"].drop()
    database.command("profile", 2)
    try:
        for read in reads:
            await read(reader)
    finally:
        database.command("profile", 0)
        await reader.close()
    sent = database["system.profile"].find(
        {"ns": f"{database.name}.{VIDEOS}", "appName": "yousync-api"}, sort={"ts": 1}
    )
    return [_ran(database, operation["command"]) for operation in sent]


def _ran(database: Videos, command: Mapping[str, Any]) -> Ran:
    asked = {name: value for name, value in command.items() if name not in {"lsid", "$db", "maxTimeMS"}}
    explained = database.command({"explain": asked, "verbosity": "executionStats"})
    stages, indexes, documents, rejected = set(), set(), 0, 0
    rest: list[Any] = [explained]
    while rest:
        node = rest.pop()
        if isinstance(node, list):
            rest += node
        elif isinstance(node, Mapping):
            stages |= {node["stage"]} if isinstance(node.get("stage"), str) else set()
            indexes |= {node["indexName"]} if "indexName" in node else set()
            documents = max(documents, node.get("totalDocsExamined", 0))
            rejected += len(node.get("rejectedPlans", ()))
            rest += [value for name, value in node.items() if name != "rejectedPlans"]
    return Ran(command, frozenset(stages), frozenset(indexes), documents, rejected)


def _hold(ran: Sequence[Ran], index: IndexSpec) -> None:
    for one in ran:
        assert not one.stages & _UNWANTED, one
        assert "IXSCAN" in one.stages or "COUNT_SCAN" in one.stages, one
        assert one.indexes == {index.name}, one
        assert one.command["hint"] == index.name, "nothing is left to the planner"
        assert 0 < one.command["maxTimeMS"] <= 2_000, one


@pytest.mark.parametrize("filters", FILTERS, ids=str)
async def test_lists_and_counts_go_by_the_index_in_its_order(
    servers: Servers, database: Videos, filters: Filters
) -> None:
    ran = await _explained(
        servers,
        database,
        lambda reader: reader.list_videos(filters, limit=11),
        lambda reader: reader.list_videos(filters, limit=11, below=_BELOW),
        lambda reader: reader.list_videos(filters, limit=11, skip=40, below=_BELOW),
        lambda reader: reader.list_videos(filters, limit=11, at_least=f"{NEWEST_MS}", below=_BELOW, seconds=0.2),
        lambda reader: reader.count_videos(filters, cap=1_001, seconds=0.2),
        lambda reader: reader.count_videos(filters, at_least=f"{NEWEST_MS}", below=_BELOW),
    )

    # A search of more words than one is preceded by looking how rare they are.
    lists_and_counts = [one for one in ran if one.command.get("projection") != {"_id": False, "k": True}]
    assert len(lists_and_counts) == 6
    _hold(ran, index_for(filters))
    if [filters.query, filters.channel_id].count(None) + (not filters.search) >= 2 and len(filters.search) < 2:
        looked_at = [one.documents for one in lists_and_counts]
        assert looked_at == [11, 11, 11, 11, 0, 0], "no document is looked at that the page does not show"


async def _list_eleven(filters: Filters, reader: VideoReader) -> None:
    await reader.list_videos(filters, limit=11)


async def test_words_are_looked_for_from_the_rarest_and_by_one_plan_alone(servers: Servers, database: Videos) -> None:
    for text in ("tea rare", "rare tea", "tea how rare milk"):
        filters = Filters(search=search_words(text))

        ran = await _explained(servers, database, functools.partial(_list_eleven, filters))

        *rarities, page = ran
        assert len(rarities) == len(filters.search)
        assert all(rarity.documents == 0 for rarity in rarities), "how rare a word is costs no document"
        assert page.command["filter"]["q"] == "rare"
        assert page.rejected == 0


@pytest.mark.parametrize(
    ("read", "index"),
    [
        (lambda reader: reader.count_videos(), NEWEST_FIRST),
        (lambda reader: reader.count_videos(at_least=f"{NEWEST_MS}", below=_BELOW), NEWEST_FIRST),
        (lambda reader: reader.count_videos(Filters(query="tea")), BY_QUERY),
        (lambda reader: reader.count_videos(Filters(query="tea"), at_least=f"{NEWEST_MS}", below=_BELOW), BY_QUERY),
        (lambda reader: reader.count_videos(Filters(channel_id="UC-3")), BY_CHANNEL),
        (lambda reader: reader.count_videos(Filters(search=("te",))), BY_SEARCH),
        (lambda reader: reader.summarise_query("tea"), BY_QUERY),
        (lambda reader: reader.list_queries(), BY_QUERY),
    ],
)
async def test_what_the_index_says_alone_fetches_no_document(
    servers: Servers, database: Videos, read: Read, index: IndexSpec
) -> None:
    ran = await _explained(servers, database, read)

    assert ran
    _hold(ran, index)
    for one in ran:
        assert one.documents == 0, one
        assert "FETCH" not in one.stages, one


@pytest.mark.parametrize(
    ("read", "index"),
    [
        (lambda reader: reader.newest_rows(None, limit=100), NEWEST_FIRST),
        (lambda reader: reader.newest_rows(None, limit=100, below=_BELOW), NEWEST_FIRST),
        (lambda reader: reader.newest_rows("tea", limit=100, below=_BELOW), BY_QUERY),
    ],
)
async def test_rows_of_a_window_are_all_that_is_fetched(
    servers: Servers, database: Videos, read: Read, index: IndexSpec
) -> None:
    ran = await _explained(servers, database, read)

    _hold(ran, index)
    assert [one.documents for one in ran] == [100]


async def test_a_video_is_found_by_its_id_alone(servers: Servers, database: Videos) -> None:
    ran = await _explained(servers, database, lambda reader: reader.find_video(make_id(7)))

    assert [(one.indexes, one.documents) for one in ran] == [(frozenset({"_id_"}), 1)]


async def test_channels_are_found_one_after_another(servers: Servers, database: Videos) -> None:
    ran = await _explained(servers, database, lambda reader: reader.list_channels(limit=3))

    *channels, totals = ran
    _hold(ran, BY_CHANNEL)
    assert [one.documents for one in channels] == [1, 1, 1]
    assert totals.documents == 0


async def test_no_read_fetches_what_searches_go_by(servers: Servers, database: Videos) -> None:
    filters = Filters(search=("tea", "how"))
    ran = await _explained(
        servers,
        database,
        lambda reader: reader.list_videos(filters, limit=2),
        lambda reader: reader.find_video(make_id(7)),
        lambda reader: reader.newest_rows(None, limit=2),
        lambda reader: reader.list_channels(limit=2),
    )

    projections = [one.command["projection"] for one in ran if "find" in one.command]
    assert len(projections) >= 6
    assert not [fields for fields in projections if "q" in fields or True not in fields.values()]


@pytest.mark.parametrize("index", [NEWEST_FIRST, BY_SEARCH, BY_CHANNEL, BY_QUERY], ids=lambda index: index.name)
async def test_a_missing_index_is_a_fault_and_not_a_scan_of_everything(
    servers: Servers, database: Videos, index: IndexSpec
) -> None:
    filters = {
        NEWEST_FIRST.name: Filters(),
        BY_SEARCH.name: Filters(search=("te",)),
        BY_CHANNEL.name: Filters(channel_id="UC-3"),
        BY_QUERY.name: Filters(query="tea"),
    }[index.name]
    reader = MongoVideoReader(servers.mongodb_uri, database.name)
    database[VIDEOS].drop_index(index.name)
    try:
        for read in (reader.list_videos(filters, limit=1), reader.count_videos(filters)):
            with pytest.raises(ReadModelUnavailable) as caught:
                await read
            assert isinstance(caught.value.__cause__, OperationFailure)
    finally:
        database[VIDEOS].create_index(index.keys, name=index.name, **index.options)
        await reader.close()
