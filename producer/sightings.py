"""Which items of an answer are published, and what is then known of their videos. Rules only."""

from collections.abc import Iterable, Mapping

import msgspec

from producer.following import QueryMatcher
from producer.known import KnownVideo
from producer.raw_item import Sighting


class Kept(msgspec.Struct, frozen=True):
    """An item to publish, and what is known of its video once it is."""

    seen: Sighting
    video: KnownVideo
    is_new: bool


class Sorted(msgspec.Struct, frozen=True):
    """What becomes of an answer's videos.

    `recheck` are those that were gone: `videos.list` must say that they are back before an item brings them back.
    """

    kept: list[Kept]
    recheck: list[str]
    unmatched: int


def sort_found(
    found: Iterable[Sighting], query: str, known: Mapping[str, KnownVideo], matcher: QueryMatcher, now_ms: int
) -> Sorted:
    """Of a search, everything is kept, repeats too: that the processors drop them is what they are for."""
    result = Sorted([], [], 0)
    for seen in found:
        before = known.get(seen.video_id)
        if before is not None and before.gone_ms is not None:
            result.recheck.append(seen.video_id)
            continue
        queries = {query, *matcher.matching(seen.texts), *(before.queries if before else ())}
        result.kept.append(Kept(seen, _sighted(before, seen, queries, now_ms), before is None))
    return result


def sort_uploads(
    found: Iterable[Sighting],
    known: Mapping[str, KnownVideo],
    matcher: QueryMatcher,
    now_ms: int,
    *,
    keep_all: bool,
) -> Sorted:
    """Of a channel's new and changed uploads, what is known or matches a followed query is kept."""
    kept: list[Kept] = []
    recheck: list[str] = []
    unmatched = 0
    for seen in found:
        before = known.get(seen.video_id)
        if before is not None and before.gone_ms is not None:
            recheck.append(seen.video_id)
            continue
        queries = {*matcher.matching(seen.texts), *(before.queries if before else ())}
        if before is None and not queries and not keep_all:
            unmatched += 1
            continue
        kept.append(Kept(seen, _sighted(before, seen, queries, now_ms), before is None))
    return Sorted(kept, recheck, unmatched)


def sort_refreshed(
    found: Iterable[Sighting], known: Mapping[str, KnownVideo], matcher: QueryMatcher, now_ms: int, *, keep_all: bool
) -> Sorted:
    """Of `videos.list`, what is known is kept; what is not (or was gone) if it matches a followed query."""
    kept: list[Kept] = []
    unmatched = 0
    for seen in found:
        before = known.get(seen.video_id)
        matching = matcher.matching(seen.texts)
        was_gone = before is not None and before.gone_ms is not None
        followed = bool(matcher.queries.intersection(before.queries)) if before else False
        if (before is None or was_gone) and not matching and not followed and not keep_all:
            unmatched += 1
            continue
        video = KnownVideo(
            first_seen_ms=before.first_seen_ms if before else now_ms,
            fetched_ms=now_ms,
            queries=tuple(sorted({*matching, *(before.queries if before else ())})),
            completed=True,
            live=seen.live or "none",
        )
        kept.append(Kept(seen, video, before is None))
    return Sorted(kept, [], unmatched)


def _sighted(before: KnownVideo | None, seen: Sighting, queries: set[str], now_ms: int) -> KnownVideo:
    """Only `videos.list` counts as a refresh and as a sign of life; a search may lag behind."""
    if before is None:
        return KnownVideo(now_ms, now_ms, tuple(sorted(queries)), live=seen.live or "none")
    return msgspec.structs.replace(before, queries=tuple(sorted(queries)), live=seen.live or before.live)
