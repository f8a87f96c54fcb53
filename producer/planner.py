"""The next call to YouTube, or none, and why: from the time, the budgets and what is known. Rules only.

Searches discover, uploads follow. The two quotas are independent, so searches are decided first:

- the newest stretch of the query that has waited longest, as often as the even pace of the day's calls allows;
- beside it missed stretches and the sweeps, from the reserve; missed stretches also take turns with the newest.

Every other call is one unit, in this order: what is due by `videos.list` (live videos, removals to confirm, new videos
to complete, videos that must be refreshed), in turns with refreshes that may still wait; else the uploads of the
channel that most likely has something new.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from producer.backoff import Backoff, is_waiting
from producer.channel_ranking import ChannelRanking
from producer.coverage import Coverage, Stretch, next_stretch
from producer.following import QueryMatcher
from producer.search_pass import SearchPass
from producer.video_agenda import VideoAgenda, VideosBatch
from producer.windows import Window

DEFER_MS: Final = 3_600_000
"""A stretch that YouTube does not show now is asked for again so much later."""

TURNS_MISSED: Final = 2
TURNS_SWEEP: Final = 1
"""Searches of stretches to each of the newest while there are any: what was missed is late already."""

MOST_OWED: Final = 20

MIN_LOOK_SECONDS: Final = 10.0
"""A channel is not looked at more often, whatever the budget."""


@dataclass
class RunningPass:
    """A pass under way: over the newest stretch (`stretch` None) or over one left from before.

    `missed` lies between a newest stretch and the watermark, and is left for later. After `page_limit` pages the rest
    of the pass is left for later too, so that no query holds up the others; for the same reason a pass whose last call
    failed (`stalled`) waits for its turn again.
    """

    place: SearchPass
    page_limit: int
    began_ms: int
    stretch: Stretch | None = None
    missed: Window | None = None
    stalled: bool = False
    published: int = 0
    new: int = 0


@dataclass
class QueryPlan:
    """What is known of a query: its coverage, its passes under way, and when it was last polled (ms)."""

    query: str
    coverage: Coverage | None = None
    polled_ms: int = 0
    caught_up_ms: int = 0
    deferred_until_ms: int = 0
    newest: RunningPass | None = None
    behind: RunningPass | None = None

    @property
    def missed_seconds(self) -> float:
        """How much of the query's past was never read."""
        return sum(stretch.window.seconds for stretch in self.coverage.missed) if self.coverage else 0.0

    @property
    def videos_per_day(self) -> float | None:
        """How much the query finds; None as long as that is not known."""
        return self.coverage.videos_per_day if self.coverage else None


class UploadsPage(msgspec.Struct, frozen=True):
    """A page of a channel's uploads that is still to be read in this look."""

    channel_id: str
    page_token: str


@dataclass
class Known:
    """Everything that a decision looks at, apart from time and budgets.

    `owed`: searches that stretches may make before the newest have another.
    """

    queries: dict[str, QueryPlan]
    agenda: VideoAgenda
    ranking: ChannelRanking
    matcher: QueryMatcher
    uploads_page: UploadsPage | None = None
    owed: int = 0
    last_unit: Literal["refresh", "other"] = "other"

    @property
    def videos_per_day(self) -> float:
        """How much all queries find together, as far as that is known."""
        return sum(plan.videos_per_day or 0.0 for plan in self.queries.values())


class Budgets(msgspec.Struct, frozen=True):
    """What may be spent now: calls left today, whether the even pace allows one, and the pauses after failures."""

    search_left: int
    newest_in_pace: bool
    reserve_in_pace: bool
    units_left: int
    units_in_pace: bool
    search_backoff: Backoff = Backoff()
    units_backoff: Backoff = Backoff()


class Search(msgspec.Struct, frozen=True):
    """One page of a query's pass over its newest stretch, or over one left from before."""

    query: str
    over: Literal["newest", "stretch"]
    account: Literal["newest", "reserve"]
    reason: str


class LookAtUploads(msgspec.Struct, frozen=True):
    """One page of a channel's uploads."""

    channel_id: str
    page_token: str | None
    reason: str


class AskForVideos(msgspec.Struct, frozen=True):
    """One call of `videos.list`."""

    batch: VideosBatch
    reason: str


class Wait(msgspec.Struct, frozen=True):
    """Nothing before the next tick."""

    reason: str


Decision = Search | LookAtUploads | AskForVideos | Wait


def decide(now_ms: int, budgets: Budgets, known: Known, poll_seconds: float) -> Decision:
    """The next call, or `Wait`."""
    search = decide_search(now_ms, budgets, known, poll_seconds)
    if not isinstance(search, Wait):
        return search
    unit = decide_unit(now_ms, budgets, known)
    return Wait(f"{search.reason}; {unit.reason}") if isinstance(unit, Wait) else unit


def decide_search(now_ms: int, budgets: Budgets, known: Known, poll_seconds: float) -> Search | Wait:
    """The next search, or `Wait`."""
    if budgets.search_left <= 0:
        return Wait("no search calls are left today")
    if is_waiting(budgets.search_backoff, now_ms):
        return Wait(f"searches pause after {budgets.search_backoff.failures} failures in a row")
    newest = _next_newest(now_ms, known.queries.values(), poll_seconds)
    behind = _next_behind(now_ms, known.queries.values())
    if newest is None and behind is None:
        return Wait("every query was searched within this tick")
    return (
        _decide_behind(budgets, known, newest, behind)
        or _decide_newest(now_ms, budgets, newest)
        or Wait("searches keep to the day's even pace")
    )


def next_owed(known: Known, over: Literal["newest", "stretch"]) -> int:
    """`owed` after a search: stretches have two calls to each of the newest while something is missed, else one."""
    if over == "stretch":
        return max(0, known.owed - 1)
    plans = known.queries.values()
    if any(_has_missed(plan) for plan in plans):
        return min(known.owed + TURNS_MISSED, MOST_OWED)
    return min(known.owed + TURNS_SWEEP, MOST_OWED) if any(_has_stretch(plan) for plan in plans) else 0


def _decide_behind(budgets: Budgets, known: Known, newest: QueryPlan | None, behind: QueryPlan | None) -> Search | None:
    """A stretch has its turns after the newest had theirs, and whenever the newest are not searched now."""
    if behind is None:
        return None
    is_under_way = newest is not None and _is_under_way(newest.newest)
    takes_turn = known.owed > 0 and not is_under_way
    if not takes_turn and newest is not None and (budgets.newest_in_pace or is_under_way):
        return None
    account = _account(budgets, may_use_newest=takes_turn or newest is None)
    return None if account is None else Search(behind.query, "stretch", account, _why_behind(behind, account))


def _decide_newest(now_ms: int, budgets: Budgets, newest: QueryPlan | None) -> Search | None:
    """In pace; or to end a pass that has begun, for what is on its pages is found together; or from the reserve."""
    if newest is None:
        return None
    is_retry = budgets.search_backoff.failures > 0
    if budgets.newest_in_pace or (_is_under_way(newest.newest) and not is_retry):
        return Search(newest.query, "newest", "newest", _why_newest(newest, now_ms))
    if is_retry and budgets.reserve_in_pace:
        return Search(newest.query, "newest", "reserve", _why_newest(newest, now_ms))
    return None


def _account(budgets: Budgets, *, may_use_newest: bool) -> Literal["newest", "reserve"] | None:
    """What a stretch is read from: the reserve, or else in place of the newest."""
    if budgets.reserve_in_pace:
        return "reserve"
    return "newest" if may_use_newest and budgets.newest_in_pace else None


def _next_newest(now_ms: int, plans: Iterable[QueryPlan], poll_seconds: float) -> QueryPlan | None:
    """A pass under way goes on before another begins; then the query polled longest ago."""
    candidates = list(plans)
    running = [plan for plan in candidates if _is_under_way(plan.newest)]
    if running:
        return min(running, key=lambda plan: plan.newest.began_ms if plan.newest else 0)
    due = [
        plan
        for plan in candidates
        if plan.newest is not None or not plan.polled_ms <= now_ms < plan.polled_ms + poll_seconds * 1000
    ]
    return min(due, key=lambda plan: (_unless_ahead(plan.polled_ms, now_ms), plan.newest is not None), default=None)


def _next_behind(now_ms: int, plans: Iterable[QueryPlan]) -> QueryPlan | None:
    """As for the newest, over stretches: missed ones before sweeps, even before one under way.

    Of the missed, those of the query that has missed most, in time: so that what cannot be read is the same of each.
    """
    candidates = [
        plan for plan in plans if not now_ms < plan.deferred_until_ms <= now_ms + DEFER_MS and _has_stretch(plan)
    ]
    missed = [plan for plan in candidates if _has_missed(plan)]
    return min(
        missed or candidates,
        key=lambda plan: (
            not _is_under_way(plan.behind),
            -plan.missed_seconds,
            _unless_ahead(plan.caught_up_ms, now_ms),
        ),
        default=None,
    )


def _is_under_way(running: RunningPass | None) -> bool:
    return running is not None and not running.stalled


def _unless_ahead(moment_ms: int, now_ms: int) -> int:
    """A moment ahead of the clock was noted by a clock that was wrong: it must not hold a query up until then."""
    return moment_ms if moment_ms <= now_ms else 0


def _has_stretch(plan: QueryPlan) -> bool:
    return plan.coverage is not None and bool(plan.coverage.stretches)


def _has_missed(plan: QueryPlan) -> bool:
    return plan.coverage is not None and bool(plan.coverage.missed)


def _why_newest(plan: QueryPlan, now_ms: int) -> str:
    if plan.newest is not None:
        return f"next page of the newest videos for {plan.query!r}"
    if plan.coverage is None:
        return f"{plan.query!r} was never searched"
    seconds = max(0, now_ms - plan.polled_ms) // 1000 if plan.polled_ms else None
    ago = "before this start" if seconds is None else f"{seconds} s ago"
    return f"{plan.query!r} has waited longest: last searched {ago}"


def _why_behind(plan: QueryPlan, account: str) -> str:
    stretch = plan.behind.stretch if plan.behind else next_stretch(plan.coverage) if plan.coverage else None
    what = "its sweep" if stretch is not None and stretch.kind == "sweep" else "a stretch that was missed"
    paid = "from the reserve" if account == "reserve" else "in turns with the newest"
    return f"{plan.query!r} still has {what} to read, {paid}"


def decide_unit(now_ms: int, budgets: Budgets, known: Known) -> LookAtUploads | AskForVideos | Wait:
    """The next call of one unit, or `Wait`."""
    if budgets.units_left <= 0:
        return Wait("no units are left today")
    if is_waiting(budgets.units_backoff, now_ms):
        return Wait(f"other calls pause after {budgets.units_backoff.failures} failures in a row")
    if not budgets.units_in_pace:
        return Wait("other calls keep to the day's even pace")
    refresh_first = known.last_unit != "refresh"
    batch = known.agenda.next_batch(now_ms) or (known.agenda.refresh_batch(now_ms) if refresh_first else None)
    if batch is not None:
        return AskForVideos(batch, batch.reason)
    return _decide_look(now_ms, known) or _decide_spare(now_ms, known)


def _decide_look(now_ms: int, known: Known) -> LookAtUploads | None:
    page = known.uploads_page
    if page is not None:
        return LookAtUploads(page.channel_id, page.page_token, "all of the page before was new: its next page")
    pick = known.ranking.best(now_ms)
    if pick is None or pick.age_seconds < MIN_LOOK_SECONDS:
        return None
    return LookAtUploads(pick.channel_id, None, pick.reason)


def _decide_spare(now_ms: int, known: Known) -> AskForVideos | Wait:
    batch = known.agenda.refresh_batch(now_ms)
    return Wait("no channel or video needs a call") if batch is None else AskForVideos(batch, batch.reason)
