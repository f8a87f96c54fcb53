"""The rules of paging: what a request asks for, what a cursor says, how a page reads. No I/O.

Two ways to page, one order (`contract.read_model`). A **page number** counts from the newest video and shifts as new
ones arrive; a **cursor** names the last video seen, so that pages tile whatever is inserted between two reads.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

import msgspec

from query_api.filters import EVERYTHING, LAST_COUNTED, NAMES, Filters, ParameterFault, parse_filters
from query_api.stored import StoredVideo

DEFAULT_PAGE: Final = 1
DEFAULT_LIMIT: Final = 10
MAX_LIMIT: Final = 100

LAST_COUNTABLE: Final = 2**63 - 1
"""MongoDB counts rows to skip in a signed 64-bit number."""

_CURSOR_VERSION: Final = 1
_CURSOR: Final = re.compile(r"[A-Za-z0-9_-]{1,512}")
_SORT_KEY: Final = re.compile(r"[0-9]{13}[A-Za-z0-9_-]{11}")
_WHOLE_NUMBER: Final = re.compile(r"[0-9]{1,19}")
_KNOWN: Final = ("page", "limit", "cursor", *NAMES)


class PageRequest(msgspec.Struct, frozen=True):
    """One page to read: by number, or (`page` None) the videos after the sort key `after`, of those that pass.

    `given` are the filters as they were asked for, for links to the pages around.
    """

    limit: int = DEFAULT_LIMIT
    page: int | None = DEFAULT_PAGE
    after: str | None = None
    filters: Filters = EVERYTHING
    given: tuple[tuple[str, str], ...] = ()

    @property
    def skip(self) -> int:
        """Videos before the page."""
        return 0 if self.page is None else (self.page - 1) * self.limit


class Total(msgspec.Struct, frozen=True):
    """How many videos pass the filters; at least so many when that is not `exact`."""

    count: int
    exact: bool = True


class Page(msgspec.Struct, frozen=True):
    """One page as it is answered; not `complete` when a search ran out of time before the page was full."""

    request: PageRequest
    items: Sequence[StoredVideo]
    total: Total
    next_cursor: str | None
    complete: bool = True


class _Cursor(msgspec.Struct, frozen=True):
    v: int
    k: str
    f: str


class _BadCursor(ValueError):
    """The message says why, for the reader of the API."""


def parse_page_request(parameters: Iterable[tuple[str, str]]) -> PageRequest | list[ParameterFault]:
    """The page that these query parameters ask for, or everything that is wrong with them."""
    given = list(parameters)
    values = dict(given)
    faults = unexpected(given, _KNOWN)
    limit = parse_number(values, "limit", DEFAULT_LIMIT, MAX_LIMIT, faults)
    page = parse_number(values, "page", DEFAULT_PAGE, LAST_COUNTABLE, faults)
    if page * limit >= LAST_COUNTABLE and not faults:
        faults.append(ParameterFault("page", f"is too large: page * limit must be below {LAST_COUNTABLE}"))
    filters = parse_filters(values, faults)
    after = _after(values, filters, faults)
    if faults:
        return faults
    kept = tuple((name, values[name]) for name in NAMES if name in values)
    return PageRequest(limit, None if "cursor" in values else page, after, filters, kept)


def unexpected(parameters: Iterable[tuple[str, str]], known: Sequence[str]) -> list[ParameterFault]:
    """Faults of parameters that are not `known`, or are given more than once."""
    faults: dict[str, ParameterFault] = {}
    seen: set[str] = set()
    for name, _ in parameters:
        if name not in known:
            faults[name] = ParameterFault(name, _unknown(known))
        elif name in seen:
            faults[name] = ParameterFault(name, "is given more than once")
        seen.add(name)
    return list(faults.values())


def too_deep(asked: PageRequest, page: int) -> bool:
    """Whether these filters are not paged by number so far; by cursor they are."""
    return not asked.filters.countable and page * asked.limit > LAST_COUNTED


def to_page(request: PageRequest, videos: Sequence[StoredVideo], total: Total, reached: str | None = None) -> Page:
    """The page made of `videos`, of which one more than the limit was read to know whether any follow.

    `reached` is the sort key down to which an incomplete search looked, for the next page to go on from.
    """
    items = videos[: request.limit]
    after = items[-1].sort_key if len(videos) > request.limit else reached
    cursor = None if after is None else encode_cursor(after, request.filters)
    return Page(request, items, total, cursor, complete=reached is None or len(videos) > request.limit)


def render_page(page: Page) -> bytes:
    """The page's JSON; items are the stored bytes, copied."""
    number = b"null" if page.request.page is None else b"%d" % page.request.page
    cursor = b"null" if page.next_cursor is None else b'"%s"' % page.next_cursor.encode()
    return b"".join(
        (
            b'{"items":[',
            b",".join([video.body for video in page.items]),
            b'],"page":%s,"limit":%d,"total":%d,' % (number, page.request.limit, page.total.count),
            b'"total_is_exact":%s,"complete":%s,"next_cursor":%s}'
            % (_boolean(page.total.exact), _boolean(page.complete), cursor),
        )
    )


def _boolean(value: bool) -> bytes:
    return b"true" if value else b"false"


def link_header(path: str, page: Page) -> str:
    """RFC 8288 links to the pages around this one; a page reached by cursor has no way back but the first."""
    limit, kept = page.request.limit, page.request.given
    targets: dict[str, list[tuple[str, str | int]]] = {"first": [("page", 1), ("limit", limit)]}
    number, last = page.request.page, max(1, -(-page.total.count // limit))
    if number is not None and number > 1:
        before = min(number - 1, last) if page.total.exact else number - 1
        targets["prev"] = [("page", before), ("limit", limit)]
    if page.next_cursor is not None:
        by_number = number is not None and page.complete and not too_deep(page.request, number + 1)
        following = ("page", (number or 0) + 1) if by_number else ("cursor", page.next_cursor)
        targets["next"] = [following, ("limit", limit)]
    if page.total.exact:
        targets["last"] = [("page", last), ("limit", limit)]
    return ", ".join(f'<{path}?{urlencode([*query, *kept])}>; rel="{relation}"' for relation, query in targets.items())


def encode_cursor(sort_key: str, filters: Filters = EVERYTHING) -> str:
    """An opaque, URL-safe name for "after this video, with these filters"."""
    cursor = msgspec.json.encode(_Cursor(_CURSOR_VERSION, sort_key, _fingerprint(filters)))
    return base64.urlsafe_b64encode(cursor).rstrip(b"=").decode()


def _after(values: Mapping[str, str], filters: Filters, faults: list[ParameterFault]) -> str | None:
    if "cursor" not in values:
        return None
    if "page" in values:
        faults.append(ParameterFault("page", "cannot stand beside cursor: give one of them"))
    try:
        return _decode_cursor(values["cursor"], filters)
    except _BadCursor as error:
        faults.append(ParameterFault("cursor", str(error)))
        return None


def _decode_cursor(text: str, filters: Filters) -> str:
    try:
        cursor = msgspec.json.decode(_unarmoured(text), type=_Cursor)
    except (binascii.Error, msgspec.DecodeError):
        raise _BadCursor("is not a cursor of this API: take it from next_cursor as it is") from None
    if cursor.v != _CURSOR_VERSION:
        raise _BadCursor("is of another version of this API: begin again without it")
    if not _SORT_KEY.fullmatch(cursor.k):
        raise _BadCursor("names no place in the order: take it from next_cursor as it is")
    if cursor.f != _fingerprint(filters):
        raise _BadCursor("was made for other filters: keep the filters, or begin again without it")
    return cursor.k


def _unarmoured(text: str) -> bytes:
    if not _CURSOR.fullmatch(text):
        raise binascii.Error
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _fingerprint(filters: Filters) -> str:
    given = sorted((name, value) for name, value in msgspec.to_builtins(filters).items() if value not in {None, ()})
    return hashlib.blake2b(msgspec.json.encode(given), digest_size=6).hexdigest()


def parse_number(values: Mapping[str, str], name: str, default: int, largest: int, faults: list[ParameterFault]) -> int:
    """The parameter's number; when it is wrong, a fault is noted and the default stands in."""
    text = values.get(name)
    if text is None:
        return default
    # The pattern first: int() also takes "+1", "1_000" and digits of other scripts.
    number = int(text) if _WHOLE_NUMBER.fullmatch(text) else 0
    if 1 <= number <= largest:
        return number
    faults.append(ParameterFault(name, f"must be a whole number from 1 to {largest}"))
    return default


def _unknown(known: Sequence[str]) -> str:
    return f"is unknown here; known are {', '.join(known)}" if known else "is unknown: nothing can be asked for here"
