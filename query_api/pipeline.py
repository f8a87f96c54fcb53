"""`GET /v1/pipeline`: how the pipeline behind this API is doing, by what Kafka says; nobody waits long for it.

Kafka is first asked when somebody asks here, then at most every few seconds however many ask, and one answer is kept.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from aiohttp import web

from contract.producer_state import Leader
from contract.settings import Settings
from contract.times import format_millis
from ops.clock import now_ms
from ops.logging import get_logger
from ops.pipeline_observer import PipelineFigures, PipelineObserver, QuotaLeft
from query_api.pagination import unexpected
from query_api.problems import invalid_parameters

log = get_logger(__name__)

_EVERY_SECONDS: Final = 5.0
_PATIENCE_SECONDS: Final = 1.0
"""How long a request waits for a look under way before it is given the last one."""

_NOT_YET: Final = "Kafka has not answered yet."
_AWAY: Final = "Kafka does not tell everything: what it does not tell is null."
"""Kafka's own words stay in the log: they name addresses."""


class PipelineHealth(msgspec.Struct, frozen=True):
    """The answer. `checked_at` is when Kafka was last asked, None before that; null figures are unknown ones.

    `queries` are those followed now; `stale_seconds` is how far the videos served lag behind what this process last
    heard, 0 while it hears everything.
    """

    checked_at: str | None
    lag: int | None
    dead_letters: int | None
    quota_left: QuotaLeft | None
    leader: Leader | None
    queries: Sequence[str] | None
    stale_seconds: float
    faults: Sequence[str]


class Pipeline:
    """Looks at Kafka for all requests of this process."""

    def __init__(self, settings: Settings, stale_seconds: Callable[[], float]) -> None:
        self._observer: Final = PipelineObserver(settings)
        self._stale_seconds: Final = stale_seconds
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = -float("inf")
        self._checked_at: str | None = None
        self._figures = PipelineFigures(fault=_NOT_YET)
        self._queries: Mapping[str, bool] | None = None

    async def health(self) -> PipelineHealth:
        """The last look's figures, at most some seconds old while Kafka answers."""
        await self._look()
        seen = self._figures
        fault = seen.fault if seen.fault in {None, _NOT_YET} else _AWAY
        return PipelineHealth(
            checked_at=self._checked_at,
            lag=seen.lag,
            dead_letters=seen.dead_letters,
            quota_left=seen.quota_left,
            leader=seen.leader,
            queries=None if seen.queries is None else sorted(name for name, now in seen.queries.items() if now),
            stale_seconds=round(self._stale_seconds(), 3),
            faults=[] if fault is None else [fault],
        )

    async def followed_queries(self) -> dict[str, bool] | None:
        """Every query that ever was followed, and whether it is now, as last known; None before Kafka has said so."""
        await self._look()
        return None if self._queries is None else dict(self._queries)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._observer.close()

    async def _look(self) -> None:
        if self._looking is None and time.monotonic() - self._looked_at >= _EVERY_SECONDS:
            self._looking = asyncio.create_task(self._observe())
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=_PATIENCE_SECONDS)

    async def _observe(self) -> None:
        try:
            seen = await self._observer.observe(datetime.now(UTC))
        finally:
            self._looking, self._looked_at = None, time.monotonic()
        if seen.fault is not None and self._figures.fault in {None, _NOT_YET}:
            log.warning("Kafka does not tell how the pipeline is doing", reason=seen.fault)
        self._figures, self._checked_at = seen, format_millis(now_ms())
        if seen.queries is not None:
            self._queries = seen.queries


PIPELINE: Final[web.AppKey[Pipeline]] = web.AppKey("pipeline")


async def show_pipeline(request: web.Request) -> web.Response:
    """`GET /v1/pipeline`."""
    faults = unexpected(request.query.items(), known=())
    if faults:
        return invalid_parameters(request, faults)
    body = msgspec.json.encode(await request.app[PIPELINE].health())
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})


ROUTES: Final = (web.get("/v1/pipeline", show_pipeline),)
