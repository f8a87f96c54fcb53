"""The producer's beat: ticks at fixed multiples of the period on a monotonic clock.

Work does not shift the beat, and a tick that overruns makes the ticks it covered fall out rather than bunch up.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable


def decide_next_tick(last: int, elapsed_seconds: float, period_seconds: float) -> int:
    """The number of the tick after `last`; tick n is due n periods after tick 0."""
    return max(last, int(elapsed_seconds / period_seconds)) + 1


async def ticks(
    period_seconds: float, stopping: asyncio.Event, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[float]:
    """Yields at every tick, at once for the first, the seconds since the one before; ends when `stopping` is set."""
    started = ticked = monotonic()
    number = 0
    while not stopping.is_set():
        now = monotonic()
        yield now - ticked
        ticked = now
        number = decide_next_tick(number, monotonic() - started, period_seconds)
        await _sleep_until(started + number * period_seconds, stopping, monotonic)


async def _sleep_until(due: float, stopping: asyncio.Event, monotonic: Callable[[], float]) -> None:
    try:
        async with asyncio.timeout(max(0.0, due - monotonic())):
            await stopping.wait()
    except TimeoutError:
        return
