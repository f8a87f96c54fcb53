"""How long to wait after calls that brought nothing: longer each time, with jitter, until one succeeds."""

from typing import Final

import msgspec

FIRST_PAUSE_MS: Final = 2_000
LONGEST_PAUSE_MS: Final = 900_000


class Backoff(msgspec.Struct, frozen=True):
    """Failures in a row, and until when (ms since 1970) no call is made."""

    failures: int = 0
    until_ms: int = 0


def after_failure(backoff: Backoff, now_ms: int, jitter: float) -> Backoff:
    """The pause after one more failure; `jitter` between 0 and 1 takes up to half of it away."""
    pause_ms = min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS << min(backoff.failures, 20))
    return Backoff(backoff.failures + 1, now_ms + round(pause_ms * (1 - jitter / 2)))


def is_waiting(backoff: Backoff, now_ms: int) -> bool:
    """Whether the pause still lasts; one that lies too far ahead was set by a clock that was wrong, and is over."""
    return now_ms < backoff.until_ms <= now_ms + LONGEST_PAUSE_MS
