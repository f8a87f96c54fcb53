"""The newest videos of everything, or of one followed query, kept in memory and fed by events. Rules only.

A window knows everything down to its **floor**: no video whose sort key is at the floor or above it is missing. A
reading of the store lowers the floor, and the rows that fall off the end raise it. Below it the window knows nothing,
so an event there changes nothing but to take a row away that moved there.

Store and events tell the same story at different times. A store is never behind an event that was delivered before it
was read, so what was read counts; then the events that arrived while it was read are applied again, for those with a
higher sequence than their row are news to it, and others fell below the floor of that time.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from query_api.stored import WindowRow
from query_api.video_event import VideoEvent

SIZE: Final = 1_100
"""Rows kept. Pages are served up to 1,000, and whether any video follows is known from the next one."""

ENOUGH: Final = 1_050
"""With fewer rows than this a window is filled up again from the store."""

_REMEMBERED: Final = 20_000


class Snapshot(msgspec.Struct, frozen=True):
    """A window as it was at one moment: rows with the newest last, their sort keys, and where its knowledge ends.

    Of one window, equal versions are equal in everything.
    """

    rows: Sequence[WindowRow]
    sort_keys: Sequence[str]
    floor: str
    version: int

    @property
    def whole(self) -> bool:
        """Whether these are all the videos there are."""
        return not self.floor

    def newest_after(self, sort_key: str | None, skip: int, limit: int) -> list[WindowRow] | None:
        """Up to `limit` rows, newest first, of those below `sort_key` and after the first `skip`.

        None when the window does not reach so far.
        """
        end = len(self.rows) if sort_key is None else bisect_left(self.sort_keys, sort_key)
        end = max(0, end - skip)
        if end < limit and not self.whole:
            return None
        return list(reversed(self.rows[max(0, end - limit) : end]))


class HotWindow:
    """The newest videos, of everything when `query` is None."""

    def __init__(self, query: str | None = None, *, size: int = SIZE, enough: int = ENOUGH) -> None:
        self.query: Final = query
        self._size: Final = size
        self._enough: Final = enough
        self._floor: str | None = None  # None: nothing was read yet
        self._sort_keys: list[str] = []
        self._rows: list[WindowRow] = []
        self._by_id: dict[str, WindowRow] = {}
        self._version = 0
        self._meanwhile: list[tuple[VideoEvent, Collection[str]]] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def floor(self) -> str | None:
        """The sort key down to which nothing is missing: empty when nothing lies below, None before the first reading.

        What is to be read next lies below it.
        """
        return self._floor

    @property
    def whole(self) -> bool:
        """Whether the window holds all the videos there are."""
        return self._floor == ""

    @property
    def missing(self) -> int:
        """How many rows to read below the floor; none while there are enough, or there is nothing to read."""
        return 0 if self.whole or len(self._rows) >= self._enough else self._size - len(self._rows)

    def concerns(self, event: VideoEvent, queries: Collection[str]) -> bool:
        """Whether the event may be about a video of this list, in the window or below it."""
        if self.query is None or self.query in queries or event.video_id in self._by_id or self._meanwhile is not None:
            return True
        # A removal does not say what the video was found by; but had it been in the window it would still be there.
        return event.body is None and event.sort_key is not None and not self._reaches(event.sort_key)

    def begin_reading(self) -> None:
        """The store is about to be read below the floor: what events say from now on is applied to it again.

        Until the end no row falls off, for the floor must stay where the reading begins.
        """
        self._meanwhile = []

    def abandon_reading(self) -> None:
        """The store could not be read."""
        self._meanwhile = None
        self._drop_the_oldest()

    def end_reading(self, rows: Sequence[WindowRow], *, asked: int) -> None:
        """Take in what was read below the floor: the newest rows there, fewer than `asked` when there are no more."""
        self._version += 1
        for row in rows:
            self._put(row)
        self._floor = "" if len(rows) < asked else rows[-1].sort_key
        meanwhile, self._meanwhile = self._meanwhile or [], None
        for event, queries in meanwhile:
            self._apply(event, queries)
        self._drop_the_oldest()

    def apply(self, event: VideoEvent, queries: Collection[str]) -> bool:
        """Take in an event whose body says `queries`; False when that changed nothing."""
        if self._meanwhile is not None:
            self._meanwhile.append((event, queries))
        return self._apply(event, queries)

    @property
    def version(self) -> int:
        """Another one whenever anything changed."""
        return self._version

    def snapshot(self) -> Snapshot | None:
        """The window as it is now; None before the first reading."""
        if self._floor is None:
            return None
        return Snapshot(self._rows.copy(), self._sort_keys.copy(), self._floor, self._version)

    def _apply(self, event: VideoEvent, queries: Collection[str]) -> bool:
        known = self._by_id.get(event.video_id)
        if known is not None and event.sequence <= known.sequence:
            return False
        body, sort_key = event.body, event.sort_key
        ours = self.query is None or self.query in queries
        if body is None or sort_key is None or not ours or not self._reaches(sort_key):
            if known is not None:
                self._version += 1
                self._remove(known)
            return known is not None
        self._version += 1
        self._put(WindowRow(event.video_id, sort_key, body, event.sequence, tuple(queries)))
        if self._meanwhile is None:
            self._drop_the_oldest()
        return True

    def _reaches(self, sort_key: str) -> bool:
        return self._floor is not None and sort_key >= self._floor

    def _put(self, row: WindowRow) -> None:
        known = self._by_id.get(row.video_id)
        if known is not None:
            self._remove(known)
        at = bisect_left(self._sort_keys, row.sort_key)
        self._sort_keys.insert(at, row.sort_key)
        self._rows.insert(at, row)
        self._by_id[row.video_id] = row

    def _remove(self, row: WindowRow) -> None:
        at = bisect_left(self._sort_keys, row.sort_key)
        del self._sort_keys[at]
        del self._rows[at]
        del self._by_id[row.video_id]

    def _drop_the_oldest(self) -> None:
        surplus = len(self._rows) - self._size
        if surplus > 0:
            for row in self._rows[:surplus]:
                del self._by_id[row.video_id]
            del self._sort_keys[:surplus]
            del self._rows[:surplus]
            self._floor = self._sort_keys[0]


class LastSequences:
    """The last sequence of each video that an event spoke of: a late older event must not bring back what is gone.

    Bounded: what was not spoken of for longest is forgotten. What then slips through is put right when the window is
    read again.
    """

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._remembered: Final = remembered
        self._sequences: dict[str, int] = {}

    def is_news(self, event: VideoEvent) -> bool:
        """Whether no later event of the video was seen; this one is remembered if so.

        One of the same sequence passes: a replay sends it again for a store that lacked the video when it was read.
        """
        last = self._sequences.pop(event.video_id, -1)
        self._sequences[event.video_id] = max(last, event.sequence)
        if len(self._sequences) > self._remembered:
            del self._sequences[next(iter(self._sequences))]
        return event.sequence >= last
