"""Stand-ins for the producer's edges, with the behaviour that its rules rely on, and a journal of what was done."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from contract.times import format_seconds
from contract.topics import RAW, RAW_MAX_BYTES
from producer.error_policy import NotFound, YouTubeError
from producer.kafka_record import KafkaRecord
from producer.search_pass import PAGE_ITEMS, RESULT_CAP, SearchRequest
from producer.state import Entry
from producer.youtube_client import Page, UploadsRequest

Journal = list[tuple[str, str]]
"""What was done, in order: `("state", key)`, `("call", what)`, `("published", video id)`, `("removed", video id)`."""

CHANNEL = "UCchannel_channel_chan00"


def video_id(number: int) -> str:
    """The id of video `number`, of the right form."""
    return f"vid{number:08d}"


def search_item(number: int, published_ms: int = 0, channel_id: str = CHANNEL) -> dict[str, Any]:
    """Video `number` as a search shows it."""
    return {
        "kind": "youtube#searchResult",
        "etag": f"search-{number}",
        "id": {"kind": "youtube#video", "videoId": video_id(number)},
        "snippet": {
            "publishedAt": format_seconds(published_ms),
            "channelId": channel_id,
            "title": f"Video {number} &amp; more",
            "liveBroadcastContent": "none",
        },
    }


def upload_item(number: int, published_ms: int, title: str, channel_id: str = CHANNEL) -> dict[str, Any]:
    """Video `number` as its channel's uploads playlist shows it."""
    return {
        "kind": "youtube#playlistItem",
        "etag": f"upload-{number}-{title}",
        "snippet": {"title": title, "description": "", "videoOwnerChannelId": channel_id},
        "contentDetails": {"videoId": video_id(number), "videoPublishedAt": format_seconds(published_ms)},
    }


def private_item(number: int) -> dict[str, Any]:
    """Video `number` in its channel's uploads playlist when it is not public."""
    return {
        "kind": "youtube#playlistItem",
        "etag": f"private-{number}",
        "snippet": {"title": "Private video", "description": "This video is private."},
        "contentDetails": {"videoId": video_id(number)},
    }


def video_item(number: int, published_ms: int, title: str = "tea", live: str = "none") -> dict[str, Any]:
    """Video `number` as `videos.list` shows it."""
    return {
        "kind": "youtube#video",
        "id": video_id(number),
        "etag": f"video-{number}",
        "snippet": {
            "publishedAt": format_seconds(published_ms),
            "channelId": CHANNEL,
            "title": title,
            "liveBroadcastContent": live,
        },
        "contentDetails": {"duration": "PT1M"},
    }


class MemoryStateLog:
    """A compacted log in memory."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.values: dict[bytes, bytes] = {}
        self.journal: Journal = [] if journal is None else journal

    async def append(self, entries: Sequence[Entry]) -> None:
        """As in `StateLog`; written down in the journal."""
        for key, value in entries:
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value
            self.journal.append(("state", key.decode()))


class OwnLease:
    """A lease that is ours until it is taken away; `asked` counts how often it was asked for."""

    def __init__(self) -> None:
        self.lost: Exception | None = None
        self.asked = 0

    async def hold(self) -> None:
        """As in `Lease`."""
        self.asked += 1
        if self.lost is not None:
            raise self.lost


class MemoryWriter:
    """Kafka, always there, with the raw topic's size limit."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.records: list[KafkaRecord] = []
        self.journal: Journal = [] if journal is None else journal

    async def write(self, records: Sequence[KafkaRecord]) -> list[KafkaRecord]:
        """As in `RecordWriter`: those that are too large come back."""
        taken = [record for record in records if len(record.value or b"") < RAW_MAX_BYTES - 1024]
        self.records += taken
        self.journal += [("removed" if it.value is None else "published", it.key.decode()) for it in taken]
        return [record for record in records if record not in taken]

    @property
    def raw_ids(self) -> set[str]:
        """Videos that have a raw record with an item."""
        return {it.key.decode() for it in self.records if it.topic == RAW and it.value is not None}

    @property
    def removed_ids(self) -> list[str]:
        """Videos whose removal was sent, as often as it was."""
        return [it.key.decode() for it in self.records if it.topic == RAW and it.value is None]


class FakeYouTube:
    """Lists videos newest first, inclusive bounds, 50 a page, 500 a search; `failures` come before answers.

    A failure of None lets its call through. All videos are of one channel, unless its uploads were set apart, and
    match every query; `videos.list` knows them all but those in `gone`.
    """

    def __init__(self, published_ms: Sequence[int] = (), journal: Journal | None = None) -> None:
        self.journal: Journal = [] if journal is None else journal
        self.requests: list[SearchRequest] = []
        self.looks: list[UploadsRequest] = []
        self.asked: list[tuple[str, ...]] = []
        self.failures: list[YouTubeError | None] = []
        self.unit_failures: list[YouTubeError | None] = []
        self.extra_items: list[Any] = []
        self.uploads_of: dict[str, list[Any]] = {}
        self.details: dict[str, Any] = {}
        self.gone: set[str] = set()
        self.ignores_dates = False
        self.stuck_token: str | None = None
        self._videos: list[tuple[int, int]] = []
        for moment in published_ms:
            self.publish(moment)

    def publish(self, published_ms: int) -> str:
        """One more video; returns its id."""
        number = len(self._videos)
        self._videos.append((published_ms, number))
        self._videos.sort()
        self.details[video_id(number)] = video_item(number, published_ms)
        return video_id(number)

    @property
    def ids(self) -> set[str]:
        """Every video there is."""
        return {video_id(number) for _, number in self._videos}

    async def search(self, request: SearchRequest) -> Page:
        """As in `SearchClient`, or the next failure."""
        self.requests.append(request)
        self.journal.append(("call", request.query))
        self._fail(self.failures)
        return self._page(request)

    async def uploads(self, request: UploadsRequest) -> Page:
        """As in `UploadsClient`, or the next failure."""
        self.looks.append(request)
        self.journal.append(("call", request.channel_id))
        self._fail(self.unit_failures)
        items = self.uploads_of.get(request.channel_id)
        if items is None:
            raise NotFound("HTTP 404: playlistNotFound")
        start = int(request.page_token or 0)
        more = start + PAGE_ITEMS < len(items)
        return Page(items[start : start + PAGE_ITEMS], str(start + PAGE_ITEMS) if more else None)

    async def videos(self, ids: Sequence[str]) -> Page:
        """As in `VideosClient`, or the next failure."""
        self.asked.append(tuple(ids))
        self.journal.append(("call", "videos"))
        self._fail(self.unit_failures)
        return Page([self.details[each] for each in ids if each in self.details and each not in self.gone], None)

    def _fail(self, failures: list[YouTubeError | None]) -> None:
        failure = failures.pop(0) if failures else None
        if failure is not None:
            raise failure

    def _page(self, request: SearchRequest) -> Page:
        first = bisect_left(self._videos, (request.window.after_ms, -1))
        last = bisect_right(self._videos, (request.window.before_ms, 1 << 60))
        listed = self._videos if self.ignores_dates else self._videos[first:last]
        found = [video for video in listed[::-1] if video_id(video[1]) not in self.gone][:RESULT_CAP]
        start = 0 if request.page_token in {None, self.stuck_token} else int(request.page_token or 0)
        items = [search_item(number, moment) for moment, number in found[start : start + PAGE_ITEMS]]
        token = str(start + PAGE_ITEMS) if start + PAGE_ITEMS < len(found) else None
        return Page([*items, *self.extra_items], self.stuck_token or token)
