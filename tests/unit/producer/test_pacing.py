"""The even pace: the default quota lasts all day, a generous one never waits; on days of 23 and 25 hours too."""

import itertools
from datetime import UTC, datetime

import pytest

from contract.times import next_pacific_midnight_ms, pacific_date, pacific_day_start_ms
from producer.pacing import RESERVE_SHARE, Pace, accrue, accrue_reserve, may_call, reserved, spend

DAY = 86_400.0
TODAY = "2026-06-01"


def utc_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def run_day(calls: int, calls_per_turn: int = 1, tick: float = 10.0, day: float = DAY) -> list[float]:
    """Seconds at which calls are made over one day."""
    pace, left = Pace(TODAY), calls
    made: list[float] = []
    for number in range(int(day / tick)):
        at = number * tick
        pace = accrue(pace, pacific_date=TODAY, seconds=tick if number else 0, calls_left=left, seconds_left=day - at)
        while left and may_call(pace) and (not made or made[-1] != at):
            for _ in range(min(calls_per_turn, left)):
                made.append(at)
                pace, left = spend(pace), left - 1
    return made


def test_a_hundred_calls_last_all_day_at_even_distances() -> None:
    made = run_day(100)
    assert 99 <= len(made) <= 100
    distances = [later - earlier for earlier, later in itertools.pairwise(made)]
    assert min(distances) > 800
    assert max(distances) < 930


def test_after_a_pass_of_ten_calls_ten_calls_time_passes() -> None:
    turns = sorted(set(run_day(100, calls_per_turn=10)))
    assert 9 <= len(turns) <= 10
    assert turns[1] > 8_000


def test_ten_thousand_units_are_one_a_tick_and_no_more_than_the_day_has() -> None:
    """8,640 ticks fit in 10,000 units."""
    made = run_day(10_000)
    assert len(set(made)) == DAY / 10
    assert len(made) <= 10_000


def test_a_generous_quota_may_be_spent_at_every_tick() -> None:
    assert len(set(run_day(1_000_000))) == DAY / 10


def test_an_idle_stretch_is_followed_by_no_burst() -> None:
    pace = Pace(TODAY)
    for _ in range(1001):
        pace = accrue(pace, pacific_date=TODAY, seconds=10.0, calls_left=100, seconds_left=DAY / 2)
    assert pace.credit < 1
    assert not may_call(spend(pace))


def test_a_debt_ends_with_its_day() -> None:
    pace = Pace(TODAY, credit=-40.0)
    assert not may_call(accrue(pace, pacific_date=TODAY, seconds=10.0, calls_left=60, seconds_left=3600.0))
    assert may_call(accrue(pace, pacific_date="2026-06-02", seconds=10.0, calls_left=100, seconds_left=DAY))


def test_the_last_moment_of_a_day_divides_by_no_zero() -> None:
    assert may_call(accrue(Pace(TODAY), pacific_date=TODAY, seconds=10.0, calls_left=5, seconds_left=0.0))


def test_with_less_left_than_is_reserved_no_credit_accrues() -> None:
    pace = accrue(Pace(TODAY, -1.0), pacific_date=TODAY, seconds=10_000.0, calls_left=-20.0, seconds_left=DAY)
    assert pace.credit == -1.0


@pytest.mark.parametrize(
    ("noon", "hours"), [("2026-03-08T20:00:00", 23), ("2026-11-01T20:00:00", 25), ("2026-06-01T20:00:00", 24)]
)
def test_the_pace_is_even_on_days_of_23_and_25_hours(noon: str, hours: int) -> None:
    start_ms = pacific_day_start_ms(utc_ms(noon))
    end_ms = next_pacific_midnight_ms(start_ms)
    assert end_ms - start_ms == hours * 3_600_000

    pace, left, made = Pace(pacific_date(start_ms)), 100, []
    for at_ms in range(start_ms, end_ms, 10_000):
        pace = accrue(
            pace,
            pacific_date=pacific_date(at_ms),
            seconds=10.0 if at_ms > start_ms else 0.0,
            calls_left=left,
            seconds_left=(next_pacific_midnight_ms(at_ms) - at_ms) / 1000,
        )
        if left and may_call(pace):
            made.append(at_ms)
            pace, left = spend(pace), left - 1
    assert 99 <= len(made) <= 100
    distances = [(later - earlier) / 1000 for earlier, later in itertools.pairwise(made)]
    assert max(distances) < hours * 3600 / 100 + 70
    assert min(distances) > hours * 3600 / 100 - 70


# The reserve.


def test_a_fifth_of_the_day_is_held_back_and_released_as_the_day_passes() -> None:
    assert reserved(100, DAY) == 100 * RESERVE_SHARE
    assert reserved(100, DAY / 2) == 50 * RESERVE_SHARE
    assert reserved(100, 0) == 0


def test_the_reserve_of_a_day_of_25_hours_is_no_larger() -> None:
    assert reserved(100, 25 * 3600.0) == 100 * RESERVE_SHARE


def test_the_reserve_piles_up_to_half_of_a_days() -> None:
    pace = Pace(TODAY)
    for _ in range(8640):
        pace = accrue_reserve(pace, pacific_date=TODAY, seconds=10.0, limit=100)
    assert pace.credit == pytest.approx(100 * RESERVE_SHARE / 2)


def test_the_reserve_pays_for_a_fifth_of_the_days_calls() -> None:
    pace, calls = Pace(TODAY), 0
    for _ in range(8640):
        pace = accrue_reserve(pace, pacific_date=TODAY, seconds=10.0, limit=100)
        if may_call(pace):
            pace, calls = spend(pace), calls + 1
    assert calls == pytest.approx(100 * RESERVE_SHARE, abs=1)


def test_what_was_reserved_is_kept_over_midnight_and_a_debt_is_not() -> None:
    kept = accrue_reserve(Pace(TODAY, 7.0), pacific_date="2026-06-02", seconds=10.0, limit=100)
    assert kept == Pace("2026-06-02", 7.0)
    assert accrue_reserve(Pace(TODAY, -3.0), pacific_date="2026-06-02", seconds=10.0, limit=100).credit == 0


def test_the_reserve_of_a_generous_quota_pays_at_every_tick() -> None:
    pace = accrue_reserve(Pace(TODAY, -1.0), pacific_date=TODAY, seconds=10.0, limit=1_000_000)
    assert pace.credit > 20
