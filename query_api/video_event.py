"""One record of `youtube.videos` as the API's parts take it. No I/O."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from contract.events import EnvelopeError, read_video_headers


class VideoEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one video: `body` is the `Video` as it is served, None once it is removed.

    `partition` and `offset` are the event's own place in `youtube.videos`; `sequence` is what decides between two
    events of one video (the highest counts, and of equal ones the later).
    """

    partition: int
    offset: int
    video_id: str
    type: str
    sequence: int
    sort_key: str | None
    previous_sort_key: str | None
    body: bytes | None


class _Record(Protocol):
    """A record as Kafka's clients give it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class _SaidInBody(msgspec.Struct, frozen=True):
    queries: tuple[str, ...] = ()


_said_in_body: Final = msgspec.json.Decoder(_SaidInBody)


def read_event(record: _Record) -> VideoEvent | None:
    """The event in a record; None for one that no processor of ours wrote."""
    try:
        envelope = read_video_headers(record.headers)
        video_id = (record.key or b"").decode()
    except (EnvelopeError, UnicodeDecodeError):
        return None
    if video_id != envelope.subject or (record.value is not None and envelope.sort_key is None):
        return None
    return VideoEvent(
        partition=record.partition,
        offset=record.offset,
        video_id=video_id,
        type=envelope.type,
        sequence=envelope.sequence,
        sort_key=envelope.sort_key,
        previous_sort_key=envelope.previous_sort_key,
        body=record.value,
    )


def queries_of(body: bytes) -> tuple[str, ...]:
    """The queries that the video in `body` was found by; none when it cannot be read."""
    try:
        return _said_in_body.decode(body).queries
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()
