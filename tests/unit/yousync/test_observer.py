"""Lag and quota as sums over what Kafka says."""

from pathlib import Path

import pytest

from contract.producer_state import Ledger, ledger_key, read_ledger
from contract.read_model import PROJECTION_VERSION
from contract.settings import SettingsError, load_settings
from yousync.observer import QuotaLeft, _mongo_client, quota_left, replay_notices, total_lag


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


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b'{"used": "all"}', b'{"used":'])
def test_a_ledger_that_cannot_be_read_counts_as_spent(
    value: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ledgers = {ledger_key("search", "2026-01-15"): read_ledger(value)}

    assert quota_left(ledgers, load_settings(), "2026-01-15").search == 0
    assert read_ledger(b'{"used": 3}') == Ledger(3)


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


@pytest.mark.parametrize(
    "options", ["tls=true&tlsCAFile=/no/such/file", "tlsInsecure=true&tlsAllowInvalidHostnames=true"]
)
def test_a_connection_string_that_the_driver_refuses_is_one_sentence(options: str) -> None:
    with pytest.raises(SettingsError, match=r"^MONGODB_URI: ") as refused:
        _mongo_client(f"mongodb://user:hidden@127.0.0.1:1/?{options}")

    assert "hidden" not in str(refused.value)


def test_an_older_projection_is_told_with_the_command_to_run() -> None:
    generations = {"versions": {"live": PROJECTION_VERSION - 1, "old": PROJECTION_VERSION}}

    (notice,) = replay_notices(generations, None, "live")

    assert f"version {PROJECTION_VERSION - 1}" in notice
    assert "yousync replay --execute" in notice
    assert replay_notices(generations, None, "old") == []
    assert replay_notices(None, None, None) == []


def test_a_replay_that_has_not_ended_is_told() -> None:
    run = {"phase": "loading", "started_at": "2026-01-15T10:00:00+00:00"}

    (notice,) = replay_notices(None, run, "live")

    assert "2026-01-15T10:00:00+00:00 has not ended (loading)" in notice
    assert replay_notices(None, {**run, "phase": "done"}, "live") == []
