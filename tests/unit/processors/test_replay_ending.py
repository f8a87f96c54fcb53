"""How a replay ends the processes of its load."""

import asyncio
from contextlib import suppress

from processors.replay.replay import _uninterrupted


async def test_a_process_that_is_ending_is_waited_for_however_often_that_is_cancelled() -> None:
    ended = asyncio.Event()
    waiting = asyncio.create_task(_uninterrupted(ended.wait()))
    for _ in range(3):
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()

    ended.set()
    with suppress(asyncio.CancelledError):
        await waiting
    assert waiting.done()
