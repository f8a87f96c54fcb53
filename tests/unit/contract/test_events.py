"""What is refused in an envelope, and what stands in for what is missing."""

import pytest

from contract.events import (
    ITEM_FETCHED,
    ITEM_GONE,
    VIDEO_DISCOVERED,
    EnvelopeError,
    UnknownTypeError,
    first_failure,
    read_dead_letter_headers,
    read_raw_headers,
    read_video_headers,
)


@pytest.mark.parametrize(
    "type_",
    [
        "io.yousync.item.fetched.v2",
        "io.yousync.item.fetched.v10",
        "io.yousync.item.fetched.v1.",
        "io.yousync.item.lost.v1",
        "io.yousync.item.fetched.v1\n",
        VIDEO_DISCOVERED,
        "",
    ],
)
def test_events_of_another_kind_or_major_version_are_unknown(type_: str) -> None:
    with pytest.raises(UnknownTypeError, match="ce_type"):
        read_raw_headers([("ce_type", type_.encode())], gone=False, timestamp_ms=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_time", b"yesterday"),
        ("ce_time", b"2026-09-21T14:13:20"),
        ("ce_firstseen", b"1790000000"),
        ("ce_queries", b"tea"),
        ("ce_queries", b"[1]"),
        ("ce_queries", b'{"tea":1}'),
        ("ce_queries", b'"tea"'),
    ],
)
def test_a_malformed_attribute_is_named(name: str, value: bytes) -> None:
    with pytest.raises(EnvelopeError, match=name):
        read_raw_headers([(name, value)], gone=False, timestamp_ms=0)


def test_attributes_that_are_no_text_are_refused() -> None:
    with pytest.raises(EnvelopeError, match="not UTF-8"):
        read_raw_headers([("ce_subject", b"\xff")], gone=False, timestamp_ms=0)


def test_kafkas_timestamp_stands_in_for_missing_times() -> None:
    envelope = read_raw_headers([], gone=False, timestamp_ms=42)

    assert (envelope.type, envelope.time_ms, envelope.first_seen_ms) == (ITEM_FETCHED, 42, 42)
    assert (envelope.source, envelope.queries) == ("", ())
    assert read_raw_headers([], gone=True, timestamp_ms=42).type == ITEM_GONE


def test_without_a_first_sighting_the_fetch_is_it() -> None:
    envelope = read_raw_headers([("ce_time", b"1970-01-01T00:00:07Z")], gone=False, timestamp_ms=42)

    assert (envelope.time_ms, envelope.first_seen_ms) == (7000, 7000)


@pytest.mark.parametrize("headers", [[], [("ce_id", b"3"), ("ce_type", b"x"), ("ce_subject", b"y")]])
def test_a_video_event_lacks_nothing(headers: list[tuple[str, bytes]]) -> None:
    with pytest.raises(EnvelopeError, match="not a video event"):
        read_video_headers(headers)


def test_a_dead_letter_lacks_nothing() -> None:
    with pytest.raises(EnvelopeError, match="dl_detail"):
        read_dead_letter_headers([("dl_reason", b"schema")])


@pytest.mark.parametrize(
    ("origin", "attempt"),
    [
        (b"nowhere", b"1"),
        (b"youtube.videos.raw/1", b"1"),
        (b"youtube.videos.raw/1/-2", b"1"),
        (b"youtube.videos.raw/1/2", b"0"),
        (b"youtube.videos.raw/1/2", b"-7"),
        (b"youtube.videos.raw/1/2", b"x"),
    ],
)
def test_what_is_not_a_retrys_word_makes_no_origin(origin: bytes, attempt: bytes) -> None:
    """Two foreign records that claim the same nonsense are two dead letters."""
    assert first_failure([("dl_origin", origin), ("dl_attempt", attempt)], "here/0/0") == ("here/0/0", 1)


def test_a_retry_keeps_its_origin_and_counts() -> None:
    said = [("dl_origin", b"youtube.videos.raw/1/2"), ("dl_attempt", b"2")]

    assert first_failure(said, "here/0/0") == ("youtube.videos.raw/1/2", 3)
