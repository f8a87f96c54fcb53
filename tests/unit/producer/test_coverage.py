"""Which stretch of time is read next, and what is known to be missing."""

from itertools import pairwise

import pytest

from contract.topics import DAY_MS, HOUR_MS
from producer.coverage import (
    KEEP_MS,
    MAX_STRETCHES,
    PART_MS,
    SWEEP_EVERY_MS,
    Coverage,
    FreshWindow,
    Stretch,
    capacity_per_day,
    complete_fresh,
    complete_stretch,
    decide_fresh_window,
    give_up,
    next_stretch,
    pages_per_pass,
    reach_seconds,
)
from producer.windows import Window

NOW_MS = 1_780_000_000_123
WEEK_SECONDS = 7 * 86_400


def decide(covered_until_ms: int | None, *, overlap: int = 60, reach: float = 86_400) -> FreshWindow:
    known = None if covered_until_ms is None else Coverage(covered_until_ms)
    return decide_fresh_window(
        known, NOW_MS, overlap_seconds=overlap, backfill_seconds=WEEK_SECONDS, reach_seconds=reach
    )


def complete(
    before: Coverage | None, window: Window, *missed: Window, now_ms: int = NOW_MS, items: int = 0, sweep: int = 0
) -> Coverage:
    return complete_fresh(before, window, missed, now_ms, items=items, overlap_seconds=60, sweep_seconds=sweep)


# The newest window.


def test_a_followed_query_reaches_back_by_the_overlap_before_its_watermark() -> None:
    assert decide(NOW_MS - 500_000) == FreshWindow(Window(NOW_MS - 560_000, NOW_MS))


def test_a_new_query_reads_the_newest_day_and_leaves_the_rest_of_the_backfill_for_later() -> None:
    fresh = decide(None)
    cut_ms = (NOW_MS - DAY_MS) // 1000 * 1000
    assert fresh == FreshWindow(Window(cut_ms, NOW_MS), Window(NOW_MS - 7 * DAY_MS, cut_ms - 1))


def test_an_outage_is_read_back_as_far_as_the_reach_and_the_rest_is_missed() -> None:
    watermark_ms = NOW_MS - 3 * HOUR_MS
    cut_ms = (NOW_MS - HOUR_MS) // 1000 * 1000
    assert decide(watermark_ms, reach=3600) == FreshWindow(
        Window(cut_ms, NOW_MS), Window(watermark_ms - 60_000, cut_ms - 1)
    )
    assert decide(watermark_ms) == FreshWindow(Window(watermark_ms - 60_000, NOW_MS))


def test_an_overlap_beyond_the_reach_is_no_gap() -> None:
    fresh = decide(NOW_MS - 500_000, overlap=6 * 3600, reach=3600)
    assert fresh == FreshWindow(Window((NOW_MS - HOUR_MS) // 1000 * 1000, NOW_MS))


def test_a_watermark_a_little_ahead_of_the_clock_counts_as_now() -> None:
    assert decide(NOW_MS + 60_000) == FreshWindow(Window(NOW_MS - 60_000, NOW_MS))


def test_a_watermark_far_ahead_of_the_clock_counts_as_none() -> None:
    """A clock was wrong, and for how long nothing was read nobody knows."""
    assert decide(NOW_MS + 60_001) == decide(None)
    assert decide(NOW_MS + 5 * DAY_MS).missed is not None


@pytest.mark.parametrize(
    ("videos_per_day", "hours"), [(0.0, 24), (100.0, 24), (800.0, 24), (2_500.0, 8), (5_000.0, 4), (1e9, 1)]
)
def test_the_newest_reach_back_as_far_as_a_third_of_half_a_days_calls_carries(
    videos_per_day: float, hours: float
) -> None:
    assert reach_seconds(videos_per_day, calls_per_day=100) == pytest.approx(hours * 3600)


def pages(videos_per_day: float | None, hours: float = 24, queries: int = 100) -> int:
    window = Window(0, int(hours * HOUR_MS) - 1)
    return pages_per_pass(videos_per_day, window, calls_per_day=100, queries=queries)


def test_a_pass_ends_after_twice_the_pages_that_are_expected() -> None:
    assert pages(500.0) == 2 + 20
    assert pages(500.0, hours=6) == 2 + 5
    assert pages(0.0) == 2
    assert pages(None) == 2


def test_a_pass_has_half_of_its_querys_share_of_the_day_at_least() -> None:
    assert pages(None, queries=2) == 25
    assert pages(500.0, queries=2) == 25
    assert pages(1_000.0, queries=2) == 42
    assert pages(None, queries=0) == 50


# After a pass over the newest.


def test_the_watermark_moves_to_the_end_of_the_pass() -> None:
    window = Window(NOW_MS - 1_000, NOW_MS)
    after = complete(Coverage(5, stretches=(Stretch(Window(1, 2)),)), window, now_ms=NOW_MS + 9)
    assert (after.covered_until_ms, after.completed_ms) == (NOW_MS, NOW_MS + 9)
    assert after.stretches == (Stretch(Window(1, 2)),)


def test_what_was_left_out_is_kept_oldest_first_in_parts_that_touch() -> None:
    gap = Window(NOW_MS - 7 * DAY_MS, NOW_MS - DAY_MS)
    other = Window(NOW_MS - HOUR_MS, NOW_MS - HOUR_MS + 5)
    after = complete(None, Window(NOW_MS - DAY_MS + 1, NOW_MS), other, gap)
    *parts, last = after.missed
    assert last == Stretch(other)
    assert (parts[0].window.after_ms, parts[-1].window.before_ms) == (gap.after_ms, gap.before_ms)
    for older, newer in pairwise(parts):
        assert older.window.before_ms + 1 == newer.window.after_ms
        assert newer.window.after_ms % 1000 == 0
    assert len(parts) >= 3
    assert all(part.window.before_ms - part.window.after_ms <= 2 * PART_MS for part in parts)


def test_the_volume_is_learned_from_what_was_read_alone() -> None:
    window = Window(NOW_MS - DAY_MS, NOW_MS)
    assert complete(None, window, items=500).videos_per_day == 500
    unread, before_it = Window(NOW_MS - DAY_MS, NOW_MS - DAY_MS // 2), Window(0, NOW_MS - DAY_MS - 1)
    assert complete(None, window, unread, before_it, items=500).videos_per_day == 1000
    assert complete(Coverage(1, videos_per_day=100.0), window, items=400).videos_per_day == pytest.approx(200)
    short = complete(Coverage(1, videos_per_day=100.0), Window(NOW_MS - 60_000, NOW_MS), items=50).videos_per_day
    assert short == pytest.approx(125, abs=1), "a minute says little of a day"
    assert complete(Coverage(1, videos_per_day=100.0), window, window, items=0).videos_per_day == 100
    assert complete(None, window, window, items=0).videos_per_day is None


# Sweeps.


def test_a_day_after_the_last_sweep_the_next_one_reads_what_the_overlap_does_not() -> None:
    window = Window(NOW_MS - 1_000, NOW_MS)
    first = complete(None, window, sweep=WEEK_SECONDS)
    assert (first.swept_ms, first.stretches) == (NOW_MS, ())
    early = complete(first, window, now_ms=NOW_MS + SWEEP_EVERY_MS - 1, sweep=WEEK_SECONDS)
    assert early.stretches == ()

    due = complete(first, window, now_ms=NOW_MS + SWEEP_EVERY_MS, sweep=WEEK_SECONDS)
    sweep = Stretch(Window(NOW_MS - 7 * DAY_MS, NOW_MS - 60_000), "sweep")
    assert due.stretches == (sweep,)
    assert due.swept_ms == NOW_MS + SWEEP_EVERY_MS
    assert due.missed == ()


def test_a_sweep_takes_the_place_of_those_within_it_that_were_not_read() -> None:
    missed, within = Stretch(Window(1, 2)), Stretch(Window(NOW_MS - DAY_MS, NOW_MS - HOUR_MS), "sweep")
    before_it = Stretch(Window(NOW_MS - 8 * DAY_MS, NOW_MS - 2 * DAY_MS), "sweep")
    before = Coverage(5, swept_ms=NOW_MS - SWEEP_EVERY_MS, stretches=(missed, before_it, within))
    after = complete(before, Window(NOW_MS - 1_000, NOW_MS), sweep=WEEK_SECONDS)
    sweep = Stretch(Window(NOW_MS - 7 * DAY_MS, NOW_MS - 60_000), "sweep")
    assert after.stretches == (missed, before_it, sweep)


def test_without_more_than_the_overlap_to_sweep_there_is_no_sweep() -> None:
    before = Coverage(5, swept_ms=NOW_MS - 9 * DAY_MS)
    assert complete(before, Window(NOW_MS - 1_000, NOW_MS), sweep=60).stretches == ()


def test_a_sweep_of_a_clock_that_was_ahead_does_not_put_the_next_one_off() -> None:
    after = complete(Coverage(5, swept_ms=NOW_MS + 30 * DAY_MS), Window(NOW_MS - 1_000, NOW_MS), sweep=WEEK_SECONDS)
    assert after.swept_ms == NOW_MS


# Stretches.


def test_the_newest_missed_stretch_is_next_and_then_the_sweep() -> None:
    older, newer, sweep = Stretch(Window(1, 2)), Stretch(Window(3, 4)), Stretch(Window(5, 6), "sweep")
    assert next_stretch(Coverage(9, stretches=(older, newer, sweep))) == newer
    assert next_stretch(Coverage(9, stretches=(sweep,))) == sweep
    assert next_stretch(Coverage(9)) is None


def test_a_missed_stretch_that_was_read_is_read_once_more_as_a_sweep() -> None:
    older, newer = Stretch(Window(0, 10_000)), Stretch(Window(20_000, 30_000))
    before = Coverage(40_000, stretches=(older, newer))
    after = complete_stretch(before, newer, ())
    assert after.stretches == (older, Stretch(newer.window, "sweep"))
    assert after.covered_until_ms == 40_000
    assert complete_stretch(after, Stretch(newer.window, "sweep"), ()).stretches == (older,)


def test_what_was_left_out_of_a_missed_stretch_stays_missed() -> None:
    older, newer = Stretch(Window(0, 10_000)), Stretch(Window(20_000, 30_000))
    after = complete_stretch(Coverage(40_000, stretches=(older, newer)), older, [Window(0, 4_999)])
    assert after.missed == (Stretch(Window(0, 4_999)), newer)


def test_a_sweep_that_was_cut_is_done() -> None:
    sweep = Stretch(Window(0, 10_000), "sweep")
    assert complete_stretch(Coverage(20_000, stretches=(sweep,)), sweep, [Window(0, 4_999)]).stretches == ()


def test_what_was_missed_for_over_a_week_is_given_up_and_told() -> None:
    limit_ms = NOW_MS - KEEP_MS - DAY_MS
    lost, kept = Stretch(Window(0, limit_ms - 1)), Stretch(Window(0, limit_ms))
    before = Coverage(NOW_MS, stretches=(lost, kept))
    assert give_up(before, NOW_MS, 0) == (Coverage(NOW_MS, stretches=(kept,)), (lost,))
    assert give_up(before, NOW_MS, 30 * 86_400) == (before, ())


def test_an_old_sweep_is_dropped_without_being_lost() -> None:
    before = Coverage(NOW_MS, stretches=(Stretch(Window(0, 1), "sweep"),))
    assert give_up(before, NOW_MS, 0) == (Coverage(NOW_MS), ())


def test_of_too_many_stretches_the_oldest_are_given_up() -> None:
    many = tuple(Stretch(Window(NOW_MS - 10_000 + n, NOW_MS - 10_000 + n)) for n in range(MAX_STRETCHES + 3))
    after, lost = give_up(Coverage(NOW_MS, stretches=many), NOW_MS, 0)
    assert (after.stretches, lost) == (many[3:], many[:3])


# Capacity.


def test_capacity_grows_with_calls_and_shrinks_with_queries_and_overlap() -> None:
    def capacity(calls: int = 100, queries: int = 5, overlap: int = 6 * 3600) -> float:
        return capacity_per_day(calls_per_day=calls, queries=queries, overlap_seconds=overlap, sweep_seconds=172_800)

    assert capacity() > 500
    assert capacity(calls=1_000) > 10 * capacity()
    assert capacity(queries=10) < capacity()
    assert capacity(overlap=3 * 3600) != capacity()
    assert capacity(queries=500) == 0
    assert capacity_per_day(calls_per_day=1, queries=0, overlap_seconds=0, sweep_seconds=0) >= 0
