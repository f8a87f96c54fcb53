"""`yousync queries`: which queries are or were followed, how far each is covered, and what operators add and remove."""

from collections.abc import Mapping, Sequence

import msgspec

from contract.producer_state import (
    PURGE_PREFIX,
    QUERY_PREFIX,
    VIDEO_PREFIX,
    WATERMARK_PREFIX,
    FollowedQuery,
    PurgeRequest,
)
from contract.times import format_millis
from ops.kafka_connection import KafkaConnection
from producer.coverage import Coverage
from producer.following import followed_queries
from producer.purging import victims
from yousync.durations import moment, spoken
from yousync.printable import printable
from yousync.producer_log import ProducerLog, producer_log, purge_entry, query_entry


class UnknownQuery(Exception):
    """A query that was never followed; the sentence names those that are."""


class MissedStretch(msgspec.Struct, frozen=True):
    """A part of a query's past that is still to be read, both ends inclusive."""

    after: str
    before: str
    seconds: float


class QueryRow(msgspec.Struct, frozen=True, rename={"origin": "from"}):
    """A query that is or was followed; `origin` is who said so last. Times are RFC 3339, None for never."""

    query: str
    followed: bool
    followed_since: str
    origin: str
    refused: str | None
    covered_until: str | None
    last_complete_pass: str | None
    missed: list[MissedStretch]
    videos_per_day: float | None


async def find_rows(connection: KafkaConnection) -> list[QueryRow]:
    """Every query ever followed; those that are followed first.

    Raises:
        KafkaError: Kafka does not answer.
        TopicsError: the state's topic cannot be used.
    """
    async with producer_log(connection) as log:
        state = log.state(QUERY_PREFIX, WATERMARK_PREFIX)
    rows = [_row(query, followed, state.coverage.get(query)) for query, followed in state.queries.items()]
    return sorted(rows, key=lambda row: (not row.followed, row.query))


async def add(connection: KafkaConnection, queries: Sequence[str], now_ms: int) -> str:
    """Have queries followed, whatever the settings name; says what happens next.

    Raises:
        KafkaError: Kafka does not answer.
        TopicsError: the state's topic cannot be used.
    """
    async with producer_log(connection) as log:
        known = log.state(QUERY_PREFIX).queries
        await log.append([query_entry(*item) for item in decide_added(queries, known, now_ms).items()])
        return await _what_follows(log, f"Added: {_listed(queries)}.")


async def remove(connection: KafkaConnection, queries: Sequence[str], now_ms: int, *, purge: bool) -> str:
    """Have queries no longer followed, whatever the settings name; says what happens next.

    Raises:
        UnknownQuery: one was never followed; nothing was changed.
        KafkaError: Kafka does not answer.
        TopicsError: the state's topic cannot be used.
    """
    async with producer_log(connection) as log:
        before = log.state(QUERY_PREFIX).queries
        entries = [query_entry(*item) for item in decide_removed(queries, before).items()]
        done = f"Removed: {_listed(queries)}."
        if purge:
            state = log.state(QUERY_PREFIX, VIDEO_PREFIX, PURGE_PREFIX)
            still = set(followed_queries(state.queries)).difference(queries)
            requests = [PurgeRequest(format_millis(now_ms), query=query) for query in queries]
            found = {video for request in requests for video in victims(request, state.videos, still)}
            entries += [purge_entry(request) for request in requests]
            done += f" Videos that no followed query finds any more, to be removed: {len(found):,}."
        await log.append(entries)
        return await _what_follows(log, done)


def decide_added(queries: Sequence[str], known: Mapping[str, FollowedQuery], now_ms: int) -> dict[str, FollowedQuery]:
    """What adding changes: followed by command from here on, and asked for again if YouTube refused it before."""
    return {
        query: FollowedQuery(
            followed_since=known[query].followed_since if query in known else format_millis(now_ms),
            origin="command",
        )
        for query in queries
    }


def decide_removed(queries: Sequence[str], known: Mapping[str, FollowedQuery]) -> dict[str, FollowedQuery]:
    """What removing changes.

    Raises:
        UnknownQuery: one was never followed.
    """
    unknown = [query for query in queries if query not in known]
    if unknown:
        followed = [query for query, each in known.items() if each.enabled]
        raise UnknownQuery(
            f"Not followed: {_listed(unknown)}. "
            + (f"Followed are: {_listed(sorted(followed))}." if followed else "No query is followed.")
        )
    return {
        query: msgspec.structs.replace(known[query], enabled=False, origin="command")
        for query in dict.fromkeys(queries)
    }


def rows_json(rows: Sequence[QueryRow]) -> str:
    return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode()


def rows_text(rows: Sequence[QueryRow], now_ms: int) -> list[str]:
    """Lines for people, a paragraph a query."""
    if not rows:
        return ["No query was ever followed: name some in YOUSYNC_QUERIES, or add one with `yousync queries add`."]
    return [printable(line) for row in rows for line in _paragraph(row, now_ms)]


def _row(query: str, followed: FollowedQuery, coverage: Coverage | None) -> QueryRow:
    missed = coverage.missed if coverage else ()
    completed_ms = coverage.completed_ms if coverage else None
    return QueryRow(
        query=query,
        followed=followed.enabled and followed.refused is None,
        followed_since=followed.followed_since,
        origin=followed.origin,
        refused=followed.refused,
        covered_until=format_millis(coverage.covered_until_ms) if coverage else None,
        last_complete_pass=None if completed_ms is None else format_millis(completed_ms),
        missed=[
            MissedStretch(
                format_millis(stretch.window.after_ms), format_millis(stretch.window.before_ms), stretch.window.seconds
            )
            for stretch in missed
        ],
        videos_per_day=coverage.videos_per_day if coverage else None,
    )


def _paragraph(row: QueryRow, now_ms: int) -> list[str]:
    said_by = "YOUSYNC_QUERIES" if row.origin == "settings" else "`yousync queries`"
    if row.refused is not None:
        standing = f"refused by YouTube, left out until it is added again: {row.refused}"
    elif row.followed:
        standing = f"followed, by {said_by}"
    else:
        standing = f"not followed any more, by {said_by}"
    lines = [row.query, f"  {standing}", f"  since              {row.followed_since}"]
    lines.append(f"  covered until      {moment(row.covered_until, now_ms, 'never searched')}")
    lines.append(f"  last complete pass {moment(row.last_complete_pass, now_ms)}")
    if row.videos_per_day is not None:
        lines.append(f"  videos per day     {row.videos_per_day:,.1f}")
    return lines + [
        f"  still to be read   {stretch.after} to {stretch.before} ({spoken(stretch.seconds)})"
        for stretch in row.missed
    ]


def _listed(queries: Sequence[str]) -> str:
    return ", ".join(repr(query) for query in dict.fromkeys(queries))


async def _what_follows(log: ProducerLog, done: str) -> str:
    if await log.has_producer():
        return f"{done} This takes effect at the producer's next tick."
    return f"{done} No producer runs: this takes effect when one does."
