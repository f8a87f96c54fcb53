"""The search: a walk from the newest video down, slice by slice, while a reader of the API may be kept waiting.

An answer is honest about where it ended. It holds every match from its beginning down to `Found.reached`, and none
below, so the next page begins there and pages tile whatever the time was enough for.
"""

import time
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from query_api.filters import LAST_COUNTED
from query_api.pagination import PageRequest, Total
from query_api.search_walk import ALL_ROWS, allowed_seconds, rows_after, rows_after_slow
from query_api.stored import StoredVideo
from query_api.video_reader import SlowRead, VideoReader

BUDGET_SECONDS: Final = 0.25

_COUNT_SECONDS: Final = 0.005
"""So long a full page waits for its total: to count a thousand of two frequent words takes ten times as long as it."""


class Found(msgspec.Struct, frozen=True):
    """Up to one video more than the limit, and the total as far as it is known.

    `reached` is the sort key down to which, itself included, everything was looked through when time ran out; None
    when the page is full or nothing is left to look at.
    """

    videos: list[StoredVideo]
    reached: str | None
    total: Total


class Slices(Protocol):
    """What cuts the order into slices: a `Ranking`. Nothing but speed depends on its counts."""

    def slice_below(self, below: str | None, rows: int) -> str:
        """A sort key with about so many rows from it to just under `below`; "" at the end."""


async def search(
    reader: VideoReader,
    slices: Slices,
    request: PageRequest,
    *,
    budget_seconds: float = BUDGET_SECONDS,
    now: Callable[[], float] = time.monotonic,
) -> Found:
    """The page that is asked for, as much of it as is found in time, but at least one bucket further than before.

    A page number far down is walked to from the top, counting. When time runs out on the way the page is empty, and
    its cursor goes on where the walk was: with the matches there, which are of earlier pages.
    """
    walk = _Walk(reader, slices, request, now() + budget_seconds, now)
    await walk.run()
    reached = walk.below if walk.wanted and not walk.ended else None
    return Found(walk.videos, reached, await walk.total())


class _Walk:
    """One search under way: everything from its beginning down to `below` is looked through."""

    def __init__(
        self, reader: VideoReader, slices: Slices, request: PageRequest, deadline: float, now: Callable[[], float]
    ) -> None:
        self._reader = reader
        self._slices = slices
        self._request = request
        self._filters = request.filters
        self._deadline = deadline
        self._now = now
        self._skipped = 0
        bounds = [bound for bound in (request.after, self._filters.below) if bound is not None]
        self.below = min(bounds, default=None)
        self.videos: list[StoredVideo] = []

    @property
    def wanted(self) -> int:
        """Videos still missing, of the page and the one that tells whether any follow."""
        return self._request.limit + 1 - len(self.videos)

    @property
    def ended(self) -> bool:
        """Whether nothing is left to look at."""
        return self.below is not None and self.below <= self._filters.at_least

    async def run(self) -> None:
        rows, begin = ALL_ROWS, self.below
        while self.wanted and not self.ended and (allowed := allowed_seconds(rows, self._left())) is not None:
            at_least, started = self._slices.slice_below(self.below, rows), self._now()
            try:
                await self._look_through(at_least, allowed)
            except SlowRead:
                if at_least == self._slices.slice_below(self.below, 1):
                    break
                rows = rows_after_slow(rows)
            else:
                rows = rows_after(rows, self._now() - started, self._left())
        if self.below == begin and self.wanted and not self.ended:
            # However little time there is, every page gets further than the one before.
            await self._look_through(self._slices.slice_below(self.below, 1), None)

    async def total(self) -> Total:
        """How many match: known after a walk through everything, counted up to a bound after a full page."""
        known = self._skipped + len(self.videos)
        if self.ended and self._request.after is None and self.wanted:
            return _capped(known)
        if (self.wanted and not self.ended) or self._left() < _COUNT_SECONDS:
            return Total(min(known, LAST_COUNTED), exact=False)
        try:
            counted = await self._reader.count_videos(self._filters, cap=LAST_COUNTED + 1, seconds=_COUNT_SECONDS)
        except SlowRead:
            return Total(min(known, LAST_COUNTED), exact=False)
        return _capped(max(known, counted))

    async def _look_through(self, at_least: str, seconds: float | None) -> None:
        """Add what is found from here to `below`; nothing is changed by a read that is given up."""
        skip = self._request.skip - self._skipped
        if skip:
            passed = await self._reader.count_videos(
                self._filters, at_least=at_least, below=self.below, cap=skip, seconds=seconds
            )
            if passed < skip:
                self._skipped += passed
                self.below = at_least
                return
        videos = await self._reader.list_videos(
            self._filters, limit=self.wanted, skip=skip, at_least=at_least, below=self.below, seconds=seconds
        )
        self.videos += videos
        self._skipped += skip
        self.below = at_least

    def _left(self) -> float:
        return self._deadline - self._now()


def _capped(count: int) -> Total:
    return Total(min(count, LAST_COUNTED), exact=count <= LAST_COUNTED)
