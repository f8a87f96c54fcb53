"""The budget holds for any clock and any ledger, restarts and broken records included; the pace spends it evenly."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from contract.times import next_pacific_midnight_ms, pacific_date, pacific_day_start_ms
from producer.error_policy import QuotaExhausted
from producer.pacing import RESERVE_SHARE, Pace, accrue, accrue_reserve, may_call, reserved, spend
from producer.quota import QuotaLedger
from producer.state import KEPT_LEDGER_DAYS, ProducerState
from tests.fakes.producer_edges import MemoryStateLog

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
YEAR_2026_MS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
CLOCK_CHANGES_MS = (
    int(datetime(2026, 3, 8, 8, tzinfo=UTC).timestamp() * 1000),
    int(datetime(2026, 11, 1, 7, tzinfo=UTC).timestamp() * 1000),
)
"""Where the days of 23 and 25 hours begin."""

moments = st.integers(YEAR_2026_MS, YEAR_2026_MS + 366 * DAY_MS)
around_clock_changes = st.sampled_from(CLOCK_CHANGES_MS).flatmap(
    lambda start: st.integers(start - 2 * HOUR_MS, start + 27 * HOUR_MS)
)
near = st.sampled_from(CLOCK_CHANGES_MS).flatmap(lambda start: st.integers(start - 5 * DAY_MS, start + 5 * DAY_MS))

steps = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.one_of(near, around_clock_changes)),
        st.tuples(st.just("refused"), around_clock_changes),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=60,
)


@given(
    steps=steps,
    limit=st.integers(1, 5),
    found=st.dictionaries(st.sampled_from(["2026-03-08", "2026-11-01"]), st.integers(0, 9)),
)
def test_never_more_calls_on_a_pacific_day_than_the_limit(
    steps: list[tuple[str, int]], limit: int, found: dict[str, int]
) -> None:
    log = MemoryStateLog()
    log.values = {f"ledger/search/{date}".encode(): b'{"used":%d}' % used for date, used in found.items()}
    made = asyncio.run(call(log, steps, limit))
    assert len(made) <= KEPT_LEDGER_DAYS
    for date, calls in made.items():
        assert calls + found.get(date, 0) <= max(limit, found.get(date, 0))


async def call(log: MemoryStateLog, steps: list[tuple[str, int]], limit: int) -> Counter[str]:
    made: Counter[str] = Counter()
    ledger = QuotaLedger({"search": limit}, ProducerState(log, log.values))
    for step, moment in steps:
        if step == "restart":
            state = ProducerState(log, log.values)
            await state.drop_old_ledgers()
            ledger = QuotaLedger({"search": limit}, state)
        elif step == "refused":
            await ledger.mark_used_up("search", moment)
        else:
            try:
                await ledger.debit("search", moment)
            except QuotaExhausted:
                continue
            made[pacific_date(moment)] += 1
    return made


@given(moment=st.one_of(moments, around_clock_changes))
def test_the_next_midnight_is_where_the_date_changes(moment: int) -> None:
    midnight = next_pacific_midnight_ms(moment)
    assert moment < midnight <= moment + 25 * HOUR_MS
    assert pacific_date(midnight - 1) == pacific_date(moment)
    assert pacific_date(midnight) > pacific_date(moment)
    assert pacific_day_start_ms(moment) <= moment
    assert pacific_date(pacific_day_start_ms(moment)) == pacific_date(moment)
    assert pacific_date(pacific_day_start_ms(moment) - 1) < pacific_date(moment)


@settings(max_examples=40)
@given(
    start_ms=st.one_of(moments, around_clock_changes),
    limit=st.integers(1, 400),
    tick_seconds=st.sampled_from([60.0, 300.0, 900.0]),
    ticks=st.lists(st.integers(0, 3), min_size=10, max_size=60),
)
def test_the_pace_runs_no_more_than_one_call_ahead_of_the_day(
    start_ms: int, limit: int, tick_seconds: float, ticks: list[int]
) -> None:
    """Whatever is asked for at each tick, across midnights and clock changes."""
    now_ms, left, pace, since_ms = start_ms, limit, Pace(pacific_date(start_ms)), start_ms
    for wanted in ticks * 4:
        today = pacific_date(now_ms)
        if pace.pacific_date != today:
            left, since_ms = limit, now_ms
        seconds_left = (next_pacific_midnight_ms(now_ms) - now_ms) / 1000
        pace = accrue(pace, pacific_date=today, seconds=tick_seconds, calls_left=left, seconds_left=seconds_left)
        for _ in range(wanted):
            if left and may_call(pace):
                pace, left = spend(pace), left - 1
        day_seconds = (next_pacific_midnight_ms(now_ms) - since_ms) / 1000
        share = ((now_ms - since_ms) / 1000 + tick_seconds) / day_seconds
        # One call, and what a tick earns at the rate that is due when the day is almost over.
        assert limit - left <= limit * share + 1 + limit * tick_seconds / max(seconds_left, 1.0)
        now_ms += int(tick_seconds * 1000)


@given(
    limit=st.integers(1, 10_000),
    steps=st.lists(st.tuples(st.floats(0, 90_000), st.booleans(), st.booleans()), max_size=60),
)
def test_the_reserve_never_pays_for_more_than_it_has_put_by(limit: int, steps: list[tuple[float, bool, bool]]) -> None:
    pace, paid, passed_seconds, date = Pace("2026-06-01"), 0, 0.0, 1
    for seconds, is_new_day, is_asked in steps:
        date += is_new_day
        pace = accrue_reserve(pace, pacific_date=f"2026-06-{date:02d}", seconds=seconds, limit=limit)
        passed_seconds += 0 if is_new_day else seconds
        if is_asked and may_call(pace):
            pace, paid = spend(pace), paid + 1
    days = 1 + sum(is_new_day for _, is_new_day, _ in steps)
    assert paid <= limit * RESERVE_SHARE * passed_seconds / 86_400 + days


@given(limit=st.integers(1, 100_000), seconds_left=st.floats(0, 90_000))
def test_never_more_than_a_fifth_is_held_back(limit: int, seconds_left: float) -> None:
    assert 0 <= reserved(limit, seconds_left) <= limit * RESERVE_SHARE
