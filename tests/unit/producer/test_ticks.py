"""The beat: no drift, no bunching, a prompt stop."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from producer.ticks import decide_next_tick, ticks


@given(
    period=st.floats(0.01, 100),
    work=st.lists(st.floats(0, 500), min_size=1, max_size=50),
)
def test_ticks_stay_on_the_beat_and_never_bunch(period: float, work: list[float]) -> None:
    """Whatever the work takes, a tick starts on a multiple of the period, each later than the one before."""
    now, number = 0.0, 0
    for seconds in work:
        finished = now + seconds
        following = decide_next_tick(number, finished, period)
        assert following > number
        assert following * period >= finished - 1e-6 * max(1.0, finished) or following == number + 1
        assert (following - 1) * period <= finished + 1e-6 * max(1.0, finished), "a tick too late"
        now, number = max(finished, following * period), following


def test_waking_a_moment_early_makes_no_second_tick() -> None:
    assert decide_next_tick(7, 69.999999, 10.0) == 8


async def test_ticks_come_at_the_period_and_skip_what_an_overrun_covered() -> None:
    stopping = asyncio.Event()
    clock = asyncio.get_running_loop().time
    started = clock()
    beats: list[float] = []
    async for _ in ticks(0.1, stopping, clock):
        beats.append((clock() - started) / 0.1)
        if len(beats) == 1:
            await asyncio.sleep(0.25)  # covers the ticks at 0.1 and 0.2
        if len(beats) == 5:
            stopping.set()
    assert beats[1] >= 3
    numbers = [int(beat + 0.01) for beat in beats]
    assert sorted(set(numbers)) == numbers, "two ticks within one period"


async def test_the_first_tick_comes_at_once_and_says_how_long_the_pause_was() -> None:
    stopping = asyncio.Event()
    pauses: list[float] = []
    async for elapsed in ticks(0.05, stopping):
        pauses.append(elapsed)
        if len(pauses) == 2:
            stopping.set()
    assert pauses[0] < 0.02
    assert 0.04 < pauses[1] < 30


async def test_a_stop_ends_the_wait() -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, stopping.set)
    async with asyncio.timeout(30):
        assert [round(elapsed, 1) async for elapsed in ticks(3600, stopping)] == [0.0]
