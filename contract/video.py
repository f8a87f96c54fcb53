"""The public `Video`: what the API serves and `youtube.videos` carries, encoded in this one place.

The bytes of `encode` are stored with the document and copied from there by everybody else, so the field order
below is the wire format.
"""

import re
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

Live = Literal["none", "upcoming", "live"]

VIDEO_ID: Final[re.Pattern[str]] = re.compile(r"[A-Za-z0-9_-]{11}")
"""The form of a video id, to be matched in full."""

WATCH_URL: Final = "https://www.youtube.com/watch?v="


class Channel(msgspec.Struct, frozen=True):
    """Who published the video; either part is empty when no source has named it."""

    id: str
    title: str


class Thumbnail(msgspec.Struct, frozen=True):
    """One preview picture; width and height in pixels, left out when unknown."""

    url: str
    width: int | UnsetType = UNSET
    height: int | UnsetType = UNSET


class Video(msgspec.Struct, frozen=True, kw_only=True):
    """One video; times are RFC 3339 in UTC, `duration_seconds` is left out when unknown."""

    id: str
    title: str
    description: str
    channel: Channel
    published_at: str
    live: Live
    duration_seconds: int | UnsetType = UNSET
    thumbnails: dict[str, Thumbnail]
    queries: list[str]
    first_seen_at: str
    url: str


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Video)


def encode(video: Video) -> bytes:
    """UTF-8 JSON without spaces, fields in the declared order."""
    return _encoder.encode(video)


def decode(body: bytes) -> Video:
    """The video in `body`; unknown fields are passed over, so that newer writers do not break older readers.

    Raises:
        msgspec.DecodeError: not JSON, or a field is missing or of the wrong type.
    """
    return _decoder.decode(body)


def watch_url(video_id: str) -> str:
    """Where the video plays."""
    return WATCH_URL + video_id
