"""YouTube in virtual time: who publishes what, what a search lets be found of it, and how calls fail.

Everything follows from a seed and the virtual clock. The model answers what the producer's client would, with items
in the API's shape (without parts that nobody here reads: pictures, and an upload's position in its list). A video is
in its channel's list of uploads at once, and in searches once it is indexed.
"""

import math
import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from statistics import NormalDist
from typing import Any, Final

import msgspec

from contract.producer_state import SEARCH_BUCKET, UNITS_BUCKET
from contract.times import format_seconds, next_pacific_midnight_ms
from producer.error_policy import DelegationRefused, QuotaExhausted, YouTubeError, YouTubeUnavailable
from producer.search_pass import PAGE_ITEMS, RESULT_CAP, SearchRequest
from producer.windows import Window
from producer.youtube_client import Page, UploadsRequest

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000

QUOTAS: Final = {SEARCH_BUCKET: 100, UNITS_BUCKET: 10_000}
"""Calls and units a Pacific day; the server counts failed calls as well."""

_RICHEST: Final = 1_000.0
"""How many times the rate of the quietest channel the busiest one may have."""

_published: Final = attrgetter("published_ms")


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Who publishes, and how much of it.

    `videos_per_day` match a query, over all queries; the k-th query has a share in proportion to 1/k. A channel's
    rate is drawn from a Pareto distribution with exponent `tail`. Of a channel's uploads `off_topic` match no query,
    and of those that match, `second_query` match another one too. `one_off` of the matching videos are by channels
    that publish nothing else, ever. `untold` of them are found by searches although their texts do not hold the
    query's words (YouTube's search is wider than any rule). `rhythm`: by how much the hour of the day moves the rate.
    """

    queries: tuple[str, ...]
    videos_per_day: float
    channels: int
    tail: float = 1.2
    off_topic: float = 0.3
    second_query: float = 0.1
    one_off: float = 0.2
    untold: float = 0.03
    rhythm: float = 0.5
    history_days: int = 60


class IndexingDelay(msgspec.Struct, frozen=True):
    """From publication until searches find a video: log-normal, by its median and 99th percentile in seconds."""

    median: float = 600.0
    p99: float = 21_600.0

    def draw_ms(self, chance: random.Random) -> int:
        """One video's delay."""
        sigma = math.log(self.p99 / self.median) / NormalDist().inv_cdf(0.99)
        return round(1000 * self.median * math.exp(sigma * chance.gauss(0.0, 1.0)))


class ModelVideo(msgspec.Struct, frozen=True):
    """A published video; never in a search when `indexed_ms` is None. `text` is what it says of its queries."""

    video_id: str
    channel_id: str
    published_ms: int
    indexed_ms: int | None
    queries: tuple[str, ...]
    text: str


class Publications(msgspec.Struct, frozen=True):
    """Everything that is ever published, oldest first, and the true rates (matching videos a day) of the channels."""

    videos: list[ModelVideo]
    rates: dict[str, float]


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong. `omitted`: the chance that a call leaves a video out, each by itself.

    `repeated`: the chance that a later page shows a video of the page before again. `refused`: the chance of the
    transient 403 for a search, in the two hours from `refused_from_hour` (UTC) of each day. In `outage` every call
    fails; in `dates_ignored` searches take no notice of their window.
    """

    omitted: float = 0.1
    repeated: float = 0.5
    refused: float = 1 / 3
    refused_from_hour: int = 18
    outage: Window | None = None
    dates_ignored: Window | None = None


NO_FAULTS: Final = Faults(omitted=0.0, repeated=0.0, refused=0.0)


def publish(traffic: Traffic, window: Window, indexing: IndexingDelay | None, seed: int) -> Publications:
    """All that is published from `history_days` before the window to its end; nothing is indexed without `indexing`."""
    chance = random.Random(f"{seed}/publications")
    span = Window(window.after_ms - traffic.history_days * DAY_MS, window.before_ms)
    shares = [1 / rank for rank in range(1, len(traffic.queries) + 1)]
    videos: list[ModelVideo] = []

    def add(channel_id: str, published_ms: int, queries: tuple[str, ...]) -> None:
        number = len(videos)
        told = queries and chance.random() >= traffic.untold
        text = f"{' and '.join(queries)} in part {number}" if told else f"Nothing to say in part {number}"
        indexed_ms = None if indexing is None else published_ms + indexing.draw_ms(chance)
        videos.append(ModelVideo(f"v{number:010d}", channel_id, published_ms, indexed_ms, queries, text))

    def queries_of(topic: str) -> tuple[str, ...]:
        others = [query for query in traffic.queries if query != topic]
        return (topic, chance.choice(others)) if others and chance.random() < traffic.second_query else (topic,)

    rates = _draw_rates(traffic, chance)
    for channel_id, rate in rates.items():
        (topic,) = chance.choices(traffic.queries, shares)
        for moment in _moments(rate / (1 - traffic.off_topic), span, traffic.rhythm, chance):
            add(channel_id, moment, () if chance.random() < traffic.off_topic else queries_of(topic))
    for moment in _moments(traffic.videos_per_day * traffic.one_off, span, traffic.rhythm, chance):
        (topic,) = chance.choices(traffic.queries, shares)
        add(f"UConce{len(videos):018d}", moment, queries_of(topic))
    return Publications(sorted(videos, key=_published), rates)


def _draw_rates(traffic: Traffic, chance: random.Random) -> dict[str, float]:
    """Heavy-tailed rates that add up to what the regular channels publish."""
    cut = 1 - _RICHEST**-traffic.tail
    weights = [(1 - chance.random() * cut) ** (-1 / traffic.tail) for _ in range(traffic.channels)]
    scale = traffic.videos_per_day * (1 - traffic.one_off) / sum(weights)
    return {f"UC{number:022d}": weight * scale for number, weight in enumerate(weights)}


def _moments(rate_per_day: float, span: Window, rhythm: float, chance: random.Random) -> Iterator[int]:
    """A Poisson process in whole seconds, thinned to the hour of the day."""
    if rate_per_day <= 0:
        return
    now = float(span.after_ms)
    while (now := now + chance.expovariate(rate_per_day * (1 + rhythm)) * DAY_MS) < span.before_ms:
        wave = 1 + rhythm * math.sin(2 * math.pi * now / DAY_MS)
        if chance.random() * (1 + rhythm) < wave:
            yield int(now) // 1000 * 1000


class YouTubeModel:
    """The API at the moment that `now_ms` tells; `calls` and `failed` are counted by bucket.

    `overspent` are the calls that came after a day's quota was used up.
    """

    def __init__(
        self,
        publications: Publications,
        faults: Faults,
        *,
        seed: int,
        now_ms: Callable[[], int],
        quotas: Mapping[str, int] = QUOTAS,
    ) -> None:
        self.calls: Final[Counter[str]] = Counter()
        self.failed: Final[Counter[str]] = Counter()
        self.overspent: Final[Counter[str]] = Counter()
        self.looks = 0
        self._faults: Final = faults
        self._chance: Final = random.Random(f"{seed}/answers")
        self._now_ms: Final = now_ms
        self._quotas: Final = quotas
        self._day_ends_ms = 0
        self._used_today: Counter[str] = Counter()
        self._by_id: Final = {video.video_id: video for video in publications.videos}
        self._by_query: Final = _grouped(publications.videos, lambda video: video.queries)
        self._by_channel: Final = _grouped(publications.videos, lambda video: (video.channel_id,))
        self._search_items: Final[dict[str, Any]] = {}
        self._upload_items: Final[dict[str, Any]] = {}
        self._video_items: Final[dict[str, Any]] = {}

    async def search(self, request: SearchRequest) -> Page:
        """One call of `search.list`; raises `YouTubeError`."""
        now_ms = self._admit(SEARCH_BUCKET)
        start = int(request.page_token or 0)
        window = None if _is_within(now_ms, self._faults.dates_ignored) else request.window
        listed = list(islice(self._found(request.query, window, now_ms), min(start + PAGE_ITEMS + 1, RESULT_CAP)))
        shown = [video for video in listed[start : start + PAGE_ITEMS] if not self._happens(self._faults.omitted)]
        if 0 < start <= len(listed) and len(shown) < PAGE_ITEMS and self._happens(self._faults.repeated):
            shown.insert(0, listed[start - 1])
        more = len(listed) > start + PAGE_ITEMS
        items = [_cached(self._search_items, video, _search_item) for video in shown]
        return Page(items, str(start + PAGE_ITEMS) if more else None)

    async def uploads(self, request: UploadsRequest) -> Page:
        """One call of `playlistItems.list`; raises `YouTubeError`."""
        now_ms = self._admit(UNITS_BUCKET)
        self.looks += 1
        videos, times = self._by_channel.get(request.channel_id, ([], []))
        end = bisect_right(times, now_ms) - int(request.page_token or 0)
        begin = max(0, end - PAGE_ITEMS)
        items = [_cached(self._upload_items, video, _upload_item) for video in reversed(videos[begin:end])]
        return Page(items, str(int(request.page_token or 0) + PAGE_ITEMS) if begin else None)

    async def videos(self, ids: Sequence[str]) -> Page:
        """One call of `videos.list`; raises `YouTubeError`."""
        self._admit(UNITS_BUCKET)
        return Page([_cached(self._video_items, self._by_id[each], _video_item) for each in ids], None)

    def _admit(self, bucket: str) -> int:
        """Count the call, and fail it if it must; the time of the call."""
        now_ms = self._now_ms()
        if now_ms >= self._day_ends_ms:
            self._day_ends_ms = next_pacific_midnight_ms(now_ms)
            self._used_today.clear()
        self.calls[bucket] += 1
        self._used_today[bucket] += 1
        error: YouTubeError | None = None
        if self._used_today[bucket] > self._quotas[bucket]:
            self.overspent[bucket] += 1
            error = QuotaExhausted(bucket, "HTTP 429: the day's quota is used up")
        elif _is_within(now_ms, self._faults.outage):
            error = YouTubeUnavailable("HTTP 503: Backend Error")
        elif bucket == SEARCH_BUCKET and self._is_refusing(now_ms) and self._happens(self._faults.refused):
            error = DelegationRefused("HTTP 403: The authenticated user cannot act on behalf of …")
        if error is not None:
            self.failed[bucket] += 1
            raise error
        return now_ms

    def _is_refusing(self, now_ms: int) -> bool:
        return (now_ms // HOUR_MS - self._faults.refused_from_hour) % 24 < 2

    def _happens(self, probability: float) -> bool:
        return self._chance.random() < probability

    def _found(self, query: str, window: Window | None, now_ms: int) -> Iterator[ModelVideo]:
        """What a search has to list, newest first."""
        videos, times = self._by_query.get(query, ([], []))
        first = bisect_left(times, window.after_ms) if window else 0
        last = bisect_right(times, min(window.before_ms, now_ms) if window else now_ms)
        for position in range(last - 1, first - 1, -1):
            video = videos[position]
            if video.indexed_ms is not None and video.indexed_ms <= now_ms:
                yield video


def _is_within(now_ms: int, window: Window | None) -> bool:
    return window is not None and window.after_ms <= now_ms <= window.before_ms


def _grouped(
    videos: Sequence[ModelVideo], keys: Callable[[ModelVideo], tuple[str, ...]]
) -> dict[str, tuple[list[ModelVideo], list[int]]]:
    """Videos and their publish times by key, oldest first."""
    groups: dict[str, tuple[list[ModelVideo], list[int]]] = {}
    for video in videos:
        for key in keys(video):
            members, times = groups.setdefault(key, ([], []))
            members.append(video)
            times.append(video.published_ms)
    return groups


def _cached(cache: dict[str, Any], video: ModelVideo, build: Callable[[ModelVideo], Any]) -> Any:
    """An item is made once; who takes it must not change it."""
    item = cache.get(video.video_id)
    if item is None:
        item = cache[video.video_id] = build(video)
    return item


def _search_item(video: ModelVideo) -> Any:
    at = format_seconds(video.published_ms)
    return {
        "kind": "youtube#searchResult",
        "etag": f"s-{video.video_id}",
        "id": {"kind": "youtube#video", "videoId": video.video_id},
        "snippet": {
            "publishedAt": at,
            "channelId": video.channel_id,
            "title": video.text,
            "description": "",
            "thumbnails": {},
            "channelTitle": video.channel_id,
            "liveBroadcastContent": "none",
            "publishTime": at,
        },
    }


def _upload_item(video: ModelVideo) -> Any:
    at = format_seconds(video.published_ms)
    return {
        "kind": "youtube#playlistItem",
        "etag": f"u-{video.video_id}",
        "id": f"u-{video.video_id}",
        "snippet": {
            "publishedAt": at,
            "channelId": video.channel_id,
            "title": video.text,
            "description": "",
            "thumbnails": {},
            "channelTitle": video.channel_id,
            "playlistId": f"UU{video.channel_id[2:]}",
            "resourceId": {"kind": "youtube#video", "videoId": video.video_id},
            "videoOwnerChannelTitle": video.channel_id,
            "videoOwnerChannelId": video.channel_id,
        },
        "contentDetails": {"videoId": video.video_id, "videoPublishedAt": at},
        "status": {"privacyStatus": "public"},
    }


def _video_item(video: ModelVideo) -> Any:
    return {
        "kind": "youtube#video",
        "etag": f"v-{video.video_id}",
        "id": video.video_id,
        "snippet": {
            "publishedAt": format_seconds(video.published_ms),
            "channelId": video.channel_id,
            "title": video.text,
            "description": "",
            "thumbnails": {},
            "channelTitle": video.channel_id,
            "categoryId": "28",
            "liveBroadcastContent": "none",
        },
        "contentDetails": {"duration": "PT3M33S", "dimension": "2d", "definition": "hd", "caption": "false"},
        "status": {"uploadStatus": "processed", "privacyStatus": "public"},
    }
