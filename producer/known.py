"""What the producer knows of videos and channels, as its rules read it: times in ms since 1970."""

import msgspec

from contract.video import Live


class KnownVideo(msgspec.Struct, frozen=True):
    """A video in the raw topic.

    `fetched_ms`: when its item was last published at first sight or by `videos.list`. `missing_ms`: when an answer of
    `videos.list` first lacked it. `gone_ms`: when its removal was sent, which is to be repeated a day later.
    """

    first_seen_ms: int
    fetched_ms: int
    queries: tuple[str, ...] = ()
    completed: bool = False
    live: Live = "none"
    missing_ms: int | None = None
    gone_ms: int | None = None


class KnownChannel(msgspec.Struct, frozen=True):
    """A channel whose uploads are looked at.

    `uploads` and `days`: matching uploads and days of observation, both fading with time, so that their ratio is the
    learned rate. `missing`: YouTube has no such list of uploads.
    """

    found_ms: int
    looked_ms: int | None = None
    uploads: float = 0.0
    days: float = 0.0
    missing: bool = False
