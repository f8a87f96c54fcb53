"""The four list methods: from a checked call and the published videos to the body of the answer.

Faults that change what a page holds are here, beside what they change; those that replace or break an answer are in
`app.py`.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from contract.query_match import wanted_words
from simulator import errors, responses
from simulator.chance import fraction
from simulator.faults import Endpoint, Faults
from simulator.page_tokens import next_page_token, previous_page_token
from simulator.parameters import (
    PageRequest,
    Parameters,
    SearchRequest,
    parse_by_id,
    parse_playlist_items,
    parse_search,
)
from simulator.responses import Json
from simulator.video_index import PublishedVideo, VideoIndex, Window

MOST_RESULTS: Final = 500
"""Where every search ends, however much there is."""

MOST_PLAYLIST_ITEMS: Final = 20_000
_MOST_TOTAL: Final = 1_000_000
_MIXED_IN: Final = 0.1
_SHIFT: Final = 5

_DURATIONS: Final[dict[str, Callable[[float], bool]]] = {
    "short": lambda seconds: seconds < 240,
    "medium": lambda seconds: 240 <= seconds <= 1200,
    "long": lambda seconds: seconds > 1200,
}


class Endpoints:
    """The methods over one index; `seed` decides what only looks random."""

    def __init__(self, index: VideoIndex, faults: Faults, seed: int) -> None:
        self._index = index
        self._faults = faults
        self._seed = seed

    def answer(self, endpoint: Endpoint, parameters: Parameters, now_ms: int) -> Json:
        """The body of a call's answer.

        Raises:
            ApiError: the call is wrong, or a fault says so.
        """
        if parameters.get("pageToken") and self._faults.strikes("invalid_page_token", endpoint):
            raise errors.invalid_page_token()
        methods = {
            "search": self._search,
            "videos": self._videos,
            "playlistItems": self._playlist_items,
            "channels": self._channels,
        }
        return methods[endpoint](parameters, now_ms)

    def _search(self, parameters: Parameters, now_ms: int) -> Json:
        request = parse_search(parameters)
        results, total = self._results(request, now_ms)
        if "video" not in request.types:
            results, total = [], 0  # channels and playlists alone are not imitated
        start = request.page.start
        if start and self._strikes("duplicates_across_pages"):
            start = max(0, start - _SHIFT)
        items, end = self._search_page(request, results, start)
        more = end < len(results) and request.page.size > 0
        return {
            "kind": "youtube#searchListResponse",
            "etag": responses.fresh_etag(),
            **self._page_links(request.page, end if more else None),
            "regionCode": request.region,
            "pageInfo": {"totalResults": total, "resultsPerPage": request.page.size if results else 0},
            "items": items,
        }

    def _results(self, request: SearchRequest, now_ms: int) -> tuple[list[PublishedVideo], int]:
        """At most 500 videos in the order asked for, and about how many there are."""
        window = self._window(request.window)
        by_date = request.order == "date"
        narrowed = bool(request.event_type) or request.duration != "any"
        found = self._index.search(
            request.query,
            window,
            now_ms,
            channel_id=request.channel_id,
            limit=MOST_RESULTS if by_date and not narrowed else None,
        )
        if narrowed:
            found = [published for published in found if _passes(published, request)]
        if not by_date:
            found.sort(key=self._sort_key(request), reverse=request.order != "title")
        total = len(found)
        if total >= MOST_RESULTS:
            total = max(total, self._index.estimate(request.query, window))
        return found[:MOST_RESULTS], self._noisy(total, request)

    def _window(self, asked: Window) -> Window:
        """The window that the answer keeps to."""
        if asked != Window() and self._strikes("filters_ignored"):
            return Window()
        if asked.after_ms is not None and self._strikes("published_after_ignored"):
            return Window(None, asked.before_ms)
        return asked

    def _sort_key(self, request: SearchRequest) -> Callable[[PublishedVideo], Any]:
        if request.order == "title":
            return lambda published: published.video.title.casefold()
        name = request.q if request.order == "relevance" else "views"
        return lambda published: fraction(name, published.video.video_id)

    def _noisy(self, total: int, request: SearchRequest) -> int:
        """`totalResults` is an approximation, which may say more or less than there is."""
        noise = 0.9 + 0.2 * fraction(self._seed, "total", request.q, request.window)
        return min(_MOST_TOTAL, max(1, round(total * noise))) if total else 0

    def _search_page(self, request: SearchRequest, results: list[PublishedVideo], start: int) -> tuple[list[Json], int]:
        """The items of a page, and where the next one begins."""
        with_snippet = "snippet" in request.parts
        words = tuple(wanted_words(request.query))
        items: list[Json] = []
        position = start
        while len(items) < request.page.size and position < len(results):
            published = results[position]
            if len(items) + 1 < request.page.size and (foreign := self._foreign(request, published)) is not None:
                items.append(foreign)
            position += 1
            if not self._strikes("omission"):
                items.append(self._damaged(responses.search_item(published, words, with_snippet=with_snippet)))
        if self._strikes("disorder"):
            items = [item for pair in _pairs(items) for item in reversed(pair)]
        return items, position

    def _foreign(self, request: SearchRequest, published: PublishedVideo) -> Json | None:
        chance = fraction(self._seed, "mixed in", published.video.video_id)
        mixed_in = request.types != {"video"} and chance < _MIXED_IN
        if not mixed_in and not self._strikes("foreign_kinds"):
            return None
        playlist = chance * 1000 % 1 < 0.5
        return responses.foreign_item(published, playlist=playlist, with_snippet="snippet" in request.parts)

    def _damaged(self, item: Json) -> Json:
        if self._strikes("missing_video_id"):
            del item["id"]["videoId"]
        if self._strikes("missing_thumbnails"):
            item.get("snippet", {}).pop("thumbnails", None)
        if self._strikes("missing_snippet"):
            item.pop("snippet", None)
        return item

    def _page_links(self, page: PageRequest, next_start: int | None) -> Json:
        links = {}
        if self._strikes("stuck_page_token"):
            links["nextPageToken"] = page.token or next_page_token(page.start)
        elif next_start is not None:
            blank = self._strikes("blank_next_page_token")
            links["nextPageToken"] = "" if blank else next_page_token(next_start)
        if page.start:
            links["prevPageToken"] = previous_page_token(page.start)
        return links

    def _strikes(self, name: str) -> bool:
        return self._faults.strikes(name, "search")

    def _playlist_items(self, parameters: Parameters, _now_ms: int) -> Json:
        request = parse_playlist_items(parameters)
        playlist = request.playlist_id
        uploads = self._index.uploads(f"UC{playlist[2:]}") if playlist.startswith("UU") else None
        if uploads is None:
            raise errors.playlist_not_found()
        uploads = uploads[:MOST_PLAYLIST_ITEMS]
        start, end = request.page.start, request.page.start + request.page.size
        links = {}
        if end < len(uploads) and request.page.size:
            links["nextPageToken"] = next_page_token(end)
        if start:
            links["prevPageToken"] = previous_page_token(start)
        items = [
            responses.playlist_item(published, position, request.parts, private=self._is_private(published))
            for position, published in enumerate(uploads[start:end], start)
        ]
        page_info = {"totalResults": len(uploads), "resultsPerPage": request.page.size}
        return _listed("youtube#playlistItemListResponse", {**links, "items": items, "pageInfo": page_info})

    def _is_private(self, published: PublishedVideo) -> bool:
        return published.hidden or self._faults.strikes("private_uploads", "playlistItems")

    def _videos(self, parameters: Parameters, now_ms: int) -> Json:
        request = parse_by_id(parameters, {"id", "snippet", "contentDetails", "status", "statistics"})
        items = [
            responses.video_item(published, request.parts, now_ms)
            for video_id in request.ids
            if (published := self._index.get(video_id)) is not None
            and not published.hidden
            and not self._faults.strikes("missing_videos", "videos")
        ]
        page_info = {"totalResults": len(items), "resultsPerPage": len(items)}
        return _listed("youtube#videoListResponse", {"items": items, "pageInfo": page_info})

    def _channels(self, parameters: Parameters, _now_ms: int) -> Json:
        request = parse_by_id(parameters, {"id", "snippet", "contentDetails", "statistics"})
        items = [
            responses.channel_item(uploads[0], sum(not video.hidden for video in uploads), request.parts)
            for channel_id in request.ids
            if (uploads := self._index.uploads(channel_id))
        ]
        page_info = {"totalResults": len(items), "resultsPerPage": len(items) or 5}
        # Unlike its siblings, this method leaves `items` out when there are none.
        content: Json = {"pageInfo": page_info, **({"items": items} if items else {})}
        return _listed("youtube#channelListResponse", content)


def _passes(published: PublishedVideo, request: SearchRequest) -> bool:
    video = published.video
    if request.event_type and video.live != request.event_type:
        return False  # none is `completed`: an ended broadcast is a plain video here
    in_range = _DURATIONS.get(request.duration)
    return in_range is None or (video.duration_seconds is not None and in_range(video.duration_seconds))


def _listed(kind: str, content: Json) -> Json:
    return {"kind": kind, "etag": responses.content_etag(content), **content}


def _pairs(items: list[Json]) -> Iterator[list[Json]]:
    return (items[place : place + 2] for place in range(0, len(items), 2))
