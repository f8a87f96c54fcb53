"""What one live client is told, from its connection to its end, as blocks of an event stream; HTTP is elsewhere.

A client that names what it has (an id, `query_api.live_id`) is first told what it missed: from the ring, or, where the
ring begins later, from Kafka. Ids lead from one to the other, so that there is no gap, whatever happens meanwhile.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol

import msgspec

from query_api.filters import Filters, ParameterFault, parse_filters
from query_api.live_feed import LiveFeed, Ring, passes, to_live_event
from query_api.live_id import Offsets, format_id, furthest, parse_id, reaches
from query_api.pagination import unexpected
from query_api.video_event import VideoEvent

LAST_EVENT_ID: Final = "last_event_id"
"""The parameter for who cannot set the header `Last-Event-ID`, which counts more."""

_FILTERS: Final = ("query", "channel_id", "search")
_KNOWN: Final = (*_FILTERS, LAST_EVENT_ID)

_RETRY: Final = b"retry: 2000\n\n"
_READING_SECONDS: Final = 60.0
"""So long may a client occupy one of the few readers of Kafka; what it has then it need not read again."""

STOPPING: Final = "stopping"
SLOW: Final = "slow"
HISTORY: Final = "history"


class HistoryLost(Exception):
    """What the client missed cannot be told any more; the message says why."""


class HistoryUnavailable(Exception):
    """What the client missed cannot be told now; a later try may succeed. The message says why, for operators."""


class History(Protocol):
    """Events that are older than the ring."""

    def read(self, since: Offsets, until: Offsets) -> AsyncGenerator[Sequence[VideoEvent]]:
        """The events from `since` up to, not including, `until`, in chunks, each partition's in order, less repeats.

        Raises:
            HistoryLost: not all of them are there, or `since` lies beyond what there is.
            HistoryUnavailable: Kafka is away.
        """


class LiveRequest(msgspec.Struct, frozen=True):
    """What a client asks for. `known` is what it has; `lost` says why that cannot be told though it has something."""

    filters: Filters
    known: Offsets | None = None
    lost: str | None = None


class Block(msgspec.Struct, frozen=True):
    """Bytes to send at once; none now and then, that the sender may see whether anybody is there.

    `dropped` is why the stream ends after this block.
    """

    text: bytes
    events: int = 0
    dropped: str | None = None


class _Dropped(Exception):
    """The stream ends: the reason's name, and a sentence for the client."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


_NOTHING: Final = Block(b"")


def parse_live_request(parameters: Iterable[tuple[str, str]], header: str | None) -> LiveRequest | list[ParameterFault]:
    """The stream that these query parameters and this `Last-Event-ID` ask for, or everything that is wrong with them.

    A header that is no id comes from a client that goes on elsewhere: it is told to load again.
    """
    given = list(parameters)
    values = dict(given)
    faults = unexpected(given, _KNOWN)
    filters = parse_filters({name: values[name] for name in _FILTERS if name in values}, faults)
    known = parse_id(values[LAST_EVENT_ID]) if LAST_EVENT_ID in values else None
    if known is None and LAST_EVENT_ID in values:
        faults.append(ParameterFault(LAST_EVENT_ID, "must be the id of an event of this stream, such as s1.12-0-7-99"))
    if faults:
        return faults
    if not header:
        return LiveRequest(filters, known)
    known = parse_id(header)
    return LiveRequest(filters, known, "Last-Event-ID is no id of this stream." if known is None else None)


class Conversation:
    """One client's stream; `blocks` may be gone through once."""

    def __init__(self, feed: LiveFeed, history: History, asked: LiveRequest, heartbeat_seconds: float) -> None:
        self._feed: Final = feed
        self._history: Final = history
        self._filters: Final = asked.filters
        self._heartbeat_seconds: Final = heartbeat_seconds
        self._lost = asked.lost
        self._known = asked.known  # what the client has beyond what its place in the ring says
        self._ring = Ring(())
        self._place = 0
        self._spoke_at = 0.0

    async def blocks(self) -> AsyncGenerator[Block]:
        """Everything the client is told, until it is dropped."""
        try:
            yield self._said(_RETRY)
            async with aclosing(self._join()) as joining:
                async for block in joining:
                    yield block
            while True:
                yield await self._next()
        except _Dropped as dropped:
            yield _farewell(dropped.reason, str(dropped))
        except HistoryUnavailable:
            yield _farewell(HISTORY, "What was missed cannot be read at the moment.")

    async def _join(self) -> AsyncGenerator[Block]:
        """Lead the client into the ring, and tell it what it missed."""
        while (ring := self._feed.ring) is None:
            if self._known is None and self._lost is None:
                self._lost = "The server has only now begun to follow the videos."
            yield await self._pause()
        if self._lost is None and self._known is None:
            self._enter(ring, self._feed.place_now(ring))
            yield self._said(_id_line(self._has()) + b"\n")
            return
        try:
            async with aclosing(self._catch_up(ring)) as catching_up:
                async for block in catching_up:
                    yield block
        except HistoryLost as lost:
            yield self._begin_anew(str(lost))

    async def _catch_up(self, ring: Ring) -> AsyncGenerator[Block]:
        if self._lost is not None or self._known is None:
            raise HistoryLost(self._lost)
        if len(self._known) != len(ring.begin):
            raise HistoryLost("The number of partitions has changed.")
        # What this process does not know yet may be there already, or may be of a topic that is no more.
        certain = reaches(ring.end, self._known)
        while (place := ring.place_of(self._known)) is None or not certain:
            # A ring that still grows keeps its begin. From a full one events go, and reading takes a while.
            until = ring.begin if ring.first == 0 else ring.end
            async with aclosing(self._read_history(self._known, until)) as told:
                async for block in told:
                    yield block
            certain = True
        self._enter(ring, place)

    async def _read_history(self, since: Offsets, until: Offsets) -> AsyncGenerator[Block]:
        """Tell what lies between; afterwards all below `until` is known."""
        has, give_up_at = since, None
        async with aclosing(self._history.read(since, until)) as chunks:
            while True:
                reading = asyncio.ensure_future(anext(chunks, None))
                try:
                    while not await self._done_or_woken(reading):
                        yield self._between()
                finally:
                    reading.cancel()
                    await asyncio.gather(reading, return_exceptions=True)
                chunk = reading.result()
                if chunk is None:
                    break
                now = asyncio.get_running_loop().time()
                give_up_at = give_up_at or now + _READING_SECONDS
                if now > give_up_at:
                    raise _Dropped(SLOW, "The client is too slow.")
                texts = []
                for event in chunk:
                    has = (*has[: event.partition], event.offset + 1, *has[event.partition + 1 :])
                    ready = to_live_event(event, has, now)
                    if passes(ready.traits, self._filters):
                        texts.append(ready.text)
                self._known = has
                if texts:
                    yield self._said(b"".join(texts), len(texts))
        self._known = furthest(has, until)

    async def _done_or_woken(self, reading: "asyncio.Future[Any]") -> bool:
        self._check_stop()
        await asyncio.wait((reading, self._feed.woken()), return_when=asyncio.FIRST_COMPLETED)
        return reading.done()

    async def _next(self) -> Block:
        """What is in the ring next, or a sign of life."""
        waited = False
        while True:
            self._check_stop()
            if self._feed.ring is not self._ring:
                return self._begin_anew("The server has begun anew to follow the videos.")
            taken = self._ring.take(self._place, self._filters, self._known)
            if taken is None:
                raise _Dropped(SLOW, "The client is too slow.")
            self._place = taken.place
            if self._known is not None and reaches(self._ring.known_at(self._place), self._known):
                self._known = None
            if taken.events:
                return self._said(taken.text, taken.events)
            if taken.place < self._ring.last:
                await asyncio.sleep(0)  # much that does not pass: others get their turn
            elif waited:
                return self._between()
            else:
                await self._feed.woken()
                waited = True

    async def _pause(self) -> Block:
        await self._feed.woken()
        return self._between()

    def _between(self) -> Block:
        """A heartbeat once it is due: it carries the id, for a client whose filters let little pass."""
        self._check_stop()
        if asyncio.get_running_loop().time() - self._spoke_at < self._heartbeat_seconds:
            return _NOTHING
        has = self._has()
        return self._said(b": \n" + (_id_line(has) if has else b"") + b"\n")

    def _check_stop(self) -> None:
        if self._feed.stopped:
            raise _Dropped(STOPPING, "The server stops.")

    def _has(self) -> Offsets | None:
        """All that the client has by now; None while nobody knows."""
        if not self._ring.begin:
            return self._known
        has = self._ring.known_at(self._place)
        return has if self._known is None else furthest(has, self._known)

    def _begin_anew(self, why: str) -> Block:
        ring = self._feed.ring
        assert ring is not None  # noqa: S101
        self._known = None
        self._enter(ring, self._feed.place_now(ring))
        return self._said(_id_line(self._has()) + _event(b"reset", why))

    def _enter(self, ring: Ring, place: int) -> None:
        self._ring, self._place = ring, place

    def _said(self, text: bytes, events: int = 0) -> Block:
        self._spoke_at = asyncio.get_running_loop().time()
        return Block(text, events)


def _farewell(reason: str, sentence: str) -> Block:
    return Block(_event(b"dropped", sentence), dropped=reason)


def _event(name: bytes, sentence: str) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, sentence.encode())


def _id_line(offsets: Offsets | None) -> bytes:
    return b"" if offsets is None else b"id: %b\n" % format_id(offsets).encode()
