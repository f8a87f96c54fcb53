"""One pass over one query: what to ask next, until every page of every part of its window has been read.

Pure bookkeeping: the poller makes the calls and publishes the items. A pass keeps its window (the upper bound is
frozen) and its place over an interruption, so that faults cost the failed call and not the pass.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from producer.error_policy import InvalidPageToken
from producer.windows import SECOND_MS, Window, split

PAGE_ITEMS: Final = 50
"""The most that one call returns."""

RESULT_CAP: Final = 500
"""YouTube lists about this many results of one search, however many there are."""

CAP_PAGES: Final = 8
"""A chain of so many pages is taken to have met the cap. Pages are counted, because they come back short; and fewer
than the ten that 500 results fill, because a capped search from which YouTube leaves out results (5 to 20 % of them
were seen) fills fewer."""

MAX_PAGES: Final = 2 * RESULT_CAP // PAGE_ITEMS
"""A chain of pages that cannot be split any more ends here at the latest."""

MAX_RESTARTS: Final = 3

TOLERATED_STRAYS: Final = 4
"""So many items of a page may lie outside the window; with more, YouTube ignores the dates that were asked for."""


class SearchRequest(msgspec.Struct, frozen=True):
    """One call of `search.list`."""

    query: str
    window: Window
    page_token: str | None


class SearchAnswer(msgspec.Struct, frozen=True):
    """What counts of a page: when its videos were published (in its order, None if unreadable), and the next page."""

    published_ms: Sequence[int | None]
    next_page_token: str | None


class SearchPass:
    """The place within one pass; `window` is what is covered once `next_request` returns None.

    `is_reliable` turns False when YouTube ignored the dates in a way that leaves open whether all was seen; the pass
    has ended then, and must not count as having covered anything. `unread` is what it was told to leave out.
    """

    def __init__(self, query: str, window: Window) -> None:
        self.query: Final = query
        self.window: Final = window
        self.pages = 0
        self.items = 0
        self.windows = 1
        self.outside = 0
        self.is_reliable = True
        self.truncated: list[Window] = []
        self.unread: list[Window] = []
        self._open = [window]
        self._restarts = 0
        self._page_token: str | None = None
        self._chain_pages = 0
        self._tokens: set[str] = set()
        self._chain_bottom_ms: int | None = None
        self._chain_is_flooded = False
        self._chain_is_in_order = True

    def next_request(self) -> SearchRequest | None:
        """The next call to make; None when the pass is complete."""
        return SearchRequest(self.query, self._open[-1], self._page_token) if self._open else None

    def take(self, answer: SearchAnswer) -> None:
        """Note a page whose items are all with Kafka.

        Raises:
            InvalidPageToken: the answer points to its own page, or to one before it.
        """
        place = _placed(answer.published_ms, self._open[-1])
        self.pages += 1
        self.items += place.inside
        self.outside += place.older + place.newer
        self._chain_pages += 1
        if place.bottom_ms is not None:
            self._chain_is_in_order = self._chain_is_in_order and place.in_order and self._is_below(place.bottom_ms)
            self._chain_bottom_ms = place.bottom_ms
        token = answer.next_page_token
        if token in self._tokens:
            raise InvalidPageToken("the answer names a page token of its own chain again")
        self._chain_is_flooded = self._chain_is_flooded or place.is_above
        if place.is_below:
            self._end_flooded_chain(place)
            return
        if self._chain_is_flooded:
            self._go_down(token)
            return
        if self._chain_pages >= CAP_PAGES and self._split():
            return
        if not token and len(answer.published_ms) >= PAGE_ITEMS and self._go_on_below():
            return
        if not token or self._chain_pages >= MAX_PAGES:
            self._close_window()
        else:
            self._page_token = token
            self._tokens.add(token)

    def restart_chain(self) -> bool:
        """Begin the current window again from its first page; False when that has been done often enough."""
        self._restarts += 1
        self._begin_chain()
        return self._restarts <= MAX_RESTARTS

    @property
    def has_got_on(self) -> bool:
        """Whether less than the whole is left: only then may it be left for later, or it would be so for ever."""
        return self._open != [self.window] or self._below_chain() is not None

    def leave_rest(self) -> None:
        """End the pass here; what has not been read is `unread`."""
        if self._open:
            self._go_on_below()
        self.unread += self._open
        self._open = []

    def _is_below(self, bottom_ms: int) -> bool:
        return self._chain_bottom_ms is None or bottom_ms <= self._chain_bottom_ms

    def _begin_chain(self) -> None:
        self._page_token = None
        self._chain_pages = 0
        self._tokens = set()
        self._chain_bottom_ms = None
        self._chain_is_flooded = False
        self._chain_is_in_order = True

    def _split(self) -> bool:
        """Cut what the chain has not shown in halves, each with a cap of its own.

        In date order that is what is older than it got to; so nothing is read twice. Otherwise it is all of the window;
        so also where the chain did not get out of the window's last second, which then holds more than is listed.
        """
        below = self._below_chain() if self._chain_is_in_order else None
        halves = split(below or self._open[-1])
        if halves is None:
            return False
        self._open[-1:] = halves  # the newer half is on top: what is fresh comes first
        self.windows += 1
        self._begin_chain()
        return True

    def _go_on_below(self) -> bool:
        """Ask anew for what is older than the chain got to.

        So where a full page has no next one (YouTube may have left its token blank), and where a pass ends early.
        """
        rest = self._below_chain()
        if rest is None:
            return False
        self._open[-1] = rest
        self._begin_chain()
        return True

    def _below_chain(self) -> Window | None:
        """What is older than the chain got to, the second of its last item included; None if that is all or nothing."""
        window, bottom_ms = self._open[-1], self._chain_bottom_ms
        if bottom_ms is None:
            return None
        rest = Window(window.after_ms, bottom_ms // SECOND_MS * SECOND_MS + SECOND_MS - 1)
        return None if rest.before_ms >= window.before_ms or rest.before_ms <= window.after_ms else rest

    def _end_flooded_chain(self, place: "_Placed") -> None:
        """YouTube ignores the dates. In date order, a page that ends below the window has shown all of it."""
        if place.in_order:
            self._open.pop()
            self._begin_chain()
        else:
            self.is_reliable = False
            self._open = []

    def _go_down(self, token: str | None) -> None:
        """YouTube ignores the dates, and the chain began above the window: read on until it comes to it."""
        if token and self._chain_pages < MAX_PAGES:
            self._page_token = token
            self._tokens.add(token)
        else:
            self.is_reliable = False
            self._open = []

    def _close_window(self) -> None:
        window = self._open.pop()
        if self._chain_pages >= CAP_PAGES:
            self.truncated.append(window)
        self._begin_chain()


class _Placed(msgspec.Struct, frozen=True):
    """How many items of a page lie in its window, below and above it.

    `bottom_ms` is how far down its items got (None: nowhere), `in_order` whether they come newest first.
    """

    inside: int
    older: int
    newer: int
    bottom_ms: int | None
    in_order: bool

    @property
    def is_below(self) -> bool:
        """It goes below the window, which it would not if YouTube heeded the dates."""
        return self.older > TOLERATED_STRAYS

    @property
    def is_above(self) -> bool:
        """It lies above the window as a whole; what is published while a pass runs is only some of a page."""
        return self.newer > TOLERATED_STRAYS and not self.inside


def _placed(published_ms: Sequence[int | None], window: Window) -> _Placed:
    readable = [moment for moment in published_ms if moment is not None]
    first_ms = window.after_ms // SECOND_MS * SECOND_MS  # publish times are whole seconds
    older = sum(moment < first_ms for moment in readable)
    newer = sum(moment > window.before_ms for moment in readable)
    last_inside = [moment for moment in readable if first_ms <= moment <= window.before_ms][-TOLERATED_STRAYS - 1 :]
    return _Placed(
        inside=len(published_ms) - older - newer,
        older=older,
        newer=newer,
        bottom_ms=max(last_inside, default=None),  # so that a few strays do not make the page end too early
        in_order=_in_order(readable),
    )


def _in_order(moments: Sequence[int]) -> bool:
    """Whether moments come newest first, but for neighbours that changed places and a few strays."""
    by_time = sorted(range(len(moments)), key=lambda place: -moments[place])
    astray = sum(abs(rank - place) > TOLERATED_STRAYS for rank, place in enumerate(by_time))
    return astray <= TOLERATED_STRAYS
