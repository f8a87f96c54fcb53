"""Every call to YouTube goes through here: lease, debit, lease again, the call, and what follows from its outcome.

The debit is durable before the call is made, and it stands when the call fails. The lease is asked for before the
debit, because a deposed producer must not write, and after it, because the debit may have taken long.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Final, Literal, Protocol, TypeVar

from contract.producer_state import SEARCH_BUCKET, UNITS_BUCKET
from contract.times import next_pacific_midnight_ms, pacific_date
from ops.logging import get_logger
from ops.metrics import ProducerMetrics
from producer import pacing
from producer.backoff import LONGEST_PAUSE_MS, OUTAGE_FAILURES, SPARE_PAUSE_MS, Backoff, after_failure
from producer.error_policy import NotFound, QuotaExhausted, YouTubeError, YouTubeUnavailable
from producer.planner import Budgets
from producer.quota import QuotaLedger

_T = TypeVar("_T")

CallName = Literal["search", "playlistItems", "videos"]
Account = Literal["newest", "reserve", "units"]

_log = get_logger(__name__)


class Lease(Protocol):
    """The right to poll."""

    async def hold(self) -> None:
        """Return while the right is ours; raises when it is not."""


class Calls:
    """Spends the budgets; `jitter` gives numbers between 0 and 1."""

    def __init__(
        self,
        *,
        lease: Lease,
        ledger: QuotaLedger,
        metrics: ProducerMetrics,
        now_ms: Callable[[], int],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._lease: Final = lease
        self._ledger: Final = ledger
        self._metrics: Final = metrics
        self._now_ms: Final = now_ms
        self._jitter: Final = jitter
        today = pacific_date(now_ms())
        self._paces: Final[dict[Account, pacing.Pace]] = {
            "newest": pacing.Pace(today),
            "reserve": pacing.Pace(today),
            "units": pacing.Pace(today),
        }
        self._backoffs: Final = {SEARCH_BUCKET: Backoff(), UNITS_BUCKET: Backoff()}
        self._told_spent: Final[dict[str, str]] = {}

    def begin_tick(self, elapsed_seconds: float) -> None:
        """Let credit accrue."""
        now_ms = self._now_ms()
        today = pacific_date(now_ms)
        seconds_left = (next_pacific_midnight_ms(now_ms) - now_ms) / 1000
        limit = self._ledger.limit(SEARCH_BUCKET)
        searches = self._ledger.left(SEARCH_BUCKET, now_ms) - pacing.reserved(limit, seconds_left)
        units = self._ledger.left(UNITS_BUCKET, now_ms)
        accounts: tuple[tuple[Account, float], ...] = (("newest", searches), ("units", units))
        for account, left in accounts:
            self._paces[account] = pacing.accrue(
                self._paces[account],
                pacific_date=today,
                seconds=elapsed_seconds,
                calls_left=left,
                seconds_left=seconds_left,
            )
        self._paces["reserve"] = pacing.accrue_reserve(
            self._paces["reserve"], pacific_date=today, seconds=elapsed_seconds, limit=limit
        )

    def budgets(self) -> Budgets:
        """What may be spent now."""
        now_ms = self._now_ms()
        return Budgets(
            search_left=self._ledger.left(SEARCH_BUCKET, now_ms),
            newest_in_pace=pacing.may_call(self._paces["newest"]),
            reserve_in_pace=pacing.may_call(self._paces["reserve"]),
            units_left=self._ledger.left(UNITS_BUCKET, now_ms),
            units_in_pace=pacing.may_call(self._paces["units"]),
            search_backoff=self._backoffs[SEARCH_BUCKET],
            units_backoff=self._backoffs[UNITS_BUCKET],
        )

    async def make(self, call: CallName, account: Account, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Debit a call and make it.

        Raises:
            YouTubeError: it brought nothing.
            Exception: the lease is lost; the call was not made.
        """
        bucket = UNITS_BUCKET if account == "units" else SEARCH_BUCKET
        await self._lease.hold()
        called_at_ms = self._now_ms()
        await self._ledger.debit(bucket, called_at_ms)
        self._paces[account] = pacing.spend(self._paces[account])
        await self._lease.hold()
        try:
            answer = await ask()
        except YouTubeError as error:
            await self._note_failure(call, bucket, called_at_ms, error)
            raise
        if bucket == UNITS_BUCKET and self._backoffs[bucket].failures >= OUTAGE_FAILURES:
            self._backoffs[SEARCH_BUCKET] = Backoff()  # the outage is over: searches need not find out for themselves
        self._backoffs[bucket] = Backoff()
        self._metrics.calls.labels(call, "ok").inc()
        return answer

    async def _note_failure(self, call: CallName, bucket: str, called_at_ms: int, error: YouTubeError) -> None:
        self._metrics.calls.labels(call, error.outcome).inc()
        # A playlist may be gone; a search that is "not found" says nothing, and would be made again at once.
        is_odd = call == "search" and isinstance(error, NotFound)
        if not is_odd and not isinstance(error, QuotaExhausted | YouTubeUnavailable):
            return  # the call itself was at fault: another one may succeed at once
        now_ms = self._now_ms()
        if isinstance(error, QuotaExhausted):
            await self._ledger.mark_used_up(bucket, called_at_ms)
            if self._ledger.left(bucket, now_ms) == 0:
                return
        longest_ms = SPARE_PAUSE_MS if bucket == UNITS_BUCKET else LONGEST_PAUSE_MS
        self._backoffs[bucket] = after_failure(self._backoffs[bucket], now_ms, self._jitter(), longest_ms)

    def show(self) -> None:
        """Show operators what is left."""
        now_ms = self._now_ms()
        for bucket in (SEARCH_BUCKET, UNITS_BUCKET):
            left = self._ledger.left(bucket, now_ms)
            self._metrics.quota_left.labels(bucket).set(left)
            self._metrics.quota_used.labels(bucket).set(self._ledger.used(bucket, now_ms))
            if left == 0 and self._told_spent.get(bucket) != pacific_date(now_ms):
                self._told_spent[bucket] = pacific_date(now_ms)
                seconds = (next_pacific_midnight_ms(now_ms) - now_ms) // 1000
                _log.warning("no calls of this bucket are left until midnight Pacific", bucket=bucket, seconds=seconds)
