"""One process's knowledge, with a read model and a topic in memory: what is shown, when, and what becomes of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import pytest
from prometheus_client import CollectorRegistry

from contract.events import VIDEO_REMOVED, VIDEO_UPDATED
from contract.video import encode
from ops.metrics import ApiMetrics
from query_api.filters import Filters
from query_api.node import STALE_SECONDS, Node
from query_api.pagination import Page, PageRequest, Total
from query_api.stored import Generation, WindowRow
from query_api.video_event import VideoEvent
from query_api.video_stream import PlaceLost, StreamAway
from tests.fakes.video_documents import NEWEST_MS, Document, make_id, make_marker, make_video, video_document
from tests.fakes.video_reader import InMemoryVideoReader

PATIENCE_SECONDS = 60
EVERYTHING = PageRequest()
TEA = PageRequest(filters=Filters(query="tea"))


class Clock:
    """Real time, with jumps."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class MemoryStream:
    """One partition; a node reads it as it would read Kafka. Set `away`, or `lost`, and it cannot."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.log: list[VideoEvent] = []
        self.place = 0
        self.away = False
        self.lost = False
        self.held = False
        self.complete: float | None = None

    @property
    def next_offsets(self) -> Mapping[int, int]:
        return {0: self.place}

    @property
    def complete_at(self) -> float | None:
        return self.complete

    async def begin(self) -> dict[int, int]:
        self._look()
        self.place, self.complete = len(self.log), None
        return {0: self.place}

    async def ends(self) -> dict[int, int]:
        self._look()
        return {0: len(self.log)}

    async def read(self) -> list[VideoEvent]:
        self._look()
        if self.lost:
            self.lost = False
            raise PlaceLost("as the test wants it")
        if self.held or self.place == len(self.log):
            await asyncio.sleep(0.01)
        if self.held:
            return []
        self._look()
        found, self.place = self.log[self.place :], len(self.log)
        self.complete = self.clock()
        return found

    async def close(self) -> None:
        """Nothing is open."""

    def _look(self) -> None:
        if self.away:
            raise StreamAway("away, as the test wants it")


class MemoryFeed:
    """Notes what is published, and the beginnings."""

    def __init__(self) -> None:
        self.beginnings: list[Mapping[int, int]] = []
        self.published: list[VideoEvent] = []
        self.failures = 0

    def start_at(self, next_offsets: Mapping[int, int]) -> None:
        self.beginnings.append(dict(next_offsets))

    def publish(self, events: Sequence[VideoEvent]) -> None:
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError("as the test wants it")
        self.published += events


class HeldReader(InMemoryVideoReader):
    """Finds what is asked for at once, and gives it when `let_go` is set, or `list_let_go` for queries."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()
        self.let_go.set()
        self.list_let_go = asyncio.Event()
        self.list_let_go.set()
        self.waiting = 0

    async def newest_rows(self, query: str | None, *, limit: int, below: str | None = None) -> list[WindowRow]:
        found = await super().newest_rows(query, limit=limit, below=below)
        self.waiting += 1
        await self.let_go.wait()
        self.waiting -= 1
        return found

    async def list_queries(self) -> list[str]:
        found = await super().list_queries()
        self.waiting += 1
        await self.list_let_go.wait()
        self.waiting -= 1
        return found


class Stage:
    """A node, what it reads from, and a processor that writes the store and then the event."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.reader = HeldReader()
        self.stream = MemoryStream(self.clock)
        self.feed = MemoryFeed()
        self.registry = CollectorRegistry()
        self.node = Node(self.reader, self.stream, self.feed, ApiMetrics(self.registry), clock=self.clock)
        self.sequence = 0
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self.node.run())

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def start_and_wait(self) -> None:
        self.start()
        await self.until(lambda: self.shown(EVERYTHING) is not None)

    def store(
        self, number: int, *, queries: Sequence[str] = ("tea",), published_ms: int | None = None, tell: bool = True
    ) -> None:
        """A video is found, or changes."""
        self.sequence += 1
        published = NEWEST_MS + number * 1000 if published_ms is None else published_ms
        video = make_video(number, published)
        video.queries[:] = queries
        before = self.reader.documents.get(video.id)
        document = video_document(video, published, self.sequence)
        self.reader.put(document)
        if tell:
            self._tell(number, VIDEO_UPDATED, document["k"], before, encode(video))

    def remove(self, number: int, *, tell: bool = True) -> None:
        self.sequence += 1
        before = self.reader.documents.get(make_id(number))
        self.reader.put(make_marker(number))
        if tell:
            self._tell(number, VIDEO_REMOVED, None if before is None else before.get("k"), before, None)

    def _tell(self, number: int, type_: str, sort_key: str | None, before: Document | None, body: bytes | None) -> None:
        self.stream.log.append(
            VideoEvent(
                partition=0,
                offset=len(self.stream.log),
                video_id=make_id(number),
                type=type_,
                sequence=self.sequence,
                sort_key=sort_key,
                previous_sort_key=None if before is None else before.get("k"),
                body=body,
            )
        )

    def page(self, asked: PageRequest = EVERYTHING) -> Page:
        hot = self.node.hot_page(asked)
        assert hot is not None
        return hot.page

    def shown(self, asked: PageRequest = EVERYTHING) -> tuple[list[str], Total] | None:
        """Ids and total of a page; None when it is not in a window."""
        hot = self.node.hot_page(asked)
        return None if hot is None else ([video.sort_key[13:] for video in hot.page.items], hot.page.total)

    async def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, self.shown()
            await asyncio.sleep(0.01)

    async def until_shown(self, numbers: Sequence[int], total: Total, asked: PageRequest = EVERYTHING) -> None:
        wanted = [make_id(number) for number in numbers], total
        await self.until(lambda: self.shown(asked) == wanted)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await stage.stop()


def _downwards(count: int, newest: int) -> list[int]:
    return list(range(newest, newest - count, -1))


async def test_it_is_ready_once_it_has_read_what_was_told_while_it_read_the_store(stage: Stage) -> None:
    stage.store(1)
    stage.reader.away, stage.stream.held = True, True
    stage.start()
    await stage.until(lambda: bool(stage.feed.beginnings))
    stage.store(2)
    stage.reader.away = False
    await stage.until(lambda: stage.node.ranking(None) is not None)
    await asyncio.sleep(0.1)

    assert stage.shown() is None
    assert await stage.node.readiness_fault() == "the newest videos are being read"
    stage.stream.held = False
    await stage.until_shown([2, 1], Total(2))
    assert await stage.node.readiness_fault() is None
    assert stage.feed.beginnings == [{0: 1}]
    assert [event.video_id for event in stage.feed.published] == [make_id(2)]


async def test_no_videos_are_a_whole_window(stage: Stage) -> None:
    stage.reader.stands_for = None
    await stage.start_and_wait()

    assert stage.shown() == ([], Total(0))
    assert stage.node.projection_version is None


async def test_rows_and_total_change_together(stage: Stage) -> None:
    for number in range(1200):
        stage.store(number)
    await stage.start_and_wait()
    seen = set()

    stage.store(1200)
    while (make_id(1200), Total(1201)) not in seen:
        await asyncio.sleep(0)
        page = stage.page()
        seen.add((page.items[0].sort_key[13:], page.total))

    # Rows that cannot be counted in time are shown all the same, and say so.
    assert {each for each in seen if each[1].exact} == {(make_id(1199), Total(1200)), (make_id(1200), Total(1201))}


async def test_what_is_shown_is_numbered_anew_only_when_it_is_another(stage: Stage) -> None:
    stage.store(1)
    await stage.start_and_wait()
    await stage.until(lambda: stage.node.ranking("tea") is not None)
    hot = stage.node.hot_page(EVERYTHING)
    assert hot is not None

    stage.stream.log.append(stage.stream.log[0])
    await stage.until(lambda: len(stage.feed.published) == 1)
    await asyncio.sleep(0.2)
    assert hot.version == hot.shown.version

    stage.store(2)
    await stage.until_shown([2, 1], Total(2))
    assert hot.version != hot.shown.version


async def test_pages_are_hot_as_deep_as_the_window_is(stage: Stage) -> None:
    for number in range(1500):
        stage.store(number)
    await stage.start_and_wait()

    for page, limit in ((1, 100), (10, 100), (100, 10), (1000, 1), (334, 3)):
        found = stage.page(PageRequest(limit, page))
        assert [item.sort_key[13:] for item in found.items] == [
            make_id(number) for number in _downwards(limit, 1499 - (page - 1) * limit)
        ]
        assert found.next_cursor is not None
    assert stage.shown(PageRequest(100, 11)) is None
    after = stage.page(PageRequest(100, 9)).items[-1].sort_key
    assert stage.page(PageRequest(100, None, after)).items == stage.page(PageRequest(100, 10)).items
    deep = stage.page(PageRequest(100, 10)).items[-1].sort_key
    assert stage.shown(PageRequest(100, None, deep)) is None
    assert stage.shown(PageRequest(20, None, deep)) is not None


@pytest.mark.parametrize(
    "filters",
    [
        Filters(channel_id="UC-tea"),
        Filters(search=("tea",)),
        Filters(published_after_ms=1),
        Filters(published_before_ms=1),
        Filters(query="tea", channel_id="UC-tea"),
        Filters(query="unknown"),
    ],
)
async def test_other_filters_are_not_answered_from_here(stage: Stage, filters: Filters) -> None:
    stage.store(1)
    await stage.start_and_wait()
    await stage.until(lambda: stage.shown(TEA) is not None)

    assert stage.shown(PageRequest(filters=filters)) is None


async def test_queries_have_windows_of_their_own_also_new_ones(stage: Stage) -> None:
    stage.store(1, queries=["tea"])
    stage.store(2, queries=["ice", "tea"])
    assert stage.node.knows("anything")
    await stage.start_and_wait()
    await stage.until_shown([2, 1], Total(2), TEA)
    await stage.until_shown([2], Total(1), PageRequest(filters=Filters(query="ice")))
    assert not stage.node.knows("snow")

    stage.store(3, queries=["snow"])
    await stage.until_shown([3], Total(1), PageRequest(filters=Filters(query="snow")))
    stage.remove(2)
    await stage.until_shown([], Total(0), PageRequest(filters=Filters(query="ice")))

    assert stage.node.knows("snow")
    assert set(stage.node.queries()) == {"ice", "snow", "tea"}
    await stage.until_shown([1], Total(1), TEA)


async def test_what_is_told_while_a_list_is_read_is_not_missed(stage: Stage) -> None:
    for number in range(1200):
        stage.store(number)
    stage.reader.let_go.clear()
    stage.start()
    await stage.until(lambda: stage.reader.waiting == 1)

    stage.store(1200)
    stage.remove(1199)
    await stage.until(lambda: len(stage.feed.published) == 2)
    stage.reader.let_go.set()

    await stage.until_shown([1200, *_downwards(9, 1198)], Total(1200))
    await stage.until_shown([1200, *_downwards(9, 1198)], Total(1200), TEA)


async def test_a_late_older_event_does_not_bring_back_what_is_gone(stage: Stage) -> None:
    stage.store(1)
    await stage.start_and_wait()
    stage.store(2)
    stage.remove(2)
    stage.stream.log.append(stage.stream.log[-2])
    stage.store(3)

    await stage.until_shown([3, 1], Total(2))
    assert len(stage.feed.published) == 4


async def test_a_video_that_moves_is_counted_where_it_was_and_where_it_is(stage: Stage) -> None:
    for number in range(2500):
        stage.store(number)
    await stage.start_and_wait()

    stage.store(3, published_ms=NEWEST_MS + 10_000_000)

    await stage.until_shown([3, *_downwards(9, 2499)], Total(2500))
    await stage.until_shown([3, *_downwards(9, 2499)], Total(2500), TEA)


async def test_a_removal_below_the_window_is_counted_by_every_query(stage: Stage) -> None:
    for number in range(1300):
        stage.store(number)
    await stage.start_and_wait()
    await stage.until_shown(_downwards(10, 1299), Total(1300), TEA)

    stage.remove(3)

    await stage.until_shown(_downwards(10, 1299), Total(1299), TEA)
    await stage.until_shown(_downwards(10, 1299), Total(1299))


async def test_removals_are_made_up_for_from_the_store(stage: Stage) -> None:
    for number in range(1400):
        stage.store(number)
    await stage.start_and_wait()

    for number in range(1399, 1199, -1):
        stage.remove(number)

    last = PageRequest(100, 10)
    await stage.until_shown(_downwards(100, 299), Total(1200), last)


async def test_a_reading_that_failed_is_made_again(stage: Stage) -> None:
    for number in range(1400):
        stage.store(number)
    await stage.start_and_wait()
    stage.reader.away = True
    for number in range(1399, 1199, -1):
        stage.remove(number)
    await stage.until(lambda: stage.shown(PageRequest(100, 10)) is None)
    for number in range(1400, 1700):
        stage.store(number)
    await stage.until(lambda: stage.page().items[0].sort_key[13:] == make_id(1699))
    assert stage.shown(PageRequest(100, 10)) is not None
    assert stage.shown(PageRequest(100, 11)) is None

    stage.reader.away = False

    await stage.until_shown(_downwards(10, 1699), Total(1500))


async def test_without_mongodb_rows_are_shown_with_the_last_total(stage: Stage) -> None:
    for number in range(1200):
        stage.store(number)
    await stage.start_and_wait()
    await stage.until(lambda: stage.clock() < stage.node.fresh_until)
    stage.reader.away = True

    stage.store(1200)
    await stage.until_shown(_downwards(10, 1200), Total(1200, exact=False))

    stage.clock.ahead = STALE_SECONDS + 2
    await stage.until(lambda: stage.clock() > stage.node.fresh_until)
    assert stage.node.age_seconds(stage.clock()) > STALE_SECONDS
    assert await stage.node.readiness_fault() is None
    stage.reader.away = False
    await stage.until_shown(_downwards(10, 1200), Total(1201))
    await stage.until(lambda: stage.clock() < stage.node.fresh_until)


async def test_a_whole_window_is_counted_by_itself(stage: Stage) -> None:
    stage.store(1)
    await stage.start_and_wait()
    stage.store(2, tell=False)
    stage.store(1)
    await stage.until(lambda: stage.node.fresh_until > 0 and len(stage.feed.published) == 1)
    await asyncio.sleep(0.2)
    assert stage.shown() == ([make_id(1)], Total(1))

    stage.reader.away = True
    stage.store(3)

    await stage.until_shown([3, 1], Total(2))


async def test_a_query_that_is_heard_of_while_the_queries_are_listed_is_known(stage: Stage) -> None:
    stage.store(1)
    stage.reader.list_let_go.clear()
    await stage.start_and_wait()
    await stage.until(lambda: stage.reader.waiting == 1)

    stage.store(2, queries=["snow"])
    await stage.until(lambda: len(stage.feed.published) == 1)
    stage.reader.list_let_go.set()

    await stage.until_shown([2], Total(1), PageRequest(filters=Filters(query="snow")))


async def test_without_kafka_what_was_read_is_served_as_stale_until_it_is_back(stage: Stage) -> None:
    stage.store(1)
    stage.stream.away = True
    await stage.start_and_wait()
    assert stage.clock() > stage.node.fresh_until
    assert await stage.node.readiness_fault() is None
    stage.store(2, tell=False)

    stage.stream.away = False

    await stage.until_shown([2, 1], Total(2))
    await stage.until(lambda: stage.clock() < stage.node.fresh_until)
    stage.store(3)
    await stage.until_shown([3, 2, 1], Total(3))
    assert stage.metric("yousync_hot_window_reloads_total", why="following") == 1


async def test_kafka_that_goes_away_is_gone_on_with(stage: Stage) -> None:
    stage.store(1)
    await stage.start_and_wait()
    stage.stream.away = True
    stage.store(2)
    stage.clock.ahead = STALE_SECONDS + 1
    await asyncio.sleep(0.1)
    assert stage.clock() > stage.node.fresh_until

    stage.stream.away = False

    await stage.until_shown([2, 1], Total(2))
    await stage.until(lambda: stage.clock() < stage.node.fresh_until)
    assert len(stage.feed.beginnings) == 1


async def test_mongodb_away_at_the_start_is_waited_for(stage: Stage) -> None:
    stage.store(1)
    stage.reader.away = True
    stage.start()
    await asyncio.sleep(0.2)
    assert stage.shown() is None
    assert await stage.node.readiness_fault() == "the newest videos have not been read from MongoDB yet"

    stage.reader.away = False

    await stage.until_shown([1], Total(1))


async def test_another_generation_is_read_anew(stage: Stage) -> None:
    for number in range(3):
        stage.store(number, queries=["tea"] if number else ["ice"])
    await stage.start_and_wait()
    await stage.until(lambda: {"ice", "tea"} <= set(stage.node.queries()) and stage.shown(TEA) is not None)
    ice = stage.node.hot_page(PageRequest(filters=Filters(query="ice")))
    first = stage.node.ranking(None)
    stage.store(2)
    await stage.until(lambda: len(stage.feed.published) == 1)

    # Its sequences begin at nothing again, and the video of one query is not in it.
    stage.reader.documents.clear()
    stage.sequence = 0
    stage.store(5, tell=False)
    stage.reader.stands_for = Generation("another", 3)

    await stage.until_shown([5], Total(1))
    await stage.until_shown([5], Total(1), TEA)
    await stage.until(lambda: not stage.node.knows("ice"))
    assert stage.node.projection_version == 3
    assert stage.node.ranking(None) is not first
    assert ice is not None
    assert ice.version != ice.shown.version
    assert stage.shown(PageRequest(filters=Filters(query="ice"))) is None
    stage.store(2)
    await stage.until_shown([5, 2], Total(2))
    assert stage.metric("yousync_hot_window_reloads_total", why="generation") == 1


async def test_a_lost_place_is_a_new_beginning(stage: Stage) -> None:
    stage.store(1)
    await stage.start_and_wait()
    stage.store(2, tell=False)
    stage.reader.let_go.clear()
    stage.stream.lost = True
    await stage.until(lambda: len(stage.feed.beginnings) == 2)

    stage.clock.ahead = STALE_SECONDS + 1
    await stage.until(lambda: stage.node._store_at is not None and stage.clock() - stage.node._store_at < 1)
    await asyncio.sleep(0.1)
    assert stage.shown() == ([make_id(1)], Total(1))
    assert stage.clock() > stage.node.fresh_until
    stage.reader.let_go.set()

    await stage.until_shown([2, 1], Total(2))
    await stage.until(lambda: stage.clock() < stage.node.fresh_until)
    stage.store(3)
    await stage.until_shown([3, 2, 1], Total(3))


async def test_what_no_event_told_is_found_in_time(stage: Stage) -> None:
    for number in range(1200):
        stage.store(number)
    await stage.start_and_wait()
    await stage.until(lambda: stage.shown(TEA) is not None)
    stage.remove(1199, tell=False)
    stage.store(5000, queries=["snow"], tell=False)
    await asyncio.sleep(0.1)
    assert stage.shown() == ([make_id(number) for number in _downwards(10, 1199)], Total(1200))

    stage.clock.ahead = 601

    expected = [5000, *_downwards(9, 1198)]
    await stage.until_shown(expected, Total(1200))
    await stage.until_shown(_downwards(10, 1198), Total(1199), TEA)
    await stage.until_shown([5000], Total(1), PageRequest(filters=Filters(query="snow")))


async def test_a_failure_of_one_part_is_begun_again_after(stage: Stage) -> None:
    stage.store(1)
    await stage.start_and_wait()
    stage.feed.failures = 1

    stage.store(2)
    await stage.until(lambda: len(stage.feed.beginnings) == 2)
    stage.store(3)

    await stage.until_shown([3, 2, 1], Total(3))


async def test_operators_see_its_size_and_age(stage: Stage) -> None:
    stage.store(1)
    await stage.start_and_wait()

    await stage.until(lambda: stage.metric("yousync_hot_window_videos") == 1)
    age = stage.metric("yousync_hot_window_age_seconds")

    assert age is not None
    assert age < STALE_SECONDS
    assert stage.metric("yousync_hot_window_reloads_total", why="start") == 1


class SwallowingReader(InMemoryVideoReader):
    """Takes the first cancellation for its own, as a driver may in the middle of a read."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = asyncio.Event()
        self.swallowed = 0

    async def generation(self) -> Generation | None:
        """As in `VideoReader`."""
        if not self.swallowed:
            self.reading.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.swallowed += 1
        return await super().generation()


async def test_it_ends_even_when_a_read_swallows_the_cancellation() -> None:
    reader = SwallowingReader()
    node = Node(reader, MemoryStream(Clock()), MemoryFeed(), ApiMetrics(CollectorRegistry()))
    running = asyncio.create_task(node.run())
    await reader.reading.wait()

    running.cancel()
    ended, _ = await asyncio.wait([running], timeout=30)

    assert ended == {running}
    assert running.cancelled()
    assert reader.swallowed == 1
