"""What the processor asks of the read model (`ReadModel` of `processors.projection`), of the fake and of MongoDB.

Its property tests stand on the fakes, so every law that those rely on is asked of the real edges too.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import msgspec
import pytest
from pymongo.errors import BulkWriteError

from contract import read_model
from contract.video import Thumbnail
from processors.document import Document, VideoDocument, to_stored
from processors.projection import ReadModel
from processors.read_model_writer import DUPLICATE_KEY, RETRIED_CODES, MongoReadModel, _read_errors, mongo_client
from processors.waiting import Unavailable
from tests.conftest import Servers
from tests.fakes.processor_edges import FakeReadModel
from tests.raw_items import video_id
from tests.suites.processor_edges import FAKE_AND_REAL, folded, marker
from yousync.local.server import free_port


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


@pytest.mark.parametrize(("offset", "wins"), [(9, False), (10, False), (11, True)])
async def test_one_that_was_believed_absent_is_judged_by_its_position_like_any_other(
    store: Store, offset: int, wins: bool
) -> None:
    first, other = folded(1, 10), folded(2, 10)
    await store.write(first)
    late = folded(1, offset, title="late")

    result = await store.read_model.write([late, other], absent={late.id, other.id})

    assert set(result.overtaken) == (set() if wins else {late.id})
    assert await store.holds(late if wins else first, other)


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
        {"_id": read_model.READ_MODEL_ID, "versions": {generation: read_model.PROJECTION_VERSION}}
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
    assert time.monotonic() - began < 15, "the driver alone would wait for half a minute"


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
