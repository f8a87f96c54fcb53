"""Which queries are followed, and which of them a video matches. Rules only."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from contract.producer_state import FollowedQuery
from contract.query_match import matches, parse_query
from contract.settings import ALL_VIDEOS, Settings
from contract.times import format_millis


class Following(msgspec.Struct, frozen=True):
    """What the settings say of following: the queries, and how far and how often to look."""

    queries: tuple[str, ...]
    poll_seconds: float
    overlap_seconds: int
    sweep_seconds: int
    backfill_seconds: int
    search_calls_per_day: int
    keep_all_uploads: bool = False

    @classmethod
    def by(cls, settings: Settings) -> "Following":
        """As these settings say."""
        return cls(
            queries=settings.queries,
            poll_seconds=settings.poll_seconds,
            overlap_seconds=settings.overlap_seconds,
            sweep_seconds=settings.sweep_seconds,
            backfill_seconds=settings.backfill_seconds,
            search_calls_per_day=settings.search_calls_per_day,
            keep_all_uploads=settings.keep_all_uploads,
        )


def decide_changes(
    settings_queries: Iterable[str], known: Mapping[str, FollowedQuery], now_ms: int
) -> dict[str, FollowedQuery]:
    """What a start changes: queries that the settings name are followed, and those that they no longer name are not.

    What `yousync queries` said goes before the settings: a removed query stays removed, an added one stays.
    """
    named = set(settings_queries)
    changes = {
        query: FollowedQuery(format_millis(now_ms))
        for query in dict.fromkeys(settings_queries)
        if query not in known or (not known[query].enabled and known[query].origin == "settings")
    }
    for query, followed in known.items():
        if followed.enabled and followed.origin == "settings" and query not in named:
            changes[query] = msgspec.structs.replace(followed, enabled=False)
    return changes


def followed_queries(known: Mapping[str, FollowedQuery]) -> tuple[str, ...]:
    """The queries to search for: enabled, and not refused by YouTube."""
    return tuple(query for query, followed in known.items() if followed.enabled and followed.refused is None)


class QueryMatcher:
    """Tells the followed queries that a video's texts match, by the rule of `contract.query_match`."""

    def __init__(self, queries: Sequence[str]) -> None:
        self.queries: Final = frozenset(queries)
        self._parsed: Final = [(query, None if query == ALL_VIDEOS else parse_query(query)) for query in queries]

    def matching(self, texts: Sequence[str]) -> tuple[str, ...]:
        """The queries that match, `*` always."""
        return tuple(query for query, parsed in self._parsed if matches(parsed, texts))
