"""Totals, places and pages against a sorted list, while videos come, go and move, and their events come late or twice.

Kafka keeps the order within a partition and none between them. Whatever is delivered when, once every event has
been, every answer is exact: not before, for a node cannot know of what it was not told.
"""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from query_api.filters import EVERYTHING, Filters
from query_api.ranking import Ranking
from query_api.stored import StoredVideo
from query_api.video_reader import ReadModelUnavailable
from tests.fakes.video_documents import NEWEST_MS, make_document, make_id, make_marker
from tests.fakes.video_reader import InMemoryVideoReader

_PARTITIONS = 3
_BUCKET_ROWS = 2
_QUERIES = (None, "tea", "coffee")

numbers = st.integers(0, 40)
# A crowded second, days apart, and the ends of what a sort key can say.
moments = st.one_of(
    st.just(NEWEST_MS),
    st.integers(0, 3).map(lambda second: NEWEST_MS + second * 1000),
    st.integers(-30, 30).map(lambda day: NEWEST_MS + day * 86_400_000),
    st.sampled_from([0, 9_999_999_999_999]),
)
queries = st.sampled_from([("tea",), ("coffee",), ("coffee", "tea"), ()])
bounds = st.builds("{:013d}{}".format, moments, st.one_of(st.just(""), numbers.map(make_id)))
partitions = st.integers(0, _PARTITIONS - 1)

Change = Callable[[], None]
Step = tuple[int, int | None, bool]
"""Of which video, published when (None: gone), and whether its event arrives at once."""

steps = st.one_of(st.none(), st.tuples(numbers, st.one_of(moments, st.none()), st.booleans()))


class InterruptedReader(InMemoryVideoReader):
    """Whatever stands in `changes` happens one by one, before and after the store is looked at by each count."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[Change] = []

    async def count_videos(
        self,
        filters: Filters = EVERYTHING,
        *,
        at_least: str = "",
        below: str | None = None,
        cap: int | None = None,
        seconds: float | None = None,
    ) -> int:
        self._change()
        found = await super().count_videos(filters, at_least=at_least, below=below, cap=cap, seconds=seconds)
        self._change()
        return found

    async def list_videos(
        self,
        filters: Filters = EVERYTHING,
        *,
        limit: int,
        skip: int = 0,
        at_least: str = "",
        below: str | None = None,
        seconds: float | None = None,
    ) -> list[StoredVideo]:
        self._change()
        found = await super().list_videos(filters, limit=limit, skip=skip, at_least=at_least, below=below)
        self._change()
        return found

    def _change(self) -> None:
        if self.changes:
            self.changes.pop(0)()


class CountingNode(RuleBasedStateMachine):
    """A store, its events on their way, and the rankings that are told of them."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = InterruptedReader()
        self.rankings = {query: Ranking(self.reader, query, bucket_rows=_BUCKET_ROWS) for query in _QUERIES}
        self.events: list[list[tuple[str | None, str | None]]] = [[] for _ in range(_PARTITIONS)]
        self.delivered = [0] * _PARTITIONS
        self.untold = False
        self.events_get_lost = False

    @initialize(published=st.dictionaries(numbers, moments), lossy=st.sampled_from([False, False, False, True]))
    def begin(self, published: dict[int, int], lossy: bool) -> None:
        """What was there before anyone followed the events."""
        self.events_get_lost = lossy
        for number, moment in published.items():
            self.store(number, moment, ("tea",))
        self.events = [[] for _ in range(_PARTITIONS)]
        for ranking in self.rankings.values():
            asyncio.run(ranking.load())

    @rule(number=numbers, moment=moments, found_by=queries)
    def store(self, number: int, moment: int, found_by: tuple[str, ...]) -> None:
        """A video is new, or published at another time, or found by other queries."""
        before = self._sort_key(number)
        document = make_document(number, moment)
        document["queries"] = list(found_by)
        self.reader.put(document)
        self.events[number % _PARTITIONS].append((self._sort_key(number), before))

    @rule(number=numbers)
    def remove(self, number: int) -> None:
        """A video is gone; its event carries the key it had."""
        before = self._sort_key(number)
        if before is not None:
            self.reader.put(make_marker(number))
            self.events[number % _PARTITIONS].append((None, before))

    @precondition(lambda self: self.events_get_lost)
    @rule(number=numbers, moment=moments)
    def change_untold(self, number: int, moment: int) -> None:
        """A video is stored, and no event will ever say so."""
        document = make_document(number, moment)
        self.reader.put(document)
        self.untold = True

    @rule(partition=partitions, events=st.integers(1, 5))
    def deliver(self, partition: int, events: int) -> None:
        """The next events of one partition arrive."""
        first, self.delivered[partition] = (
            self.delivered[partition],
            min(self.delivered[partition] + events, len(self.events[partition])),
        )
        self._tell(self.events[partition][first : self.delivered[partition]])

    @rule(partition=partitions, events=st.integers(1, 5))
    def deliver_again(self, partition: int, events: int) -> None:
        """Events that have arrived arrive once more."""
        last = self.delivered[partition]
        self._tell(self.events[partition][max(0, last - events) : last])

    @rule(query=st.sampled_from(_QUERIES), again=bounds, changes=st.lists(steps, min_size=1, max_size=6))
    def count_under_way(self, query: str | None, again: str, changes: list[Step | None]) -> None:
        """Videos change, and their events arrive or do not, before and after each look of a count at the store."""
        ranking = self.rankings[query]
        ranking.mark(again)
        self.interrupt(ranking.refresh, changes, failing=False)

    @rule(query=st.sampled_from(_QUERIES), changes=st.lists(steps, max_size=12), failing=st.booleans())
    def round_under_way(self, query: str | None, changes: list[Step | None], failing: bool) -> None:
        """The same while everything is counted again, which may end in the middle."""
        self.interrupt(self.rankings[query].recount_round, changes, failing)

    @rule(query=st.sampled_from(_QUERIES), changes=st.lists(steps, max_size=24), failing=st.booleans())
    def load_under_way(self, query: str | None, changes: list[Step | None], failing: bool) -> None:
        """The same while everything is counted for the first time."""
        self.rankings[query] = Ranking(self.reader, query, bucket_rows=_BUCKET_ROWS)
        self.interrupt(self.rankings[query].load, changes, failing)

    def interrupt(self, count: Callable[[], Awaitable[None]], changes: list[Step | None], failing: bool) -> None:
        """Count, with the changes between; at the end of them MongoDB may go away."""
        self.reader.changes = [functools.partial(self.take, step) for step in changes]
        if failing:
            self.reader.changes.append(_go_away)
        with contextlib.suppress(ReadModelUnavailable):
            asyncio.run(_awaited(count))
        self.reader.changes.clear()

    def take(self, step: Step | None) -> None:
        """One change, or none."""
        if step is None:
            return
        number, moment, told = step
        if moment is None:
            self.remove(number)
        else:
            self.store(number, moment, ("tea",))
        if told:
            self.deliver(number % _PARTITIONS, len(self.events[number % _PARTITIONS]))

    @precondition(lambda self: self.untold)
    @rule()
    def go_round(self) -> None:
        """The slow round; what it finds is exact once the events are there."""
        for ranking in self.rankings.values():
            asyncio.run(ranking.recount_round())
        self.untold = False

    @precondition(lambda self: not self.untold)
    @rule(lower=bounds, upper=st.one_of(st.none(), bounds))
    def ask_everything(self, lower: str, upper: str | None) -> None:
        """Every event is delivered, and every answer is exact."""
        for partition in range(_PARTITIONS):
            self.deliver(partition, len(self.events[partition]))
        for query, ranking in self.rankings.items():
            asyncio.run(self._check(query, ranking, lower, upper))

    @invariant()
    def reads_are_all_used_up(self) -> None:
        """Nothing happens later that was to happen during a count."""
        assert not self.reader.changes

    async def _check(self, query: str | None, ranking: Ranking, lower: str, upper: str | None) -> None:
        filters = Filters(query=query)
        expected = await self.reader.list_videos(filters, limit=1000)
        await ranking.refresh()
        assert not ranking.dirty
        assert ranking.total == len(expected)
        assert await ranking.count_between("", None) == len(expected)

        for row in range(len(expected) + 2):
            place = await ranking.place_of(row)
            assert row >= len(expected) or place.skip < 2 * _BUCKET_ROWS
            listed = await self.reader.list_videos(filters, limit=3, skip=place.skip, below=place.below)
            assert listed == expected[row : row + 3]

        between = [video for video in expected if lower <= video.sort_key and (upper is None or video.sort_key < upper)]
        assert await ranking.count_between(lower, upper) == len(between)
        under = [video for video in expected if upper is None or video.sort_key < upper]
        for row in range(len(under) + 2):
            place = await ranking.place_of(row, below=upper)
            listed = await self.reader.list_videos(filters, limit=3, skip=place.skip, below=place.below)
            assert listed == under[row : row + 3]

        self._check_slices(ranking, len(expected))

    def _check_slices(self, ranking: Ranking, total: int) -> None:
        slices, below = 0, None
        while below != "":
            lower = ranking.slice_below(below, 1)
            assert below is None or lower < below
            slices, below = slices + 1, lower
        assert slices <= total + 1

    def _sort_key(self, number: int) -> str | None:
        return self.reader.documents.get(make_id(number), {}).get("k")

    def _tell(self, events: list[tuple[str | None, str | None]]) -> None:
        for ranking in self.rankings.values():
            for keys in events:
                ranking.mark(*keys)


def _go_away() -> None:
    raise ReadModelUnavailable("for a moment")


async def _awaited(count: Callable[[], Awaitable[None]]) -> None:
    await count()


TestCountingNode = CountingNode.TestCase
TestCountingNode.settings = settings(max_examples=200, stateful_step_count=40)
