"""Which videos a request is about: what its filters say, and what that means for the order's sort key. No I/O.

A time range is a range of sort keys, for those begin with the publish time. How exact a total can be for free depends
on the filters alone (`Filters.countable`): the node keeps counts of everything and of each followed query.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from contract.search_text import MAX_SEARCH_WORDS, search_words
from contract.settings import normal_query
from contract.times import parse_rfc3339_ms

NAMES: Final = ("query", "channel_id", "published_after", "published_before", "search")
"""The parameters that filter."""

MAX_SEARCH_CHARACTERS: Final = 200

LAST_COUNTED: Final = 1_000
"""What cannot be counted for free is counted up to here, and paged by number no further."""

_CHANNEL_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LATEST_MS: Final = 9_999_999_999_999
"""The last moment that the 13 digits of a sort key can name (year 2286)."""


class ParameterFault(msgspec.Struct, frozen=True):
    """What is wrong with one parameter of a request."""

    parameter: str
    detail: str


class Filters(msgspec.Struct, frozen=True):
    """What a list is narrowed to; nothing is everything. `search` are folded words, each to be begun by a word."""

    query: str | None = None
    channel_id: str | None = None
    published_after_ms: int | None = None
    published_before_ms: int | None = None
    search: tuple[str, ...] = ()

    @property
    def at_least(self) -> str:
        """The lowest sort key that passes, inclusive; empty when all do."""
        after = self.published_after_ms
        return "" if after is None else f"{min(max(after, 0), _LATEST_MS):013d}"

    @property
    def below(self) -> str | None:
        """The sort keys that pass lie below this one; None when there is no bound."""
        before = self.published_before_ms
        if before is None or before >= _LATEST_MS:
            return None
        return f"{max(before + 1, 0):013d}"

    @property
    def timed(self) -> bool:
        return self.published_after_ms is not None or self.published_before_ms is not None

    @property
    def countable(self) -> bool:
        """Whether totals are exact and pages cheap at any depth: no filter, one query, or a time range."""
        return not self.search and self.channel_id is None and not (self.query is not None and self.timed)


EVERYTHING: Final = Filters()


def parse_filters(values: Mapping[str, str], faults: list[ParameterFault]) -> Filters:
    """The filters among these parameters; what is wrong is added to `faults`."""
    after = _moment(values, "published_after", faults)
    before = _moment(values, "published_before", faults)
    if after is not None and before is not None and after > before:
        faults.append(ParameterFault("published_after", "is later than published_before: nothing lies between them"))
    return Filters(
        query=_query(values, faults),
        channel_id=_channel_id(values, faults),
        published_after_ms=after,
        published_before_ms=before,
        search=_search(values, faults),
    )


def _query(values: Mapping[str, str], faults: list[ParameterFault]) -> str | None:
    text = values.get("query")
    if text is None:
        return None
    try:
        return normal_query(text)
    except ValueError as error:
        faults.append(ParameterFault("query", str(error)))
        return None


def _channel_id(values: Mapping[str, str], faults: list[ParameterFault]) -> str | None:
    channel_id = values.get("channel_id")
    if channel_id is not None and not _CHANNEL_ID.fullmatch(channel_id):
        faults.append(ParameterFault("channel_id", "must be 1 to 64 of A-Z, a-z, 0-9, _ and -"))
    return channel_id


def _moment(values: Mapping[str, str], name: str, faults: list[ParameterFault]) -> int | None:
    text = values.get(name)
    if text is None:
        return None
    try:
        # A plus sign arrives as a space where the client did not encode it.
        return parse_rfc3339_ms(text.replace(" ", "+"))
    except ValueError:
        faults.append(ParameterFault(name, "must be an RFC 3339 time with a zone, such as 2026-11-23T08:00:00Z"))
        return None


def _search(values: Mapping[str, str], faults: list[ParameterFault]) -> tuple[str, ...]:
    text = values.get("search")
    if text is None:
        return ()
    if len(text) > MAX_SEARCH_CHARACTERS:
        faults.append(ParameterFault("search", f"must be at most {MAX_SEARCH_CHARACTERS} characters long"))
        return ()
    words = search_words(text)
    if not words:
        faults.append(ParameterFault("search", "must have at least one letter or digit"))
    elif len(words) > MAX_SEARCH_WORDS:
        faults.append(ParameterFault("search", f"must have at most {MAX_SEARCH_WORDS} words"))
    return words
