"""One pass over one query: what to ask next, until every page of every part of its window has been read.

Pure bookkeeping: the poller makes the calls and publishes the items. A pass keeps its window (the upper bound is
frozen) and its place over an interruption, so that faults cost the failed call and not the pass.
"""

from typing import Final

import msgspec

from producer.error_policy import InvalidPageToken
from producer.windows import Window, split

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


class SearchRequest(msgspec.Struct, frozen=True):
    """One call of `search.list`."""

    query: str
    window: Window
    page_token: str | None


class SearchPass:
    """The place within one pass; `window` is what is covered once `next_request` returns None."""

    def __init__(self, query: str, window: Window) -> None:
        self.query: Final = query
        self.window: Final = window
        self.pages = 0
        self.items = 0
        self.windows = 1
        self.truncated: list[Window] = []
        self._open = [window]
        self._restarts = 0
        self._page_token: str | None = None
        self._chain_pages = 0

    def next_request(self) -> SearchRequest | None:
        """The next call to make; None when the pass is complete."""
        return SearchRequest(self.query, self._open[-1], self._page_token) if self._open else None

    def take(self, items: int, next_page_token: str | None) -> None:
        """Note a page whose items are all with Kafka.

        Raises:
            InvalidPageToken: the answer points to its own page.
        """
        self.pages += 1
        self.items += items
        self._chain_pages += 1
        if self._chain_pages >= CAP_PAGES and self._split():
            return
        if not next_page_token or self._chain_pages >= MAX_PAGES:
            self._close_window()
        elif next_page_token == self._page_token:
            raise InvalidPageToken("the answer to a page token names the same token again")
        else:
            self._page_token = next_page_token

    def restart_chain(self) -> bool:
        """Begin the current window again from its first page; False when that has been done often enough."""
        self._restarts += 1
        self._begin_chain()
        return self._restarts <= MAX_RESTARTS

    def _begin_chain(self) -> None:
        self._page_token = None
        self._chain_pages = 0

    def _split(self) -> bool:
        halves = split(self._open[-1])
        if halves is None:
            return False
        self._open[-1:] = halves  # the newer half is on top: what is fresh comes first
        self.windows += 1
        self._begin_chain()
        return True

    def _close_window(self) -> None:
        window = self._open.pop()
        if self._chain_pages >= CAP_PAGES:
            self.truncated.append(window)
        self._begin_chain()
