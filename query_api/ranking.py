"""Exact totals and pages at any depth: the counts of `query_api.rank`, kept true by counting in the index.

A page number becomes an upper bound of the sort key and fewer rows to skip than a bucket holds, so that page 100,000
costs about what page 1 costs. Every read here looks at a bucket or two of index entries, never at everything.

A replay swaps another collection in. Whoever owns a `Ranking` makes a new one then, and reads the generation before
and after its `load`: counts of two collections are never added up for longer than that takes to be noticed.
"""

import asyncio

from query_api.filters import EVERYTHING, Filters
from query_api.rank import BUCKET_ROWS, Bucket, Place, Rank
from query_api.video_reader import VideoReader


class Ranking:
    """Where the rows of everything, or of one followed query, are. What reads raises `ReadModelUnavailable`."""

    def __init__(self, reader: VideoReader, query: str | None, *, bucket_rows: int = BUCKET_ROWS) -> None:
        self._reader = reader
        self._filters = EVERYTHING if query is None else Filters(query=query)
        self._rank = Rank(bucket_rows)
        # One count at a time: who waits mostly finds nothing left to count.
        self._counting = asyncio.Lock()
        self._total = 0

    @property
    def dirty(self) -> bool:
        """Whether something happened since the counts."""
        return self._rank.dirty

    @property
    def total(self) -> int:
        """All rows as of the last `refresh`; costs nothing."""
        return self._total

    def mark(self, *sort_keys: str | None) -> None:
        """Something happened at these keys: the next answer counts there first. None stands for no place."""
        for sort_key in sort_keys:
            if sort_key is not None:
                self._rank.mark(sort_key)

    async def load(self) -> None:
        """Count everything for the first time, in pieces; marks may come meanwhile."""
        await self.refresh()

    async def refresh(self) -> None:
        """Count again wherever something happened by now."""
        if self._rank.dirty:
            async with self._counting:
                await self._count_dirty()

    async def recount_round(self) -> None:
        """Count everything again, bucket by bucket, whatever no event told; others are let in between."""
        below: str | None = None
        try:
            while below != "":
                async with self._counting:
                    bucket = self._rank.bucket_under(below)
                    await self._count(bucket)
                    below = bucket.at_least
        finally:
            # Also of a round that MongoDB cut short: with nothing dirty left, no refresh would take up what it counted.
            if not self._rank.dirty:
                self._total = self._rank.total

    async def place_of(self, row: int, *, below: str | None = None) -> Place:
        """Where the row of this number is, of those under `below`; the newest of them is row 0."""
        async with self._counting:
            await self._count_dirty()
            if below is None:
                return self._rank.place_of(row)
            bucket = self._rank.bucket_under(below)
            rest = await self._rows(bucket.at_least, below)
            if row < rest:
                return Place(below, row)
            return self._rank.place_of(self._rank.rows_from(bucket.at_least) + row - rest)

    async def count_between(self, at_least: str, below: str | None) -> int:
        """Exactly how many rows have a sort key from `at_least` to just under `below`."""
        async with self._counting:
            await self._count_dirty()
            stretch = self._rank.between(at_least, below)
            return stretch.rows + sum([await self._rows(*part) for part in stretch.parts])

    def slice_below(self, below: str | None, rows: int) -> str:
        """A sort key with about so many rows from it to just under `below`; "" when there are fewer."""
        return self._rank.slice_below(below, rows)

    async def _count_dirty(self) -> None:
        """Count what is dirty now, each once: what is marked meanwhile is for who asks next."""
        dirty = self._rank.dirty_buckets()
        for sort_key in dirty:
            await self._count(self._rank.bucket_of(sort_key))
        if dirty:
            # Only now: a row that moved to another bucket is in both or in neither until both are counted.
            self._total = self._rank.total

    async def _count(self, bucket: Bucket) -> None:
        crowded = self._rank.crowded_rows
        while (rows := await self._rows(bucket.at_least, bucket.below, cap=crowded + 1)) > crowded:
            bucket = await self._cut(bucket)
        self._rank.counted(bucket, rows)

    async def _cut(self, bucket: Bucket) -> Bucket:
        """Cut a crowded bucket as often as it goes; what is left is given."""
        while True:
            last = await self._reader.list_videos(
                self._filters,
                limit=1,
                skip=self._rank.bucket_rows - 1,
                at_least=bucket.at_least,
                below=bucket.below,
            )
            if not last or last[0].sort_key == bucket.at_least:
                return bucket
            bucket = self._rank.cut(bucket, last[0].sort_key)

    async def _rows(self, at_least: str, below: str | None, cap: int | None = None) -> int:
        return await self._reader.count_videos(self._filters, at_least=at_least, below=below, cap=cap)
