"""The fold: what one raw item makes of a video's document. Pure, and the same code for a live run and a replay.

Records of one key are folded one at a time in offset order, so how they fall into batches never shows.
"""

from typing import Final

import msgspec
from msgspec.structs import replace

from contract import events, video
from contract.times import format_millis, format_seconds
from contract.topics import RAW_MAX_BYTES
from contract.video import Channel, Video
from processors.decode import Gone, Item, Refusal
from processors.document import Document, Marker, OwedEvent, Register, SourcePosition, VideoDocument

CONFIRM_AFTER_MS: Final = 86_400_000
"""A repeated item renews `confirmed_at` when that is older than a day."""

MAX_BODY_BYTES: Final = RAW_MAX_BYTES - (16 << 10)
"""A `Video` must fit into a message of `youtube.videos` with its headers, far below MongoDB's 16 MB."""


class Folded(msgspec.Struct, frozen=True):
    """Document after the record, whether that must be written, and the event to send (None: nothing to say).

    `event` is the document's own owed event after a change, or a removal said again for a video that is not there.
    """

    document: Document | None
    changed: bool
    event: OwedEvent | None = None


def fold(document: Document | None, said: Item | Gone, position: SourcePosition) -> Folded | Refusal:
    """What `said`, at `position` of the raw topic, makes of `document`; a refusal leaves it as it was."""
    if isinstance(said, Gone):
        return _fold_gone(document, said, position)
    if document is None or isinstance(document, Marker):
        # After a marker the video is new, whatever its time.
        return _written(_new_document(said, position))
    register = document.registers.get(said.source)
    repeats = register is not None and register.hash == said.hash
    stale = register is not None and said.time_ms < register.time_ms
    after = _with_sighting(document, said) if repeats or stale else _with_item(document, said)
    if after != document:
        event = OwedEvent(position.offset, events.VIDEO_UPDATED, document.sort_key)
        after = replace(after, source=position, event=event)
    if repeats and said.time_ms - document.confirmed_ms > CONFIRM_AFTER_MS:
        # The owed event stays the same and is sent again: nothing public changed.
        after = replace(after, confirmed_ms=said.time_ms, source=position)
    return Folded(document, changed=False) if after == document else _written(after)


def _fold_gone(document: Document | None, gone: Gone, position: SourcePosition) -> Folded:
    if isinstance(document, VideoDocument):
        event = OwedEvent(position.offset, events.VIDEO_REMOVED, document.sort_key)
        return Folded(
            Marker(id=gone.video_id, removed_ms=gone.time_ms, source=position, event=event), changed=True, event=event
        )
    had = document.event.previous_sort_key if document else None
    return Folded(document, changed=False, event=OwedEvent(position.offset, events.VIDEO_REMOVED, had))


def _written(document: VideoDocument) -> Folded | Refusal:
    body = video.encode(document.video)
    if len(body) > MAX_BODY_BYTES:
        return Refusal("too_large", f"the video would have {len(body)} bytes, more than {MAX_BODY_BYTES}")
    return Folded(replace(document, body=body), changed=True, event=document.event)


def _new_document(item: Item, position: SourcePosition) -> VideoDocument:
    return VideoDocument(
        video=Video(
            id=item.video_id,
            title=item.title,
            description=item.description or "",
            channel=Channel(item.channel_id or "", item.channel_title or ""),
            published_at=format_seconds(item.published_ms),
            live=item.live or "none",
            duration_seconds=msgspec.UNSET if item.duration_seconds is None else item.duration_seconds,
            thumbnails=item.thumbnails,
            queries=sorted(item.queries),
            first_seen_at=format_millis(item.first_seen_ms),
            url=video.watch_url(item.video_id),
        ),
        published_ms=item.published_ms,
        first_seen_ms=item.first_seen_ms,
        body=b"",
        registers={item.source: Register(item.hash, item.time_ms)},
        confirmed_ms=item.time_ms,
        source=position,
        event=OwedEvent(position.offset, events.VIDEO_DISCOVERED, None),
    )


def _with_sighting(document: VideoDocument, item: Item) -> VideoDocument:
    """The union of the queries and the earliest sighting: all that a repeated or stale item may bring."""
    queries = sorted({*document.video.queries, *item.queries})
    first_seen_ms = min(document.first_seen_ms, item.first_seen_ms)
    if queries == document.video.queries and first_seen_ms == document.first_seen_ms:
        return document
    public = replace(document.video, queries=queries, first_seen_at=format_millis(first_seen_ms))
    return replace(document, video=public, first_seen_ms=first_seen_ms)


def _with_item(document: VideoDocument, item: Item) -> VideoDocument:
    """The newest word of a source: it overwrites all fields but those that a higher source has given."""
    if any(item.time_ms < register.time_ms for register in document.registers.values()):
        public, published_ms = _with_gaps_filled(document, item), document.published_ms
    else:
        public, published_ms = _overwritten(document, item), item.published_ms
    return replace(
        _with_sighting(replace(document, video=public), item),
        published_ms=published_ms,
        registers={**document.registers, item.source: Register(item.hash, item.time_ms)},
        confirmed_ms=max(document.confirmed_ms, item.time_ms),
    )


def _overwritten(document: VideoDocument, item: Item) -> Video:
    before = document.video
    return replace(
        before,
        title=item.title,
        description=_description(document, item),
        channel=Channel(item.channel_id or before.channel.id, item.channel_title or before.channel.title),
        published_at=format_seconds(item.published_ms),
        live=item.live or before.live,
        duration_seconds=before.duration_seconds if item.duration_seconds is None else item.duration_seconds,
        thumbnails=dict(sorted({**before.thumbnails, **item.thumbnails}.items())),
    )


def _with_gaps_filled(document: VideoDocument, item: Item) -> Video:
    """A source's word that comes late, older than another's: what is known stays, but that an excerpt is a gap."""
    before = document.video
    excerpt = document.registers.keys() == {"search"}
    unknown = before.duration_seconds is msgspec.UNSET
    return replace(
        before,
        description=_description(document, item) if excerpt else before.description,
        channel=Channel(before.channel.id or item.channel_id or "", before.channel.title or item.channel_title or ""),
        duration_seconds=(item.duration_seconds or msgspec.UNSET) if unknown else before.duration_seconds,
        thumbnails=dict(sorted({**item.thumbnails, **before.thumbnails}.items())),
    )


def _description(document: VideoDocument, item: Item) -> str:
    """By precedence videos > playlistItems > search, whose excerpt is taken by a new document alone."""
    higher = item.source == "videos" or (item.source == "playlistItems" and "videos" not in document.registers)
    return document.video.description if item.description is None or not higher else item.description
