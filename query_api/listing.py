"""Which source answers a page: the order in which the node's counts, the search and the read model are asked.

    no filter, one query, a time range ──► the node's ranking says where page N begins, and the total; one short read
    search                             ──► the walk over slices of the order, for a quarter of a second at most
    a channel, or several filters      ──► the index of the narrowest; counted, and paged by number, up to a thousand

Pages of the hot window never come here (`query_api.node`): this is for what lies deeper, or is filtered.
"""

import asyncio
from typing import Final, Protocol

from contract.read_model import PROJECTION_VERSION
from query_api.filters import LAST_COUNTED, Filters
from query_api.pagination import Page, PageRequest, Total, to_page, too_deep
from query_api.rank import Place
from query_api.ranking import Ranking
from query_api.search import search
from query_api.video_reader import ReadModelUnavailable, SlowRead, VideoReader

_COUNT_SECONDS: Final = 0.25
"""How long the server may count videos of a channel or of several filters."""

_LOADING: Final = "the videos are still being counted after the start"


class PageTooDeep(Exception):
    """These filters are paged by number up to `LAST_COUNTED` videos; `last` is the last page that is answered."""

    def __init__(self, last: Page) -> None:
        super().__init__()
        self.last = last


class SearchNotReady(Exception):
    """The store was made by an older version, whose documents cannot be searched."""


class Counts(Protocol):
    """What the listing asks of the node."""

    def ranking(self, query: str | None) -> Ranking | None:
        """Counts of everything, or of one followed query; None for a query that found nothing, or while loading."""

    def knows(self, query: str) -> bool:
        """Whether any video was found by the query; True while that is not known yet."""

    @property
    def projection_version(self) -> int | None:
        """What the documents were made by; None when the store does not say."""


class Listing:
    """Answers pages from the read model. Everything may raise `ReadModelUnavailable`."""

    def __init__(self, reader: VideoReader, counts: Counts) -> None:
        self._reader = reader
        self._counts = counts

    async def page(self, asked: PageRequest) -> Page:
        """The page that is asked for.

        Raises:
            PageTooDeep: by number, these filters end before it.
            SearchNotReady: the store cannot be searched before it is rebuilt.
        """
        filters = asked.filters
        if filters.query is not None and not self._counts.knows(filters.query):
            return to_page(asked, [], Total(0))
        if filters.search:
            return await self._searched(asked)
        ranking = self._counts.ranking(filters.query) if filters.countable else None
        if ranking is not None:
            return await self._ranked(asked, ranking)
        if filters.countable and asked.skip > LAST_COUNTED:
            raise ReadModelUnavailable(_LOADING)
        return await self._filtered(asked)

    async def _ranked(self, asked: PageRequest, ranking: Ranking) -> Page:
        filters = asked.filters
        # The total first: it counts again what is dirty, and the place is found among the same counts.
        total = await ranking.count_between(filters.at_least, filters.below)
        place = Place(below=asked.after, skip=0)
        if asked.page is not None:
            if asked.skip >= total:
                return to_page(asked, [], Total(total))
            place = await ranking.place_of(asked.skip, below=filters.below)
        videos = await self._reader.list_videos(filters, limit=asked.limit + 1, skip=place.skip, below=place.below)
        return to_page(asked, videos, Total(total))

    async def _filtered(self, asked: PageRequest) -> Page:
        await self._refuse_too_deep(asked)
        videos, total = await asyncio.gather(
            self._reader.list_videos(asked.filters, limit=asked.limit + 1, skip=asked.skip, below=asked.after),
            self._counted(asked.filters),
        )
        return to_page(asked, videos, total or Total(asked.skip + len(videos), exact=False))

    async def _counted(self, filters: Filters) -> Total | None:
        try:
            count = await self._reader.count_videos(filters, cap=LAST_COUNTED + 1, seconds=_COUNT_SECONDS)
        except SlowRead:
            return None
        return Total(min(count, LAST_COUNTED), exact=count <= LAST_COUNTED)

    async def _searched(self, asked: PageRequest) -> Page:
        version, ranking = self._counts.projection_version, self._counts.ranking(None)
        if version is not None and version < PROJECTION_VERSION:
            raise SearchNotReady
        if ranking is None:
            raise ReadModelUnavailable(_LOADING)
        await self._refuse_too_deep(asked)
        found = await search(self._reader, ranking, asked)
        return to_page(asked, found.videos, found.total, found.reached)

    async def _refuse_too_deep(self, asked: PageRequest) -> None:
        if asked.page is not None and too_deep(asked, asked.page):
            last = PageRequest(asked.limit, LAST_COUNTED // asked.limit, None, asked.filters, asked.given)
            raise PageTooDeep(await self.page(last))
