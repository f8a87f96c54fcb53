"""The budget holds for any clock and any ledger, restarts and broken records included."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from contract.times import next_pacific_midnight_ms, pacific_date
from producer.error_policy import QuotaExhausted
from producer.quota import QuotaLedger
from producer.state import ProducerState
from tests.fakes.producer_edges import MemoryStateLog

HOUR_MS = 3_600_000
YEAR_2026_MS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)

moments = st.integers(YEAR_2026_MS, YEAR_2026_MS + 366 * 24 * HOUR_MS)
around_clock_changes = st.sampled_from(
    [
        int(datetime(2026, 3, 8, 8, tzinfo=UTC).timestamp() * 1000),
        int(datetime(2026, 11, 1, 7, tzinfo=UTC).timestamp() * 1000),
    ]
).flatmap(lambda start: st.integers(start - 2 * HOUR_MS, start + 27 * HOUR_MS))

steps = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.one_of(moments, around_clock_changes)),
        st.tuples(st.just("refused"), around_clock_changes),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=60,
)


@settings(deadline=None)
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
    for date, calls in made.items():
        assert calls + found.get(date, 0) <= max(limit, found.get(date, 0))


async def call(log: MemoryStateLog, steps: list[tuple[str, int]], limit: int) -> Counter[str]:
    made: Counter[str] = Counter()
    ledger = QuotaLedger({"search": limit}, ProducerState(log, log.values))
    for step, moment in steps:
        if step == "restart":
            ledger = QuotaLedger({"search": limit}, ProducerState(log, log.values))
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
