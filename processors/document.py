"""The document of a video in MongoDB, as the rules see it and as it is stored. Rules only.

The document is the state of the fold: public fields, what each source said last, and where in the raw topic it
stands. A removed video leaves a marker for a day, without a sort key, so that no reader's index knows it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from contract.read_model import BODY, EXPIRES_AT, PROJECTION_VERSION, SEARCH, SORT_KEY, sort_key
from contract.search_text import search_prefixes
from contract.times import parse_rfc3339_ms
from contract.video import Video

MARKER_LIFETIME: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Register(msgspec.Struct, frozen=True):
    """What one source said last: hash of the item and its event time."""

    hash: str
    time_ms: int


class SourcePosition(msgspec.Struct, frozen=True):
    """Place of a record in the raw topic."""

    topic: str
    partition: int
    offset: int


class OwedEvent(msgspec.Struct, frozen=True, rename={"previous_sort_key": "previous_sortkey"}):
    """The last event that a document owes to `youtube.videos`; a redelivered record sends it again.

    `previous_sort_key` is the one before the change (None for a discovery); a removal's is the one it had.
    """

    offset: int
    type: str
    previous_sort_key: str | None


class VideoDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A living video. `body` is `contract.video.encode(video)`."""

    video: Video
    published_ms: int
    first_seen_ms: int
    body: bytes
    registers: dict[str, Register]
    confirmed_ms: int
    source: SourcePosition
    event: OwedEvent

    @property
    def id(self) -> str:
        return self.video.id

    @property
    def sort_key(self) -> str:
        return sort_key(self.published_ms, self.video.id)


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """A removed video."""

    id: str
    removed_ms: int
    source: SourcePosition
    event: OwedEvent


Document = VideoDocument | Marker


def to_stored(document: Document, now: datetime) -> dict[str, Any]:
    """The document as MongoDB keeps it; `now`, the writer's clock, only decides when a marker expires."""
    if isinstance(document, Marker):
        return {
            "_id": document.id,
            "removed_at": _date(document.removed_ms),
            "source": msgspec.to_builtins(document.source),
            "event": msgspec.to_builtins(document.event),
            EXPIRES_AT: now + MARKER_LIFETIME,
        }
    public = msgspec.to_builtins(document.video)
    return {
        "_id": public.pop("id"),
        **public,
        BODY: document.body,
        SORT_KEY: document.sort_key,
        SEARCH: search_prefixes(document.video.title),
        "registers": {
            source: {"hash": register.hash, "time": _date(register.time_ms)}
            for source, register in document.registers.items()
        },
        "confirmed_at": _date(document.confirmed_ms),
        "source": msgspec.to_builtins(document.source),
        "event": msgspec.to_builtins(document.event),
        "projection_version": PROJECTION_VERSION,
    }


def from_stored(stored: Mapping[str, Any]) -> Document:
    """The document that `to_stored` wrote (dates read as aware UTC).

    Raises:
        msgspec.ValidationError, KeyError: somebody else wrote it.
    """
    source = msgspec.convert(stored["source"], SourcePosition)
    event = msgspec.convert(stored["event"], OwedEvent)
    if SORT_KEY not in stored:
        return Marker(id=stored["_id"], removed_ms=_ms(stored["removed_at"]), source=source, event=event)
    video = msgspec.convert({**stored, "id": stored["_id"]}, Video)
    return VideoDocument(
        video=video,
        published_ms=parse_rfc3339_ms(video.published_at),
        first_seen_ms=parse_rfc3339_ms(video.first_seen_at),
        body=bytes(stored[BODY]),
        registers={name: Register(kept["hash"], _ms(kept["time"])) for name, kept in stored["registers"].items()},
        confirmed_ms=_ms(stored["confirmed_at"]),
        source=source,
        event=event,
    )


def _date(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def _ms(date: datetime) -> int:
    return (date - _EPOCH) // timedelta(milliseconds=1)
