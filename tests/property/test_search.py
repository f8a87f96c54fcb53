"""Pages of a search tile: whatever the time is enough for, its cursors give every match once, newest first."""

import asyncio
from dataclasses import dataclass

from hypothesis import event, given
from hypothesis import strategies as st

from contract.times import format_seconds
from query_api.pagination import Page, PageRequest, parse_page_request, to_page
from query_api.ranking import Ranking
from query_api.search import search
from query_api.stored import StoredVideo
from tests.fakes.timed_reader import TimedVideoReader
from tests.fakes.video_documents import NEWEST_MS, make_document, make_id, make_marker

_WORD = "rare"
_BUCKET_ROWS = 3

# Few moments, so that ties are common; True is a match.
_published = st.tuples(st.integers(0, 20), st.booleans())
videos = st.one_of(
    st.dictionaries(st.integers(0, 80), _published),
    st.lists(_published, min_size=20, max_size=60).map(lambda several: dict(enumerate(several))),
)
limits = st.integers(1, 8)
budgets = st.sampled_from([0.0, 0.006, 0.02, 0.1, 0.25])
speeds = st.sampled_from([0.01, 0.005, 0.002, 0.001, 0.0005, 1.0, 0.0])
ranges = st.sampled_from([0, 0, 1, 2]).flatmap(
    lambda bounds: st.lists(st.integers(-1, 21), max_size=bounds).map(sorted)
)


@dataclass
class SmallSlices:
    """Slices of a five-hundredth of the rows: so much smaller is the store than those that slices are meant for."""

    ranking: Ranking

    def slice_below(self, below: str | None, rows: int) -> str:
        """As in `Ranking`."""
        return self.ranking.slice_below(below, max(1, rows // 500))


@dataclass
class Search:
    """A store of videos, and what is asked of it."""

    reader: TimedVideoReader
    slices: SmallSlices
    filters: dict[str, str]
    budget: float

    def ask(self, **parameters: object) -> PageRequest:
        """What a client sends, understood."""
        given = [(name, str(value)) for name, value in (self.filters | parameters).items()]
        request = parse_page_request(given)
        assert isinstance(request, PageRequest)
        return request

    def answer(self, request: PageRequest) -> Page:
        """The page as it is answered."""
        found = asyncio.run(search(self.reader, self.slices, request, budget_seconds=self.budget, now=self.reader.now))
        assert len(found.videos) <= request.limit + 1
        return to_page(request, found.videos, found.total, found.reached)

    def matches(self) -> list[StoredVideo]:
        """All there is to find, newest first."""
        unhurried = TimedVideoReader(0.0)
        unhurried.documents = self.reader.documents
        return asyncio.run(unhurried.list_videos(self.ask().filters, limit=1000))


@st.composite
def searches(draw: st.DrawFn) -> Search:
    reader = TimedVideoReader(0.0)
    for number, (second, matches) in draw(videos).items():
        document = make_document(number, NEWEST_MS + second * 1000)
        document["q"] = [_WORD] if matches else []
        reader.put(document)
    ranking = Ranking(reader, None, bucket_rows=_BUCKET_ROWS)
    if draw(st.integers(0, 5)):
        asyncio.run(ranking.load())
    reader.seconds_per_row = draw(speeds)
    names = draw(st.permutations(["published_after", "published_before"]))
    seconds = draw(ranges)
    bounds = zip(sorted(names) if len(seconds) == 2 else names, seconds, strict=False)
    filters = {name: format_seconds(NEWEST_MS + second * 1000) for name, second in bounds}
    return Search(reader, SmallSlices(ranking), {"search": _WORD, **filters}, draw(budgets))


def _check_total(page: Page, matches: list[StoredVideo]) -> None:
    assert page.total.count <= len(matches)
    if page.total.exact:
        assert page.total.count == len(matches)


@given(searches(), st.lists(limits, min_size=1))
def test_cursors_tile_the_matches_whatever_the_time_is_enough_for(asked: Search, sizes: list[int]) -> None:
    matches, seen, cut_short = asked.matches(), list[StoredVideo](), 0
    page = asked.answer(asked.ask(limit=sizes[0]))

    for number in range(1, 200):
        seen += page.items
        cut_short += not page.complete
        _check_total(page, matches)
        assert page.complete or page.next_cursor is not None
        if page.next_cursor is None:
            break
        assert seen != matches or not page.complete
        page = asked.answer(asked.ask(limit=sizes[number % len(sizes)], cursor=page.next_cursor))
    else:
        raise AssertionError("there is no end to it")

    event("cut short" if cut_short else "in time")
    assert seen == matches


@given(searches(), limits, st.integers(1, 12))
def test_a_numbered_page_is_that_page_or_the_beginning_of_it(asked: Search, limit: int, number: int) -> None:
    matches = asked.matches()
    wanted = matches[(number - 1) * limit : number * limit]

    page = asked.answer(asked.ask(limit=limit, page=number))

    _check_total(page, matches)
    assert list(page.items) == (wanted if page.complete else wanted[: len(page.items)])
    assert page.complete or page.next_cursor is not None
    if page.next_cursor is not None:
        event("cut short" if not page.complete else "more follow")
        following = asked.answer(asked.ask(limit=limit, cursor=page.next_cursor)).items
        # Nothing is passed over: if the walk had not come as far as this page, it goes on before it.
        begin = matches.index(following[0]) if following else len(matches)
        assert begin <= (number - 1) * limit + len(page.items) or not following


@given(searches(), st.lists(st.tuples(st.integers(0, 80), st.integers(0, 20), st.booleans()), max_size=20), limits)
def test_what_stays_is_found_once_whatever_comes_and_goes_between_the_pages(
    asked: Search, changes: list[tuple[int, int, bool]], limit: int
) -> None:
    """The slices are cut by counts of another time: only the order of keys is relied on."""
    before = asked.matches()
    touched = {make_id(number) for number, _, _ in changes}
    page, seen = asked.answer(asked.ask(limit=limit)), list[StoredVideo]()

    while True:
        seen += page.items
        if changes:
            number, second, removed = changes.pop()
            asked.reader.put(make_marker(number) if removed else _match(number, second))
        if page.next_cursor is None:
            break
        page = asked.answer(asked.ask(limit=limit, cursor=page.next_cursor))

    keys = [video.sort_key for video in seen]
    assert keys == sorted(set(keys), reverse=True)
    assert {video.sort_key for video in before if video.sort_key[13:] not in touched} <= set(keys)


def _match(number: int, second: int) -> dict[str, object]:
    return make_document(number, NEWEST_MS + second * 1000) | {"q": [_WORD]}
