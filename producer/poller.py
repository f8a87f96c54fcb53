"""The order of effects of a tick: debit, call, publish, and after a pass's last page move the watermark.

It decides nothing about windows, pages, pace or errors: those are rules in modules of their own. A failure at any
step leaves the watermark where it was.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from contract.producer_state import SEARCH_BUCKET
from contract.times import format_millis, next_pacific_midnight_ms, pacific_date
from ops.logging import get_logger
from ops.metrics import ProducerMetrics
from producer import pacing
from producer.error_policy import BadQuery, InvalidPageToken, QuotaExhausted, YouTubeError, YouTubeUnavailable
from producer.publisher import Publisher
from producer.quota import QuotaLedger
from producer.search_pass import SearchPass, SearchRequest
from producer.state import ProducerState
from producer.windows import decide_window
from producer.youtube_client import SearchPage

_log = get_logger(__name__)


class SearchClient(Protocol):
    """Who makes the calls; see `YouTubeClient`."""

    async def search(self, request: SearchRequest) -> SearchPage:
        """Make one call; raises `YouTubeError`."""


class Poller:
    """Follows the queries; `now_ms` is the wall clock, `stopping` is asked between calls."""

    def __init__(
        self,
        *,
        queries: Sequence[str],
        overlap_seconds: int,
        backfill_seconds: int,
        client: SearchClient,
        publisher: Publisher,
        state: ProducerState,
        ledger: QuotaLedger,
        metrics: ProducerMetrics,
        now_ms: Callable[[], int],
        stopping: Callable[[], bool],
    ) -> None:
        self._overlap_seconds: Final = overlap_seconds
        self._backfill_seconds: Final = backfill_seconds
        self._client: Final = client
        self._publisher: Final = publisher
        self._state: Final = state
        self._ledger: Final = ledger
        self._metrics: Final = metrics
        self._now_ms: Final = now_ms
        self._stopping: Final = stopping
        self._pace = pacing.Pace(pacific_date(now_ms()))
        self._day_spent = ""
        # The query polled longest ago stands first.
        self._queries = sorted(queries, key=lambda query: state.covered_until_ms(query) or 0)
        self._passes: dict[str, _TimedPass] = {}

    async def tick(self, elapsed_seconds: float) -> None:
        """Poll as many queries as the even pace of the day's calls allows, `elapsed_seconds` after the last tick.

        Raises:
            InvalidCredentials: YouTube refuses the key.
        """
        now_ms = self._now_ms()
        left = self._ledger.left(SEARCH_BUCKET, now_ms)
        self._metrics.quota_left.labels(SEARCH_BUCKET).set(left)
        self._pace = pacing.accrue(
            self._pace,
            pacific_date=pacific_date(now_ms),
            seconds=elapsed_seconds,
            calls_left=left,
            seconds_left=(next_pacific_midnight_ms(now_ms) - now_ms) / 1000,
        )
        for query in tuple(self._queries):
            if self._stopping() or not pacing.may_poll(self._pace):
                return
            self._queries.remove(query)
            self._queries.append(query)
            try:
                await self._poll(query)
            except QuotaExhausted as error:
                self._note_day_spent(str(error))
                return

    async def _poll(self, query: str) -> None:
        """Go on with the query's pass, or begin one; its place is kept when a call fails."""
        running = self._passes.get(query) or self._begin_pass(query)
        try:
            await self._advance(running)
        except YouTubeUnavailable as error:
            self._metrics.passes.labels("interrupted").inc()
            _log.warning("search interrupted, going on at a later tick", query=query, error=str(error))
        except BadQuery as error:
            self._metrics.passes.labels("disabled").inc()
            _log.error("YouTube refuses the query: left out until the next start", query=query, error=str(error))
            self._queries.remove(query)

    def _begin_pass(self, query: str) -> "_TimedPass":
        window = decide_window(
            self._state.covered_until_ms(query),
            self._now_ms(),
            overlap_seconds=self._overlap_seconds,
            backfill_seconds=self._backfill_seconds,
        )
        return self._passes.setdefault(query, _TimedPass(SearchPass(query, window)))

    async def _advance(self, running: "_TimedPass") -> None:
        while (request := running.place.next_request()) is not None:
            if self._stopping():
                return
            try:
                await self._read_page(running, request)
            except InvalidPageToken as error:
                if not running.place.restart_chain():
                    self._give_up(running, error)
                    return
                _log.warning("page chain broken, reading it again", query=request.query, error=str(error))
        await self._complete(running)

    async def _read_page(self, running: "_TimedPass", request: SearchRequest) -> None:
        page = await self._fetch(request)
        published = await self._publisher.publish(page.items, query=request.query, fetched_at_ms=self._now_ms())
        running.published += published.items
        for reason, count in published.ignored.items():
            running.ignored[reason] = running.ignored.get(reason, 0) + count
        running.place.take(len(page.items), page.next_page_token)

    async def _fetch(self, request: SearchRequest) -> SearchPage:
        called_at_ms = self._now_ms()
        await self._ledger.debit(SEARCH_BUCKET, called_at_ms)
        self._pace = pacing.spend(self._pace)
        outcome = "ok"
        try:
            return await self._client.search(request)
        except QuotaExhausted as error:
            outcome = error.outcome
            await self._ledger.mark_used_up(SEARCH_BUCKET, called_at_ms)
            raise
        except YouTubeError as error:
            outcome = error.outcome
            raise
        finally:
            self._metrics.calls.labels(SEARCH_BUCKET, outcome).inc()
            self._metrics.quota_left.labels(SEARCH_BUCKET).set(self._ledger.left(SEARCH_BUCKET, self._now_ms()))

    async def _complete(self, running: "_TimedPass") -> None:
        """Everything of the pass is with Kafka: now, and only now, the watermark moves."""
        place = running.place
        await self._state.move_watermark(place.query, place.window.before_ms)
        del self._passes[place.query]
        self._metrics.passes.labels("truncated" if place.truncated else "complete").inc()
        self._metrics.last_success.labels(place.query).set(self._now_ms() / 1000)
        for window in place.truncated:
            _log.warning(
                "one second holds more videos than YouTube lists",
                query=place.query,
                second=format_millis(window.after_ms),
            )
        running.log_line("search pass complete")

    def _give_up(self, running: "_TimedPass", error: InvalidPageToken) -> None:
        del self._passes[running.place.query]
        self._metrics.passes.labels("given_up").inc()
        _log.error(
            "search pass given up, a new one follows at a later tick", query=running.place.query, error=str(error)
        )

    def _note_day_spent(self, reason: str) -> None:
        """One line a day, however many ticks find the bucket empty."""
        now_ms = self._now_ms()
        if self._day_spent != pacific_date(now_ms):
            self._day_spent = pacific_date(now_ms)
            until = format_millis(next_pacific_midnight_ms(now_ms))
            _log.warning("no search calls left, waiting for the next quota day", until=until, reason=reason)


class _TimedPass:
    """A pass under way, with what its one log line will say."""

    def __init__(self, place: SearchPass) -> None:
        self.place: Final = place
        self.published = 0
        self.ignored: dict[str, int] = {}
        self._started: Final = time.monotonic()

    def log_line(self, event: str) -> None:
        _log.info(
            event,
            query=self.place.query,
            published_after=format_millis(self.place.window.after_ms),
            published_before=format_millis(self.place.window.before_ms),
            windows=self.place.windows,
            pages=self.place.pages,
            items=self.published,
            ignored=self.ignored,
            seconds=round(time.monotonic() - self._started, 3),
        )
