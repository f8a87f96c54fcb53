"""Two quotas per key, counted by Pacific day: search calls, and units for everything else.

Counts are kept in memory: a restart of the simulator begins a new day's account. The real quota belongs to the
project; here each key stands for a project of its own.
"""

from datetime import UTC, datetime
from typing import Final, Literal
from zoneinfo import ZoneInfo

Bucket = Literal["search", "units"]

PACIFIC: Final = ZoneInfo("America/Los_Angeles")


def pacific_day_start(now_ms: int) -> int:
    """Seconds since 1970 of the last midnight in America/Los_Angeles: 07:00 or 08:00 UTC."""
    moment = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(PACIFIC)
    return int(moment.replace(hour=0, minute=0, second=0, microsecond=0).timestamp())


class Quota:
    """What each key has used today."""

    def __init__(self, *, search_calls_per_day: int, units_per_day: int) -> None:
        self.limits: Final[dict[Bucket, int]] = {"search": search_calls_per_day, "units": units_per_day}
        self._used: Final[dict[tuple[Bucket, str], int]] = {}
        self._day_start = 0

    def debit(self, bucket: Bucket, key: str, now_ms: int) -> bool:
        """Take one call, or refuse it because none is left today; a refused call costs nothing."""
        self._turn_day(now_ms)
        used = self._used.get((bucket, key), 0)
        if used >= self.limits[bucket]:
            return False
        self._used[bucket, key] = used + 1
        return True

    def used(self, bucket: Bucket, now_ms: int) -> int:
        """What all keys together have used today."""
        self._turn_day(now_ms)
        return sum(used for (counted, _), used in self._used.items() if counted == bucket)

    def _turn_day(self, now_ms: int) -> None:
        day_start = pacific_day_start(now_ms)
        if day_start != self._day_start:
            self._day_start = day_start
            self._used.clear()
