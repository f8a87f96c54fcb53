"""Raw items for tests: what the three calls of the API return for one video, and the records that carry them."""

from collections.abc import Callable
from typing import Any

import orjson
from aiokafka.partitioner import murmur2

from contract import events
from contract.events import RawEnvelope, raw_headers
from contract.times import format_seconds
from contract.topics import RAW
from processors.decode import Record

PARTITIONS = 4
NOW_MS = 1_780_000_000_000
"""2026-05-28, when nothing in particular happened."""


def partition_of(key: bytes) -> int:
    return int((murmur2(key) & 0x7FFFFFFF) % PARTITIONS)


def video_id(number: int) -> str:
    """A well-formed video id, another for each number."""
    return f"vid{number:08d}"


def search_item(number: int, *, title: str = "A talk", description: str = "An excerpt ...", **snippet: Any) -> Any:
    """What `search.list` says of a video; `snippet` replaces fields of the snippet."""
    return {
        "kind": "youtube#searchResult",
        "etag": "changes-with-every-call",
        "id": {"kind": "youtube#video", "videoId": video_id(number)},
        "snippet": {
            "publishedAt": format_seconds(NOW_MS - number * 1000),
            "channelId": f"UC{number % 7:022d}",
            "title": title,
            "description": description,
            "thumbnails": {"default": {"url": f"https://i.ytimg.com/vi/{video_id(number)}/default.jpg", "width": 120}},
            "channelTitle": "Tea &amp; Talks",
            "liveBroadcastContent": "none",
            **snippet,
        },
    }


def video_item(number: int, *, title: str = "A talk", description: str = "All of it", **more: Any) -> Any:
    """What `videos.list` says of a video."""
    snippet = search_item(number, title=title, description=description)["snippet"]
    return {
        "kind": "youtube#video",
        "id": video_id(number),
        "snippet": {**snippet, "channelTitle": "Tea & Talks"},
        "contentDetails": {"duration": "PT1H2M3S"},
        **more,
    }


def playlist_item(number: int, *, title: str = "A talk", description: str = "Most of it") -> Any:
    """What `playlistItems.list` says of a video."""
    return {
        "kind": "youtube#playlistItem",
        "id": "opaque",
        "snippet": {
            "publishedAt": format_seconds(NOW_MS),
            "channelId": "UCsomebody-elses-list",
            "videoOwnerChannelId": f"UC{number % 7:022d}",
            "videoOwnerChannelTitle": "Tea & Talks",
            "title": title,
            "description": description,
            "thumbnails": {"high": {"url": "https://i.ytimg.com/high.jpg", "width": 480, "height": 360}},
        },
        "contentDetails": {
            "videoId": video_id(number),
            "videoPublishedAt": format_seconds(NOW_MS - number * 1000),
        },
    }


ITEM_MAKERS: dict[str, Callable[..., Any]] = {
    events.SEARCH: search_item,
    events.VIDEOS: video_item,
    events.PLAYLIST_ITEMS: playlist_item,
}


def headers(
    number: int,
    *,
    source: str = events.SEARCH,
    time_ms: int = NOW_MS,
    queries: tuple[str, ...] = ("tea",),
    first_seen_ms: int | None = None,
    gone: bool = False,
) -> list[tuple[str, bytes]]:
    return raw_headers(
        RawEnvelope(
            type=events.ITEM_GONE if gone else events.ITEM_FETCHED,
            source=source,
            id=f"test-{number}",
            time_ms=time_ms,
            subject=video_id(number),
            queries=queries,
            first_seen_ms=time_ms if first_seen_ms is None else first_seen_ms,
        )
    )


def record(
    number: int, offset: int, item: Any | None, *, time_ms: int = NOW_MS, partition: int | None = None, **said: Any
) -> Record:
    """The record of an item (None: gone) of video `number`, in its partition unless said otherwise."""
    key = video_id(number).encode()
    return Record(
        topic=RAW,
        partition=partition_of(key) if partition is None else partition,
        offset=offset,
        timestamp_ms=time_ms,
        key=key,
        value=None if item is None else orjson.dumps(item),
        headers=tuple(headers(number, time_ms=time_ms, gone=item is None, **said)),
    )
