"""Two quotas per key, counted by Pacific day: search calls, and units for everything else.

Counts are kept in memory: a restart of the simulator begins a new day's account. The real quota belongs to the
project; here each key stands for a project of its own.
"""

from typing import Final, Literal

from contract.times import pacific_date

Bucket = Literal["search", "units"]


class Quota:
    """What each key has used today."""

    def __init__(self, *, search_calls_per_day: int, units_per_day: int) -> None:
        self.limits: Final[dict[Bucket, int]] = {"search": search_calls_per_day, "units": units_per_day}
        self._used: Final[dict[tuple[Bucket, str], int]] = {}
        self._day = ""

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
        day = pacific_date(now_ms)
        if day != self._day:
            self._day = day
            self._used.clear()
