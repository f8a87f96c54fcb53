"""The day's calls: how many there are, when the day ends, and the ledger that a call is debited from first."""

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from producer.error_policy import QuotaExhausted

_PACIFIC: Final = ZoneInfo("America/Los_Angeles")

CLOCK_SKEW_MS: Final = 300_000
"""How far our clock may run ahead of YouTube's: a refusal this soon after midnight speaks of the day before."""


class LedgerState(Protocol):
    """Where the ledger is kept: a number for each bucket and Pacific date."""

    def used(self, bucket: str, pacific_date: str) -> int:
        """What has been debited."""

    async def set_used(self, bucket: str, pacific_date: str, used: int) -> None:
        """Return once the number is durable."""


def pacific_date(now_ms: int) -> str:
    """The quota's day, `YYYY-MM-DD`."""
    return _pacific(now_ms).date().isoformat()


def next_pacific_midnight_ms(now_ms: int) -> int:
    """When the next quota day begins, 23 to 25 hours after the last one did."""
    tomorrow = _pacific(now_ms).date() + timedelta(days=1)
    return int(datetime.combine(tomorrow, time(), _PACIFIC).timestamp()) * 1000


def _pacific(now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms // 1000, _PACIFIC)


class QuotaLedger:
    """Debits calls from the day's buckets; `limits` are calls (or units) a Pacific day by bucket."""

    def __init__(self, limits: Mapping[str, int], state: LedgerState) -> None:
        self._limits: Final = limits
        self._state: Final = state

    def left(self, bucket: str, now_ms: int) -> int:
        """What may still be spent today."""
        return max(0, self._limits[bucket] - self._state.used(bucket, pacific_date(now_ms)))

    async def debit(self, bucket: str, now_ms: int) -> None:
        """Take one call from the bucket; returns once that is durable, and only then may the call be made.

        Raises:
            QuotaExhausted: nothing is left today; nothing was taken.
        """
        today = pacific_date(now_ms)
        used = self._state.used(bucket, today)
        if used >= self._limits[bucket]:
            raise QuotaExhausted(bucket, f"all {self._limits[bucket]} calls of bucket {bucket} are spent today")
        await self._state.set_used(bucket, today, used + 1)

    async def mark_used_up(self, bucket: str, called_at_ms: int) -> None:
        """YouTube says that the day of a call made then is spent: believe it, whatever we counted."""
        day = pacific_date(called_at_ms - CLOCK_SKEW_MS)
        if self._state.used(bucket, day) < self._limits[bucket]:
            await self._state.set_used(bucket, day, self._limits[bucket])
