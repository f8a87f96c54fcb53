"""A read model in memory whose reads take time: as many rows as they look at, on a clock that only they move."""

import msgspec

from query_api.filters import EVERYTHING, Filters
from query_api.stored import StoredVideo
from query_api.video_reader import SlowRead
from tests.fakes.video_reader import InMemoryVideoReader

ONE_READ_SECONDS = 0.0005
"""The way there and back."""


class TimedVideoReader(InMemoryVideoReader):
    """Looks at every row of the range, in order, until it has what it was asked for."""

    def __init__(self, seconds_per_row: float) -> None:
        super().__init__()
        self.seconds_per_row = seconds_per_row
        self.clock = 0.0
        self.reads = 0
        self.given_up = 0

    def now(self) -> float:
        return self.clock

    async def list_videos(
        self,
        filters: Filters = EVERYTHING,
        *,
        limit: int,
        skip: int = 0,
        at_least: str = "",
        below: str | None = None,
        seconds: float | None = None,
    ) -> list[StoredVideo]:
        """As in `VideoReader`."""
        found = await super().list_videos(filters, limit=skip + limit, at_least=at_least, below=below)
        last = found[-1].sort_key if len(found) == skip + limit else at_least
        self._look_at(filters, last, below, seconds)
        return found[skip:]

    async def count_videos(
        self,
        filters: Filters = EVERYTHING,
        *,
        at_least: str = "",
        below: str | None = None,
        cap: int | None = None,
        seconds: float | None = None,
    ) -> int:
        """As in `VideoReader`."""
        found = await super().list_videos(filters, limit=cap or len(self.documents), at_least=at_least, below=below)
        last = found[-1].sort_key if len(found) == cap else at_least
        self._look_at(filters, last, below, seconds)
        return len(found)

    def _look_at(self, filters: Filters, at_least: str, below: str | None, seconds: float | None) -> None:
        rows = len(self._newest_first(msgspec.structs.replace(filters, search=()), at_least, below))
        takes = ONE_READ_SECONDS + rows * self.seconds_per_row
        self.reads += 1
        self.clock += takes if seconds is None else min(takes, seconds)
        if seconds is not None and takes > seconds:
            self.given_up += 1
            raise SlowRead(f"not within {seconds} s")
