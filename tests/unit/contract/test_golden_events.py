"""Every kind of event against recorded bytes, both ways.

`golden/today/<kind>.json` is what today's encoder writes. `golden/forever/<kind>-*.json` is what was written once, or
may be written by a newer or a foreign producer: it is decoded to what it says under `decoded`, for ever, and never
edited or deleted. To change an encoding on purpose, change the file under `today` and add a copy under `forever`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from contract.events import (
    ITEM_FETCHED,
    ITEM_GONE,
    SEARCH,
    VIDEO_DISCOVERED,
    VIDEO_REMOVED,
    VIDEO_UPDATED,
    VIDEOS,
    DeadLetterEnvelope,
    RawEnvelope,
    VideoEnvelope,
    dead_letter_headers,
    raw_headers,
    read_dead_letter_headers,
    read_raw_headers,
    read_video_headers,
    video_headers,
)
from contract.video import Channel, Thumbnail, Video, decode, encode, watch_url

GOLDEN: Final = Path(__file__).parent / "golden"
KAFKA_TIMESTAMP_MS: Final = 1_790_000_009_999
"""Stands in for times that a foreign producer leaves out."""

VIDEO_ID: Final = "dQw4w9WgXcQ"
ITEM: Final = (
    '{\n  "kind": "youtube#searchResult",\n  "id": { "videoId": "dQw4w9WgXcQ" },\n'
    '  "snippet": { "title": "Tea &amp; “scones” ☕" }\n}'
)

Headers = list[tuple[str, bytes]]


def _video() -> Video:
    return Video(
        id=VIDEO_ID,
        title='Tea & “scones” ☕ <b>"now"</b>\u0000',
        description="First line\nsecond line\t/",
        channel=Channel("UC38IQsAvIsxxjztdMZQtwHA", "Tea room"),
        published_at="2026-09-21T14:13:20Z",
        live="none",
        duration_seconds=213,
        thumbnails={
            "default": Thumbnail("https://i.ytimg.com/vi/dQw4w9WgXcQ/default.jpg", 120, 90),
            "plain": Thumbnail("https://i.ytimg.com/vi/dQw4w9WgXcQ/plain.jpg"),
        },
        queries=["scones", "tea"],
        first_seen_at="2026-09-21T14:13:25.042Z",
        url=watch_url(VIDEO_ID),
    )


def _raw(type_: str, source: str) -> Headers:
    envelope = RawEnvelope(
        type=type_,
        source=source,
        id="0192f0c1-7a5e-7cc3-8000-000000000001",
        time_ms=1_790_000_005_042,
        subject=VIDEO_ID,
        queries=("tea", "scones ☕"),
        first_seen_ms=1_790_000_005_042,
    )
    return raw_headers(envelope)


def _event(type_: str, sort_key: str | None, previous: str | None) -> Headers:
    envelope = VideoEnvelope(
        type=type_, partition=3, sequence=4711, subject=VIDEO_ID, sort_key=sort_key, previous_sort_key=previous
    )
    return video_headers(envelope)


def _dead_letter() -> Headers:
    envelope = DeadLetterEnvelope(
        reason="not_json",
        detail="unexpected end of input ☕\ud800",
        origin="youtube.videos.raw/3/4711",
        attempt=1,
        version="0.1.0",
        failed_at_ms=1_790_000_006_001,
        timestamp_ms=1_790_000_005_555,
    )
    return dead_letter_headers(_raw(ITEM_FETCHED, SEARCH), envelope)


SORT_KEY: Final = "1790000000000dQw4w9WgXcQ"
TODAY: Final[dict[str, tuple[Callable[[], Headers], Callable[[], bytes | None]]]] = {
    "raw_fetched": (lambda: _raw(ITEM_FETCHED, SEARCH), ITEM.encode),
    "raw_gone": (lambda: _raw(ITEM_GONE, VIDEOS), lambda: None),
    "discovered": (lambda: _event(VIDEO_DISCOVERED, SORT_KEY, None), lambda: encode(_video())),
    "updated": (lambda: _event(VIDEO_UPDATED, SORT_KEY, "1789999999000dQw4w9WgXcQ"), lambda: encode(_video())),
    "removed": (lambda: _event(VIDEO_REMOVED, SORT_KEY, SORT_KEY), lambda: None),
    "dead_letter": (_dead_letter, lambda: b'{"id":'),
}


def _load(path: Path) -> tuple[Headers, bytes | None, Any]:
    golden = json.loads(path.read_text())
    headers = [(name, text.encode()) for name, text in golden["headers"]]
    return headers, None if golden["value"] is None else golden["value"].encode(), golden["decoded"]


def _decoded(kind: str, headers: Headers, value: bytes | None) -> Any:
    """What our readers make of a record, as JSON."""
    if kind.startswith("raw"):
        envelope: msgspec.Struct = read_raw_headers(headers, gone=value is None, timestamp_ms=KAFKA_TIMESTAMP_MS)
    elif kind == "dead_letter":
        envelope = read_dead_letter_headers(headers)
    else:
        envelope = read_video_headers(headers)
    carries_video = kind in {"discovered", "updated"}
    assert value is not None or not carries_video
    said = {"envelope": envelope, **({"video": decode(value or b"")} if carries_video else {})}
    return json.loads(msgspec.json.encode(said))


@pytest.mark.parametrize("kind", TODAY)
def test_todays_encoder_writes_the_recorded_bytes(kind: str) -> None:
    headers, value = (part() for part in TODAY[kind])

    assert _load(GOLDEN / "today" / f"{kind}.json")[:2] == (headers, value)


@pytest.mark.parametrize("kind", TODAY)
def test_what_is_written_today_is_kept_for_ever(kind: str) -> None:
    kept = [_load(path) for path in (GOLDEN / "forever").glob(f"{kind}-*.json")]

    assert _load(GOLDEN / "today" / f"{kind}.json") in kept


@pytest.mark.parametrize("example", sorted(path.stem for path in (GOLDEN / "forever").glob("*.json")))
def test_every_example_decodes_for_ever(example: str) -> None:
    headers, value, decoded = _load(GOLDEN / "forever" / f"{example}.json")

    today = _decoded(example.split("-", maxsplit=1)[0], headers, value)

    # What the record says must still be read so; attributes that were added since have their defaults.
    assert {part: {name: today[part][name] for name in said} for part, said in decoded.items()} == decoded


def test_the_examples_are_there() -> None:
    kinds = {path.stem.split("-")[0] for path in (GOLDEN / "forever").glob("*.json")}

    assert kinds == set(TODAY)
