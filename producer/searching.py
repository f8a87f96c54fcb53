"""Searches, page by page: publish what a page holds, and after a pass's last page move the watermark.

A failure at any step leaves the watermark where it was; a pass keeps its place over it.
"""

from typing import Final, Protocol

import msgspec

from contract import events
from contract.times import format_millis
from contract.topics import DAY_MS
from ops.logging import get_logger
from producer import coverage
from producer.calls import Account
from producer.error_policy import BadQuery, InvalidPageToken, YouTubeError
from producer.known import KnownChannel
from producer.planner import DEFER_MS, QueryPlan, RunningPass, Search, next_owed
from producer.polling import Polling, PollingStep
from producer.raw_item import read_search
from producer.search_pass import SearchAnswer, SearchPass, SearchRequest
from producer.sightings import sort_found
from producer.windows import Window
from producer.youtube_client import Page

_log = get_logger(__name__)


class SearchClient(Protocol):
    """Who searches; see `YouTubeClient`."""

    async def search(self, request: SearchRequest) -> Page:
        """Make one call; raises `YouTubeError`."""


class Searching(PollingStep):
    """The passes over all queries."""

    def __init__(self, client: SearchClient, polling: Polling) -> None:
        super().__init__(polling)
        self._client: Final = client

    async def read_page(self, decision: Search) -> None:
        plan = self._known.queries[decision.query]
        running = self._newest(plan) if decision.over == "newest" else self._behind(plan)
        self._known.owed = next_owed(self._known, decision.over)
        request = running.place.next_request()
        try:
            if request is not None:
                await self._read_page(running, request, decision.account)
        except InvalidPageToken as error:
            self._restart(plan, running, error)
        except BadQuery as error:
            await self._refuse(plan, error)
            return
        except YouTubeError:
            self._stall(plan, running)
            raise
        running.stalled = False
        if running.place.next_request() is None:
            complete = self._complete_newest if running.stretch is None else self._complete_behind
            await complete(plan, running)

    def _newest(self, plan: QueryPlan) -> RunningPass:
        """The query's pass over its newest stretch, begun now if there is none under way."""
        if plan.newest is not None:
            return plan.newest
        now_ms = self._now_ms()
        known = plan.coverage
        fresh = coverage.decide_fresh_window(
            known,
            now_ms,
            overlap_seconds=self._following.overlap_seconds,
            backfill_seconds=self._following.backfill_seconds,
            reach_seconds=coverage.reach_seconds(
                self._known.videos_per_day,
                calls_per_day=self._following.search_calls_per_day,
            ),
        )
        plan.polled_ms = now_ms
        place = SearchPass(plan.query, fresh.window)
        plan.newest = RunningPass(place, self._page_limit(plan, fresh.window), now_ms, missed=fresh.missed)
        return plan.newest

    def _behind(self, plan: QueryPlan) -> RunningPass:
        """The query's pass over a stretch left from before, begun now if there is none under way."""
        stretch = coverage.next_stretch(plan.coverage) if plan.coverage else None
        if stretch is not None and (plan.behind is None or _yields(plan.behind, stretch)):
            plan.caught_up_ms = self._now_ms()
            place = SearchPass(plan.query, stretch.window)
            plan.behind = RunningPass(place, self._page_limit(plan, stretch.window), plan.caught_up_ms, stretch=stretch)
        if plan.behind is None:
            raise LookupError(f"the query {plan.query!r} has no stretch to read")
        return plan.behind

    def _page_limit(self, plan: QueryPlan, window: Window) -> int:
        return coverage.pages_per_pass(
            plan.videos_per_day,
            window,
            calls_per_day=self._following.search_calls_per_day,
            queries=len(self._known.queries),
        )

    async def _read_page(self, running: RunningPass, request: SearchRequest, account: Account) -> None:
        page = await self._calls.make("search", account, lambda: self._client.search(request))
        found = read_search(page.items)
        self._keeper.count_ignored(found)
        result = sort_found(found.videos, request.query, self._state.videos, self._known.matcher, self._now_ms())
        channels = {
            seen.channel_id: KnownChannel(found_ms=self._now_ms())
            for seen in found.videos
            if seen.channel_id is not None and self._is_to_follow(seen.channel_id)
        }
        await self._keeper.keep("search", events.SEARCH, result, channels)
        running.published += len(result.kept)
        running.new += sum(kept.is_new for kept in result.kept)
        outside = running.place.outside
        running.place.take(SearchAnswer([seen.published_ms for seen in found.videos], page.next_page_token))
        self._metrics.items_outside.inc(running.place.outside - outside)
        if running.place.pages >= running.page_limit and running.place.has_got_on:
            running.place.leave_rest()

    def _stall(self, plan: QueryPlan, running: RunningPass) -> None:
        """Other queries first: YouTube may fail for this one alone."""
        running.stalled = True
        if running.stretch is None:
            plan.polled_ms = self._now_ms()
        else:
            plan.caught_up_ms = self._now_ms()

    def _is_to_follow(self, channel_id: str) -> bool:
        """New, or said to have no uploads before a search listed one of them; that rests for a day."""
        known = self._state.channels.get(channel_id)
        if known is None:
            return True
        return known.missing and self._now_ms() - (known.looked_ms or 0) >= DAY_MS

    def _restart(self, plan: QueryPlan, running: RunningPass, error: InvalidPageToken) -> None:
        again = running.place.restart_chain()
        _log.warning(
            "page chain broken, reading it again" if again else "page chain broken too often, left for later",
            query=running.place.query,
            error=str(error),
        )
        if not again:
            running.place.leave_rest()
            plan.deferred_until_ms = self._now_ms() + DEFER_MS

    async def _complete_newest(self, plan: QueryPlan, running: RunningPass) -> None:
        """All that the pass read is with Kafka: now, and only now, the watermark moves."""
        plan.newest = None
        place = running.place
        if not place.is_reliable:
            self._note_unreliable(plan, running)
            return
        now_ms = self._now_ms()
        after, lost = coverage.give_up(
            coverage.complete_fresh(
                plan.coverage,
                place.window,
                (*((running.missed,) if running.missed else ()), *place.unread),
                now_ms,
                items=place.items,
                overlap_seconds=self._following.overlap_seconds,
                sweep_seconds=self._following.sweep_seconds,
            ),
            now_ms,
            self._following.backfill_seconds,
        )
        await self._state.set_coverage(plan.query, after)
        plan.coverage = after
        self._metrics.last_success.labels(plan.query).set(now_ms / 1000)
        self._note_complete(running)
        for stretch in lost:
            self._metrics.lost_seconds.labels(plan.query).inc(stretch.window.seconds)
            _log.error("given up: more videos than the quota can carry", query=plan.query, **_bounds(stretch.window))

    async def _complete_behind(self, plan: QueryPlan, running: RunningPass) -> None:
        plan.behind = None
        place = running.place
        if not place.is_reliable:
            plan.deferred_until_ms = self._now_ms() + DEFER_MS
            self._note_unreliable(plan, running)
            return
        if plan.coverage is not None and running.stretch is not None:
            after = coverage.complete_stretch(plan.coverage, running.stretch, place.unread)
            await self._state.set_coverage(plan.query, after)
            plan.coverage = after
        self._note_complete(running)

    def _note_unreliable(self, plan: QueryPlan, running: RunningPass) -> None:
        self._metrics.passes.labels("dates_ignored").inc()
        _log.warning(
            "YouTube ignores the dates of the search: it counts as not made",
            query=plan.query,
            items=running.place.outside,
        )

    def _note_complete(self, running: RunningPass) -> None:
        place = running.place
        self._metrics.passes.labels("truncated" if place.truncated else "cut" if place.unread else "complete").inc()
        for window in place.truncated:
            second = format_millis(window.after_ms)
            _log.warning("one second holds more videos than YouTube lists", query=place.query, second=second)
        _log.info(
            "search pass complete",
            query=place.query,
            over="newest" if running.stretch is None else running.stretch.kind,
            **_bounds(place.window),
            windows=place.windows,
            pages=place.pages,
            items=running.published,
            new=running.new,
            outside=place.outside,
            left_for_later=len(place.unread) + (running.missed is not None),
        )

    async def _refuse(self, plan: QueryPlan, error: BadQuery) -> None:
        followed = self._state.queries[plan.query]
        await self._state.set_query(plan.query, msgspec.structs.replace(followed, refused=str(error)))
        self._metrics.passes.labels("refused").inc()
        _log.error("YouTube refuses the query: left out until it is added again", query=plan.query, error=str(error))
        del self._known.queries[plan.query]


def _bounds(window: Window) -> dict[str, str]:
    return {"published_after": format_millis(window.after_ms), "published_before": format_millis(window.before_ms)}


def _yields(running: RunningPass, stretch: coverage.Stretch) -> bool:
    """A sweep under way makes room for what was missed since it began; it is begun again later."""
    return running.stretch is not None and running.stretch.kind == "sweep" and stretch.kind == "missed"
