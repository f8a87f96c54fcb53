"""The read model in MongoDB: names, the sort key with its index, and the generation document.

Sort key, cursor and index are twins: all three speak of `k`, whose binary order is the public order (published
last first, then video id descending) and which is unique because it ends in the video id. A marker of a removed
video has no `k`, so it is in no reader's index.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

VIDEOS: Final = "videos"
"""Collection of documents and of removal markers; its UUID is the generation of the read model."""

READ_MODEL: Final = "read_model"
"""Collection with one document, `_id` = `READ_MODEL_ID`: projection version and what replays have applied."""

READ_MODEL_ID: Final = "videos"

PROJECTION_VERSION: Final = 1
"""Raised when the same items would give other documents: then a replay is due."""

SORT_KEY: Final = "k"
BODY: Final = "body"
EXPIRES_AT: Final = "expires_at"

EVERY_VIDEO: Final[Mapping[str, Any]] = {SORT_KEY: {"$gt": ""}}
"""The least that a reader's filter must say for the partial indexes to be used."""


def sort_key(published_ms: int, video_id: str) -> str:
    """13 digits of milliseconds, then the id: string order is time order from 2001 to 2286."""
    return f"{published_ms:013d}{video_id}"


class IndexSpec(msgspec.Struct, frozen=True):
    """One index of `videos`, as `create_index` takes it."""

    name: str
    keys: list[tuple[str, int]]
    options: dict[str, Any]


INDEXES: Final = (
    IndexSpec("newest_first", [(SORT_KEY, -1)], {"unique": True, "partialFilterExpression": dict(EVERY_VIDEO)}),
    IndexSpec("marker_expiry", [(EXPIRES_AT, 1)], {"expireAfterSeconds": 0}),
)
