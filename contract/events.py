"""Envelopes of the events: CloudEvents 1.0, Kafka binding, binary mode (attributes in headers, the value stays plain).

Headers are `(name, bytes)` pairs as Kafka clients take them. Reading tolerates what a foreign producer may leave
out; writing always says everything.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from contract.times import format_millis, parse_rfc3339_ms

Headers = Sequence[tuple[str, bytes]]

ITEM_FETCHED: Final = "io.yousync.item.fetched.v1"
ITEM_GONE: Final = "io.yousync.item.gone.v1"
VIDEO_DISCOVERED: Final = "io.yousync.video.discovered.v1"
VIDEO_UPDATED: Final = "io.yousync.video.updated.v1"
VIDEO_REMOVED: Final = "io.yousync.video.removed.v1"

SEARCH: Final = "/youtube/v3/search"
PLAYLIST_ITEMS: Final = "/youtube/v3/playlistItems"
VIDEOS: Final = "/youtube/v3/videos"

TRACEPARENT: Final = "traceparent"
"""Header of the trace that a record belongs to, if somebody traces: W3C Trace Context."""

PROCESSORS_SOURCE: Final = "/yousync/processors"
_SPEC: Final = [("ce_specversion", b"1.0"), ("content-type", b"application/json")]
_REMEMBERED: Final = 1_024
_SHORT: Final = 1_000
"""Characters: what is remembered must not grow by what strangers write."""

_UNREADABLE: Final = (KeyError, ValueError, AttributeError, TypeError)
"""A header is missing or malformed; the last two, for Kafka's headers may be null, whatever a client's types say."""

_ORIGIN: Final = re.compile(r"[A-Za-z0-9._-]{1,249}/\d{1,10}/\d{1,19}")
"""`topic/partition/offset`."""

_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

_ITEM_TYPES: Final = (ITEM_FETCHED, ITEM_GONE)
_OUR_ITEM_TYPE: Final = re.compile(r"io\.yousync\.item\.(fetched|gone)\.v1(\.\d+)?")


class EnvelopeError(ValueError):
    """A header is there but cannot be read; the message names it."""


class UnknownTypeError(EnvelopeError):
    """`ce_type` is of another event or of another major version."""


class RawEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a raw item beside the item: times in ms, `source` the call's path or empty if unknown."""

    type: str
    source: str
    id: str
    time_ms: int
    subject: str
    queries: tuple[str, ...]
    first_seen_ms: int


class VideoEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes of a `youtube.videos` event.

    `sequence` is the raw offset that caused it: within a key the highest wins. A removal's `sort_key` is the one
    that the video had, None if it was never stored; `previous_sort_key` is None for a discovery. `traceparent` is of
    the trace that led to the event, None without one.
    """

    type: str
    partition: int
    sequence: int
    subject: str
    sort_key: str | None
    previous_sort_key: str | None = None
    traceparent: str | None = None


class DeadLetterEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    """What is said about a dead letter: why, and where it first failed (`origin`, its identity).

    `timestamp_ms` is Kafka's of the record that failed, which stands in for a missing `ce_time`: put back with it, an
    old record never looks new. None in dead letters of versions that did not write it.
    """

    reason: str
    detail: str
    origin: str
    attempt: int
    version: str
    failed_at_ms: int
    timestamp_ms: int | None = None


def raw_headers(envelope: RawEnvelope) -> list[tuple[str, bytes]]:
    """Headers of a raw record."""
    return [
        *_SPEC,
        ("ce_type", envelope.type.encode()),
        ("ce_source", envelope.source.encode()),
        ("ce_id", envelope.id.encode()),
        ("ce_time", format_millis(envelope.time_ms).encode()),
        ("ce_subject", envelope.subject.encode()),
        ("ce_queries", msgspec.json.encode(sorted(envelope.queries))),
        ("ce_firstseen", format_millis(envelope.first_seen_ms).encode()),
    ]


def read_raw_headers(headers: Headers, *, gone: bool, timestamp_ms: int) -> RawEnvelope:
    """The envelope of a raw record; what is missing is filled in: `timestamp_ms` (Kafka's) for the time.

    Raises:
        UnknownTypeError: an event of another name or major version.
        EnvelopeError: a time, the queries or the encoding of a header is not as it must be.
    """
    attributes = _text_attributes(headers)
    type_ = attributes.get("ce_type", ITEM_GONE if gone else ITEM_FETCHED)
    if type_ not in _ITEM_TYPES and not _OUR_ITEM_TYPE.fullmatch(type_):
        raise UnknownTypeError(f"ce_type {type_[:80]!r} is not an item event of version 1")
    time_ms = _time(attributes, "ce_time", timestamp_ms)
    return RawEnvelope(
        type=type_,
        source=attributes.get("ce_source", ""),
        id=attributes.get("ce_id", ""),
        time_ms=time_ms,
        subject=attributes.get("ce_subject", ""),
        queries=_queries(attributes.get("ce_queries", "[]")),
        first_seen_ms=_time(attributes, "ce_firstseen", time_ms),
    )


def video_headers(envelope: VideoEnvelope) -> list[tuple[str, bytes]]:
    """Headers of a `youtube.videos` record."""
    headers = [
        *_SPEC,
        ("ce_type", envelope.type.encode()),
        ("ce_source", PROCESSORS_SOURCE.encode()),
        ("ce_id", f"{envelope.partition}-{envelope.sequence}".encode()),
        ("ce_subject", envelope.subject.encode()),
        ("ce_sequence", f"{envelope.sequence:020d}".encode()),
    ]
    if envelope.sort_key is not None:
        headers.append(("ce_sortkey", envelope.sort_key.encode()))
    if envelope.previous_sort_key is not None:
        headers.append(("ce_previoussortkey", envelope.previous_sort_key.encode()))
    if envelope.traceparent is not None:
        headers.append((TRACEPARENT, envelope.traceparent.encode()))
    return headers


def read_traceparent(headers: Headers) -> str | None:
    """The trace that a record belongs to; None for none, and for what is no `traceparent`."""
    for name, value in headers:
        if name == TRACEPARENT and _TRACEPARENT.fullmatch(value or b""):  # null, whatever a client says of its types
            return value.decode()
    return None


def read_video_headers(headers: Headers) -> VideoEnvelope:
    """The envelope of a `youtube.videos` record.

    Raises:
        EnvelopeError: an attribute is missing or malformed.
    """
    attributes = _text_attributes(headers)
    try:
        partition, sequence = attributes["ce_id"].split("-")
        return VideoEnvelope(
            type=attributes["ce_type"],
            partition=int(partition),
            sequence=int(sequence),
            subject=attributes["ce_subject"],
            sort_key=attributes.get("ce_sortkey"),
            previous_sort_key=attributes.get("ce_previoussortkey"),
        )
    except (KeyError, ValueError) as error:
        raise EnvelopeError(f"not a video event: {error!r}") from error


def dead_letter_headers(original: Headers, envelope: DeadLetterEnvelope) -> list[tuple[str, bytes]]:
    """The original headers, less what an earlier failure said, and what is to be said now."""
    headers = [
        *_not_ours(original),
        ("dl_reason", envelope.reason.encode()),
        ("dl_detail", envelope.detail.encode("utf-8", "backslashreplace")),
        ("dl_origin", envelope.origin.encode()),
        ("dl_attempt", str(envelope.attempt).encode()),
        ("dl_version", envelope.version.encode()),
        ("dl_failed_at", format_millis(envelope.failed_at_ms).encode()),
    ]
    if envelope.timestamp_ms is not None:
        # A number, for Kafka takes times that no calendar has.
        headers.append(("dl_timestamp_ms", str(envelope.timestamp_ms).encode()))
    return headers


def retried_headers(letter: Headers, envelope: DeadLetterEnvelope) -> list[tuple[str, bytes]]:
    """Headers of a dead letter's record put back onto its topic: the original ones, and what `first_failure` reads."""
    return [
        *_not_ours(letter),
        ("dl_origin", envelope.origin.encode()),
        ("dl_attempt", str(envelope.attempt).encode()),
    ]


def read_dead_letter_headers(headers: Headers) -> DeadLetterEnvelope:
    """What is said about a dead letter.

    Raises:
        EnvelopeError: the record is no dead letter of ours.
    """
    said = {name: value for name, value in headers if name.startswith("dl_")}
    try:
        return DeadLetterEnvelope(
            reason=said["dl_reason"].decode(),
            detail=said["dl_detail"].decode(),
            origin=said["dl_origin"].decode(),
            attempt=int(said["dl_attempt"]),
            version=said["dl_version"].decode(),
            failed_at_ms=parse_rfc3339_ms(said["dl_failed_at"].decode()),
            timestamp_ms=int(said["dl_timestamp_ms"]) if "dl_timestamp_ms" in said else None,
        )
    except _UNREADABLE as error:
        raise EnvelopeError(f"not a dead letter: {error!r}") from error


def first_failure(headers: Headers, here: str) -> tuple[str, int]:
    """Origin and attempt number of a record that fails now: a retried one keeps the origin of its first failure.

    What does not read as an origin and the number of an attempt was not written by a retry.
    """
    said = dict(headers)
    try:
        origin, attempt = said["dl_origin"].decode(), int(said["dl_attempt"])
    except _UNREADABLE:
        return here, 1
    return (origin, attempt + 1) if _ORIGIN.fullmatch(origin) and attempt >= 1 else (here, 1)


def _not_ours(headers: Headers) -> list[tuple[str, bytes]]:
    return [(name, value) for name, value in headers if not name.startswith("dl_")]


def _text_attributes(headers: Headers) -> dict[str, str]:
    try:
        return {name: value.decode() for name, value in headers if name.startswith("ce_")}
    except (UnicodeDecodeError, AttributeError) as error:
        raise EnvelopeError(f"a ce_ header is not UTF-8 text: {error}") from error


def _time(attributes: dict[str, str], name: str, default_ms: int) -> int:
    text = attributes.get(name)
    if text is None:
        return default_ms
    try:
        return _parsed_ms(text)
    except ValueError as error:
        raise EnvelopeError(f"{name}: {error}") from error


# The items of one answer were all fetched at the same time, for the same few queries.
_parsed_ms: Final = lru_cache(_REMEMBERED)(parse_rfc3339_ms)


def _queries(text: str) -> tuple[str, ...]:
    return _parsed_queries(text) if len(text) <= _SHORT else _parsed_queries.__wrapped__(text)


@lru_cache(_REMEMBERED)
def _parsed_queries(text: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(set(msgspec.json.decode(text, type=list[str]))))
    except msgspec.DecodeError as error:
        raise EnvelopeError(f"ce_queries: {error}") from error
