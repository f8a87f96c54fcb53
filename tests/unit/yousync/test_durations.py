"""Lengths of time as they are typed and shown."""

import pytest

from contract.topics import DAY_MS, HOUR_MS
from yousync.durations import moment, parse_age_ms, spoken


@pytest.mark.parametrize(
    ("text", "ms"), [("30d", 30 * DAY_MS), ("1d", DAY_MS), ("24h", DAY_MS), (" 36h ", 36 * HOUR_MS)]
)
def test_an_age_is_days_or_hours(text: str, ms: int) -> None:
    assert parse_age_ms(text) == ms


@pytest.mark.parametrize("text", ["", "30", "d", "30 d", "-30d", "3.5d", "30m", "30days", "²d", "0d", "23h", "3651d"])
def test_any_other_age_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"30d or 36h|between 1d and 3650d") as refused:
        parse_age_ms(text)

    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (0.9, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (864, "14 min 24 s"),
        (3605, "1 h"),
        (12_000, "3 h 20 min"),
        (90_000, "1 d 1 h"),
        (86_400 * 31, "31 d"),
    ],
)
def test_a_length_is_its_two_greatest_units(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


def test_a_moment_says_how_long_ago_it_is() -> None:
    assert moment("1970-01-02T00:00:00.000Z", 2 * DAY_MS) == "1970-01-02T00:00:00.000Z (1 d ago)"
    assert moment(None, DAY_MS) == "never"
