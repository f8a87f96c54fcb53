"""Which items of a search's answer are published, and what their records look like."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from contract import events, topics
from contract.events import RawEnvelope, raw_headers
from contract.video import VIDEO_ID
from producer.kafka_record import KafkaRecord

_VIDEO_KIND: Final = "youtube#video"


class SortedItems(msgspec.Struct, frozen=True):
    """Items of one answer: those to publish with their video ids, and the others counted by reason."""

    videos: list[tuple[str, Any]]
    ignored: Counter[str]


def sort_items(items: Iterable[Any]) -> SortedItems:
    """Tell videos from what cannot be keyed: channels, playlists, items without a usable video id."""
    videos: list[tuple[str, Any]] = []
    ignored: Counter[str] = Counter()
    for item in items:
        reason = _fault(item)
        if reason is None:
            videos.append((item["id"]["videoId"], item))
        else:
            ignored[reason] += 1
    return SortedItems(videos, ignored)


def to_record(video_id: str, item: Any, *, query: str, fetched_at_ms: int, event_id: str) -> KafkaRecord:
    """The raw record of one search item: the item itself, nothing added or dropped."""
    envelope = RawEnvelope(
        type=events.ITEM_FETCHED,
        source=events.SEARCH,
        id=event_id,
        time_ms=fetched_at_ms,
        subject=video_id,
        queries=(query,),
        first_seen_ms=fetched_at_ms,
    )
    return KafkaRecord(topics.RAW, video_id.encode(), _to_json(item), tuple(raw_headers(envelope)))


def _fault(item: Any) -> str | None:
    identity = item.get("id") if isinstance(item, dict) else None
    if not isinstance(identity, dict):
        return "no_id"
    if identity.get("kind") != _VIDEO_KIND:
        return "other_kind"
    video_id = identity.get("videoId")
    if not isinstance(video_id, str) or not video_id:
        return "no_video_id"
    return None if VIDEO_ID.fullmatch(video_id) else "bad_video_id"


def _to_json(item: Any) -> bytes:
    try:
        return msgspec.json.encode(item)
    except UnicodeEncodeError:
        # A lone surrogate is no text in UTF-8, but JSON can spell it; the processors dead-letter such an item.
        return json.dumps(item, separators=(",", ":")).encode()
