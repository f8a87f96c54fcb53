"""The ledger of a quota's day."""

from datetime import UTC, datetime

import pytest

from contract.times import next_pacific_midnight_ms, pacific_day_start_ms
from producer.error_policy import QuotaExhausted
from producer.quota import CLOCK_SKEW_MS, QuotaLedger
from producer.state import ProducerState
from tests.fakes.producer_edges import MemoryStateLog

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def utc_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOON_MS = utc_ms("2026-06-01T19:00:00")


def ledger_of(log: MemoryStateLog, calls: int = 3) -> QuotaLedger:
    """A ledger as after a restart: from what the log holds."""
    return QuotaLedger({"search": calls, "units": 10}, ProducerState(log, log.values))


async def spend(ledger: QuotaLedger, calls: int, now_ms: int = NOON_MS) -> None:
    for _ in range(calls):
        await ledger.debit("search", now_ms)


async def test_no_call_beyond_the_limit_until_the_next_day() -> None:
    ledger = ledger_of(MemoryStateLog())
    await spend(ledger, 3)
    with pytest.raises(QuotaExhausted) as caught:
        await ledger.debit("search", NOON_MS + HOUR_MS)
    assert caught.value.bucket == "search"
    assert (ledger.used("search", NOON_MS), ledger.limit("search")) == (3, 3)

    await ledger.debit("search", next_pacific_midnight_ms(NOON_MS))


async def test_buckets_do_not_touch_each_other() -> None:
    ledger = ledger_of(MemoryStateLog())
    await spend(ledger, 3)
    assert (ledger.left("search", NOON_MS), ledger.left("units", NOON_MS)) == (0, 10)


async def test_a_restart_forgets_no_debit() -> None:
    log = MemoryStateLog()
    await spend(ledger_of(log), 2)
    assert ledger_of(log).left("search", NOON_MS) == 1


async def test_the_debit_is_durable_when_it_returns() -> None:
    log = MemoryStateLog()
    await ledger_of(log).debit("search", NOON_MS)
    assert log.values == {b"ledger/search/2026-06-01": b'{"used":1}'}


async def test_the_servers_word_ends_the_day_across_a_restart() -> None:
    log = MemoryStateLog()
    await ledger_of(log).mark_used_up("search", NOON_MS)
    restarted = ledger_of(log)
    assert restarted.left("search", NOON_MS) == 0
    assert restarted.left("search", next_pacific_midnight_ms(NOON_MS)) == 3


async def test_the_servers_word_takes_no_debit_back() -> None:
    log = MemoryStateLog()
    await spend(ledger_of(log, calls=5), 5)
    await ledger_of(log, calls=3).mark_used_up("search", NOON_MS)
    assert ledger_of(log).used("search", NOON_MS) == 5


async def test_a_refusal_right_after_midnight_speaks_of_the_day_before() -> None:
    """Our clock may be ahead of YouTube's: a whole day must not be lost for that."""
    midnight_ms = next_pacific_midnight_ms(NOON_MS)
    ledger = ledger_of(MemoryStateLog())
    await ledger.mark_used_up("search", midnight_ms + CLOCK_SKEW_MS - 1)
    assert (ledger.left("search", NOON_MS), ledger.left("search", midnight_ms)) == (0, 3)
    await ledger.mark_used_up("search", midnight_ms + CLOCK_SKEW_MS)
    assert ledger.left("search", midnight_ms) == 0


async def test_a_larger_limit_counts_at_once() -> None:
    log = MemoryStateLog()
    await ledger_of(log).mark_used_up("search", NOON_MS)
    assert ledger_of(log, calls=5).left("search", NOON_MS) == 2


@pytest.mark.parametrize(
    "value", [b"\xff not json", b"", b"null", b"[]", b"{}", b'{"used":null}', b'{"used":-1}', b'{"used":1.5}']
)
async def test_an_unreadable_ledger_counts_as_spent(value: bytes) -> None:
    log = MemoryStateLog()
    log.values[b"ledger/search/2026-06-01"] = value
    assert ledger_of(log).left("search", NOON_MS) == 0
    with pytest.raises(QuotaExhausted):
        await ledger_of(log).debit("search", NOON_MS)


@pytest.mark.parametrize(
    ("noon", "first_hour_utc", "hours"), [("2026-03-08T20:00:00", 8, 23), ("2026-11-01T20:00:00", 7, 25)]
)
async def test_the_day_of_a_clock_change_has_one_budget(noon: str, first_hour_utc: int, hours: int) -> None:
    """On one of them an hour is missing, on the other one comes twice: neither has a budget of its own."""
    start_ms = pacific_day_start_ms(utc_ms(noon))
    assert start_ms % DAY_MS == first_hour_utc * HOUR_MS
    assert next_pacific_midnight_ms(start_ms) == start_ms + hours * HOUR_MS

    log, granted = MemoryStateLog(), []
    for half_hour in range(-2, 2 * hours + 2):
        at_ms = start_ms + half_hour * HOUR_MS // 2
        try:
            await ledger_of(log, calls=4).debit("search", at_ms)
        except QuotaExhausted:
            continue
        granted.append(half_hour)
    assert granted == [-2, -1, 0, 1, 2, 3, 2 * hours, 2 * hours + 1]


async def test_a_clock_that_jumps_has_the_budget_of_the_date_that_it_shows() -> None:
    log = MemoryStateLog()
    midnight_ms = next_pacific_midnight_ms(NOON_MS)
    await spend(ledger_of(log), 3, midnight_ms)
    back_ms = midnight_ms - HOUR_MS
    await spend(ledger_of(log), 3, back_ms)
    for at_ms in (back_ms, midnight_ms):
        with pytest.raises(QuotaExhausted):
            await ledger_of(log).debit("search", at_ms)
    await spend(ledger_of(log), 3, midnight_ms + 5 * DAY_MS)
    with pytest.raises(QuotaExhausted):
        await ledger_of(log).debit("search", midnight_ms)
