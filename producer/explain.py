"""Why the producer does what it does: the planner's next decisions, and what they rest on. Rules only.

What a running producer keeps in memory is not in it: its credit against the even pace (here every call is taken to be
in pace), the passes under way, and the pauses after failures.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from contract.producer_state import SEARCH_BUCKET, UNITS_BUCKET
from contract.times import format_millis
from producer import coverage
from producer.channel_ranking import ChannelPick
from producer.following import Following
from producer.known import KnownVideo
from producer.planner import (
    Budgets,
    Decision,
    Known,
    LookAtUploads,
    QueryPlan,
    Search,
    Wait,
    decide_search,
    decide_unit,
)

TOP_CHANNELS: Final = 10


class NextCall(msgspec.Struct, frozen=True):
    """A decision: `call` is what would be called, None for none."""

    call: str | None
    reason: str


class QueryLoad(msgspec.Struct, frozen=True):
    """A followed query; `waiting_since` is when its last complete pass ended (RFC 3339), None for never."""

    query: str
    waiting_since: str | None
    missed_stretches: int
    missed_seconds: float
    videos_per_day: float | None


class AgendaCounts(msgspec.Struct, frozen=True):
    """What is asked of `videos.list` sooner or later; `oldest_refreshed_at` is of the one that waits longest."""

    known: int
    to_complete: int
    live: int
    missing: int
    gone: int
    oldest_refreshed_at: str | None


class Explanation(msgspec.Struct, frozen=True):
    """The next call of each kind, and why; `catch_up` is the search that the reserve pays for."""

    search: NextCall
    catch_up: NextCall
    units: NextCall
    queries: tuple[QueryLoad, ...]
    videos_per_day: float
    capacity_per_day: float
    channels: tuple[ChannelPick, ...]
    followed_channels: int
    agenda: AgendaCounts


def explain(
    now_ms: int, known: Known, videos: Mapping[str, KnownVideo], following: Following, left: Mapping[str, int]
) -> Explanation:
    """What the planner would do now; `left` is what may still be spent today by bucket."""
    searches, units = left[SEARCH_BUCKET], left[UNITS_BUCKET]
    loads = tuple(_load(plan) for plan in known.queries.values())

    def next_search(*, newest: bool) -> Search | Wait:
        return decide_search(now_ms, _in_pace(searches, units, newest=newest), known, following.poll_seconds)

    search = _next_call(next_search(newest=True))
    return Explanation(
        search=search,
        catch_up=_caught_up(next_search(newest=False)) if searches else search,
        units=_next_call(decide_unit(now_ms, _in_pace(searches, units, newest=True), known)),
        queries=loads,
        videos_per_day=known.videos_per_day,
        capacity_per_day=coverage.capacity_per_day(
            calls_per_day=following.search_calls_per_day,
            queries=len(loads),
            overlap_seconds=following.overlap_seconds,
            sweep_seconds=following.sweep_seconds,
        ),
        channels=tuple(known.ranking.top(now_ms, TOP_CHANNELS)),
        followed_channels=len(known.ranking),
        agenda=_counts(videos.values(), known.agenda.oldest_fetched_ms()),
    )


def _in_pace(searches: int, units: int, *, newest: bool) -> Budgets:
    """What is left, with every call in pace but perhaps the searches for the newest."""
    return Budgets(
        search_left=searches,
        newest_in_pace=newest,
        reserve_in_pace=True,
        units_left=units,
        units_in_pace=True,
    )


def _caught_up(decision: Search | Wait) -> NextCall:
    if isinstance(decision, Wait):
        return NextCall(None, "nothing that was missed can be read now, and no sweep is due")
    return _next_call(decision)


def _next_call(decision: Decision) -> NextCall:
    if isinstance(decision, Wait):
        return NextCall(None, decision.reason)
    if isinstance(decision, Search):
        return NextCall("search", decision.reason)
    if isinstance(decision, LookAtUploads):
        return NextCall("playlistItems", decision.reason)
    return NextCall("videos", decision.reason)


def _load(plan: QueryPlan) -> QueryLoad:
    return QueryLoad(
        query=plan.query,
        waiting_since=_text(plan.coverage.completed_ms if plan.coverage else None),
        missed_stretches=len(plan.coverage.missed) if plan.coverage else 0,
        missed_seconds=plan.missed_seconds,
        videos_per_day=plan.videos_per_day,
    )


def _counts(videos: Iterable[KnownVideo], oldest_fetched_ms: int | None) -> AgendaCounts:
    known = to_complete = live = missing = gone = 0
    for video in videos:
        known += 1
        if video.gone_ms is not None:
            gone += 1
        elif video.missing_ms is not None:
            missing += 1
        else:
            to_complete += not video.completed
            live += video.live != "none"
    return AgendaCounts(known, to_complete, live, missing, gone, _text(oldest_fetched_ms))


def _text(ms: int | None) -> str | None:
    return None if ms is None else format_millis(ms)
