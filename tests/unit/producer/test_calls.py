"""Every call: lease, debit, lease again, call, and what its outcome does to the budgets."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from contract.producer_state import SEARCH_BUCKET, UNITS_BUCKET
from contract.times import next_pacific_midnight_ms, pacific_day_start_ms
from ops.metrics import ProducerMetrics
from producer.backoff import FIRST_PAUSE_MS, LONGEST_PAUSE_MS, OUTAGE_FAILURES, SPARE_PAUSE_MS
from producer.calls import Account, CallName, Calls
from producer.error_policy import (
    BadQuery,
    DelegationRefused,
    InvalidPageToken,
    KeyRefused,
    NotFound,
    QuotaExhausted,
    RateLimited,
    YouTubeError,
    YouTubeUnavailable,
)
from producer.pacing import RESERVE_SHARE
from producer.planner import Budgets
from producer.quota import CLOCK_SKEW_MS, QuotaLedger
from producer.state import ProducerState
from tests.fakes.producer_edges import MemoryStateLog, OwnLease

NOON_MS = pacific_day_start_ms(1_780_000_000_000) + 12 * 3_600_000
HOUR_MS = 3_600_000


class Till:
    """Calls with a clock, a lease that notes when it was asked, and a journal."""

    def __init__(self, searches: int = 100, units: int = 10_000) -> None:
        self.journal: list[tuple[str, str]] = []
        self.log = MemoryStateLog(self.journal)
        self.lease = _NotingLease(self.journal)
        self.now_ms = NOON_MS
        self.registry = CollectorRegistry()
        self.ledger = QuotaLedger({SEARCH_BUCKET: searches, UNITS_BUCKET: units}, ProducerState(self.log, {}))
        self.calls = Calls(
            lease=self.lease,
            ledger=self.ledger,
            metrics=ProducerMetrics(self.registry),
            now_ms=lambda: self.now_ms,
            jitter=lambda: 0.0,
        )

    @property
    def budgets(self) -> Budgets:
        return self.calls.budgets()

    def asking(self, outcome: str | YouTubeError = "answer") -> Callable[[], Awaitable[str]]:
        async def ask() -> str:
            self.journal.append(("call", ""))
            if isinstance(outcome, YouTubeError):
                raise outcome
            return outcome

        return ask

    async def make(self, outcome: Any = "answer", call: CallName = "search", account: Account = "newest") -> str:
        return await self.calls.make(call, account, self.asking(outcome))

    async def fail(self, error: YouTubeError, call: CallName = "search") -> None:
        with pytest.raises(type(error)):
            await self.make(error, call, "newest" if call == "search" else "units")

    def counted(self, call: str, outcome: str) -> float | None:
        return self.registry.get_sample_value("yousync_youtube_calls_total", {"call": call, "outcome": outcome})


class _NotingLease(OwnLease):
    def __init__(self, journal: list[tuple[str, str]]) -> None:
        super().__init__()
        self._journal = journal

    async def hold(self) -> None:
        self._journal.append(("lease", ""))
        await super().hold()


async def test_the_lease_is_asked_for_before_and_after_the_debit() -> None:
    till = Till()
    assert await till.make("the answer") == "the answer"
    assert [step for step, _ in till.journal] == ["lease", "state", "lease", "call"]
    assert till.counted("search", "ok") == 1


@pytest.mark.parametrize(
    ("call", "account", "bucket"),
    [
        ("search", "newest", SEARCH_BUCKET),
        ("search", "reserve", SEARCH_BUCKET),
        ("playlistItems", "units", UNITS_BUCKET),
        ("videos", "units", UNITS_BUCKET),
    ],
)
async def test_each_account_is_of_one_bucket(call: CallName, account: Account, bucket: str) -> None:
    till = Till()
    await till.make(call=call, account=account)
    assert {name: till.ledger.used(name, NOON_MS) for name in (SEARCH_BUCKET, UNITS_BUCKET)} == {
        SEARCH_BUCKET: 0,
        UNITS_BUCKET: 0,
        bucket: 1,
    }


async def test_a_deposed_producer_neither_debits_nor_calls() -> None:
    till = Till()
    till.lease.lost = RuntimeError("deposed")
    with pytest.raises(RuntimeError):
        await till.make()
    assert [step for step, _ in till.journal] == ["lease"]


async def test_nothing_left_means_no_call() -> None:
    till = Till(searches=1)
    await till.make()
    with pytest.raises(QuotaExhausted):
        await till.make()
    assert [step for step, _ in till.journal].count("call") == 1
    assert till.budgets.search_left == 0
    assert till.budgets.units_left == 10_000


UNAVAILABLE = [
    YouTubeUnavailable("HTTP 503"),
    RateLimited("a burst"),
    DelegationRefused("not on behalf"),
    KeyRefused("key 1 of 2"),
]


@pytest.mark.parametrize("error", UNAVAILABLE)
async def test_after_a_failure_its_bucket_pauses_and_the_debit_stands(error: YouTubeError) -> None:
    till = Till()
    await till.fail(error)
    assert till.ledger.used(SEARCH_BUCKET, NOON_MS) == 1
    assert till.budgets.search_backoff.failures == 1
    assert till.budgets.search_backoff.until_ms == NOON_MS + FIRST_PAUSE_MS
    assert till.budgets.units_backoff.failures == 0
    assert till.counted("search", error.outcome) == 1

    await till.fail(error)
    assert till.budgets.search_backoff.until_ms == NOON_MS + 2 * FIRST_PAUSE_MS
    await till.make()
    assert till.budgets.search_backoff.failures == 0


@pytest.mark.parametrize("error", [InvalidPageToken("expired"), BadQuery("HTTP 400"), NotFound("HTTP 404")])
async def test_a_call_that_was_itself_at_fault_pauses_nothing(error: YouTubeError) -> None:
    till = Till()
    await till.fail(error, "playlistItems")
    assert till.budgets.units_backoff.failures == 0
    assert till.ledger.used(UNITS_BUCKET, NOON_MS) == 1
    assert till.counted("playlistItems", error.outcome) == 1


async def test_a_search_that_is_not_found_pauses_like_a_failure() -> None:
    """Nobody knows what that would mean; without a pause it would be made again at once, until the day is spent."""
    till = Till()
    await till.fail(NotFound("HTTP 404"))
    assert till.budgets.search_backoff.failures == 1


@pytest.mark.parametrize("error", [InvalidPageToken("expired"), BadQuery("HTTP 400")])
async def test_a_refusal_does_not_end_a_pause(error: YouTubeError) -> None:
    till = Till()
    await till.fail(YouTubeUnavailable("HTTP 503"))
    await till.fail(error)
    assert till.budgets.search_backoff.failures == 1


async def test_the_servers_word_ends_the_buckets_day() -> None:
    till = Till()
    await till.fail(QuotaExhausted(SEARCH_BUCKET, "spent"))
    assert till.budgets.search_left == 0
    assert till.budgets.units_left == 10_000
    assert till.log.values[b"ledger/search/2026-05-28"] == b'{"used":100}'
    till.now_ms = next_pacific_midnight_ms(NOON_MS)
    assert till.budgets.search_left == 100
    assert till.budgets.search_backoff.failures == 0


async def test_a_refusal_that_speaks_of_yesterday_only_pauses() -> None:
    till = Till()
    till.now_ms = next_pacific_midnight_ms(NOON_MS) + CLOCK_SKEW_MS - 1
    await till.fail(QuotaExhausted(SEARCH_BUCKET, "spent"))
    assert till.budgets.search_left == 99
    assert till.budgets.search_backoff.failures == 1


async def test_the_pauses_of_the_scarce_calls_grow_longer() -> None:
    till = Till()
    for _ in range(20):
        await till.fail(YouTubeUnavailable("HTTP 503"))
        await till.fail(YouTubeUnavailable("HTTP 503"), "videos")
    assert till.budgets.search_backoff.until_ms == NOON_MS + LONGEST_PAUSE_MS
    assert till.budgets.units_backoff.until_ms == NOON_MS + SPARE_PAUSE_MS


@pytest.mark.parametrize(("failures", "searches_wait"), [(OUTAGE_FAILURES - 1, True), (OUTAGE_FAILURES, False)])
async def test_when_the_plentiful_calls_say_that_an_outage_is_over_searches_need_not_wait(
    failures: int, searches_wait: bool
) -> None:
    till = Till()
    await till.fail(YouTubeUnavailable("HTTP 503"))
    for _ in range(failures):
        await till.fail(YouTubeUnavailable("HTTP 503"), "videos")
    await till.make(call="videos", account="units")
    assert till.budgets.units_backoff.failures == 0
    assert (till.budgets.search_backoff.failures > 0) is searches_wait


async def test_a_search_says_nothing_of_the_other_calls() -> None:
    till = Till()
    for _ in range(OUTAGE_FAILURES):
        await till.fail(YouTubeUnavailable("HTTP 503"))
        await till.fail(YouTubeUnavailable("HTTP 503"), "videos")
    await till.make()
    assert till.budgets.units_backoff.failures == OUTAGE_FAILURES


# The pace.


async def spend_all(till: Till, account: Account) -> int:
    """Make calls as long as the pace of an account allows it."""
    made = 0
    while made < 1_000:
        budgets = till.budgets
        if not {"newest": budgets.newest_in_pace, "reserve": budgets.reserve_in_pace, "units": budgets.units_in_pace}[
            account
        ]:
            break
        await till.make(call="videos" if account == "units" else "search", account=account)
        made += 1
    return made


async def run_for(till: Till, hours: float, *accounts: Account) -> list[int]:
    """Calls made of each account in so many hours of ticks."""
    made = [0] * len(accounts)
    for _ in range(int(hours * 360)):
        till.calls.begin_tick(10.0)
        for position, account in enumerate(accounts):
            made[position] += await spend_all(till, account)
        till.now_ms += 10_000
    return made


async def test_the_newest_have_four_fifths_of_the_day_and_the_reserve_one() -> None:
    till = Till()
    till.now_ms = pacific_day_start_ms(NOON_MS)
    newest, reserve = await run_for(till, 12, "newest", "reserve")
    assert newest == pytest.approx(100 * (1 - RESERVE_SHARE) / 2, abs=2)
    assert reserve == pytest.approx(100 * RESERVE_SHARE / 2, abs=2)


async def test_a_reserve_that_nobody_needed_is_released_until_midnight() -> None:
    till = Till()
    till.now_ms = pacific_day_start_ms(NOON_MS)
    (made,) = await run_for(till, 24, "newest")
    assert 92 <= made <= 100


@pytest.mark.parametrize("noon_ms", [1_773_000_000_000, 1_793_560_000_000])
async def test_days_of_23_and_25_hours_are_spent_evenly_and_not_overspent(noon_ms: int) -> None:
    start_ms = pacific_day_start_ms(noon_ms)
    hours = (next_pacific_midnight_ms(start_ms) - start_ms) / HOUR_MS
    assert hours in {23, 25}
    till = Till(searches=1, units=48)
    till.now_ms = start_ms
    (first,) = await run_for(till, hours / 2, "units")
    assert first == pytest.approx(24, abs=1)
    (rest,) = await run_for(till, hours / 2, "units")
    assert first + rest in {47, 48}


async def test_a_clock_that_jumps_an_hour_back_over_midnight_spends_no_day_twice() -> None:
    till = Till(units=5)
    midnight_ms = next_pacific_midnight_ms(NOON_MS)
    for _ in range(8):
        for at_ms in (midnight_ms - HOUR_MS // 2, midnight_ms + HOUR_MS // 2):
            till.now_ms = at_ms
            till.calls.begin_tick(10.0)
            if till.budgets.units_left and till.budgets.units_in_pace:
                await till.make(call="videos", account="units")
    assert till.ledger.used(UNITS_BUCKET, midnight_ms) <= 5
    assert till.ledger.used(UNITS_BUCKET, midnight_ms - 1) <= 5


async def test_a_clock_that_jumps_days_ahead_makes_no_burst() -> None:
    till = Till()
    await run_for(till, 1, "units")
    till.now_ms += 5 * 24 * HOUR_MS
    till.calls.begin_tick(10.0)
    assert await spend_all(till, "units") <= 3
    assert await spend_all(till, "newest") <= 1


async def test_what_is_left_and_used_is_shown() -> None:
    till = Till(searches=2)
    await till.make()
    await till.make()
    till.calls.show()
    shown = {
        name: till.registry.get_sample_value(f"yousync_quota_{name}", {"bucket": SEARCH_BUCKET})
        for name in ("left", "used")
    }
    assert shown == {"left": 0, "used": 2}
