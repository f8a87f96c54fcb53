"""The order of a tick: plan, debit, call, publish, remember, until the planner says to wait.

It decides nothing: the planner says which call is next and why, and rules in modules of their own say what an answer
means.
"""

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from contract.topics import DAY_MS
from ops import tracing
from ops.logging import get_logger
from ops.metrics import ProducerMetrics
from producer import coverage, planner
from producer.calls import Calls, Lease
from producer.error_policy import InvalidCredentials, YouTubeError
from producer.following import Following, QueryMatcher, decide_changes, followed_queries
from producer.keeper import Keeper
from producer.planner import AskForVideos, LookAtUploads, Search, Wait
from producer.polling import Polling
from producer.publisher import Publisher
from producer.purging import Purging
from producer.recall import plan_for, recall
from producer.refreshing import Refreshing, VideosClient
from producer.searching import SearchClient, Searching
from producer.state import Entry, ProducerState
from producer.upload_looks import UploadLooks, UploadsClient

_SHOW_EVERY_MS: Final = 10_000

_log = get_logger(__name__)


class Client(SearchClient, UploadsClient, VideosClient, Protocol):
    """Who makes the calls; see `YouTubeClient`."""


class Poller:
    """Follows the queries for one term; `now_ms` is the wall clock, `stopping` is asked between calls."""

    def __init__(
        self,
        *,
        following: Following,
        client: Client,
        calls: Calls,
        lease: Lease,
        publisher: Publisher,
        state: ProducerState,
        operator_changes: Callable[[], Iterable[Entry]],
        metrics: ProducerMetrics,
        now_ms: Callable[[], int],
        stopping: Callable[[], bool],
    ) -> None:
        self._following: Final = following
        self._calls: Final = calls
        self._state: Final = state
        self._operator_changes: Final = operator_changes
        self._metrics: Final = metrics
        self._now_ms: Final = now_ms
        self._stopping: Final = stopping
        self._known: Final = recall(state)
        self._keeper: Final = Keeper(
            publisher=publisher, state=state, known=self._known, lease=lease, metrics=metrics, now_ms=now_ms
        )
        polling = Polling(following, calls, self._keeper, state, self._known, metrics, now_ms)
        self._searching: Final = Searching(client, polling)
        self._looks: Final = UploadLooks(client, polling)
        self._refreshing: Final = Refreshing(client, polling)
        self._purging: Final = Purging(state, self._keeper, self._known)
        self._told_overload_ms = 0
        self._told_wait = ""
        self._shown_ms = 0

    async def begin(self) -> None:
        """Make the settings' queries known, and forget what is of no use any more."""
        now_ms = self._now_ms()
        for query, followed in decide_changes(self._following.queries, self._state.queries, now_ms).items():
            await self._state.set_query(query, followed)
        await self._state.drop_old_ledgers()
        _log.info("following", queries=list(followed_queries(self._state.queries)))

    async def tick(self, elapsed_seconds: float) -> None:
        """Make the calls that the budgets allow, `elapsed_seconds` after the last tick.

        Raises:
            InvalidCredentials: YouTube refuses every key.
            Exception: the lease is lost.
        """
        self._calls.begin_tick(elapsed_seconds)
        while not self._stopping():
            self._take_operator_changes()
            self._follow()
            await self._purging.step()
            decision = planner.decide(self._now_ms(), self._calls.budgets(), self._known, self._following.poll_seconds)
            if isinstance(decision, Wait):
                self._note_wait(decision)
                break
            _log.debug("next call", call=type(decision).__name__, why=decision.reason)
            await self._carry_out(decision)
        self._show()

    def _note_wait(self, decision: Wait) -> None:
        if self._told_wait != decision.reason:
            _log.debug("waiting for the next tick", why=decision.reason)
        self._told_wait = decision.reason

    async def _carry_out(self, decision: Search | LookAtUploads | AskForVideos) -> None:
        try:
            if isinstance(decision, Search):
                with tracing.fetching("search"):
                    await self._searching.read_page(decision)
            elif isinstance(decision, LookAtUploads):
                with tracing.fetching("playlistItems"):
                    await self._looks.look(decision)
            else:
                with tracing.fetching("videos"):
                    await self._refreshing.ask(decision)
        except InvalidCredentials:
            raise
        except YouTubeError as error:
            _log.warning("a call brought nothing", outcome=error.outcome, error=str(error), was_for=decision.reason)

    def _take_operator_changes(self) -> None:
        for key, value in self._operator_changes():
            self._state.take(key, value)

    def _follow(self) -> None:
        """Have the plans, and the rule for uploads, of the queries that are followed now."""
        followed = followed_queries(self._state.queries)
        if self._known.matcher.queries == set(followed):
            return
        plans = {
            query: self._known.queries.get(query) or plan_for(query, self._state.coverage.get(query))
            for query in followed
        }
        self._known.queries.clear()
        self._known.queries.update(plans)
        self._known.matcher = QueryMatcher(followed)
        self._looks.forget_versions()
        _log.info("the queries have changed", queries=list(followed))

    def _show(self) -> None:
        self._calls.show()
        now_ms = self._now_ms()
        if 0 <= now_ms - self._shown_ms < _SHOW_EVERY_MS:
            return
        self._shown_ms = now_ms
        self._metrics.known.labels("videos").set(len(self._state.videos))
        self._metrics.known.labels("channels").set(len(self._state.channels))
        oldest_ms = self._known.agenda.oldest_fetched_ms()
        days = 0.0 if oldest_ms is None else max(0, now_ms - oldest_ms) / DAY_MS
        self._metrics.oldest_unrefreshed_days.set(days)
        for plan in self._known.queries.values():
            self._metrics.missed_seconds.labels(plan.query).set(plan.missed_seconds)
        self._show_load(now_ms)

    def _show_load(self, now_ms: int) -> None:
        volume = self._known.videos_per_day
        capacity = coverage.capacity_per_day(
            calls_per_day=self._following.search_calls_per_day,
            queries=len(self._known.queries),
            overlap_seconds=self._following.overlap_seconds,
            sweep_seconds=self._following.sweep_seconds,
        )
        self._metrics.search_load.set(volume / max(capacity, 1.0))
        if volume > capacity and now_ms - self._told_overload_ms >= DAY_MS:
            self._told_overload_ms = now_ms
            _log.warning(
                "the queries find more videos a day than the search quota can carry: some will be found late or never; "
                "ask for quota (YOUSYNC_SEARCH_CALLS_PER_DAY) or follow less",
                videos_per_day=round(volume),
                capacity_per_day=round(capacity),
            )
