"""The read model in MongoDB: names, the sort key with its index, and what is said about each generation.

Sort key, cursor and index are twins: all three speak of `k`, whose binary order is the public order (published
last first, then video id descending) and which is unique because it ends in the video id. A marker of a removed
video has no `k`, so it is in no reader's index.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

VIDEOS: Final = "videos"
"""Collection of documents and of removal markers; its UUID is the generation of the read model."""

READ_MODEL: Final = "read_model"
"""Collection of what is said about `videos`: one document about its generations, one about the replay in progress."""

READ_MODEL_ID: Final = "videos"
"""`_id` of `{versions: {generation: projection version}, applied: {generation: {partition: next offset}}}`.

A generation that a replay made has an entry in `applied`: every raw record below that offset is in it.
"""

REPLAY_ID: Final = "replay"
"""`_id` of the run of a replay: who works on it, and how far it got."""

SHADOW_PREFIX: Final = "videos_replay_"
"""Names of the collections that replays build begin with this."""

PROJECTION_VERSION: Final = 2
"""Raised when the same items would give other documents: then a replay is due."""

SORT_KEY: Final = "k"
BODY: Final = "body"

SEARCH: Final = "q"
"""What searches find a video by: `contract.search_text.search_prefixes` of its title. No reader needs to fetch it."""

CHANNEL_ID: Final = "channel.id"
QUERIES: Final = "queries"
EXPIRES_AT: Final = "expires_at"

EVERY_VIDEO: Final[Mapping[str, Any]] = {SORT_KEY: {"$gt": ""}}
"""The least that a reader's filter must say for the partial indexes to be used."""


def generation_name(collection_uuid: bytes) -> str:
    """The generation that a collection's UUID, 16 bytes as the driver gives them, stands for; it may name a field."""
    return str(UUID(bytes=bytes(collection_uuid)))


def applied_field(generation: str, partition: int | None = None) -> str:
    """Path in the generations' document to what is applied in a generation, of one partition or of all."""
    return f"applied.{generation}" if partition is None else f"applied.{generation}.{partition}"


def version_field(generation: str) -> str:
    """Path in the generations' document to a generation's projection version."""
    return f"versions.{generation}"


def sort_key(published_ms: int, video_id: str) -> str:
    """13 digits of milliseconds, then the id: string order is time order from 2001 to 2286."""
    return f"{published_ms:013d}{video_id}"


def published_ms(sort_key: str) -> int:
    """The publish time in a sort key."""
    return int(sort_key[:13])


class IndexSpec(msgspec.Struct, frozen=True):
    """One index of `videos`, as `create_index` takes it."""

    name: str
    keys: list[tuple[str, int]]
    options: dict[str, Any]


def _newest_first_of(name: str, field: str) -> IndexSpec:
    """Equality, then order: the videos with one value of `field` lie in the index newest first."""
    return IndexSpec(name, [(field, 1), (SORT_KEY, -1)], {"partialFilterExpression": dict(EVERY_VIDEO)})


NEWEST_FIRST: Final = IndexSpec(
    "newest_first", [(SORT_KEY, -1)], {"unique": True, "partialFilterExpression": dict(EVERY_VIDEO)}
)
BY_SEARCH: Final = _newest_first_of("search", SEARCH)
BY_CHANNEL: Final = _newest_first_of("by_channel", CHANNEL_ID)
BY_QUERY: Final = _newest_first_of("by_query", QUERIES)

INDEXES: Final = (
    NEWEST_FIRST,
    BY_SEARCH,
    BY_CHANNEL,
    BY_QUERY,
    IndexSpec("marker_expiry", [(EXPIRES_AT, 1)], {"expireAfterSeconds": 0}),
)
