"""Carries out what operators ask to purge: a removal for each such video, some at a time, so that polling goes on."""

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Final

from contract.producer_state import PurgeRequest
from contract.times import parse_rfc3339_ms
from ops.logging import get_logger
from producer.keeper import Keeper
from producer.known import KnownVideo
from producer.planner import Known
from producer.state import ProducerState

PER_STEP: Final = 1_000

_log = get_logger(__name__)


def victims(request: PurgeRequest, videos: Mapping[str, KnownVideo], followed: Collection[str]) -> Iterator[str]:
    """The videos that a request is about: found by its query and none of `followed`, or not refreshed since its time.

    Raises:
        ValueError: its time is not RFC 3339; nothing was given out yet.
    """
    if request.not_fetched_since is not None:
        limit_ms = parse_rfc3339_ms(request.not_fetched_since)
        return (video_id for video_id, video in videos.items() if video.fetched_ms < limit_ms)
    return (
        video_id
        for video_id, video in videos.items()
        if request.query in video.queries and not any(query in followed for query in video.queries)
    )


class Purging:
    """The requests in the state, one after another; whose they are, and whether they are done, is durable."""

    def __init__(self, state: ProducerState, keeper: Keeper, known: Known) -> None:
        self._state: Final = state
        self._keeper: Final = keeper
        self._known: Final = known

    async def step(self) -> int:
        """Remove up to `PER_STEP` videos of each request; returns how many were removed.

        Raises:
            Exception: the lease is lost.
        """
        removed = 0
        for request_id, request in tuple(self._state.purges.items()):
            found = self._some_victims(request)
            await self._keeper.remove(found, "purged", forget=True)
            removed += len(found)
            if len(found) < PER_STEP:
                await self._state.drop_purge(request_id)
                _log.info("purge done", query=request.query, not_fetched_since=request.not_fetched_since)
        return removed

    def _some_victims(self, request: PurgeRequest) -> list[str]:
        try:
            return list(islice(victims(request, self._state.videos, self._known.matcher.queries), PER_STEP))
        except ValueError as error:
            _log.error("a request to purge is not readable, dropped", error=str(error))
            return []
