"""What each key may still ask today."""

from datetime import datetime

from simulator.quota import Quota


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


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
