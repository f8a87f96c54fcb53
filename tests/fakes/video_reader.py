"""A read model in memory; `tests/suites/test_video_reader.py` holds it to the real one."""

from typing import Any

from query_api.filters import EVERYTHING, Filters
from query_api.stored import Generation, StoredVideo, WindowRow
from query_api.summaries import ChannelSummary
from query_api.video_reader import ReadModelUnavailable, SlowRead
from tests.fakes.video_documents import Document


class InMemoryVideoReader:
    """Reads `documents` (by `_id`) as MongoDB would; set `away` and it cannot, `slow_reads` and so many take too long.

    `stands_for` is the generation; a test that replaces all documents gives another.
    """

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self.away = False
        self.slow_reads = 0
        self.stands_for: Generation | None = Generation("in-memory", 2)

    def put(self, document: Document) -> None:
        """Store a document in place of the one of its id."""
        self.documents[document["_id"]] = document

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
        self._spend(seconds)
        return [_video(row) for row in self._newest_first(filters, at_least, below)[skip : skip + limit]]

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
        self._spend(seconds)
        found = len(self._newest_first(filters, at_least, below))
        return found if cap is None else min(found, cap)

    async def find_video(self, video_id: str) -> bytes | None:
        """As in `VideoReader`."""
        return next((bytes(row["body"]) for row in self._newest_first() if row["_id"] == video_id), None)

    async def newest_rows(self, query: str | None, *, limit: int, below: str | None = None) -> list[WindowRow]:
        """As in `VideoReader`."""
        return [
            WindowRow(row["_id"], row["k"], bytes(row["body"]), row["source"]["offset"], tuple(row["queries"]))
            for row in self._newest_first(Filters(query=query), below=below)[:limit]
        ]

    async def list_queries(self) -> list[str]:
        """As in `VideoReader`."""
        return sorted({query for row in self._newest_first() for query in row["queries"]})

    async def list_channels(self, *, limit: int, after: str | None = None) -> list[ChannelSummary]:
        """As in `VideoReader`."""
        by_channel: dict[str, list[Document]] = {}
        for row in self._newest_first():
            by_channel.setdefault(row["channel"]["id"], []).append(row)
        return [
            ChannelSummary(channel, rows[0]["channel"]["title"], len(rows), rows[0]["published_at"])
            for channel, rows in sorted(by_channel.items())
            if after is None or channel > after
        ][:limit]

    async def summarise_query(self, query: str) -> str | None:
        """As in `VideoReader`."""
        return next((row["k"] for row in self._newest_first(Filters(query=query))), None)

    async def generation(self) -> Generation | None:
        """As in `VideoReader`."""
        self._look()
        return self.stands_for

    async def close(self) -> None:
        """As in `VideoReader`."""

    def _look(self) -> None:
        if self.away:
            raise ReadModelUnavailable("away, as the test wants it")

    def _spend(self, seconds: float | None) -> None:
        self._look()
        if seconds is not None and self.slow_reads > 0:
            self.slow_reads -= 1
            raise SlowRead("slow, as the test wants it")

    def _newest_first(
        self, filters: Filters = EVERYTHING, at_least: str = "", below: str | None = None
    ) -> list[Document]:
        self._look()
        bounds = [bound for bound in (filters.below, below) if bound is not None]
        rows = [
            row
            for row in self.documents.values()
            if "k" in row
            and row["k"] >= max(filters.at_least, at_least)
            and all(row["k"] < bound for bound in bounds)
            and _passes(row, filters)
        ]
        return sorted(rows, key=lambda row: str(row["k"]), reverse=True)


def _passes(row: Document, filters: Filters) -> bool:
    return (
        (filters.query is None or filters.query in row["queries"])
        and (filters.channel_id is None or filters.channel_id == row["channel"]["id"])
        and set(filters.search) <= set(row["q"])
    )


def _video(row: dict[str, Any]) -> StoredVideo:
    return StoredVideo(row["k"], bytes(row["body"]))
