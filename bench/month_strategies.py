"""Ways to follow queries, each over the same model of YouTube in virtual time: ours, and two that are usual.

Ours is the real producer: planner, ledger, watermarks, rules and poller, with a client, a log and a clock that are
simulated. What the others do fits into a few lines; they have the same quotas and a ledger in the server only.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec
import structlog
from prometheus_client import CollectorRegistry

from bench.youtube_model import DAY_MS, QUOTAS, YouTubeModel
from contract.producer_state import SEARCH_BUCKET, FollowedChannel, channel_key
from contract.times import format_millis
from ops.metrics import ProducerMetrics
from producer.calls import Calls
from producer.error_policy import YouTubeError
from producer.following import Following
from producer.kafka_record import KafkaRecord
from producer.poller import Poller
from producer.publisher import Publisher
from producer.quota import QuotaLedger
from producer.search_pass import SearchRequest
from producer.state import Entry, ProducerState
from producer.windows import Window
from producer.youtube_client import Page

TICK_MS: Final = 10_000


class Clock:
    """The virtual time."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


class Sightings:
    """When each video was first seen."""

    def __init__(self, clock: Clock) -> None:
        self.found_ms: Final[dict[str, int]] = {}
        self._clock: Final = clock

    async def write(self, records: Sequence[KafkaRecord]) -> list[KafkaRecord]:
        """Take records as Kafka would, all of them."""
        for record in records:
            if record.value is not None:
                self.found_ms.setdefault(record.key.decode(), self._clock.now_ms)
        return []

    def note(self, page: Page) -> None:
        """Take the items of a search."""
        for item in page.items:
            self.found_ms.setdefault(item["id"]["videoId"], self._clock.now_ms)


class Strategy(Protocol):
    """What is done at a tick."""

    async def begin(self) -> None:
        """Before the first tick."""

    async def tick(self) -> None:
        """At every tick."""


class FirstPage:
    """At every tick the first page of the next query in turn, with a date that is never moved."""

    def __init__(self, queries: Sequence[str], model: YouTubeModel, clock: Clock, sightings: Sightings) -> None:
        self._queries: Final = list(queries)
        self._model: Final = model
        self._clock: Final = clock
        self._sightings: Final = sightings
        self._since_ms: Final = clock.now_ms

    async def begin(self) -> None:
        """Nothing."""

    async def tick(self) -> None:
        query = self._queries.pop(0)
        self._queries.append(query)
        request = SearchRequest(query, Window(self._since_ms, self._clock.now_ms), None)
        try:
            self._sightings.note(await self._model.search(request))
        except YouTubeError:
            return


class EvenSearch:
    """The day's calls at even distances: every page of the next query in turn, from where its last pass ended."""

    def __init__(self, queries: Sequence[str], model: YouTubeModel, clock: Clock, sightings: Sightings) -> None:
        self._queries: Final = list(queries)
        self._model: Final = model
        self._clock: Final = clock
        self._sightings: Final = sightings
        self._watermarks: Final = dict.fromkeys(queries, clock.now_ms)
        self._calls = 0
        self._began_ms: Final = clock.now_ms
        self._next: SearchRequest | None = None

    async def begin(self) -> None:
        """Nothing."""

    async def tick(self) -> None:
        if self._clock.now_ms < self._began_ms + self._calls * DAY_MS // QUOTAS[SEARCH_BUCKET]:
            return
        self._calls += 1
        request = self._next = self._next or self._begin_pass()
        try:
            page = await self._model.search(request)
        except YouTubeError:
            return
        self._sightings.note(page)
        if page.next_page_token:
            self._next = msgspec.structs.replace(request, page_token=page.next_page_token)
        else:
            self._watermarks[request.query] = request.window.before_ms
            self._next = None

    def _begin_pass(self) -> SearchRequest:
        query = self._queries.pop(0)
        self._queries.append(query)
        return SearchRequest(query, Window(self._watermarks[query], self._clock.now_ms), None)


class Ours:
    """The real producer's poller, with its default settings; `channels` are known from the beginning."""

    def __init__(
        self,
        queries: Sequence[str],
        model: YouTubeModel,
        clock: Clock,
        sightings: Sightings,
        *,
        seed: int,
        channels: Sequence[str] = (),
    ) -> None:
        metrics = ProducerMetrics(CollectorRegistry())
        found_at = FollowedChannel(found_at=format_millis(clock.now_ms))
        values = {channel_key(channel): msgspec.json.encode(found_at) for channel in channels}
        state = ProducerState(_NoLog(), values)
        lease = _NoRival()
        calls = Calls(
            lease=lease,
            ledger=QuotaLedger(QUOTAS, state),
            metrics=metrics,
            now_ms=clock,
            jitter=random.Random(f"{seed}/jitter").random,
        )
        self._poller: Final = Poller(
            following=following(queries),
            client=model,
            calls=calls,
            lease=lease,
            publisher=Publisher(sightings, metrics),
            state=state,
            operator_changes=tuple,
            metrics=metrics,
            now_ms=clock,
            stopping=lambda: False,
        )

    async def begin(self) -> None:
        await self._poller.begin()

    async def tick(self) -> None:
        await self._poller.tick(TICK_MS / 1000)


def following(queries: Sequence[str]) -> Following:
    """The default settings."""
    return Following(
        queries=tuple(queries),
        poll_seconds=TICK_MS / 1000,
        overlap_seconds=21_600,
        sweep_seconds=108_000,
        backfill_seconds=604_800,
        search_calls_per_day=QUOTAS[SEARCH_BUCKET],
    )


def run(strategy: Strategy, clock: Clock, until_ms: int) -> Counter[str]:
    """Tick until then; how often which warning or error was logged."""
    logged: Counter[str] = Counter()

    async def tick_on() -> None:
        await strategy.begin()
        while clock.now_ms < until_ms:
            await strategy.tick()
            clock.now_ms += TICK_MS

    _count_warnings(logged)
    asyncio.run(tick_on())
    return logged


def _count_warnings(logged: Counter[str]) -> None:
    """Have log lines counted and not written; what is below a warning costs nothing."""

    def count(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        logged[str(event["event"])] += 1
        raise structlog.DropEvent

    wrapper = structlog.make_filtering_bound_logger("warning")
    structlog.configure(processors=[count], wrapper_class=wrapper, cache_logger_on_first_use=False)


class _NoLog:
    """A durable log that nobody reads again."""

    async def append(self, entries: Sequence[Entry]) -> None:
        """Take the entries."""


class _NoRival:
    """The right to poll, for ever."""

    async def hold(self) -> None:
        """It is ours."""
