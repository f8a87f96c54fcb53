"""`yousync quota`: what is granted, used and left today, and what the producer would spend it on next."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec

from contract.producer_state import LEDGER_PREFIX, SEARCH_BUCKET, UNITS_BUCKET, UNREADABLE_LEDGER
from contract.settings import Settings
from contract.times import (
    format_millis,
    format_seconds,
    next_pacific_midnight_ms,
    pacific_date,
    pacific_day_start_ms,
    parse_rfc3339_ms,
)
from ops.clock import now_ms
from ops.kafka_connection import kafka_connection
from producer.explain import Explanation, NextCall, explain
from producer.following import Following
from producer.recall import recall
from producer.state import ProducerState
from yousync.durations import moment, spoken
from yousync.printable import printable
from yousync.producer_log import producer_log

_NAMES: Final = {SEARCH_BUCKET: "search calls", UNITS_BUCKET: "units"}


class BucketToday(msgspec.Struct, frozen=True):
    """One quota; `used` is None when the ledger cannot be read, which counts as all.

    `even_used` would have been used by now at an even pace; `seconds_per_call` spreads what is left over what remains
    of the day, None when nothing is left.
    """

    bucket: str
    granted: int
    used: int | None
    left: int
    even_used: int
    seconds_per_call: float | None


class Quota(msgspec.Struct, frozen=True):
    """Today's quota at a moment; `ends_at` is when the Pacific day ends. Times are RFC 3339."""

    as_of: str
    pacific_date: str
    ends_at: str
    seconds_left: float
    buckets: list[BucketToday]
    explanation: Explanation | None = None


async def find_quota(settings: Settings, *, explained: bool) -> Quota:
    """Look once.

    Raises:
        KafkaError: Kafka does not answer.
        TopicsError: the state's topic cannot be used.
    """
    async with producer_log(kafka_connection(settings)) as log:
        state = log.state() if explained else log.state(LEDGER_PREFIX)
    return quota_of(state, settings, now_ms(), explained=explained)


def quota_of(state: ProducerState, settings: Settings, now_ms: int, *, explained: bool) -> Quota:
    """The quota by what the state says."""
    ends_ms = next_pacific_midnight_ms(now_ms)
    granted = {SEARCH_BUCKET: settings.search_calls_per_day, UNITS_BUCKET: settings.units_per_day}
    buckets = [_bucket(state, bucket, calls, now_ms) for bucket, calls in granted.items()]
    explanation = None
    if explained:
        left = {each.bucket: each.left for each in buckets}
        explanation = explain(now_ms, recall(state), state.videos, Following.by(settings), left)
    return Quota(
        as_of=format_millis(now_ms),
        pacific_date=pacific_date(now_ms),
        ends_at=format_seconds(ends_ms),
        seconds_left=(ends_ms - now_ms) / 1000,
        buckets=buckets,
        explanation=explanation,
    )


def quota_json(quota: Quota) -> str:
    return msgspec.json.format(msgspec.json.encode(quota), indent=2).decode()


def quota_text(quota: Quota) -> list[str]:
    """Lines for people."""
    here = datetime.fromtimestamp(parse_rfc3339_ms(quota.ends_at) / 1000, UTC).astimezone()
    end = f"{quota.ends_at}, here {here:%Y-%m-%d %H:%M %Z}"
    lines = [
        f"Pacific day {quota.pacific_date} ends in {spoken(quota.seconds_left)}: {end}",
        *(line for each in quota.buckets for line in _bucket_text(each)),
    ]
    if quota.explanation is not None:
        lines += ["", *_explanation_text(quota.explanation, parse_rfc3339_ms(quota.as_of))]
    return [printable(line) for line in lines]


def _bucket(state: ProducerState, bucket: str, granted: int, now_ms: int) -> BucketToday:
    used = state.used(bucket, pacific_date(now_ms))
    left = max(0, granted - used)
    begin_ms, end_ms = pacific_day_start_ms(now_ms), next_pacific_midnight_ms(now_ms)
    return BucketToday(
        bucket=bucket,
        granted=granted,
        used=None if used == UNREADABLE_LEDGER.used else used,
        left=left,
        even_used=granted * (now_ms - begin_ms) // (end_ms - begin_ms),
        seconds_per_call=(end_ms - now_ms) / 1000 / left if left else None,
    )


def _bucket_text(bucket: BucketToday) -> Iterator[str]:
    used = "?" if bucket.used is None else f"{bucket.used:,}"
    yield (
        f"{_NAMES[bucket.bucket]:<12}  {bucket.granted:>9,} granted  {used:>9} used  {bucket.left:>9,} left  "
        f"{_pace_text(bucket)}"
    )
    if bucket.used is None:
        yield "              the ledger cannot be read, so the day counts as spent"


def _pace_text(bucket: BucketToday) -> str:
    even = f"an even pace would have used {bucket.even_used:,}"
    if bucket.seconds_per_call is None:
        return f"none before the day ends; {even}"
    if bucket.seconds_per_call < 1:
        return f"{1 / bucket.seconds_per_call:,.1f} a second until the day ends; {even}"
    return f"one every {spoken(bucket.seconds_per_call)} until the day ends; {even}"


def _explanation_text(why: Explanation, now_ms: int) -> Iterator[str]:
    yield "What comes next, once the even pace allows it:"
    yield f"  search      {_next_text(why.search)}"
    yield f"  catching up {_next_text(why.catch_up)}"
    yield f"  other calls {_next_text(why.units)}"
    yield (
        f"Queries: {len(why.queries)}, which find {why.videos_per_day:,.0f} videos a day; "
        f"searches can carry {why.capacity_per_day:,.0f}"
    )
    for load in why.queries:
        rate = "unknown" if load.videos_per_day is None else f"{load.videos_per_day:,.1f}"
        yield f"  {load.query}"
        yield (
            f"    waiting since {moment(load.waiting_since, now_ms, 'the start: it was never searched')}, "
            f"videos a day: {rate}, missed stretches: {load.missed_stretches} ({spoken(load.missed_seconds)})"
        )
    yield f"Channels: {why.followed_channels:,}; those to look at first (score: rate x age², in upload-days)"
    for pick in why.channels:
        yield (
            f"  {pick.channel_id}  {pick.rate_per_day:.3g} a day, last look {spoken(pick.age_seconds)} ago, "
            f"score {pick.score:.3g}"
        )
    agenda = why.agenda
    yield (
        f"Videos: {agenda.known:,} known, {agenda.to_complete:,} to complete, {agenda.live:,} live or upcoming, "
        f"{agenda.missing:,} missing once, {agenda.gone:,} gone; "
        f"refreshed longest ago: {moment(agenda.oldest_refreshed_at, now_ms, 'none')}"
    )
    yield "Pauses after failures are in the running producer's memory: its metrics and its log show them."


def _next_text(following: NextCall) -> str:
    return f"none: {following.reason}" if following.call is None else f"{following.call}: {following.reason}"
