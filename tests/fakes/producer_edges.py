"""Stand-ins for the producer's edges, with the behaviour that its rules rely on, and a journal of what was done."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from contract.times import format_seconds
from contract.topics import RAW, RAW_MAX_BYTES
from producer.error_policy import YouTubeError
from producer.kafka_record import KafkaRecord
from producer.search_pass import PAGE_ITEMS, RESULT_CAP, SearchRequest
from producer.youtube_client import SearchPage

Journal = list[tuple[str, str]]
"""What was done, in order: `("state", key)`, `("call", query)`, `("published", video id)`."""


def video_id(number: int) -> str:
    """The id of video `number`, of the right form."""
    return f"vid{number:08d}"


def search_item(number: int, published_ms: int = 0) -> dict[str, Any]:
    """Video `number` as a search shows it."""
    return {
        "kind": "youtube#searchResult",
        "id": {"kind": "youtube#video", "videoId": video_id(number)},
        "snippet": {"publishedAt": format_seconds(published_ms), "title": f"Video {number} &amp; more"},
    }


class MemoryStateLog:
    """A compacted log in memory."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.values: dict[bytes, bytes] = {}
        self.journal: Journal = [] if journal is None else journal

    async def read(self) -> dict[bytes, bytes]:
        """As in `StateLog`."""
        return dict(self.values)

    async def append(self, key: bytes, value: bytes) -> None:
        """As in `StateLog`; written down in the journal."""
        self.values[key] = value
        self.journal.append(("state", key.decode()))


class MemoryWriter:
    """Kafka, always there, with the raw topic's size limit."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.records: list[KafkaRecord] = []
        self.journal: Journal = [] if journal is None else journal

    async def write(self, records: Sequence[KafkaRecord]) -> list[KafkaRecord]:
        """As in `RecordWriter`: those that are too large come back."""
        taken = [record for record in records if len(record.value) < RAW_MAX_BYTES - 1024]
        self.records += taken
        self.journal += [("published", record.key.decode()) for record in taken]
        return [record for record in records if record not in taken]

    @property
    def raw_ids(self) -> set[str]:
        """Videos that have a raw record."""
        return {record.key.decode() for record in self.records if record.topic == RAW}


class FakeYouTube:
    """Lists videos newest first, inclusive bounds, 50 a page, 500 a search; `failures` come before answers.

    A failure of None lets its call through.
    """

    def __init__(self, published_ms: Sequence[int] = (), journal: Journal | None = None) -> None:
        self.journal: Journal = [] if journal is None else journal
        self.requests: list[SearchRequest] = []
        self.failures: list[YouTubeError | None] = []
        self.extra_items: list[Any] = []
        self.stuck_token: str | None = None
        self._videos: list[tuple[int, int]] = []
        for moment in published_ms:
            self.publish(moment)

    def publish(self, published_ms: int) -> str:
        """One more video; returns its id."""
        number = len(self._videos)
        self._videos.append((published_ms, number))
        self._videos.sort()
        return video_id(number)

    @property
    def ids(self) -> set[str]:
        """Every video there is."""
        return {video_id(number) for _, number in self._videos}

    async def search(self, request: SearchRequest) -> SearchPage:
        """As in `SearchClient`, or the next failure."""
        self.requests.append(request)
        self.journal.append(("call", request.query))
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        return self._page(request)

    def _page(self, request: SearchRequest) -> SearchPage:
        first = bisect_left(self._videos, (request.window.after_ms, -1))
        last = bisect_right(self._videos, (request.window.before_ms, 1 << 60))
        found = self._videos[first:last][::-1][:RESULT_CAP]
        start = 0 if request.page_token in {None, self.stuck_token} else int(request.page_token or 0)
        items = [search_item(number, moment) for moment, number in found[start : start + PAGE_ITEMS]]
        token = str(start + PAGE_ITEMS) if start + PAGE_ITEMS < len(found) else None
        return SearchPage([*items, *self.extra_items], self.stuck_token or token)
