"""Lag and quota as sums over what Kafka says."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from contract.producer_state import Ledger, ledger_key
from contract.settings import load_settings
from yousync.observer import QuotaLeft, pacific_date, quota_left, total_lag


@pytest.mark.parametrize(
    ("begins", "ends", "committed", "lag"),
    [
        ({0: 0, 1: 0}, {0: 10, 1: 5}, {0: 10, 1: 5}, 0),
        ({0: 0, 1: 0}, {0: 10, 1: 5}, {0: 7}, 3 + 5),
        ({0: 4}, {0: 10}, {}, 6),
        ({0: 8}, {0: 10}, {0: 3}, 2),
        ({0: 0}, {0: 10}, {0: 12}, 0),
    ],
    ids=["done", "one without a commit", "retention ate some", "commit before the beginning", "topic made again"],
)
def test_lag_is_what_is_not_yet_acknowledged(
    begins: dict[int, int], ends: dict[int, int], committed: dict[int, int], lag: int
) -> None:
    assert total_lag(begins, ends, committed) == lag


def test_the_quotas_day_begins_at_pacific_midnight_in_winter_and_summer() -> None:
    assert pacific_date(datetime(2026, 1, 15, 7, 59, tzinfo=UTC)) == "2026-01-14"
    assert pacific_date(datetime(2026, 1, 15, 8, 0, tzinfo=UTC)) == "2026-01-15"
    assert pacific_date(datetime(2026, 7, 15, 7, 0, tzinfo=UTC)) == "2026-07-15"


def test_only_todays_ledgers_count_against_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(search_calls_per_day=100, units_per_day=10_000)
    ledgers = {
        ledger_key("search", "2026-01-14"): Ledger(99),
        ledger_key("search", "2026-01-15"): Ledger(30),
        ledger_key("units", "2026-01-15"): Ledger(10_001),
    }

    assert quota_left(ledgers, settings, "2026-01-15") == QuotaLeft(search=70, units=0)
    assert quota_left(ledgers, settings, "2026-01-16") == QuotaLeft(search=100, units=10_000)
