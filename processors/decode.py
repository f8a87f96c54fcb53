"""From a raw record's bytes to an item that the fold understands, or to the reason why not.

Rules only. The answer depends on nothing but the record, so that a live run and a replay refuse the same.
"""

import html
import json
import re
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta

from contract import events
from contract.times import YEAR_MS, YOUTUBE_FOUNDED_MS, parse_rfc3339_ms
from contract.video import VIDEO_ID, Live, Thumbnail

Source = Literal["search", "playlistItems", "videos"]
Reason = Literal[
    "not_utf8",
    "not_json",
    "schema",
    "no_key",
    "key_mismatch",
    "wrong_partition",
    "bad_id",
    "bad_time",
    "too_large",
    "unknown_type",
    "write_rejected",
]

_DETAIL_CHARACTERS: Final = 500
_MAX_YEARS_AHEAD_MS: Final = 2 * YEAR_MS
_MAX_DEPTH: Final = 100


class Record(msgspec.Struct, frozen=True):
    """One record of the raw topic as Kafka gave it; `timestamp_ms` is Kafka's."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Refusal(msgspec.Struct, frozen=True):
    """A data error: the record goes to the dead letters with this."""

    reason: Reason
    detail: str


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """What one source said of a video at one time. None means that it said nothing of that field."""

    video_id: str
    source: Source
    time_ms: int
    hash: str
    title: str
    description: str | None
    channel_id: str | None
    channel_title: str | None
    published_ms: int
    live: Live | None
    duration_seconds: int | None
    thumbnails: dict[str, Thumbnail]
    queries: tuple[str, ...]
    first_seen_ms: int


class Gone(msgspec.Struct, frozen=True):
    """YouTube no longer has the video."""

    video_id: str
    time_ms: int


def decode(record: Record, partition_of: Callable[[bytes], int]) -> Item | Gone | Refusal:
    """What the record says, or why it cannot be taken; `partition_of` is the topic's partitioner."""
    try:
        return _decode(record, partition_of)
    except _RefusedError as refused:
        return refused.refusal


class _RefusedError(Exception):
    def __init__(self, reason: Reason, detail: object) -> None:
        super().__init__(reason)
        self.refusal = Refusal(reason, str(detail)[:_DETAIL_CHARACTERS])


def _decode(record: Record, partition_of: Callable[[bytes], int]) -> Item | Gone:
    video_id = _checked_key(record, partition_of)
    try:
        envelope = events.read_raw_headers(record.headers, gone=record.value is None, timestamp_ms=record.timestamp_ms)
    except events.UnknownTypeError as error:
        raise _RefusedError("unknown_type", error) from None
    except events.EnvelopeError as error:
        raise _RefusedError("schema", error) from None
    # The event time may be a client's nonsense; Kafka's own timestamp is what "ahead" is measured from.
    _check_time("ce_time", envelope.time_ms, not_after=record.timestamp_ms + _MAX_YEARS_AHEAD_MS)
    _check_time("ce_firstseen", envelope.first_seen_ms, not_after=record.timestamp_ms + _MAX_YEARS_AHEAD_MS)
    if record.value is None:
        return Gone(video_id, envelope.time_ms)
    item = _read_item(record.value, envelope)
    if item.video_id != video_id:
        raise _RefusedError("key_mismatch", f"the key is {video_id}, the item's id {item.video_id!r}")
    _check_time("publish time", item.published_ms, not_after=envelope.time_ms + _MAX_YEARS_AHEAD_MS)
    return item


def _checked_key(record: Record, partition_of: Callable[[bytes], int]) -> str:
    key = record.key
    if not key:
        raise _RefusedError("no_key", "a raw record's key is the video id")
    if not key.isascii() or not VIDEO_ID.fullmatch(key.decode()):
        raise _RefusedError("bad_id", f"not a video id: {key[:80]!r}")
    belongs = partition_of(key)
    if belongs != record.partition:
        raise _RefusedError("wrong_partition", f"the key belongs to partition {belongs} (murmur2)")
    return key.decode()


def _check_time(name: str, ms: int, *, not_after: int) -> None:
    if not YOUTUBE_FOUNDED_MS <= ms <= not_after:
        raise _RefusedError("bad_time", f"{name} is {ms} ms since 1970: before 2005-02-14 or over two years ahead")


# The API's three kinds of item, as much of them as is used. Unknown fields are passed over.

_Pixels = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class _RawThumbnail(msgspec.Struct):
    url: str
    width: _Pixels | None = None
    height: _Pixels | None = None


class _SearchSnippet(msgspec.Struct, rename="camel"):
    title: str
    published_at: str
    description: str | None = None
    channel_id: str | None = None
    channel_title: str | None = None
    thumbnails: dict[str, _RawThumbnail] = {}
    live_broadcast_content: str | None = None


class _SearchId(msgspec.Struct, rename="camel"):
    video_id: str


class _SearchItem(msgspec.Struct):
    id: _SearchId
    snippet: _SearchSnippet
    kind: str = ""


class _PlaylistSnippet(msgspec.Struct, rename="camel"):
    title: str
    description: str | None = None
    video_owner_channel_id: str | None = None
    video_owner_channel_title: str | None = None
    thumbnails: dict[str, _RawThumbnail] = {}


class _PlaylistDetails(msgspec.Struct, rename="camel"):
    video_id: str
    video_published_at: str


class _PlaylistItem(msgspec.Struct, rename="camel"):
    snippet: _PlaylistSnippet
    content_details: _PlaylistDetails
    kind: str = ""


class _VideoDetails(msgspec.Struct):
    duration: str | None = None


class _VideoItem(msgspec.Struct, rename="camel"):
    id: str
    snippet: _SearchSnippet
    content_details: _VideoDetails | None = None
    kind: str = ""


class _Kind(msgspec.Struct):
    kind: str = ""


_kind_decoder: Final = msgspec.json.Decoder(_Kind)
_search_decoder: Final = msgspec.json.Decoder(_SearchItem)
_playlist_decoder: Final = msgspec.json.Decoder(_PlaylistItem)
_video_decoder: Final = msgspec.json.Decoder(_VideoItem)

_RawDecoder = msgspec.json.Decoder[_SearchItem] | msgspec.json.Decoder[_PlaylistItem] | msgspec.json.Decoder[_VideoItem]
_DECODER_OF: Final[dict[str, _RawDecoder]] = {
    "youtube#searchResult": _search_decoder,
    "youtube#playlistItem": _playlist_decoder,
    "youtube#video": _video_decoder,
    events.SEARCH: _search_decoder,
    events.PLAYLIST_ITEMS: _playlist_decoder,
    events.VIDEOS: _video_decoder,
}


def _read_item(value: bytes, envelope: events.RawEnvelope) -> Item:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        raise _RefusedError("not_utf8", error) from None
    _check_depth(value)
    try:
        raw = _read_raw(value, envelope.source)
        if isinstance(raw, _SearchItem):
            return _from_search(raw, envelope)
        return _from_playlist(raw, envelope) if isinstance(raw, _PlaylistItem) else _from_videos(raw, envelope)
    except msgspec.ValidationError as error:
        raise _RefusedError("schema", error) from None
    except msgspec.DecodeError as error:
        raise _RefusedError(*_malformed(value, error)) from None


def _read_raw(value: bytes, ce_source: str) -> "_SearchItem | _PlaylistItem | _VideoItem":
    """The item of one of the three calls: the one that its `kind` names, or `ce_source` if it has none."""
    decoder = _DECODER_OF.get(ce_source)
    if decoder is not None:  # nearly always the two agree, and the value need not be looked through twice
        with suppress(msgspec.ValidationError):
            raw = decoder.decode(value)
            if not raw.kind or _DECODER_OF.get(raw.kind) is decoder:
                return raw
    kind = _kind_decoder.decode(value).kind
    decoder = _DECODER_OF.get(kind or ce_source)
    if decoder is None:
        raise _RefusedError("schema", f"neither kind {kind[:80]!r} nor ce_source is one of the three known calls")
    return decoder.decode(value)


_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_AS_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def _check_depth(value: bytes) -> None:
    """The decoder's own limit depends on the caller's stack, which is another in a replay than in a live run."""
    if value.count(b"[") + value.count(b"{") <= _MAX_DEPTH:
        return
    brackets = _STRING.sub(b"", value).translate(_AS_SQUARE, _NO_BRACKETS)
    for _ in range(_MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")  # the innermost level
    if brackets:
        raise _RefusedError("not_json", f"nested deeper than {_MAX_DEPTH}, or a bracket without its pair")


def _malformed(value: bytes, error: msgspec.DecodeError) -> tuple[Reason, str]:
    """Lone surrogates are well-formed JSON that no UTF-8 text can hold: a fault of content, not of form."""
    try:
        # Text, for bytes would be taken for UTF-16 too; numbers of any length, for none is kept.
        json.loads(value.decode(), parse_int=float, parse_constant=_no_constant)
    except ValueError:
        return "not_json", str(error)
    return "schema", f"text that is not valid Unicode (a lone surrogate): {error}"


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _from_search(raw: _SearchItem, envelope: events.RawEnvelope) -> Item:
    snippet = raw.snippet
    return _item(
        envelope,
        source="search",
        video_id=raw.id.video_id,
        # Search alone escapes titles and channel titles for HTML, and does not escape descriptions (as recorded from
        # the real API: the same title has `&amp;` in search and `&` in videos.list).
        title=_unescape(snippet.title),
        description=snippet.description,
        channel_id=snippet.channel_id,
        channel_title=None if snippet.channel_title is None else _unescape(snippet.channel_title),
        published_at=snippet.published_at,
        live=snippet.live_broadcast_content,
        duration=None,
        thumbnails=snippet.thumbnails,
    )


def _unescape(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError as error:  # a character reference of thousands of digits
        raise _RefusedError("schema", error) from None


def _from_playlist(raw: _PlaylistItem, envelope: events.RawEnvelope) -> Item:
    return _item(
        envelope,
        source="playlistItems",
        video_id=raw.content_details.video_id,
        title=raw.snippet.title,
        description=raw.snippet.description,
        channel_id=raw.snippet.video_owner_channel_id,
        channel_title=raw.snippet.video_owner_channel_title,
        published_at=raw.content_details.video_published_at,
        live=None,
        duration=None,
        thumbnails=raw.snippet.thumbnails,
    )


def _from_videos(raw: _VideoItem, envelope: events.RawEnvelope) -> Item:
    snippet = raw.snippet
    return _item(
        envelope,
        source="videos",
        video_id=raw.id,
        title=snippet.title,
        description=snippet.description,
        channel_id=snippet.channel_id,
        channel_title=snippet.channel_title,
        published_at=snippet.published_at,
        live=snippet.live_broadcast_content,
        duration=raw.content_details.duration if raw.content_details else None,
        thumbnails=snippet.thumbnails,
    )


def _item(
    envelope: events.RawEnvelope,
    *,
    source: Source,
    video_id: str,
    title: str,
    description: str | None,
    channel_id: str | None,
    channel_title: str | None,
    published_at: str,
    live: str | None,
    duration: str | None,
    thumbnails: dict[str, _RawThumbnail],
) -> Item:
    published_ms = _published_ms(published_at)
    duration_seconds = None if duration is None else _duration_seconds(duration)
    known_live = cast("Live", live) if live in {"none", "upcoming", "live"} else None
    pictures = _thumbnails(thumbnails)
    # Search's description is an excerpt that depends on the query, so it says nothing new of the video.
    hashed = None if source == "search" else description
    content = (title, hashed, channel_id, channel_title, published_ms, known_live, duration_seconds, pictures)
    return Item(
        video_id=video_id,
        source=source,
        time_ms=envelope.time_ms,
        hash=blake2b(msgspec.json.encode(content), digest_size=12).hexdigest(),
        title=title,
        description=description,
        channel_id=channel_id,
        channel_title=channel_title,
        published_ms=published_ms,
        live=known_live,
        duration_seconds=duration_seconds,
        thumbnails=pictures,
        queries=envelope.queries,
        first_seen_ms=envelope.first_seen_ms,
    )


def _published_ms(text: str) -> int:
    """Whole seconds: the public publish time has no finer part, and the sort key must agree with it."""
    try:
        return parse_rfc3339_ms(text) // 1000 * 1000
    except ValueError as error:
        raise _RefusedError("bad_time", f"publish time: {error}") from None


def _thumbnails(raw: dict[str, _RawThumbnail]) -> dict[str, Thumbnail]:
    unusable = [name for name in raw if not name or "\0" in name or "." in name or name.startswith("$")]
    if unusable:
        raise _RefusedError("schema", f"not a thumbnail's name: {unusable[0][:80]!r}")
    return {name: _thumbnail(raw[name]) for name in sorted(raw)}


def _thumbnail(raw: _RawThumbnail) -> Thumbnail:
    unset = msgspec.UNSET
    return Thumbnail(raw.url, unset if raw.width is None else raw.width, unset if raw.height is None else raw.height)


_DURATION: Final = re.compile(r"P(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,6})S)?)?")


def _duration_seconds(text: str) -> int | None:
    """Seconds of an ISO 8601 duration of days and less; None (unknown) for anything else, and for a live `P0D`."""
    parts = _DURATION.fullmatch(text)
    if parts is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return (days * 86_400 + hours * 3_600 + minutes * 60 + seconds) or None
