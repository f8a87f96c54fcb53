"""What the read model holds, as the parts of the API hand it to one another. No I/O."""

import msgspec


class StoredVideo(msgspec.Struct, frozen=True):
    """A video as the read model holds it: its place in the order, and the bytes to serve."""

    sort_key: str
    body: bytes


class WindowRow(msgspec.Struct, frozen=True):
    """A video with what decides whether an event about it is news: `sequence` is that of the last one it contains."""

    video_id: str
    sort_key: str
    body: bytes
    sequence: int
    queries: tuple[str, ...]


class Generation(msgspec.Struct, frozen=True):
    """Which collection readers read, and the projection version its documents were made with, when it is known."""

    id: str
    projection_version: int | None
