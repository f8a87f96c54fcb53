"""The lists of queries and of channels: what is asked for, how a cursor names a place, how a page reads. No I/O.

Both are in the order of their names (a channel's is its id), so a cursor is the last name seen.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from query_api.filters import ParameterFault
from query_api.pagination import DEFAULT_LIMIT, MAX_LIMIT, parse_number, unexpected

Listed = Literal["queries", "channels"]

_KNOWN: Final = ("limit", "cursor")
_CURSOR: Final = re.compile(r"[A-Za-z0-9_-]{1,2048}")
_NOT_OURS: Final = ParameterFault("cursor", "is not a cursor of this list: take it from next_cursor as it is")


class SummaryRequest(msgspec.Struct, frozen=True):
    """One page to read: up to `limit` names after `after`."""

    limit: int = DEFAULT_LIMIT
    after: str | None = None


class QuerySummary(msgspec.Struct, frozen=True):
    """A followed query, or one that was followed: how many videos it found, and when the newest was published."""

    query: str
    followed: bool
    total: int
    newest_published_at: str | None


class ChannelSummary(msgspec.Struct, frozen=True):
    """A channel with its videos, and its title as the newest of them says it."""

    id: str
    title: str
    total: int
    newest_published_at: str | None


Summary = QuerySummary | ChannelSummary


class SummaryPage(msgspec.Struct, frozen=True):
    """One page as it is answered."""

    items: Sequence[Summary]
    limit: int
    next_cursor: str | None


class _Cursor(msgspec.Struct, frozen=True):
    of: Listed
    after: str


def parse_summary_request(
    listed: Listed, parameters: Iterable[tuple[str, str]]
) -> SummaryRequest | list[ParameterFault]:
    """The page that these query parameters ask for, or everything that is wrong with them."""
    given = list(parameters)
    values = dict(given)
    faults = unexpected(given, _KNOWN)
    limit = parse_number(values, "limit", DEFAULT_LIMIT, MAX_LIMIT, faults)
    after = None
    if "cursor" in values:
        after = _place(listed, values["cursor"])
        if after is None:
            faults.append(_NOT_OURS)
    return faults or SummaryRequest(limit, after)


def cursor_after(listed: Listed, name: str) -> str:
    """An opaque, URL-safe name for "after this one"."""
    return base64.urlsafe_b64encode(msgspec.json.encode(_Cursor(listed, name))).rstrip(b"=").decode()


def _place(listed: Listed, text: str) -> str | None:
    if not _CURSOR.fullmatch(text):
        return None
    try:
        cursor = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Cursor)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return cursor.after if cursor.of == listed else None
