"""Waiting for infrastructure: a call that fails because a part is away is tried for ever, and everybody is told."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from ops.logging import get_logger

T = TypeVar("T")

FIRST_DELAY_SECONDS: Final = 0.1
MAX_DELAY_SECONDS: Final = 5.0

log = get_logger(__name__)


class Unavailable(Exception):
    """A part of the infrastructure is away or busy: wait and try again. `part` names it."""

    def __init__(self, part: str, reason: object) -> None:
        super().__init__(f"{part} is unavailable: {reason}")
        self.part = part


class Patience:
    """Tries calls until they are answered; `said` is told when a part begins and ends to be waited for."""

    def __init__(self, said: Callable[[str, bool], None] = lambda _part, _waits: None) -> None:
        self._said = said
        self._waits: Counter[str] = Counter()
        self.failed_tries = 0
        """How often a part was asked and was away: a sign of life, which `waiting_for` alone is not."""

    @property
    def waiting_for(self) -> set[str]:
        """Parts of the infrastructure that something waits for now."""
        return {part for part, calls in self._waits.items() if calls}

    async def until_available(
        self, call: Callable[[], Awaitable[T]], before: Callable[[], Awaitable[None]] | None = None
    ) -> T:
        """The call's answer; `before` is awaited before each try, and what it raises ends the waiting."""
        started = time.monotonic()
        waits: str | None = None
        try:
            for delay in _delays():
                if before is not None:
                    await before()
                try:
                    answer = await call()
                except Unavailable as error:
                    self.failed_tries += 1
                    if waits is None:
                        waits = error.part
                        log.warning("waiting", part=waits, reason=str(error))
                        self._change(waits, 1)
                    await asyncio.sleep(delay)
                else:
                    break
        finally:
            if waits is not None:
                self._change(waits, -1)
        if waits is not None:
            log.info("going on", part=waits, seconds=round(time.monotonic() - started, 1))
        return answer

    def _change(self, part: str, calls: int) -> None:
        """Several calls may wait for the same part: it is told when the first begins and when the last has ended."""
        before = self._waits[part]
        self._waits[part] += calls
        if bool(before) != bool(self._waits[part]):
            self._said(part, calls > 0)


def _delays() -> Iterator[float]:
    """Seconds between tries: doubling to a limit, with jitter, for ever."""
    delay = FIRST_DELAY_SECONDS
    while True:
        yield delay * random.uniform(0.5, 1)  # noqa: S311  # jitter, no secret
        delay = min(2 * delay, MAX_DELAY_SECONDS)
