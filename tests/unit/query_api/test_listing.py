"""Which source answers a page, and what it says of the total."""

import pytest

from query_api.filters import LAST_COUNTED, Filters
from query_api.listing import Listing, PageTooDeep, SearchNotReady
from query_api.pagination import Page, PageRequest, Total, encode_cursor
from query_api.ranking import Ranking
from query_api.video_reader import ReadModelUnavailable
from tests.fakes.video_documents import NEWEST_MS, make_document
from tests.fakes.video_reader import InMemoryVideoReader

VIDEOS = 1_500


class Counts:
    """A node whose counts were read; without `rankings` one that is still at it."""

    def __init__(self, *rankings: tuple[str | None, Ranking]) -> None:
        self.rankings = dict(rankings)
        self.projection_version: int | None = 2

    def ranking(self, query: str | None) -> Ranking | None:
        return self.rankings.get(query)

    def knows(self, query: str) -> bool:
        return query in self.rankings or not self.rankings


@pytest.fixture
def reader() -> InMemoryVideoReader:
    reader = InMemoryVideoReader()
    for number in range(VIDEOS):
        reader.put(make_document(number))
    return reader


@pytest.fixture
async def counts(reader: InMemoryVideoReader) -> Counts:
    rankings = [(query, Ranking(reader, query, bucket_rows=50)) for query in (None, "tea")]
    for _, ranking in rankings:
        await ranking.load()
    return Counts(*rankings)


@pytest.fixture
def listing(reader: InMemoryVideoReader, counts: Counts) -> Listing:
    return Listing(reader, counts)


def _numbers(page: Page) -> list[int]:
    return [int(video.sort_key[-7:]) for video in page.items]


def _between(first: int, last: int, query: str | None = None, channel_id: str | None = None) -> Filters:
    return Filters(query, channel_id, NEWEST_MS + first * 1000, NEWEST_MS + last * 1000)


@pytest.mark.parametrize(
    ("filters", "total"),
    [(Filters(), VIDEOS), (Filters(query="tea"), VIDEOS), (_between(100, 1_399), 1_300)],
)
async def test_what_is_counted_for_free_is_exact_at_any_depth(listing: Listing, filters: Filters, total: int) -> None:
    newest = VIDEOS - 1 if filters.below is None else 1_399

    page = await listing.page(PageRequest(10, 121, None, filters))

    assert page.total == Total(total)
    assert _numbers(page) == [newest - 1_200 - number for number in range(10)]


async def test_past_the_end_nothing_is_read(listing: Listing) -> None:
    page = await listing.page(PageRequest(100, 10**15))

    assert (page.items, page.total, page.next_cursor) == ([], Total(VIDEOS), None)


async def test_a_cursor_begins_below_the_video_that_it_names(listing: Listing) -> None:
    after = make_document(700)["k"]

    page = await listing.page(PageRequest(2, None, after))

    assert (_numbers(page), page.total) == ([699, 698], Total(VIDEOS))


@pytest.mark.parametrize(
    "filters", [Filters(channel_id="UC-tea"), _between(0, VIDEOS, query="tea"), Filters(search=("tea",))]
)
async def test_all_else_is_counted_and_paged_up_to_a_thousand(listing: Listing, filters: Filters) -> None:
    page = await listing.page(PageRequest(100, 10, None, filters))

    assert page.total == Total(LAST_COUNTED, exact=False)
    assert _numbers(page) == list(range(599, 499, -1))
    with pytest.raises(PageTooDeep) as refusal:
        await listing.page(PageRequest(100, 11, None, filters))
    assert refusal.value.last == page
    assert page.next_cursor == encode_cursor(make_document(500)["k"], filters)


async def test_a_small_filtered_list_has_an_exact_total(listing: Listing) -> None:
    page = await listing.page(PageRequest(10, 1, None, _between(1, 3, channel_id="UC-tea")))

    assert (_numbers(page), page.total, page.next_cursor) == ([3, 2, 1], Total(3), None)


async def test_a_count_that_takes_too_long_is_what_is_known(listing: Listing, reader: InMemoryVideoReader) -> None:
    reader.slow_reads = 1

    page = await listing.page(PageRequest(10, 2, None, Filters(channel_id="UC-tea")))

    assert page.total == Total(21, exact=False)


async def test_a_query_that_found_nothing_is_an_empty_list(listing: Listing, reader: InMemoryVideoReader) -> None:
    reader.away = True

    page = await listing.page(PageRequest(filters=Filters(query="never asked")))

    assert (page.items, page.total) == ([], Total(0))


async def test_an_old_store_cannot_be_searched(listing: Listing, counts: Counts) -> None:
    counts.projection_version = 1

    with pytest.raises(SearchNotReady):
        await listing.page(PageRequest(filters=Filters(search=("tea",))))


async def test_while_counts_are_read_the_first_pages_are_there(reader: InMemoryVideoReader) -> None:
    listing = Listing(reader, Counts())

    page = await listing.page(PageRequest(10, 100))

    assert _numbers(page) == list(range(VIDEOS - 991, VIDEOS - 1001, -1))
    assert page.total == Total(LAST_COUNTED, exact=False)


@pytest.mark.parametrize("asked", [PageRequest(10, 200), PageRequest(filters=Filters(search=("tea",)))], ids=str)
async def test_while_counts_are_read_all_else_is_asked_for_again(
    reader: InMemoryVideoReader, asked: PageRequest
) -> None:
    with pytest.raises(ReadModelUnavailable):
        await Listing(reader, Counts()).page(asked)
