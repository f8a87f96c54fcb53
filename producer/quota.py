"""The day's calls: how many there are, and the ledger that a call is debited from first."""

from collections.abc import Mapping
from typing import Final, Protocol

from contract.times import pacific_date
from producer.error_policy import QuotaExhausted

CLOCK_SKEW_MS: Final = 300_000
"""How far our clock may run ahead of YouTube's: a refusal this soon after midnight speaks of the day before."""


class LedgerState(Protocol):
    """Where the ledger is kept: a number for each bucket and Pacific date."""

    def used(self, bucket: str, pacific_date: str) -> int:
        """What has been debited."""

    async def set_used(self, bucket: str, pacific_date: str, used: int) -> None:
        """Return once the number is durable."""


class QuotaLedger:
    """Debits calls from the day's buckets; `limits` are calls (or units) a Pacific day by bucket."""

    def __init__(self, limits: Mapping[str, int], state: LedgerState) -> None:
        self._limits: Final = limits
        self._state: Final = state

    def limit(self, bucket: str) -> int:
        """What a Pacific day grants."""
        return self._limits[bucket]

    def used(self, bucket: str, now_ms: int) -> int:
        """What has been debited today."""
        return self._state.used(bucket, pacific_date(now_ms))

    def left(self, bucket: str, now_ms: int) -> int:
        """What may still be spent today."""
        return max(0, self._limits[bucket] - self.used(bucket, now_ms))

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
