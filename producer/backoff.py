"""How long to wait after calls that brought nothing: longer each time, with jitter, until one succeeds."""

from typing import Final

import msgspec

FIRST_PAUSE_MS: Final = 2_000
LONGEST_PAUSE_MS: Final = 3_600_000
SPARE_PAUSE_MS: Final = 900_000
"""The longest pause of the calls of which there are plenty; when they succeed again, so may the others."""

OUTAGE_FAILURES: Final = 3
"""So many failures in a row look like an outage."""


class Backoff(msgspec.Struct, frozen=True):
    """Failures in a row, and until when (ms since 1970) no call is made."""

    failures: int = 0
    until_ms: int = 0


def after_failure(backoff: Backoff, now_ms: int, jitter: float, longest_ms: int = LONGEST_PAUSE_MS) -> Backoff:
    """The pause after one more failure; `jitter` between 0 and 1 takes up to half of it away."""
    pause_ms = min(longest_ms, FIRST_PAUSE_MS << min(backoff.failures, 20))
    return Backoff(backoff.failures + 1, now_ms + round(pause_ms * (1 - jitter / 2)))


def is_waiting(backoff: Backoff, now_ms: int) -> bool:
    """Whether the pause still lasts; one that lies too far ahead was set by a clock that was wrong, and is over."""
    return now_ms < backoff.until_ms <= now_ms + LONGEST_PAUSE_MS
