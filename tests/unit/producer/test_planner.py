"""Which call is next, or none, and what is said of it."""

from collections.abc import Sequence
from typing import Any

import pytest

from contract.topics import DAY_MS, HOUR_MS
from producer.backoff import Backoff
from producer.channel_ranking import ChannelRanking
from producer.coverage import Coverage, Stretch
from producer.following import QueryMatcher
from producer.known import KnownChannel, KnownVideo
from producer.planner import (
    DEFER_MS,
    MIN_LOOK_SECONDS,
    MOST_OWED,
    AskForVideos,
    Budgets,
    Known,
    LookAtUploads,
    QueryPlan,
    RunningPass,
    Search,
    UploadsPage,
    Wait,
    decide,
    next_owed,
)
from producer.search_pass import SearchPass
from producer.video_agenda import LIVE_REFRESH_MS, REFRESH_MS, VideoAgenda
from producer.windows import Window
from tests.fakes.producer_edges import CHANNEL, video_id

NOW_MS = 1_780_000_000_000
POLL_SECONDS = 10.0
MISSED = Stretch(Window(NOW_MS - DAY_MS, NOW_MS - HOUR_MS))
SWEEP = Stretch(Window(NOW_MS - 2 * DAY_MS, NOW_MS - DAY_MS), "sweep")
FAILED = Backoff(failures=2, until_ms=NOW_MS - 1)
PAUSE = Backoff(failures=2, until_ms=NOW_MS + 1_000)


def plan(query: str, *stretches: Stretch, **more: Any) -> QueryPlan:
    """A query that was polled a minute ago."""
    fields: dict[str, Any] = {"polled_ms": NOW_MS - 60_000, "caught_up_ms": NOW_MS - 60_000, **more}
    return QueryPlan(query, Coverage(NOW_MS - 60_000, stretches=stretches), **fields)


def running(query: str, began_ms: int = NOW_MS - 5_000, **more: Any) -> RunningPass:
    return RunningPass(SearchPass(query, Window(0, NOW_MS)), 100, began_ms, **more)


def known_of(
    *plans: QueryPlan,
    videos: dict[str, KnownVideo] | None = None,
    channels: dict[str, KnownChannel] | None = None,
    **more: Any,
) -> Known:
    return Known(
        queries={plan.query: plan for plan in plans},
        agenda=VideoAgenda(videos or {}),
        ranking=ChannelRanking(channels or {}),
        matcher=QueryMatcher(()),
        **more,
    )


def budgets(**more: Any) -> Budgets:
    """Everything is allowed, but for what is said."""
    fields: dict[str, Any] = {
        "search_left": 10,
        "newest_in_pace": True,
        "reserve_in_pace": True,
        "units_left": 10,
        "units_in_pace": True,
        **more,
    }
    return Budgets(**fields)


NO_SEARCHES: dict[str, Any] = {"search_left": 0}


def searched(known: Known, **more: Any) -> tuple[str, str, str] | None:
    """Query, stretch and account of the next search; None for no search."""
    decision = decide(NOW_MS, budgets(**more), known, POLL_SECONDS)
    return (decision.query, decision.over, decision.account) if isinstance(decision, Search) else None


def why(known: Known, **more: Any) -> str:
    return decide(NOW_MS, budgets(**more), known, POLL_SECONDS).reason


# Searches: when.


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        ({"search_left": 0}, "no search calls are left today"),
        ({"search_backoff": PAUSE}, "searches pause after 2 failures in a row"),
        ({"newest_in_pace": False, "reserve_in_pace": False}, "searches keep to the day's even pace"),
    ],
)
def test_no_search_beyond_the_budget_in_a_pause_or_ahead_of_the_pace(refused: dict[str, Any], reason: str) -> None:
    known = known_of(plan("tea", MISSED))
    assert searched(known) is not None
    assert searched(known, **refused) is None
    assert reason in why(known, units_left=0, **refused)


def test_a_query_is_searched_once_a_tick() -> None:
    known = known_of(plan("tea", polled_ms=NOW_MS - 9_999))
    assert searched(known) is None
    assert "within this tick" in why(known)
    assert searched(known_of(plan("tea", polled_ms=NOW_MS - 10_000))) == ("tea", "newest", "newest")


def test_without_any_query_there_is_no_search() -> None:
    assert isinstance(decide(NOW_MS, budgets(), known_of(), POLL_SECONDS), Wait)


# Searches: which.


def test_the_query_polled_longest_ago_is_next() -> None:
    plans = [plan("tea"), plan("coffee", polled_ms=NOW_MS - 61_000), plan("milk", polled_ms=NOW_MS - 60_500)]
    assert searched(known_of(*plans)) == ("coffee", "newest", "newest")
    assert "has waited longest: last searched 61 s ago" in why(known_of(*plans))


def test_a_query_that_was_never_searched_is_first() -> None:
    known = known_of(plan("tea"), QueryPlan("new"))
    assert searched(known) == ("new", "newest", "newest")
    assert "never searched" in why(known)


def test_a_query_polled_by_a_clock_that_was_ahead_is_not_held_up() -> None:
    ahead = plan("ahead", polled_ms=NOW_MS + 5 * DAY_MS)
    assert searched(known_of(plan("tea"), ahead)) == ("ahead", "newest", "newest")


def test_a_pass_under_way_goes_on_before_another_begins_even_ahead_of_the_pace() -> None:
    known = known_of(plan("tea"), plan("coffee", polled_ms=NOW_MS, newest=running("coffee")))
    assert searched(known) == ("coffee", "newest", "newest")
    assert searched(known, newest_in_pace=False, reserve_in_pace=False) == ("coffee", "newest", "newest")
    assert "next page" in why(known)


def test_a_pass_whose_call_failed_waits_for_its_turn() -> None:
    stalled = plan("bad", polled_ms=NOW_MS - 59_000, newest=running("bad", stalled=True))
    assert searched(known_of(stalled, plan("tea")), search_backoff=FAILED) == ("tea", "newest", "newest")
    alone = known_of(stalled, plan("tea", polled_ms=NOW_MS - 58_000))
    assert searched(alone, search_backoff=FAILED) == ("bad", "newest", "newest")


def test_of_two_queries_polled_at_once_the_one_that_did_not_fail_is_next() -> None:
    known = known_of(plan("bad", newest=running("bad", stalled=True)), plan("tea"))
    assert searched(known) == ("tea", "newest", "newest")


def test_a_stalled_pass_is_tried_again_within_its_tick_but_in_pace() -> None:
    known = known_of(plan("bad", polled_ms=NOW_MS, newest=running("bad", stalled=True)))
    assert searched(known) == ("bad", "newest", "newest")
    assert searched(known, newest_in_pace=False, reserve_in_pace=False) is None
    assert searched(known, newest_in_pace=False) is None


def test_the_reserve_pays_for_retries() -> None:
    known = known_of(plan("tea"))
    assert searched(known, newest_in_pace=False) is None
    assert searched(known, newest_in_pace=False, search_backoff=FAILED) == ("tea", "newest", "reserve")


# Stretches.


def test_missed_stretches_take_turns_with_the_newest_and_the_reserve_pays() -> None:
    plans = [plan("tea", MISSED), plan("coffee")]
    assert searched(known_of(*plans, owed=0)) == ("tea", "newest", "newest")
    assert searched(known_of(*plans, owed=1)) == ("tea", "stretch", "reserve")
    assert searched(known_of(*plans, owed=1), reserve_in_pace=False) == ("tea", "stretch", "newest")
    assert "a stretch that was missed to read, from the reserve" in why(known_of(*plans, owed=1))


def test_a_stretch_does_not_interrupt_a_pass_over_the_newest() -> None:
    known = known_of(plan("tea", MISSED), plan("coffee", newest=running("coffee")), owed=1)
    assert searched(known) == ("coffee", "newest", "newest")


def test_a_sweep_has_its_turns_and_what_the_newest_leave() -> None:
    plans = [plan("tea", SWEEP)]
    assert searched(known_of(*plans)) == ("tea", "newest", "newest")
    assert searched(known_of(*plans), newest_in_pace=False) == ("tea", "stretch", "reserve")
    assert searched(known_of(*plans, owed=1)) == ("tea", "stretch", "reserve")
    waiting = known_of(plan("tea", SWEEP, polled_ms=NOW_MS))
    assert searched(waiting) == ("tea", "stretch", "reserve")
    assert searched(waiting, reserve_in_pace=False) == ("tea", "stretch", "newest")
    assert "its sweep" in why(waiting)


def test_to_each_search_of_the_newest_stretches_are_owed_two_or_one_if_all_are_sweeps() -> None:
    missed, swept, nothing = known_of(plan("tea", MISSED, SWEEP)), known_of(plan("tea", SWEEP)), known_of(plan("tea"))
    assert [next_owed(known, "newest") for known in (missed, swept, nothing)] == [2, 1, 0]
    missed.owed = MOST_OWED - 1
    assert next_owed(missed, "newest") == MOST_OWED
    assert next_owed(missed, "stretch") == MOST_OWED - 2
    assert next_owed(nothing, "stretch") == 0


def test_missed_stretches_go_before_sweeps_and_take_turns_over_queries() -> None:
    only_stretches = {"polled_ms": NOW_MS}
    swept = plan("swept", SWEEP, caught_up_ms=1, **only_stretches)
    late = plan("late", MISSED, caught_up_ms=NOW_MS - 1, **only_stretches)
    early = plan("early", MISSED, caught_up_ms=NOW_MS - 2, **only_stretches)
    ahead = plan("ahead", MISSED, caught_up_ms=NOW_MS + DAY_MS, **only_stretches)
    assert searched(known_of(swept, late, early)) == ("early", "stretch", "reserve")
    assert searched(known_of(swept)) == ("swept", "stretch", "reserve")
    assert searched(known_of(early, ahead)) == ("ahead", "stretch", "reserve"), "a clock was wrong"


def test_a_stretch_under_way_goes_on_unless_it_stalled() -> None:
    first = plan("first", MISSED, polled_ms=NOW_MS, caught_up_ms=1)
    going = plan("going", MISSED, polled_ms=NOW_MS, behind=running("going", stretch=MISSED))
    assert searched(known_of(first, going)) == ("going", "stretch", "reserve")
    stalled = plan("going", MISSED, polled_ms=NOW_MS, behind=running("going", stretch=MISSED, stalled=True))
    assert searched(known_of(first, stalled)) == ("first", "stretch", "reserve")


@pytest.mark.parametrize(
    ("until_ms", "is_read"), [(NOW_MS + 1, False), (NOW_MS, True), (NOW_MS + DEFER_MS, False), (NOW_MS + DAY_MS, True)]
)
def test_a_deferred_stretch_waits_but_not_for_a_clock_that_was_ahead(until_ms: int, is_read: bool) -> None:
    known = known_of(plan("tea", MISSED, polled_ms=NOW_MS, deferred_until_ms=until_ms))
    assert (searched(known) is not None) is is_read


# Units.


def video(fetched_ms: int = NOW_MS, **more: Any) -> KnownVideo:
    return KnownVideo(NOW_MS - 30 * DAY_MS, fetched_ms, **{"completed": True, **more})


LIVE = {video_id(0): video(NOW_MS - LIVE_REFRESH_MS, live="live")}
STALE = {video_id(number): video(NOW_MS - REFRESH_MS - DAY_MS) for number in range(50)}
LOOKED_AT = {CHANNEL: KnownChannel(NOW_MS - DAY_MS, NOW_MS - HOUR_MS)}


def next_unit(known: Known, **more: Any) -> Any:
    return decide(NOW_MS, budgets(**NO_SEARCHES, **more), known, POLL_SECONDS)


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        ({"units_left": 0}, "no units are left today"),
        ({"units_backoff": PAUSE}, "other calls pause after 2 failures in a row"),
        ({"units_in_pace": False}, "other calls keep to the day's even pace"),
    ],
)
def test_no_unit_beyond_the_budget_in_a_pause_or_ahead_of_the_pace(refused: dict[str, Any], reason: str) -> None:
    known = known_of(videos=LIVE, channels=LOOKED_AT)
    decision = next_unit(known, **refused)
    assert isinstance(decision, Wait)
    assert reason in decision.reason


def test_the_two_budgets_are_independent() -> None:
    known = known_of(plan("tea"), channels=LOOKED_AT)
    assert isinstance(decide(NOW_MS, budgets(units_left=0), known, POLL_SECONDS), Search)
    assert isinstance(next_unit(known), LookAtUploads)
    assert isinstance(decide(NOW_MS, budgets(search_backoff=PAUSE), known, POLL_SECONDS), LookAtUploads)


def test_what_is_due_of_the_videos_goes_before_the_uploads() -> None:
    decision = next_unit(known_of(videos=LIVE, channels=LOOKED_AT))
    assert isinstance(decision, AskForVideos)
    assert (decision.batch.purpose, decision.reason) == ("live", decision.batch.reason)


def test_refreshes_that_may_wait_take_turns_with_the_uploads() -> None:
    def after(last: str) -> Any:
        return next_unit(known_of(videos=STALE, channels=LOOKED_AT, last_unit=last))

    assert isinstance(after("other"), AskForVideos)
    assert after("other").batch.purpose == "refresh"
    assert isinstance(after("refresh"), LookAtUploads)


def test_without_a_channel_to_look_at_refreshes_go_on() -> None:
    assert isinstance(next_unit(known_of(videos=STALE, last_unit="refresh")), AskForVideos)


def test_the_rest_of_a_look_goes_before_another_channel() -> None:
    decision = next_unit(known_of(channels=LOOKED_AT, uploads_page=UploadsPage("UCother", "50")))
    assert (decision.channel_id, decision.page_token) == ("UCother", "50")


@pytest.mark.parametrize(("seconds", "is_looked_at"), [(MIN_LOOK_SECONDS, True), (MIN_LOOK_SECONDS - 1, False)])
def test_a_channel_is_not_looked_at_twice_within_seconds(seconds: float, is_looked_at: bool) -> None:
    channels = {CHANNEL: KnownChannel(NOW_MS - DAY_MS, NOW_MS - int(seconds * 1000))}
    assert isinstance(next_unit(known_of(channels=channels)), LookAtUploads) is is_looked_at


def test_with_nothing_to_do_it_says_so() -> None:
    assert "no channel or video needs a call" in next_unit(known_of()).reason


def test_every_decision_says_why() -> None:
    situations: Sequence[Known] = [
        known_of(plan("tea", MISSED)),
        known_of(plan("tea", SWEEP, polled_ms=NOW_MS)),
        known_of(videos=LIVE),
        known_of(channels=LOOKED_AT),
        known_of(),
    ]
    assert all(why(known) for known in situations)
    assert len({why(known) for known in situations}) == len(situations)
