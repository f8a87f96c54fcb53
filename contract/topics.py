"""The topics: names, sizes and settings, declared once and verified by every service at start."""

from typing import Final

import msgspec

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
MIB: Final = 1 << 20

RAW: Final = "youtube.videos.raw"
VIDEOS: Final = "youtube.videos"
DEAD_LETTER: Final = "youtube.videos.dead-letter"
PRODUCER_STATE: Final = "yousync.producer.state"

PROJECTOR_GROUP: Final = "yousync-projector"
"""Consumer group of the processors, and Faust's app id: it prefixes the changelog's name."""

_PROJECTOR_CLIENT: Final = "yousync-processor-projection-"

KNOWN_VIDEOS_TABLE: Final = "known_videos"
CHANGELOG: Final = f"{PROJECTOR_GROUP}-{KNOWN_VIDEOS_TABLE}-changelog"

RAW_MAX_BYTES: Final = 1 * MIB
DEAD_LETTER_MAX_BYTES: Final = 2 * MIB
"""Twice the raw limit: the original record and what is said about it must fit."""

RAW_RETENTION_MS: Final = 29 * DAY_MS
"""YouTube's policy (III.E.4.d) lets API data be kept for 30 days."""


class TopicSpec(msgspec.Struct, frozen=True):
    """One topic as it must be on the brokers."""

    name: str
    partitions: int
    config: dict[str, str]


def topic_specs(partitions: int) -> tuple[TopicSpec, ...]:
    """All topics, the data topics with `partitions` partitions each."""
    deleted = {
        "cleanup.policy": "delete",
        "retention.ms": str(RAW_RETENTION_MS),
        "segment.ms": str(DAY_MS),
    }
    return (
        TopicSpec(RAW, partitions, {**deleted, "max.message.bytes": str(RAW_MAX_BYTES)}),
        TopicSpec(
            VIDEOS,
            partitions,
            {
                "cleanup.policy": "compact",
                "segment.ms": str(DAY_MS),
                "max.compaction.lag.ms": str(7 * DAY_MS),
                "delete.retention.ms": str(7 * DAY_MS),
                "max.message.bytes": str(RAW_MAX_BYTES),
            },
        ),
        TopicSpec(DEAD_LETTER, 1, {**deleted, "max.message.bytes": str(DEAD_LETTER_MAX_BYTES)}),
        TopicSpec(PRODUCER_STATE, 1, producer_state_config()),
        TopicSpec(CHANGELOG, partitions, changelog_config()),
    )


def producer_state_config() -> dict[str, str]:
    """Settings of the producer's state.

    The cleaner leaves an hour, by the broker's clock, in which the leader writes again what a deposed one's late
    record would hide from it. Small segments are closed, and so cleaned, often: a new leader has little to read.
    """
    return {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(HOUR_MS),
        "message.timestamp.type": "LogAppendTime",
        "segment.bytes": str(16 * MIB),
    }


def changelog_config() -> dict[str, str]:
    """Settings of the table's changelog; Faust declares the same."""
    return {"cleanup.policy": "compact"}


def projector_client_id(projection_version: int) -> str:
    """Client id of a worker: the group's members show which projection version is alive."""
    return f"{_PROJECTOR_CLIENT}{projection_version}"


def read_projector_client_id(client_id: str) -> int | None:
    """The projection version of a member; None for a client that does not say."""
    version = client_id.removeprefix(_PROJECTOR_CLIENT)
    return int(version) if version != client_id and version.isdecimal() else None
