"""The even pace: the default quota lasts all day, a generous one never waits."""

import itertools

from producer.pacing import Pace, accrue, may_poll, spend

DAY = 86_400.0
TODAY = "2026-06-01"


def run_day(calls: int, calls_per_pass: int = 1, tick: float = 10.0) -> list[float]:
    """Seconds at which passes begin over one day."""
    pace, left, began = Pace(TODAY), calls, []
    for number in range(int(DAY / tick)):
        at = number * tick
        pace = accrue(pace, pacific_date=TODAY, seconds=tick if number else 0, calls_left=left, seconds_left=DAY - at)
        if left and may_poll(pace):
            began.append(at)
            for _ in range(min(calls_per_pass, left)):
                pace, left = spend(pace), left - 1
    return began


def test_a_hundred_calls_last_all_day_at_even_distances() -> None:
    began = run_day(100)
    assert 99 <= len(began) <= 100
    distances = [later - earlier for earlier, later in itertools.pairwise(began)]
    assert min(distances) > 800
    assert max(distances) < 930


def test_passes_of_ten_calls_wait_ten_times_as_long() -> None:
    began = run_day(100, calls_per_pass=10)
    assert 9 <= len(began) <= 10
    assert began[1] > 8_000


def test_a_generous_quota_polls_at_every_tick() -> None:
    assert len(run_day(1_000_000)) == DAY / 10


def test_an_idle_stretch_is_followed_by_no_burst() -> None:
    pace = accrue(Pace(TODAY), pacific_date=TODAY, seconds=10.0, calls_left=100, seconds_left=DAY / 2)
    for _ in range(1000):
        pace = accrue(pace, pacific_date=TODAY, seconds=10.0, calls_left=100, seconds_left=DAY / 2)
    assert pace.credit < 1
    assert not may_poll(spend(pace))


def test_a_debt_ends_with_its_day() -> None:
    pace = Pace(TODAY, credit=-40.0)
    assert not may_poll(accrue(pace, pacific_date=TODAY, seconds=10.0, calls_left=60, seconds_left=3600.0))
    assert may_poll(accrue(pace, pacific_date="2026-06-02", seconds=10.0, calls_left=100, seconds_left=DAY))


def test_the_last_moment_of_a_day_divides_by_no_zero() -> None:
    assert may_poll(accrue(Pace(TODAY), pacific_date=TODAY, seconds=10.0, calls_left=5, seconds_left=0.0))
