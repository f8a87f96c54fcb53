"""The newest events of `youtube.videos`, rendered once for all live clients of a process, and how clients are woken.

A client is no queue but a place in one ring: it takes what was added since, as fast as it can, and falls off the ring's
begin when it is too slow. Places are counted from the ring's first event on.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from contract.events import VIDEO_DISCOVERED
from contract.search_text import search_prefixes
from query_api.filters import EVERYTHING, Filters
from query_api.live_id import Offsets, format_id, reaches
from query_api.video_event import VideoEvent

MOST_ENTRIES: Final = 10_000
MOST_BYTES: Final = 16 << 20
"""What a ring holds at most, by events and by bytes."""

_REMEMBERED_VIDEOS: Final = 100_000
"""Of so many videos at most, and of half as many at least, the last event is remembered."""

_TAKEN_ENTRIES: Final = 500
_TAKEN_BYTES: Final = 64 << 10
"""What a client takes at once: it is copied for the client, and waits in the socket's buffer."""

OVERLAP_SECONDS: Final = 1.0
"""A client without a past begins so far back: pages may show an event a moment after the feed, and in other processes.
So what is connected first and loads a page then has no gap between the two; what it has already comes again."""

_OVERLAP_EVENTS: Final = 1_000
"""And by so many events at most: a ring may be filled in an instant when its process starts."""

_WAVE_SECONDS: Final = 0.025
"""Clients are woken at most so often, and never for more than half of the time."""

_WOKEN_AT_ONCE: Final = 50
"""Between so many clients other requests of the process get their turn."""

_TICK_SECONDS: Final = 2.0


class _Channel(msgspec.Struct, frozen=True):
    id: str = ""


class Traits(msgspec.Struct, frozen=True):
    """What filters look at in a video."""

    title: str = ""
    channel: _Channel = _Channel()
    queries: tuple[str, ...] = ()


class LiveEvent(msgspec.Struct, frozen=True):
    """One event as it is sent. `traits` is None for a removal, which concerns everybody.

    `after` is what a client knows that was told this and all before it; `at` when it was added, by the loop's clock.
    """

    partition: int
    offset: int
    after: Offsets
    at: float
    traits: Traits | None
    text: bytes


class Taken(msgspec.Struct, frozen=True):
    """What a client is told at once, and its place afterwards."""

    text: bytes
    events: int
    place: int


_traits: Final = msgspec.json.Decoder(Traits)
_NO_TRAITS: Final = Traits()


def to_live_event(event: VideoEvent, after: Offsets, at: float) -> LiveEvent:
    """The event, ready to be sent, with the id that `after` makes."""
    name, data = _said(event)
    # Line ends within data begin a new line of data: no writer of ours has them, a foreign one may.
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines())
    text = b"id: %b\nevent: %b\ndata: %b\n\n" % (format_id(after).encode(), name, data)
    return LiveEvent(event.partition, event.offset, after, at, traits_of(event.body), text)


def _said(event: VideoEvent) -> tuple[bytes, bytes]:
    if event.body is None:
        return b"removed", msgspec.json.encode({"id": event.video_id})
    return (b"discovered" if event.type == VIDEO_DISCOVERED else b"updated"), event.body


def traits_of(body: bytes | None) -> Traits | None:
    """What filters look at; of a body that cannot be read, nothing that any filter would find."""
    if body is None:
        return None
    try:
        return _traits.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _NO_TRAITS


def passes(traits: Traits | None, filters: Filters) -> bool:
    """Whether a client with these filters is told; times of publication are not looked at."""
    if traits is None:
        return True
    return (
        (filters.query is None or filters.query in traits.queries)
        and (filters.channel_id is None or filters.channel_id == traits.channel.id)
        and (not filters.search or _prefixes(traits.title).issuperset(filters.search))
    )


@lru_cache(512)
def _prefixes(title: str) -> frozenset[str]:
    """Kept for a burst's time only: they are larger than the event."""
    return frozenset(search_prefixes(title))


class LastEvents:
    """The last event of each video, to tell repeats by. The videos that were heard of longest ago are forgotten."""

    def __init__(self, videos: int = _REMEMBERED_VIDEOS) -> None:
        self._half: Final = videos // 2
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def is_news(self, event: VideoEvent) -> bool:
        """Whether the event tells anything; it is remembered then.

        Of two events of one video the higher sequence counts, and of equal ones the later: when it says the same it is
        a repeat.
        """
        known = self._young.get(event.video_id, self._old.get(event.video_id, -1))
        # Sequence and what was said in one number: there are many of them.
        said = event.sequence << 32 | hash(event.body) & 0xFFFF_FFFF
        if said == known or event.sequence < known >> 32:
            return False
        if len(self._young) >= self._half and event.video_id not in self._young:
            self._old, self._young = self._young, {}
        self._young[event.video_id] = said
        return True


class Ring:
    """The newest events, in the order in which this process met them: within a partition by offset."""

    def __init__(self, begin: Offsets, *, entries: int = MOST_ENTRIES, size: int = MOST_BYTES) -> None:
        self._most_entries: Final = entries
        self._most_bytes: Final = size
        self._events: list[LiveEvent] = []
        self._bytes = 0
        self._last_taken: tuple[int, Taken] | None = None
        self.begin = begin
        """What who joins at the first event must know."""
        self.end = begin
        """What is known to who took everything; repeats are counted in."""
        self.first = 0

    @property
    def last(self) -> int:
        """The place after the newest event."""
        return self.first + len(self._events)

    def pass_over(self, event: VideoEvent) -> bool:
        """Go on behind the event, which may be a repeat; False when the ring is there already."""
        end, partition = self.end, event.partition
        if event.offset < end[partition]:
            return False
        self.end = (*end[:partition], event.offset + 1, *end[partition + 1 :])
        return True

    def append(self, event: VideoEvent, at: float) -> None:
        """Keep the event that was passed over last; the oldest ones go."""
        added = to_live_event(event, self.end, at)
        self._events.append(added)
        self._bytes += len(added.text)
        self._last_taken = None
        gone = 0
        while len(self._events) - gone > self._most_entries or (
            self._bytes > self._most_bytes and gone < len(self._events) - 1
        ):
            self._bytes -= len(self._events[gone].text)
            gone += 1
        if gone:
            self.begin = self._events[gone - 1].after
            self.first += gone
            del self._events[:gone]

    def place_of(self, known: Offsets) -> int | None:
        """Where who knows this goes on; None when the ring begins later. Some of what follows may be known."""
        if not reaches(known, self.begin):
            return None
        return self.first + bisect_left(self._events, True, key=lambda event: not reaches(known, event.after))

    def place_since(self, at: float) -> int:
        """Before the first event that was added later than this."""
        return self.first + bisect_left(self._events, at, key=lambda event: event.at)

    def known_at(self, place: int) -> Offsets:
        """What a client knows that took everything before `place`, which is in the ring."""
        if place == self.last:
            return self.end
        return self.begin if place == self.first else self._events[place - self.first - 1].after

    def take(self, place: int, filters: Filters = EVERYTHING, known: Offsets | None = None) -> Taken | None:
        """Some of what follows at `place` and passes, but is not `known`; None when the ring begins later."""
        if place < self.first:
            return None
        # Most clients want everything from the same place on: their bytes are put together once.
        shared = known is None and filters == EVERYTHING
        if shared and self._last_taken is not None and self._last_taken[0] == place:
            return self._last_taken[1]
        texts: list[bytes] = []
        length = 0
        at = place - self.first
        until = min(len(self._events), at + _TAKEN_ENTRIES)
        while at < until and length < _TAKEN_BYTES:
            event = self._events[at]
            at += 1
            if (known is None or event.offset >= known[event.partition]) and passes(event.traits, filters):
                texts.append(event.text)
                length += len(event.text)
        taken = Taken(b"".join(texts), len(texts), self.first + at)
        if shared:
            self._last_taken = (place, taken)
        return taken


class LiveFeed:
    """The process's ring, filled by who follows `youtube.videos`, and the clients that wait for more of it.

    It belongs to one event loop. `ring` is another one after each start of following that left a gap.
    """

    def __init__(
        self,
        *,
        entries: int = MOST_ENTRIES,
        size: int = MOST_BYTES,
        overlap_seconds: float = OVERLAP_SECONDS,
        tick_seconds: float = _TICK_SECONDS,
    ) -> None:
        self._entries: Final = entries
        self._size: Final = size
        self._overlap_seconds: Final = overlap_seconds
        self._tick_seconds: Final = tick_seconds
        self._last_events = LastEvents()
        self._waiting: list[asyncio.Future[None]] = []
        self._waking = self._wake_again = False
        self._rest_until = 0.0
        self._tick_due: asyncio.TimerHandle | None = None
        self.ring: Ring | None = None
        self.stopped = False

    def start_at(self, next_offsets: Mapping[int, int]) -> None:
        """Events are published from these offsets on.

        At the first call the feed begins. Later, unless they are where it ended, clients are told to load again.
        """
        begin = tuple(next_offsets[partition] for partition in range(len(next_offsets)))
        if self.ring is not None and self.ring.end == begin:
            return
        self.ring = Ring(begin, entries=self._entries, size=self._size)
        self._last_events = LastEvents()
        self._wake()

    def publish(self, events: Sequence[VideoEvent]) -> None:
        """Add the events, each partition's in order; repeats are left out.

        Events before the place that `start_at` told are only remembered, to tell repeats of them.
        """
        if self.ring is None:
            raise RuntimeError("publish() before start_at(): nobody could know where the feed begins")
        now, before = asyncio.get_running_loop().time(), self.ring.last
        for event in events:
            news = self._last_events.is_news(event)
            if self.ring.pass_over(event) and news:
                self.ring.append(event, now)
        if self.ring.last != before:
            self._wake()

    def stop(self) -> None:
        """Every client's stream ends now."""
        self.stopped = True
        if self._tick_due is not None:
            self._tick_due.cancel()
        self._wake()

    def place_now(self, ring: Ring) -> int:
        """Where a client begins that is about to load what there is."""
        place = ring.place_since(asyncio.get_running_loop().time() - self._overlap_seconds)
        return max(place, ring.last - _OVERLAP_EVENTS)

    def woken(self) -> "asyncio.Future[None]":
        """Done at the next change, and every few seconds without one, that the waiting may look around."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiting)
        if self._tick_due is None and not self.stopped:
            self._tick_due = loop.call_later(self._tick_seconds, self._tick)
        return waiting

    def _tick(self) -> None:
        self._tick_due = None
        self._wake()

    def _wake(self) -> None:
        """Begin a wave, now or once the rest after the last one is over; one that is under way is followed by another.

        A client that is not waiting looks at the ring before it waits again, and so misses nothing.
        """
        if self._waking:
            self._wake_again = True
        elif self._waiting:
            self._waking = True
            loop = asyncio.get_running_loop()
            loop.call_at(max(self._rest_until, loop.time()), self._begin_wave)

    def _begin_wave(self) -> None:
        self._wake_again = False
        wave, self._waiting = self._waiting, []
        self._wake_some(wave, asyncio.get_running_loop().time())

    def _wake_some(self, wave: list["asyncio.Future[None]"], began: float) -> None:
        for waiting in wave[:_WOKEN_AT_ONCE]:
            if not waiting.done():
                waiting.set_result(None)
        loop, rest = asyncio.get_running_loop(), wave[_WOKEN_AT_ONCE:]
        if rest:
            loop.call_soon(self._wake_some, rest, began)
        else:
            loop.call_soon(self._end_wave, began)

    def _end_wave(self, began: float) -> None:
        """Those woken last have had their turn when this is called."""
        now = asyncio.get_running_loop().time()
        self._rest_until = now + max(_WAVE_SECONDS, now - began)
        self._waking = False
        if self._wake_again:
            self._wake()
