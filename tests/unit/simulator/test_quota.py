"""Quotas and the Pacific day."""

from datetime import UTC, datetime

import pytest

from simulator.quota import Quota, pacific_day_start


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def day_start(text: str) -> str:
    return datetime.fromtimestamp(pacific_day_start(ms(text)), UTC).isoformat()


def test_the_day_start_is_the_recorded_one() -> None:
    assert pacific_day_start(ms("2026-09-25T20:00:00Z")) == 1790319600


@pytest.mark.parametrize(
    ("now", "start"),
    [
        ("2026-07-01T06:59:59Z", "2026-06-30T07:00:00+00:00"),
        ("2026-07-01T07:00:00Z", "2026-07-01T07:00:00+00:00"),
        ("2026-12-01T07:59:59Z", "2026-11-30T08:00:00+00:00"),
        ("2026-12-01T08:00:00Z", "2026-12-01T08:00:00+00:00"),
        # 8 March 2026 has 23 hours, 1 November 25.
        ("2026-03-08T08:00:00Z", "2026-03-08T08:00:00+00:00"),
        ("2026-03-09T06:59:59Z", "2026-03-08T08:00:00+00:00"),
        ("2026-03-09T07:00:00Z", "2026-03-09T07:00:00+00:00"),
        ("2026-11-01T07:00:00Z", "2026-11-01T07:00:00+00:00"),
        ("2026-11-01T09:30:00Z", "2026-11-01T07:00:00+00:00"),  # 01:30 for the second time
        ("2026-11-02T07:59:59Z", "2026-11-01T07:00:00+00:00"),
        ("2026-11-02T08:00:00Z", "2026-11-02T08:00:00+00:00"),
    ],
)
def test_the_day_begins_at_midnight_in_los_angeles(now: str, start: str) -> None:
    assert day_start(now) == start


def test_buckets_and_keys_have_accounts_of_their_own() -> None:
    quota, now = Quota(search_calls_per_day=2, units_per_day=1), ms("2026-07-01T12:00:00Z")

    assert [quota.debit("search", "a", now) for _ in range(3)] == [True, True, False]
    assert [quota.debit("units", "a", now) for _ in range(2)] == [True, False]
    assert quota.debit("search", "b", now)
    assert quota.used("search", now) == 3


def test_midnight_pacific_gives_all_of_it_back() -> None:
    quota = Quota(search_calls_per_day=1, units_per_day=1)
    assert quota.debit("search", "a", ms("2026-07-02T06:59:59Z"))
    assert not quota.debit("search", "a", ms("2026-07-02T06:59:59.999Z"))

    assert quota.debit("search", "a", ms("2026-07-02T07:00:00Z"))


def test_a_limit_of_none_grants_none() -> None:
    assert not Quota(search_calls_per_day=0, units_per_day=0).debit("units", "a", ms("2026-07-01T12:00:00Z"))
