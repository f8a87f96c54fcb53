"""The wall clock. Rules never read it: they are given its time."""

import time


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
