"""Pages of the hot window as bytes that only have to be sent: rendered, tagged and compressed once each.

A page is found by the query string as it came, without looking into it, and is good as long as its list shows the same
version. Answering costs little more than the framework itself; so nothing here is done for each request that could be
done once for each page.
"""

import gzip
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Final, Protocol

import brotli
from aiohttp import hdrs, web
from multidict import CIMultiDict

from query_api.negotiation import Coding, choose_coding, has_already
from query_api.node import HotPage, Shown
from query_api.pagination import link_header, render_page

_SMALL: Final = 500
"""Bytes that are not worth compressing: they fit into one packet as they are."""

_MOST_BYTES: Final = 32 << 20

_GZIP_LEVEL: Final = 6
_BROTLI_QUALITY: Final = 5

_ACCEPT_ENCODING: Final = hdrs.ACCEPT_ENCODING
_IF_NONE_MATCH: Final = hdrs.IF_NONE_MATCH


class Freshness(Protocol):
    """What is known of the age of what is shown."""

    @property
    def fresh_until(self) -> float: ...

    def age_seconds(self, now: float) -> float: ...


class _Variant:
    """A page in one coding, with the headers of both its answers."""

    __slots__ = ("body", "headers", "quoted_tag", "tag", "unmodified")

    def __init__(self, body: bytes, tag: str, coding: Coding, link: str) -> None:
        self.body = body
        self.tag = tag
        self.quoted_tag = f'"{tag}"'
        self.unmodified: CIMultiDict[str] = CIMultiDict(
            {hdrs.CACHE_CONTROL: "no-cache", hdrs.ETAG: self.quoted_tag, hdrs.VARY: hdrs.ACCEPT_ENCODING}
        )
        self.headers: CIMultiDict[str] = CIMultiDict(
            {
                hdrs.CONTENT_TYPE: "application/json",
                hdrs.CONTENT_LENGTH: str(len(body)),
                **self.unmodified,
                hdrs.LINK: link,
            }
        )
        if coding != "identity":
            self.headers[hdrs.CONTENT_ENCODING] = coding


class _ReadyPage:
    __slots__ = ("body", "link", "shown", "size", "tag", "variants", "version")

    def __init__(self, hot: HotPage, path: str) -> None:
        self.shown: Shown = hot.shown
        self.version = hot.version
        self.body = render_page(hot.page)
        self.link = link_header(path, hot.page)
        self.tag = blake2b(self.body, digest_size=12).hexdigest()
        self.variants: dict[Coding, _Variant] = {}
        self.size = 2 * len(self.body)  # the codings are added as they are asked for, and are smaller

    def variant(self, coding: Coding) -> _Variant:
        """The page in this coding, or as it is when that is not worth it."""
        found = self.variants.get(coding)
        if found is None:
            found = self.variants[coding] = self._in(coding)
        return found

    def _in(self, coding: Coding) -> _Variant:
        if coding == "br" and len(self.body) >= _SMALL:
            return _Variant(brotli.compress(self.body, quality=_BROTLI_QUALITY), f"{self.tag}-br", coding, self.link)
        if coding == "gzip" and len(self.body) >= _SMALL:
            # No time in it: every process makes the same bytes.
            return _Variant(gzip.compress(self.body, _GZIP_LEVEL, mtime=0), f"{self.tag}-gzip", coding, self.link)
        return _Variant(self.body, self.tag, "identity", self.link)


class ReadyPages:
    """The pages that were asked for lately."""

    def __init__(
        self, freshness: Freshness, *, clock: Callable[[], float] = time.monotonic, most_bytes: int = _MOST_BYTES
    ) -> None:
        self._freshness = freshness
        self._clock = clock
        self._most_bytes = most_bytes
        self._pages: dict[str, _ReadyPage] = {}
        self._bytes = 0

    def answer(self, request: web.Request) -> web.Response | None:
        """The answer, when the page is here and still what is shown."""
        page = self._pages.get(request.rel_url.raw_query_string)
        if page is None or page.version != page.shown.version:
            return None
        return self._answer(request, page)

    def keep(self, request: web.Request, hot: HotPage) -> web.Response:
        """The answer to a request for this page, which is kept for the next one with the same query string."""
        page = _ReadyPage(hot, request.path)
        asked = request.rel_url.raw_query_string
        replaced = self._pages.pop(asked, None)
        self._bytes += page.size - (0 if replaced is None else replaced.size)
        self._pages[asked] = page
        while self._bytes > self._most_bytes and len(self._pages) > 1:
            self._bytes -= self._pages.pop(next(iter(self._pages))).size
        return self._answer(request, page)

    def _answer(self, request: web.Request, page: _ReadyPage) -> web.Response:
        asked = request.headers
        accepted = asked.get(_ACCEPT_ENCODING)
        variant = page.variant("identity" if accepted is None else choose_coding(accepted))
        known = asked.get(_IF_NONE_MATCH)
        if known is not None and (known == variant.quoted_tag or has_already(request, variant.tag)):
            answer = web.Response(status=304, headers=variant.unmodified)
        else:
            answer = web.Response(body=variant.body, headers=variant.headers)
        now = self._clock()
        if now > self._freshness.fresh_until:
            answer.headers[hdrs.AGE] = str(int(self._freshness.age_seconds(now)))
            answer.headers[hdrs.WARNING] = '110 - "Response is Stale"'
        return answer
