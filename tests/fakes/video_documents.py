"""Documents of the read model, as far as readers of it look: videos, and markers of removed ones."""

from datetime import UTC, datetime
from typing import Any

from bson import Binary

from contract.read_model import sort_key
from contract.search_text import search_prefixes
from contract.times import format_millis, format_seconds
from contract.video import Channel, Thumbnail, Video, encode, watch_url

NEWEST_MS = 1_790_000_000_000

Document = dict[str, Any]


def make_id(number: int) -> str:
    """A video id of the right form; ids of higher numbers sort higher."""
    return f"vid-{number:07d}"


def make_video(number: int, published_ms: int | None = None) -> Video:
    """Video `number`; the higher, the newer, a second apart, unless told when."""
    published = NEWEST_MS + number * 1000 if published_ms is None else published_ms
    return Video(
        id=make_id(number),
        title=f"Tea № {number}, “the best” </script>",
        description="How to make it.\nAnd drink it.",
        channel=Channel("UC-tea", "Tea"),
        published_at=format_seconds(published),
        live="none",
        duration_seconds=60 + number,
        thumbnails={"default": Thumbnail(f"https://i.ytimg.com/vi/{make_id(number)}/default.jpg", 120, 90)},
        queries=["tea"],
        first_seen_at=format_millis(published + 5000),
        url=watch_url(make_id(number)),
    )


def video_document(video: Video, published_ms: int, sequence: int = 0) -> Document:
    """The video's document; `sequence` is the offset of the raw record that changed it last."""
    return {
        "_id": video.id,
        "k": sort_key(published_ms, video.id),
        "body": Binary(encode(video)),
        "q": search_prefixes(video.title),
        "channel": {"id": video.channel.id, "title": video.channel.title},
        "queries": video.queries,
        "published_at": video.published_at,
        "source": {"topic": "youtube.videos.raw", "partition": 0, "offset": sequence},
    }


def make_document(number: int, published_ms: int | None = None) -> Document:
    """The document of video `number`, see `make_video`."""
    published = NEWEST_MS + number * 1000 if published_ms is None else published_ms
    return video_document(make_video(number, published), published)


def make_marker(number: int) -> Document:
    """What stands for video `number` once it is gone."""
    never = datetime(2099, 1, 1, tzinfo=UTC)
    return {"_id": make_id(number), "removed_at": format_millis(NEWEST_MS), "expires_at": never}
