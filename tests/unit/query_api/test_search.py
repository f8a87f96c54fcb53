"""One page of a search: where it looks, when it stops, and what it says about what it did not see."""

import pytest

from query_api.filters import LAST_COUNTED, Filters
from query_api.pagination import PageRequest, Total
from query_api.ranking import Ranking
from query_api.search import BUDGET_SECONDS, Found, search
from query_api.search_walk import ALL_ROWS, allowed_seconds, rows_after, rows_after_slow
from query_api.stored import StoredVideo
from query_api.video_reader import ReadModelUnavailable
from tests.fakes.timed_reader import ONE_READ_SECONDS, TimedVideoReader
from tests.fakes.video_documents import NEWEST_MS

_ROWS = 20_000
RARE = Filters(search=("rare",))


def _key(number: int) -> str:
    return f"{NEWEST_MS + number * 1000:013d}vid-{number:07d}"


def _reader_of(*found: int, rows: int = _ROWS, seconds_per_row: float = 0.0) -> TimedVideoReader:
    """So many videos, of which these are found by the word "rare"."""
    reader = TimedVideoReader(seconds_per_row)
    reader.documents = {
        str(number): {"_id": str(number), "k": _key(number), "body": b"%d" % number, "q": [], "queries": ["tea"]}
        for number in range(rows)
    }
    for number in found:
        reader.documents[str(number)]["q"] = ["rare"]
    return reader


class Thousands:
    """Buckets of a thousand rows each."""

    def slice_below(self, below: str | None, rows: int) -> str:
        end = _ROWS if below is None else -((NEWEST_MS - int(below[:13])) // 1000)
        begin = (end - rows) // 1000 * 1000
        return _key(begin) if begin > 0 else ""


async def _search(reader: TimedVideoReader, request: PageRequest) -> Found:
    return await search(reader, Thousands(), request, now=reader.now)


def _numbers(videos: list[StoredVideo]) -> list[int]:
    return [int(video.body) for video in videos]


async def test_a_page_that_is_full_at_once_takes_one_read_and_a_count() -> None:
    reader = _reader_of(*range(0, _ROWS, 2))

    found = await _search(reader, PageRequest(limit=3, filters=RARE))

    assert _numbers(found.videos) == [19998, 19996, 19994, 19992]
    assert found.reached is None
    assert found.total == Total(LAST_COUNTED, exact=False)
    assert reader.reads == 2


async def test_a_rare_word_is_found_in_one_read() -> None:
    reader = _reader_of(7, 19_000)

    found = await _search(reader, PageRequest(limit=3, filters=RARE))

    assert _numbers(found.videos) == [19_000, 7]
    assert found.reached is None
    assert found.total == Total(2)
    assert reader.reads == 1


async def test_an_absent_word_is_known_to_be_absent() -> None:
    found = await _search(_reader_of(), PageRequest(limit=3, filters=RARE))

    assert found == Found([], None, Total(0))


async def test_a_page_number_skips_by_counting() -> None:
    reader = _reader_of(*range(0, _ROWS, 1000))

    found = await _search(reader, PageRequest(limit=3, page=4, filters=RARE))

    assert _numbers(found.videos) == [10_000, 9_000, 8_000, 7_000]
    assert found.total == Total(20)
    assert _numbers((await _search(reader, PageRequest(limit=3, page=7, filters=RARE))).videos) == [1000, 0]


async def test_past_the_end_is_empty_and_knows_the_total() -> None:
    found = await _search(_reader_of(5, 19_000), PageRequest(limit=10, page=2, filters=RARE))

    assert found == Found([], None, Total(2))


async def test_a_page_that_ends_with_the_last_match_says_so() -> None:
    found = await _search(_reader_of(5, 6, 7), PageRequest(limit=3, filters=RARE))

    assert _numbers(found.videos) == [7, 6, 5]
    assert found.reached is None


async def test_a_cursor_goes_on_below_it_and_the_total_is_of_everything() -> None:
    reader = _reader_of(5, 6, 7, 19_000)

    found = await _search(reader, PageRequest(limit=3, page=None, after=_key(7), filters=RARE))

    assert _numbers(found.videos) == [6, 5]
    assert found.total == Total(4)


async def test_a_time_range_bounds_the_walk() -> None:
    reader = _reader_of(5, 900, 950, 1000, 19_000)
    between = Filters(
        search=("rare",), published_after_ms=NEWEST_MS + 900_000, published_before_ms=NEWEST_MS + 1_000_000
    )

    found = await _search(reader, PageRequest(limit=5, filters=between))

    assert _numbers(found.videos) == [1000, 950, 900]
    assert (found.reached, found.total) == (None, Total(3))


async def test_a_cursor_above_the_time_range_begins_in_it() -> None:
    reader = _reader_of(5, 1000, 19_000)
    until = Filters(search=("rare",), published_before_ms=NEWEST_MS + 1_000_000)

    found = await _search(reader, PageRequest(limit=5, page=None, after=_key(19_500), filters=until))

    assert _numbers(found.videos) == [1000, 5]


async def test_no_time_is_spent_above_the_time_range() -> None:
    reader = _reader_of(5, seconds_per_row=0.01)
    until = Filters(search=("rare",), published_before_ms=NEWEST_MS + 9_500_000)

    found = await _search(reader, PageRequest(limit=5, filters=until))

    assert found.reached == _key(9_000)


async def test_nothing_is_looked_for_in_an_empty_range() -> None:
    reader = _reader_of(5)
    never = Filters(search=("rare",), published_before_ms=0, published_after_ms=0)

    assert await _search(reader, PageRequest(limit=5, filters=never)) == Found([], None, Total(0))


async def test_when_time_runs_out_the_page_says_how_far_it_looked() -> None:
    reader = _reader_of(7, 19_000, seconds_per_row=0.00002)

    found = await _search(reader, PageRequest(limit=3, filters=RARE))

    assert _numbers(found.videos) == [19_000]
    assert found.reached is not None
    assert _key(7) < found.reached < _key(_ROWS - 4_000)
    assert found.total == Total(1, exact=False)
    assert reader.clock <= BUDGET_SECONDS + ONE_READ_SECONDS


async def test_most_of_the_time_is_made_use_of() -> None:
    reader = _reader_of(seconds_per_row=0.00002)

    found = await _search(reader, PageRequest(limit=3, filters=RARE))

    assert found.reached is not None
    assert found.reached < _key(_ROWS - 6_000)


async def test_a_slice_that_is_too_slow_is_made_narrower() -> None:
    reader = _reader_of(19_999, seconds_per_row=0.00005)

    found = await _search(reader, PageRequest(limit=3, filters=RARE))

    assert reader.given_up >= 1
    assert _numbers(found.videos) == [19_999]
    assert found.reached is not None


async def test_one_bucket_is_looked_through_whatever_time_it_takes() -> None:
    reader = _reader_of(18_800, 19_999, seconds_per_row=0.01)

    found = await _search(reader, PageRequest(limit=3, filters=RARE))

    assert _numbers(found.videos) == [19_999]
    assert found.reached == _key(19_000)
    assert found.total == Total(1, exact=False)
    # Everything, 4,000 rows and the bucket within their time, then the bucket; and no count.
    assert (reader.given_up, reader.reads) == (3, 4)


async def test_time_that_ends_on_the_way_to_a_page_gives_no_rows_of_earlier_ones() -> None:
    reader = _reader_of(*range(0, _ROWS, 500), seconds_per_row=0.00004)

    found = await _search(reader, PageRequest(limit=10, page=4, filters=RARE))

    assert found.videos == []
    assert found.reached is not None
    passed = sum(number % 500 == 0 for number in range(_ROWS) if _key(number) >= found.reached)
    assert 0 < passed < 30
    assert found.total == Total(passed, exact=False)


async def test_a_count_that_takes_too_long_leaves_what_is_known() -> None:
    reader = _reader_of(*range(19_990, _ROWS), seconds_per_row=0.00002)

    found = await _search(reader, PageRequest(limit=3, filters=RARE))

    assert len(found.videos) == 4
    assert found.total == Total(4, exact=False)


async def test_nothing_stored_is_nothing_found() -> None:
    assert await _search(_reader_of(rows=0), PageRequest(filters=RARE)) == Found([], None, Total(0))


async def test_a_read_model_that_is_away_is_no_end() -> None:
    reader = _reader_of(5)
    reader.away = True

    with pytest.raises(ReadModelUnavailable):
        await _search(reader, PageRequest(filters=RARE))


async def test_counts_that_are_not_there_yet_only_cost_time() -> None:
    reader = _reader_of(5, 19_000)

    found = await search(reader, Ranking(reader, None), PageRequest(limit=3, filters=RARE), now=reader.now)

    assert _numbers(found.videos) == [19_000, 5]


def test_slices_grow_while_there_is_time() -> None:
    assert rows_after(4_000, took_seconds=0.001, left_seconds=0.249) == 32_000
    assert rows_after(4_000, took_seconds=0.040, left_seconds=0.160) == 4_000
    assert rows_after(4_000, took_seconds=0.100, left_seconds=0.100) == 1_000
    assert rows_after(4_000, took_seconds=0.0, left_seconds=0.25) == 32_000
    assert rows_after(1, took_seconds=1.0, left_seconds=0.001) == 1


def test_slices_that_are_given_up_shrink_to_a_row_at_least() -> None:
    assert rows_after_slow(4_000) == 500
    assert rows_after_slow(3) == 1
    assert rows_after_slow(ALL_ROWS) == 4_000


def test_a_slice_may_take_half_of_the_time_left_and_everything_a_tenth() -> None:
    assert allowed_seconds(4_000, 0.25) == 0.125
    assert allowed_seconds(ALL_ROWS, 0.25) == 0.025
    assert allowed_seconds(1, 0.004) is None
    assert allowed_seconds(1, -1) is None
