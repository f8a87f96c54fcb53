"""Videos as the processors store them, of any number, with titles whose words are as uneven as real ones.

Word number r of the vocabulary is taken with a probability that falls as 1/r, so the first stand in a fifth of all
titles and most in a handful. Two words are made never to meet: `NEVER_MEET`, each in a tenth of all titles.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from contract.events import VIDEO_DISCOVERED
from contract.read_model import sort_key
from contract.times import format_millis, format_seconds
from contract.topics import RAW
from contract.video import Channel, Thumbnail, Video, encode, watch_url
from processors.document import OwedEvent, Register, SourcePosition, VideoDocument, to_stored

OLDEST_MS: Final = 1_500_000_000_000
EVERY_MS: Final = 7_000
"""From one video's publication to the next one's."""

VOCABULARY: Final = 120_000
CHANNELS: Final = 5_000
QUERIES: Final = ("tea", "coffee", "cocoa")
NEVER_MEET: Final = ("solstice", "equinox")
ABSENT: Final = "zzyzx"

_SYLLABLES: Final = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


def vocabulary() -> list[str]:
    """Words by how often they are used, each different from all others."""
    made = random.Random(1)
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        words["".join(made.choices(_SYLLABLES, k=made.choice((1, 2, 2, 3, 3, 3, 4, 4, 5))))] = None
    return list(words)


def videos(numbers: Sequence[int], words: Sequence[str]) -> Iterator[VideoDocument]:
    """The videos of these numbers, in their order; a number is the same video in every run."""
    weights = list(itertools.accumulate(1 / rank for rank in range(8, len(words) + 8)))
    for number in numbers:
        chosen = random.Random(number)
        title = chosen.choices(words, cum_weights=weights, k=chosen.randint(4, 11))
        if number % 10 in {0, 5}:
            title[0] = NEVER_MEET[number % 10 == 5]
        yield video(number, " ".join(title).capitalize())


def video(number: int, title: str) -> VideoDocument:
    """A video of usual size, about 1.2 kB as it is served."""
    published_ms, video_id = OLDEST_MS + number * EVERY_MS, f"bench{number:06d}"[-11:]
    channel = number % CHANNELS
    public = Video(
        id=video_id,
        title=title,
        description="Boil the water, warm the pot, and wait. " * 8,
        channel=Channel(f"UC{channel:022d}", f"Tea room {channel}"),
        published_at=format_seconds(published_ms),
        live="none",
        duration_seconds=213,
        thumbnails={
            name: Thumbnail(f"https://i.ytimg.com/vi/{video_id}/{name}.jpg", width, height)
            for name, width, height in (("default", 120, 90), ("medium", 320, 180), ("high", 480, 360))
        },
        queries=sorted({QUERIES[number % len(QUERIES)], QUERIES[number // 3 % len(QUERIES)]}),
        first_seen_at=format_millis(published_ms + 5_000),
        url=watch_url(video_id),
    )
    return VideoDocument(
        video=public,
        published_ms=published_ms,
        first_seen_ms=published_ms + 5_000,
        body=encode(public),
        registers={"search": Register("0" * 16, published_ms + 5_000)},
        confirmed_ms=published_ms + 5_000,
        source=SourcePosition(RAW, number % 4, number),
        event=OwedEvent(number, VIDEO_DISCOVERED, None),
    )


def stored_videos(numbers: Sequence[int], words: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The same as MongoDB keeps them."""
    for document in videos(numbers, words):
        yield to_stored(document, _NOW)


def newest_key(count: int) -> str:
    """Sort key of the newest of `count` videos."""
    newest = video(count - 1, "")
    return sort_key(newest.published_ms, newest.id)
