"""Keys and values of `yousync.producer.state`, the producer's durable memory (compacted, one partition).

Values are JSON; times are RFC 3339 text, so that `yousync tail` reads well. What the leader writes carries its epoch
in a header: a record of a smaller epoch that comes after a `leader` record is void. Records without that header are an
operator's (`yousync queries`, `yousync purge`) and count whoever leads.
"""

from typing import Annotated, Final, Literal

import msgspec

from contract.video import Live

PRODUCER_GROUP: Final = "yousync-producer"
"""Consumer group of the producers: who owns the state topic's one partition polls."""

EPOCH_HEADER: Final = "epoch"
"""Decimal digits: the epoch of the leader that wrote the record."""

SEARCH_BUCKET: Final = "search"
"""Quota of `search.list`: calls a Pacific day."""

UNITS_BUCKET: Final = "units"
"""Quota of everything else: units a Pacific day."""

LEADER_KEY: Final = b"leader"
QUERY_PREFIX: Final = b"query/"
WATERMARK_PREFIX: Final = b"watermark/"
LEDGER_PREFIX: Final = b"ledger/"
CHANNEL_PREFIX: Final = b"channel/"
VIDEO_PREFIX: Final = b"video/"
PURGE_PREFIX: Final = b"purge/"


class Leader(msgspec.Struct, frozen=True):
    """Who polls from here on; of two records with one epoch the first counts."""

    epoch: int
    id: str
    since: str


class Stretch(msgspec.Struct, frozen=True):
    """A part of a query's past that is still to be read, both ends inclusive.

    `missed` was never read; a `sweep` was, and is read once more for what YouTube indexed late.
    """

    after: str
    before: str
    kind: Literal["missed", "sweep"] = "missed"


class Watermark(msgspec.Struct, frozen=True):
    """How far a query was followed: all up to `covered_until` is in the raw topic, but for the missed stretches."""

    covered_until: str
    completed_at: str | None = None
    swept_at: str | None = None
    stretches: tuple[Stretch, ...] = ()
    videos_per_day: float | None = None


class Ledger(msgspec.Struct, frozen=True):
    """Calls (or units) debited from one bucket on one Pacific day, failed ones included."""

    used: Annotated[int, msgspec.Meta(ge=0)]


UNREADABLE_LEDGER: Final = Ledger(1 << 53)
"""What a ledger that cannot be read counts as: its day is spent, on the safe side."""


def read_ledger(value: bytes) -> Ledger:
    """The ledger in a value of the state; `UNREADABLE_LEDGER` when there is none in it."""
    try:
        return msgspec.json.decode(value, type=Ledger)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return UNREADABLE_LEDGER


class FollowedQuery(msgspec.Struct, frozen=True):
    """A query that is, or was, followed.

    One from the settings is followed as long as they name it; one from `yousync queries add` until it is removed.
    `refused` is YouTube's answer to a query that it will not take; it is left alone until it is added again.
    """

    followed_since: str
    enabled: bool = True
    origin: Literal["settings", "command"] = "settings"
    refused: str | None = None


class FollowedChannel(msgspec.Struct, frozen=True):
    """A channel whose uploads are looked at: matching uploads and days of observation, both fading with time."""

    found_at: str
    looked_at: str | None = None
    uploads: float = 0.0
    days: float = 0.0
    missing: bool = False


class FollowedVideo(msgspec.Struct, frozen=True):
    """A video in the raw topic; `gone_at` is when its removal was sent, which is repeated once a day later."""

    first_seen_at: str
    fetched_at: str
    queries: tuple[str, ...] = ()
    completed: bool = False
    live: Live = "none"
    missing_since: str | None = None
    gone_at: str | None = None


class PurgeRequest(msgspec.Struct, frozen=True):
    """Remove the videos that only this query found, or those not refreshed since `not_fetched_since`."""

    requested_at: str
    query: str | None = None
    not_fetched_since: str | None = None


def watermark_key(query: str) -> bytes:
    return WATERMARK_PREFIX + query.encode()


def ledger_key(bucket: str, pacific_date: str) -> bytes:
    """`pacific_date` is `YYYY-MM-DD` in America/Los_Angeles, where the quota's day begins."""
    return LEDGER_PREFIX + f"{bucket}/{pacific_date}".encode()


def query_key(query: str) -> bytes:
    return QUERY_PREFIX + query.encode()


def channel_key(channel_id: str) -> bytes:
    return CHANNEL_PREFIX + channel_id.encode()


def video_key(video_id: str) -> bytes:
    return VIDEO_PREFIX + video_id.encode()


def purge_key(request_id: str) -> bytes:
    return PURGE_PREFIX + request_id.encode()
