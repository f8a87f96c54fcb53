"""What the items of an answer say that the producer goes by, and the raw records that are made of them.

The item itself is published verbatim; only what cannot be keyed (channels, playlists, no usable video id) is left
out, counted by reason. One reader for each of the three calls.
"""

import html
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import msgspec

from contract import events, topics
from contract.events import RawEnvelope, raw_headers
from contract.times import parse_rfc3339_ms
from contract.video import VIDEO_ID, Live
from producer.kafka_record import KafkaRecord

_VIDEO_KIND: Final = "youtube#video"
_CHANNEL_ID: Final = re.compile(r"UC[A-Za-z0-9_-]{22}")
_LIVE: Final = frozenset({"none", "upcoming", "live"})


class Sighting(msgspec.Struct, frozen=True):
    """A video in an answer: the item as it came, and what it says; None where it says nothing readable.

    `texts` are those that a query is matched with; `version` changes when the item does.
    """

    video_id: str
    item: Any
    published_ms: int | None
    channel_id: str | None
    live: Live | None
    texts: tuple[str, ...]
    version: str | int


class Sightings(msgspec.Struct, frozen=True):
    """The videos of an answer; `private` are ids of uploads that are not public (or deleted)."""

    videos: list[Sighting]
    ignored: Counter[str]
    private: list[str] = []


def read_search(items: Iterable[Any]) -> Sightings:
    """The videos of a search; channels, playlists and items without a usable video id are ignored."""
    return _read(items, _search_id, _of_search)


def read_uploads(items: Iterable[Any]) -> Sightings:
    """The videos of an uploads playlist."""
    found = _read(items, _upload_id, _of_upload)
    public = [video for video in found.videos if video.published_ms is not None]
    private = [video.video_id for video in found.videos if video.published_ms is None]
    return Sightings(public, found.ignored, private)


def read_videos(items: Iterable[Any]) -> Sightings:
    """The videos of an answer of `videos.list`."""
    return _read(items, _plain_id, _of_video)


def fetched_record(
    seen: Sighting, *, source: str, queries: Iterable[str], first_seen_ms: int, fetched_at_ms: int, event_id: str
) -> KafkaRecord:
    """The raw record of an item: the item itself, nothing added or dropped."""
    envelope = RawEnvelope(
        type=events.ITEM_FETCHED,
        source=source,
        id=event_id,
        time_ms=fetched_at_ms,
        subject=seen.video_id,
        queries=tuple(queries),
        first_seen_ms=first_seen_ms,
    )
    return _record(envelope, _to_json(seen.item))


def gone_record(
    video_id: str, *, source: str, queries: Iterable[str], first_seen_ms: int, at_ms: int, event_id: str
) -> KafkaRecord:
    """The raw record of a video that is to be removed: a null."""
    envelope = RawEnvelope(
        type=events.ITEM_GONE,
        source=source,
        id=event_id,
        time_ms=at_ms,
        subject=video_id,
        queries=tuple(queries),
        first_seen_ms=first_seen_ms,
    )
    return _record(envelope, None)


def _record(envelope: RawEnvelope, value: bytes | None) -> KafkaRecord:
    return KafkaRecord(topics.RAW, envelope.subject.encode(), value, tuple(raw_headers(envelope)))


def _read(
    items: Iterable[Any],
    id_of: Callable[[dict[str, Any]], tuple[str, str | None]],
    read: Callable[[str, dict[str, Any]], Sighting],
) -> Sightings:
    videos: list[Sighting] = []
    ignored: Counter[str] = Counter()
    for item in items:
        video_id, fault = id_of(item) if isinstance(item, dict) else ("", "no_id")
        if fault is None:
            videos.append(read(video_id, item))
        else:
            ignored[fault] += 1
    return Sightings(videos, ignored)


def _checked(video_id: object) -> tuple[str, str | None]:
    if not isinstance(video_id, str) or not video_id:
        return "", "no_video_id"
    return (video_id, None) if VIDEO_ID.fullmatch(video_id) else ("", "bad_video_id")


def _search_id(item: dict[str, Any]) -> tuple[str, str | None]:
    identity = item.get("id")
    if not isinstance(identity, dict):
        return "", "no_id"
    if identity.get("kind") != _VIDEO_KIND:
        return "", "other_kind"
    return _checked(identity.get("videoId"))


def _upload_id(item: dict[str, Any]) -> tuple[str, str | None]:
    return _checked(_part(item, "contentDetails").get("videoId"))


def _plain_id(item: dict[str, Any]) -> tuple[str, str | None]:
    return _checked(item.get("id"))


def _of_search(video_id: str, item: dict[str, Any]) -> Sighting:
    snippet = _part(item, "snippet")
    texts = (html.unescape(_text(snippet, "title")), html.unescape(_text(snippet, "channelTitle")))
    return _sighting(video_id, item, snippet.get("publishedAt"), snippet.get("channelId"), texts)


def _of_upload(video_id: str, item: dict[str, Any]) -> Sighting:
    snippet = _part(item, "snippet")
    texts = (_text(snippet, "title"), _text(snippet, "videoOwnerChannelTitle"))
    published = _part(item, "contentDetails").get("videoPublishedAt")
    return _sighting(video_id, item, published, snippet.get("videoOwnerChannelId"), texts)


def _of_video(video_id: str, item: dict[str, Any]) -> Sighting:
    snippet = _part(item, "snippet")
    tags = snippet.get("tags")
    words = tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    texts = (_text(snippet, "title"), _text(snippet, "channelTitle"), *words)
    return _sighting(video_id, item, snippet.get("publishedAt"), snippet.get("channelId"), texts)


def _sighting(
    video_id: str, item: dict[str, Any], published: object, channel_id: object, texts: tuple[str, ...]
) -> Sighting:
    snippet = _part(item, "snippet")
    live = snippet.get("liveBroadcastContent")
    etag = item.get("etag")
    return Sighting(
        video_id=video_id,
        item=item,
        published_ms=_moment(published),
        channel_id=_channel_id(channel_id),
        live=cast("Live", live) if isinstance(live, str) and live in _LIVE else None,
        texts=(*texts, _text(snippet, "description")),
        version=etag if isinstance(etag, str) else hash(_to_json(item)),
    )


def _part(item: dict[str, Any], name: str) -> dict[str, Any]:
    part = item.get(name)
    return part if isinstance(part, dict) else {}


def _text(snippet: dict[str, Any], name: str) -> str:
    text = snippet.get(name)
    return text if isinstance(text, str) else ""


def _moment(text: object) -> int | None:
    if not isinstance(text, str):
        return None
    try:
        return parse_rfc3339_ms(text)
    except ValueError:
        return None


def _channel_id(channel_id: object) -> str | None:
    """`UC` and 22 characters: only such a channel has an uploads playlist that is found by its id."""
    return channel_id if isinstance(channel_id, str) and _CHANNEL_ID.fullmatch(channel_id) else None


def _to_json(item: Any) -> bytes:
    try:
        return msgspec.json.encode(item)
    except UnicodeEncodeError:
        # A lone surrogate is no text in UTF-8, but JSON can spell it; the processors dead-letter such an item.
        return json.dumps(item, separators=(",", ":")).encode()
