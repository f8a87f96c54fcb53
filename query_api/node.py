"""What one process of the API knows without asking: the newest videos and the counts of each list, kept fresh.

    youtube.videos ──► windows, marks of the counts, the live feed
                           │
    MongoDB ──► readings ──┴──► counted again where marked ──► shown: rows and total in one step

A **list** is everything, or what one followed query found. Where the events begin is asked before a list is read, so
that nothing lies between the two. A list is read anew when that beginning or the generation of the read model is
another, and now and then besides, for what no event told; what was shown stays until then.

What is shown outlives MongoDB and Kafka. How long ago both were last heard is its age; past a few seconds it is stale,
and says so.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import msgspec

from ops.logging import get_logger
from ops.metrics import ApiMetrics
from query_api.filters import Filters
from query_api.hot_window import SIZE, HotWindow, LastSequences, Snapshot
from query_api.pagination import Page, PageRequest, Total, to_page
from query_api.ranking import Ranking
from query_api.stored import Generation, StoredVideo
from query_api.video_event import VideoEvent, queries_of
from query_api.video_reader import ReadModelUnavailable, VideoReader
from query_api.video_stream import PlaceLost, StreamAway

STALE_SECONDS: Final = 3.0
"""What is shown is stale when it is older."""

_COALESCED_SECONDS: Final = 0.02
_LATEST_SECONDS: Final = 0.06
"""Rows are shown this long after they changed at the latest, counted or not."""

_COUNTED_AT_ONCE: Final = 16
_LOOK_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.5
_CANCELLED_SECONDS: Final = 0.2
_REREAD_SECONDS: Final = 600.0

_MOST_QUERIES: Final = 500
_MOST_ROWS: Final = 100_000
"""Rows of all windows together: no more windows are opened past them, some 200 MB."""

log = get_logger(__name__)


class EventStream(Protocol):
    """`query_api.video_stream.VideoStream`, and what stands in for it."""

    @property
    def next_offsets(self) -> Mapping[int, int]: ...

    @property
    def complete_at(self) -> float | None: ...

    async def begin(self) -> dict[int, int]: ...

    async def ends(self) -> dict[int, int]: ...

    async def read(self) -> list[VideoEvent]: ...

    async def close(self) -> None: ...


class Feed(Protocol):
    """Where events go on to."""

    def start_at(self, next_offsets: Mapping[int, int]) -> None:
        """The events that follow begin here."""

    def publish(self, events: Sequence[VideoEvent]) -> None:
        """These happened, in the order of each partition."""


class Shown:
    """What pages of one list are made of; another `version` means another page."""

    __slots__ = ("snapshot", "total", "version")

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.total = Total(0)
        self.version = 0

    def show(self, snapshot: Snapshot | None, total: Total) -> None:
        self.snapshot, self.total = snapshot, total
        self.version += 1


class HotPage(msgspec.Struct, frozen=True):
    """A page, and the version of what is shown that it was made of."""

    page: Page
    shown: Shown
    version: int


class _Epoch(msgspec.Struct, frozen=True):
    """Which events and which store a list was read for."""

    beginning: int
    generation: str | None


class _List:
    """Everything, or what one followed query found."""

    def __init__(self, query: str | None, ranking: Ranking, epoch: _Epoch) -> None:
        self.query: Final = query
        self.window: Final = HotWindow(query)
        self.ranking: Final = ranking
        self.epoch: Final = epoch
        self.read_at = 0.0
        self.shown_version = -1
        self.changed_at: float | None = None

    @property
    def waits(self) -> bool:
        return self.changed_at is not None or self.ranking.dirty


class Node:
    """One process's knowledge. `run` keeps it; everything else only looks, and never waits."""

    def __init__(
        self,
        reader: VideoReader,
        stream: EventStream,
        feed: Feed,
        metrics: ApiMetrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._stream = stream
        self._feed = feed
        self._metrics = metrics
        self._clock = clock
        self._born_at = clock()

        self._lists: dict[str | None, _List] = {}
        self._reading: _List | None = None
        self._shown: dict[str | None, Shown] = {}
        self._sequences = LastSequences()

        self._queries: dict[str, None] = {}
        self._queries_epoch: _Epoch | None = None
        self._heard_queries: set[str] = set()

        self._beginning = 0
        self._followed_at: float | None = None
        self._awaited: Mapping[int, int] | None = None
        self._stream_tried = asyncio.Event()
        self._generation: Generation | None = None
        self._store_at: float | None = None
        self._settled = False
        self._was_stale = False

        self._work = asyncio.Event()
        self._to_count = asyncio.Event()
        self._overdue: asyncio.TimerHandle | None = None

    # What is known, for those who answer requests.

    def hot_page(self, asked: PageRequest) -> HotPage | None:
        """The page, when it lies in a window."""
        shown = self._shown.get(asked.filters.query)
        if shown is None or shown.snapshot is None or asked.filters != Filters(query=asked.filters.query):
            return None
        rows = shown.snapshot.newest_after(asked.after, asked.skip, asked.limit + 1)
        if rows is None or not self._settled:
            return None
        videos = [StoredVideo(row.sort_key, row.body) for row in rows]
        return HotPage(to_page(asked, videos, shown.total), shown, shown.version)

    def ranking(self, query: str | None) -> Ranking | None:
        """Counts of everything, or of one followed query; None for a query that found nothing, or while loading."""
        found = self._lists.get(query)
        return None if found is None else found.ranking

    def knows(self, query: str) -> bool:
        """Whether any video was found by the query; True while that is not known yet."""
        return self._queries_epoch is None or query in self._queries

    def queries(self) -> Collection[str]:
        """The queries that any video was found by, as far as is known."""
        return self._queries.keys()

    @property
    def projection_version(self) -> int | None:
        """What the documents were made by; None when the store does not say."""
        return None if self._generation is None else self._generation.projection_version

    @property
    def fresh_until(self) -> float:
        """From when on what is shown is stale, by the clock, unless more is heard until then."""
        if self._followed_at is None or self._store_at is None:
            return -float("inf")
        return min(self._followed_at, self._store_at) + STALE_SECONDS

    def age_seconds(self, now: float) -> float:
        """How long ago all that there was had been read, of MongoDB and of Kafka."""
        heard = (self._born_at if at is None else at for at in (self._followed_at, self._store_at))
        return max(0.0, now - min(heard))

    def stale_seconds(self, now: float) -> float:
        """The age of what is shown once it counts as stale, else 0."""
        return self.age_seconds(now) if now > self.fresh_until else 0.0

    async def readiness_fault(self) -> str | None:
        """Why pages cannot be served from here yet; None once they can, whatever goes away later."""
        if self._settled:
            return None
        if self._store_at is None:
            return "the newest videos have not been read from MongoDB yet"
        return "the newest videos are being read"

    # What keeps it.

    async def run(self) -> None:
        """Keep all of it, until cancelled."""
        parts = (self._follow, self._watch_store, self._keep_lists, self._keep_counts, self._tell)
        tasks = [asyncio.create_task(_for_ever(part), name=part.__name__) for part in parts]
        try:
            await asyncio.gather(*tasks)
        finally:
            await _end(tasks)
            if self._overdue is not None:
                self._overdue.cancel()
            await self._stream.close()

    async def _follow(self) -> None:
        """Take in events from the topic's present end on."""
        away = False
        begun = False
        while True:
            try:
                if not begun:
                    self._begin(await self._stream.begin())
                    begun = True
                events = await self._stream.read()
            except StreamAway as error:
                if not away:
                    log.warning("events away: what is shown goes stale", reason=str(error))
                away = True
                self._stream_tried.set()
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            except PlaceLost as lost:
                log.warning("following the events from a new beginning", reason=str(lost))
                begun = False
                continue
            if away:
                log.info("events back")
            away = False
            if events:
                self._take(events)
            self._note_place()

    def _begin(self, start: Mapping[int, int]) -> None:
        self._beginning += 1
        self._feed.start_at(start)
        self._stream_tried.set()
        self._work.set()

    def _note_place(self) -> None:
        place = self._stream.next_offsets
        if self._awaited is not None and all(place.get(one, 0) >= end for one, end in self._awaited.items()):
            self._awaited = None
            self._settle()
        everything = self._lists.get(None)
        if everything is not None and everything.epoch.beginning == self._beginning:
            self._followed_at = self._stream.complete_at

    def _settle(self) -> None:
        if not self._settled:
            log.info("ready", videos=len(self._lists[None].window))
        self._settled = True

    def _take(self, events: Sequence[VideoEvent]) -> None:
        lists = list(self._lists.values())
        if self._reading is not None:
            lists.append(self._reading)
        now = self._clock()
        for event in events:
            queries = () if event.body is None else queries_of(event.body)
            self._learn(queries)
            news = self._sequences.is_news(event)
            for one in lists:
                if one.window.concerns(event, queries):
                    # Marked first: rows are never newer than the counts that they are shown with.
                    one.ranking.mark(event.sort_key, event.previous_sort_key)
                    if news and one.window.apply(event, queries) and one.changed_at is None:
                        one.changed_at = now
        self._feed.publish(events)
        self._to_count.set()
        self._show_in_time()
        if any(one.window.missing for one in lists):
            self._work.set()

    def _learn(self, queries: Iterable[str]) -> None:
        self._heard_queries.update(queries)
        for query in queries:
            if query not in self._queries:
                self._queries[query] = None
                self._work.set()

    async def _watch_store(self) -> None:
        """Notice that MongoDB is there, and when a replay swapped another collection in."""
        while True:
            try:
                generation = await self._reader.generation()
            except ReadModelUnavailable:
                pass  # the reader says so in the log
            else:
                if self._store_at is None or generation != self._generation:
                    # Another store may be made of another raw topic, whose sequences begin at nothing.
                    self._generation, self._sequences = generation, LastSequences()
                    self._work.set()
                self._store_at = self._clock()
            await asyncio.sleep(_LOOK_SECONDS)

    async def _keep_lists(self) -> None:
        """Read what must be read, one thing after another, the most urgent first."""
        await self._stream_tried.wait()
        while True:
            self._work.clear()
            job = self._next_reading()
            if job is None:
                await _wait(self._work, _LOOK_SECONDS)
                continue
            try:
                await job()
            except ReadModelUnavailable:
                await asyncio.sleep(_PAUSE_SECONDS)

    def _next_reading(self) -> Callable[[], Awaitable[None]] | None:
        if self._store_at is None:
            return None
        epoch, everything = self._epoch(), self._lists.get(None)
        if everything is None or everything.epoch != epoch:
            return partial(self._read_everything, _why(everything, epoch))
        for one in self._lists.values():
            if one.window.missing:
                return partial(self._top_up, one)
        if self._queries_epoch != epoch:
            return self._read_queries
        has_room = self._has_room()
        for query in self._queries:
            known = self._lists.get(query)
            if has_room if known is None else known.epoch != epoch:
                return partial(self._read, query)
        return self._next_rereading()

    def _next_rereading(self) -> Callable[[], Awaitable[None]] | None:
        oldest = min(self._lists.values(), key=lambda one: one.read_at)
        if self._clock() - oldest.read_at < _REREAD_SECONDS:
            return None
        return partial(self._reread, oldest)

    def _epoch(self) -> _Epoch:
        return _Epoch(self._beginning, None if self._generation is None else self._generation.id)

    def _has_room(self) -> bool:
        rows = sum(len(one.window) for one in self._lists.values())
        return len(self._lists) <= _MOST_QUERIES and rows < _MOST_ROWS

    async def _read_everything(self, why: str) -> None:
        await self._read(None)
        self._metrics.hot_window_reloads.labels(why).inc()
        log.info("newest videos read", videos=len(self._lists[None].window), why=why)
        if self._settled:
            return
        try:
            self._awaited = await self._stream.ends()
        except StreamAway:
            # Better old than nothing; it is marked so.
            self._settle()

    async def _reread(self, one: _List) -> None:
        if one.query is None:
            await self._read_queries()
        await self._read(one.query, one.ranking)

    async def _read_queries(self) -> None:
        epoch = self._epoch()
        self._heard_queries.clear()
        found = await self._reader.list_queries()
        self._queries = dict.fromkeys([*found, *self._heard_queries])
        self._queries_epoch = epoch
        for query in [query for query in self._lists if query is not None and query not in self._queries]:
            del self._lists[query]
            self._shown.pop(query).show(None, Total(0))

    async def _read(self, query: str | None, ranking: Ranking | None = None) -> None:
        """Read a list anew, and show it; its counts too, unless those are given to be gone through."""
        fresh = _List(query, ranking or Ranking(self._reader, query), self._epoch())
        fresh.window.begin_reading()
        self._reading = fresh
        try:
            fresh.window.end_reading(await self._reader.newest_rows(query, limit=SIZE), asked=SIZE)
            await (fresh.ranking.load() if ranking is None else fresh.ranking.recount_round())
        finally:
            self._reading = None
        fresh.read_at = self._clock()
        self._lists[query] = fresh
        if query not in self._shown:
            self._show_uncounted(fresh)
        self._changed(fresh)

    async def _top_up(self, one: _List) -> None:
        window = one.window
        window.begin_reading()
        asked = window.missing
        try:
            rows = await self._reader.newest_rows(one.query, limit=asked, below=window.floor)
        except ReadModelUnavailable:
            window.abandon_reading()
            raise
        window.end_reading(rows, asked=asked)
        self._changed(one)

    def _changed(self, one: _List) -> None:
        """Rows were read: they are shown as those that events brought."""
        one.changed_at = self._clock()
        self._to_count.set()
        self._show_in_time()

    async def _keep_counts(self) -> None:
        """Count again what was marked, and show it."""
        while True:
            await self._to_count.wait()
            await asyncio.sleep(_COALESCED_SECONDS)
            self._to_count.clear()
            waiting = sorted((one for one in self._lists.values() if one.waits), key=_urgency)
            if len(waiting) > _COUNTED_AT_ONCE:
                self._to_count.set()
            counted = await asyncio.gather(*map(self._count, waiting[:_COUNTED_AT_ONCE]), return_exceptions=True)
            failed = [error for error in counted if isinstance(error, BaseException)]
            if failed:
                self._to_count.set()
                if not isinstance(failed[0], ReadModelUnavailable):
                    raise failed[0]
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _count(self, one: _List) -> None:
        if one.window.whole:
            self._show(one, one.window.snapshot(), Total(len(one.window)))
            await one.ranking.refresh()
            return
        snapshot, began = one.window.snapshot(), self._clock()
        await one.ranking.refresh()
        if not one.ranking.dirty:
            snapshot = one.window.snapshot()
        if snapshot is not None and snapshot.version >= one.shown_version:
            # Under a stream of events something is always marked again by now: the count is of the rows as they were.
            self._show(one, snapshot, Total(one.ranking.total))
            if snapshot.version != one.window.version:
                one.changed_at = began
                self._show_in_time()

    def _show_in_time(self) -> None:
        """See to it that changed rows are shown soon even if MongoDB does not count."""
        waiting = [one.changed_at for one in self._lists.values() if one.changed_at is not None]
        if waiting and self._overdue is None:
            seconds = max(0.0, min(waiting) + _LATEST_SECONDS - self._clock())
            self._overdue = asyncio.get_running_loop().call_later(seconds, self._show_overdue)

    def _show_overdue(self) -> None:
        self._overdue = None
        latest = self._clock() - _LATEST_SECONDS
        for one in self._lists.values():
            if one.changed_at is not None and one.changed_at <= latest:
                self._show_uncounted(one)
        self._show_in_time()

    def _show_uncounted(self, one: _List) -> None:
        total = Total(len(one.window)) if one.window.whole else Total(one.ranking.total, exact=not one.ranking.dirty)
        self._show(one, one.window.snapshot(), total)

    def _show(self, one: _List, snapshot: Snapshot | None, total: Total) -> None:
        if snapshot is None or self._lists.get(one.query) is not one:
            return
        one.changed_at = None
        shown = self._shown.setdefault(one.query, Shown())
        if one.shown_version != snapshot.version or shown.total != total:
            one.shown_version = snapshot.version
            shown.show(snapshot, total)

    async def _tell(self) -> None:
        """Let operators see how old it all is."""
        while True:
            now = self._clock()
            stale = self._settled and now > self.fresh_until
            if stale != self._was_stale:
                self._was_stale = stale
                if stale:
                    log.warning("pages are stale")
                else:
                    log.info("pages are fresh again")
            self._metrics.hot_window_age_seconds.set(self.age_seconds(now))
            everything = self._lists.get(None)
            self._metrics.hot_window_videos.set(0 if everything is None else len(everything.window))
            await asyncio.sleep(_LOOK_SECONDS)


def _urgency(one: _List) -> tuple[bool, float]:
    """Everything first, then what changed longest ago."""
    return one.query is not None, float("inf") if one.changed_at is None else one.changed_at


def _why(known: _List | None, wanted: _Epoch) -> str:
    if known is None:
        return "start"
    return "generation" if known.epoch.generation != wanted.generation else "following"


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel them until they are over: a driver in the middle of a read may take a cancellation for its own."""
    while waiting := [task for task in tasks if not task.done()]:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=_CANCELLED_SECONDS)


async def _for_ever(part: Callable[[], Awaitable[None]]) -> None:
    """Begin it again whenever it fails: an API that knows less must not go unnoticed, but go on."""
    while True:
        try:
            await part()
        except Exception:
            log.exception("failed, beginning again", part=part.__name__)
            await asyncio.sleep(_PAUSE_SECONDS)
