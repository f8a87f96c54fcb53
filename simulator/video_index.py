"""All published videos in memory, arranged so that a search looks at the newest few hundred and no more.

Positions are in order of publication, and publish times never go back, so a time window is a range of positions
and each word's positions are sorted. A search walks its window from the newest end in growing steps.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import Final

import msgspec

from contract.query_match import Clause, Query, Term
from simulator.catalogue import CatalogueVideo
from simulator.search import has_phrase, words_of_video

_FIRST_STEP: Final = 1024
_NOWHERE: Final[Sequence[int]] = array("L")


class PublishedVideo(msgspec.Struct, kw_only=True):
    """A video that is out: `published_ms` and `searchable_ms` in ms since 1970.

    A `removed` one is gone for good; a `hidden` one is private, and keeps its place among its channel's uploads.
    """

    video: CatalogueVideo
    published_ms: int
    searchable_ms: int
    removed: bool = False
    hidden: bool = False

    @property
    def published_seconds(self) -> int:
        """The publish time as the wire shows it."""
        return self.published_ms // 1000

    def searchable(self, now_ms: int) -> bool:
        """Whether a search can find it now."""
        return self.searchable_ms <= now_ms and not self.removed and not self.hidden

    def order(self) -> tuple[int, str]:
        """Sorted in reverse: newest first, then id descending."""
        return self.published_seconds, self.video.video_id


class Window(msgspec.Struct, frozen=True):
    """A range of publish times in ms, both ends inside; None is open."""

    after_ms: int | None = None
    before_ms: int | None = None


class VideoIndex:
    """Videos by id, time, channel and word."""

    def __init__(self) -> None:
        self._videos: Final[list[PublishedVideo]] = []
        self._seconds: Final[array[int]] = array("q")
        self._by_id: Final[dict[str, PublishedVideo]] = {}
        self._by_word: Final[dict[str, array[int]]] = {}
        self._by_channel: Final[dict[str, array[int]]] = {}

    def __len__(self) -> int:
        return len(self._videos)

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._by_id

    @property
    def newest_ms(self) -> int:
        """Publish time of the last video; 0 when there is none."""
        return self._videos[-1].published_ms if self._videos else 0

    def add(self, published: PublishedVideo) -> None:
        """Take in the next video, which must be of a new id and not older than the last."""
        position = len(self._videos)
        self._videos.append(published)
        self._seconds.append(published.published_seconds)
        self._by_id[published.video.video_id] = published
        self._by_channel.setdefault(published.video.channel_id, array("L")).append(position)
        for word in words_of_video(published.video):
            positions = self._by_word.get(word)
            if positions is None:
                positions = self._by_word[word] = array("L")
            positions.append(position)

    def get(self, video_id: str) -> PublishedVideo | None:
        """The video, private or not, unless it is unknown or removed."""
        published = self._by_id.get(video_id)
        return None if published is None or published.removed else published

    def newest_first(self) -> list[PublishedVideo]:
        """Every video ever published, removed ones too."""
        return sorted(self._videos, key=PublishedVideo.order, reverse=True)

    def uploads(self, channel_id: str) -> list[PublishedVideo] | None:
        """A channel's videos, private ones too, the last uploaded first; None for a channel that never published."""
        positions = self._by_channel.get(channel_id)
        if positions is None:
            return None
        return [video for position in reversed(positions) if not (video := self._videos[position]).removed]

    def search(
        self,
        query: Query | None,
        window: Window,
        now_ms: int,
        *,
        channel_id: str | None = None,
        limit: int | None = None,
    ) -> list[PublishedVideo]:
        """What can be searched now and matches, newest first, at least `limit` of it if there is so much."""
        found: list[PublishedVideo] = []
        first, end = self._range(window)
        step = _FIRST_STEP
        while end > first and (limit is None or len(found) < limit):
            # A step never parts videos of one second: only together can they be ordered.
            begin = max(first, bisect_left(self._seconds, self._seconds[max(first, end - step)]))
            videos = map(self._videos.__getitem__, self._matching(query, channel_id, begin, end))
            visible = [video for video in videos if video.searchable(now_ms)]
            found += sorted(visible, key=PublishedVideo.order, reverse=True)
            end = begin
            step *= 2
        return found

    def estimate(self, query: Query | None, window: Window) -> int:
        """About how many videos match, without looking at them."""
        first, end = self._range(window)
        counts = (
            sum(min(len(self._slice(word, first, end)) for word in term) for term in clause.either)
            for clause in (query.clauses if query else ())
            if not clause.excluded
        )
        return min((end - first, *counts))

    def _range(self, window: Window) -> tuple[int, int]:
        first = 0 if window.after_ms is None else bisect_left(self._seconds, -(-window.after_ms // 1000))
        end = len(self) if window.before_ms is None else bisect_right(self._seconds, window.before_ms // 1000)
        return first, end

    def _matching(self, query: Query | None, channel_id: str | None, begin: int, end: int) -> Collection[int]:
        found: Collection[int] = range(begin, end)
        if channel_id is not None:
            found = _between(self._by_channel.get(channel_id, _NOWHERE), begin, end)
        if query is None:
            return found
        if not query.clauses:
            return ()
        matching = set(found)
        for clause in query.clauses:
            positions = self._holding(clause, begin, end)
            matching = matching - positions if clause.excluded else matching & positions
        return matching

    def _holding(self, clause: Clause, begin: int, end: int) -> set[int]:
        return set(chain.from_iterable(self._having(term, begin, end) for term in clause.either))

    def _having(self, term: Term, begin: int, end: int) -> Iterator[int]:
        positions = set(self._slice(term[0], begin, end))
        for word in term[1:]:
            positions &= set(self._slice(word, begin, end))
        if len(term) == 1:
            return iter(positions)
        return (position for position in positions if has_phrase(self._videos[position].video, term))

    def _slice(self, word: str, begin: int, end: int) -> Sequence[int]:
        return _between(self._by_word.get(word, _NOWHERE), begin, end)


def _between(positions: Sequence[int], begin: int, end: int) -> Sequence[int]:
    return positions[bisect_left(positions, begin) : bisect_left(positions, end)]
