"""Counts that are kept true by reads: what is read, when, and what happens while a read is under way."""

import asyncio

import pytest

from query_api.filters import EVERYTHING, Filters
from query_api.ranking import Ranking
from query_api.video_reader import ReadModelUnavailable
from tests.fakes.video_documents import make_document
from tests.fakes.video_reader import InMemoryVideoReader


class WatchedReader(InMemoryVideoReader):
    """Notes which keys are counted, and can be held up while it counts."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[tuple[str, str | None]] = []
        self.counting = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.answers_left: int | None = None

    async def count_videos(
        self,
        filters: Filters = EVERYTHING,
        *,
        at_least: str = "",
        below: str | None = None,
        cap: int | None = None,
        seconds: float | None = None,
    ) -> int:
        if self.answers_left is not None:
            if self.answers_left == 0:
                raise ReadModelUnavailable("for a moment")
            self.answers_left -= 1
        self.counted.append((at_least, below))
        found = await super().count_videos(filters, at_least=at_least, below=below, cap=cap, seconds=seconds)
        self.counting.set()
        await asyncio.sleep(0)
        await self.may_answer.wait()
        return found


@pytest.fixture
def reader() -> WatchedReader:
    """With 50 videos."""
    reader = WatchedReader()
    for number in range(50):
        reader.put(make_document(number))
    return reader


def _key(number: int) -> str:
    return str(make_document(number)["k"])


async def _loaded(reader: WatchedReader, query: str | None = None) -> Ranking:
    ranking = Ranking(reader, query, bucket_rows=5)
    await ranking.load()
    reader.counted.clear()
    reader.counting.clear()
    return ranking


async def test_before_the_load_there_is_nothing_and_all_is_dirty(reader: WatchedReader) -> None:
    ranking = Ranking(reader, None)

    assert ranking.total == 0
    assert ranking.dirty


async def test_clean_counts_are_used_without_a_read(reader: WatchedReader) -> None:
    ranking = await _loaded(reader)

    assert ranking.total == 50
    assert await ranking.count_between("", None) == 50
    assert (await ranking.place_of(33)).skip < 10
    await ranking.refresh()
    assert reader.counted == []


async def test_a_mark_costs_one_count_of_one_bucket(reader: WatchedReader) -> None:
    ranking = await _loaded(reader)
    reader.put(make_document(50))

    ranking.mark(_key(50), None)

    assert ranking.total == 50
    await ranking.refresh()
    assert ranking.total == 51
    assert len(reader.counted) == 1


async def test_a_place_is_told_by_counts_that_are_true_by_now(reader: WatchedReader) -> None:
    ranking = await _loaded(reader)
    for number in range(50, 53):
        reader.put(make_document(number))
        ranking.mark(_key(number))

    place = await ranking.place_of(30)

    [found] = await reader.list_videos(limit=1, skip=place.skip, below=place.below)
    assert found.sort_key == _key(22)


async def test_an_event_that_is_told_twice_counts_once(reader: WatchedReader) -> None:
    ranking = await _loaded(reader)
    reader.put(make_document(50))

    for _ in range(2):
        ranking.mark(_key(50))
        await ranking.refresh()

    assert ranking.total == 51


async def test_a_mark_during_its_count_is_counted_next_time(reader: WatchedReader) -> None:
    ranking = await _loaded(reader)
    ranking.mark(_key(49))
    reader.may_answer.clear()
    counting = asyncio.create_task(ranking.refresh())
    await reader.counting.wait()

    reader.put(make_document(50))
    ranking.mark(_key(50))
    reader.may_answer.set()
    await counting

    assert ranking.dirty
    await ranking.refresh()
    assert ranking.total == 51


async def test_many_who_ask_at_once_count_once(reader: WatchedReader) -> None:
    ranking = await _loaded(reader)
    ranking.mark(_key(49))

    await asyncio.gather(*(ranking.place_of(row) for row in range(20)), ranking.refresh())

    assert len(reader.counted) == 1


async def test_who_asks_while_others_count_waits_for_what_they_marked(reader: WatchedReader) -> None:
    ranking = await _loaded(reader)
    reader.put(make_document(50))
    ranking.mark(_key(50))
    reader.may_answer.clear()
    first = asyncio.create_task(ranking.refresh())
    await reader.counting.wait()

    second = asyncio.create_task(ranking.count_between("", None))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not second.done()
    reader.may_answer.set()

    assert await second == 51
    await first


async def test_who_goes_away_in_the_middle_spoils_nothing(reader: WatchedReader) -> None:
    ranking = await _loaded(reader)
    reader.put(make_document(50))
    ranking.mark(_key(50))
    reader.may_answer.clear()
    gone = asyncio.create_task(ranking.refresh())
    await reader.counting.wait()

    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    reader.may_answer.set()

    assert await ranking.count_between("", None) == 51


async def test_what_could_not_be_read_stays_dirty(reader: WatchedReader) -> None:
    ranking = await _loaded(reader)
    reader.put(make_document(50))
    ranking.mark(_key(50))
    reader.away = True

    with pytest.raises(ReadModelUnavailable):
        await ranking.refresh()
    assert (ranking.total, ranking.dirty) == (50, True)
    reader.away = False

    assert await ranking.count_between("", None) == 51


async def test_a_moved_video_is_never_seen_in_neither_bucket_nor_in_both(reader: WatchedReader) -> None:
    ranking = await _loaded(reader)
    totals = []

    reader.put(make_document(49, 1_700_000_000_000))
    ranking.mark(_key(49), str(make_document(49, 1_700_000_000_000)["k"]))
    refreshing = asyncio.create_task(ranking.refresh())
    while not refreshing.done():
        totals.append(ranking.total)
        await asyncio.sleep(0)

    assert set(totals) == {50}
    assert len(reader.counted) == 2


async def test_the_round_finds_what_no_event_told(reader: WatchedReader) -> None:
    ranking = await _loaded(reader)
    reader.put(make_document(7, 1_800_000_000_000))
    for number in range(50, 90):
        reader.put(make_document(number))
    for number in range(20, 30):
        del reader.documents[make_document(number)["_id"]]
    assert ranking.total == 50

    await ranking.recount_round()

    assert ranking.total == 80
    assert not ranking.dirty
    newest = await reader.list_videos(limit=100)
    for row, video in enumerate(newest):
        place = await ranking.place_of(row)
        assert await reader.list_videos(limit=1, skip=place.skip, below=place.below) == [video]


async def test_a_round_that_is_cut_short_still_tells_what_it_counted(reader: WatchedReader) -> None:
    ranking = await _loaded(reader)
    reader.put(make_document(50))
    ranking.mark(_key(50))

    reader.answers_left = 2
    with pytest.raises(ReadModelUnavailable):
        await ranking.recount_round()
    reader.answers_left = None
    await ranking.refresh()

    assert not ranking.dirty
    assert ranking.total == 51


async def test_others_are_let_in_between_the_pieces_of_a_round(reader: WatchedReader) -> None:
    ranking = await _loaded(reader)
    ranking.mark(_key(0))
    going_round = asyncio.create_task(ranking.recount_round())
    await reader.counting.wait()

    assert await ranking.count_between("", None) == 50
    assert not going_round.done()
    await going_round


async def test_every_count_of_a_load_is_bounded(reader: WatchedReader) -> None:
    asked: list[int | None] = []
    count = reader.count_videos

    async def noted(*args: Filters, cap: int | None = None, **bounds: str | None) -> int:
        asked.append(cap)
        return await count(*args, cap=cap, **bounds)  # type: ignore[arg-type]

    reader.count_videos = noted  # type: ignore[method-assign, assignment]
    await Ranking(reader, None, bucket_rows=5).load()

    assert asked
    assert all(cap is not None and cap <= 11 for cap in asked)


async def test_a_query_is_counted_for_itself(reader: WatchedReader) -> None:
    for number in range(10):
        reader.documents[make_document(number)["_id"]]["queries"] = ["coffee"]

    ranking = await _loaded(reader, "coffee")

    assert ranking.total == 10


@pytest.mark.parametrize("below", [0, 1, 4, 5, 6, 25, 49])
async def test_places_can_be_told_from_any_key_on(reader: WatchedReader, below: int) -> None:
    ranking, bound = await _loaded(reader), _key(below)
    under = await reader.list_videos(limit=100, below=bound)

    for row in range(below + 2):
        place = await ranking.place_of(row, below=bound)
        found = await reader.list_videos(limit=2, skip=place.skip, below=place.below)
        assert found == under[row : row + 2]
