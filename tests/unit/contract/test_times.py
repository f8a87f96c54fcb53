"""The quota's day, which begins at midnight in Los Angeles and has 23 to 25 hours."""

from datetime import UTC, datetime

import pytest

from contract.times import next_pacific_midnight_ms, pacific_date, pacific_day_start_ms


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("now", "date", "start", "following"),
    [
        ("2026-06-01T06:59:59", "2026-05-31", "2026-05-31T07:00", "2026-06-01T07:00"),
        ("2026-06-01T07:00:00", "2026-06-01", "2026-06-01T07:00", "2026-06-02T07:00"),
        ("2026-12-01T07:59:59", "2026-11-30", "2026-11-30T08:00", "2026-12-01T08:00"),
        ("2026-12-01T08:00:00", "2026-12-01", "2026-12-01T08:00", "2026-12-02T08:00"),
        # 8 March has 23 hours, 1 November 25.
        ("2026-03-08T08:00:00", "2026-03-08", "2026-03-08T08:00", "2026-03-09T07:00"),
        ("2026-03-09T06:59:59", "2026-03-08", "2026-03-08T08:00", "2026-03-09T07:00"),
        ("2026-11-01T07:00:00", "2026-11-01", "2026-11-01T07:00", "2026-11-02T08:00"),
        ("2026-11-01T09:30:00", "2026-11-01", "2026-11-01T07:00", "2026-11-02T08:00"),  # 01:30 for the second time
        ("2026-11-02T07:59:59", "2026-11-01", "2026-11-01T07:00", "2026-11-02T08:00"),
    ],
)
def test_the_day_turns_at_pacific_midnight(now: str, date: str, start: str, following: str) -> None:
    for moment in (ms(now), ms(now) + 999):
        assert pacific_date(moment) == date
        assert pacific_day_start_ms(moment) == ms(start)
        assert next_pacific_midnight_ms(moment) == ms(following)


def test_the_day_start_is_the_one_that_youtube_told() -> None:
    assert pacific_day_start_ms(ms("2026-09-25T20:00:00")) == 1_790_319_600_000
