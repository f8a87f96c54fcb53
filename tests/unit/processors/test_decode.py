"""What is accepted from the raw topic and what is refused, with which reason (the poison matrix)."""

import base64
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import events
from contract.times import YOUTUBE_FOUNDED_MS, format_seconds
from processors.decode import Gone, Item, Record, Refusal, decode
from tests.raw_items import (
    NOW_MS,
    PARTITIONS,
    headers,
    partition_of,
    playlist_item,
    record,
    search_item,
    video_id,
    video_item,
)

YEAR_MS = 366 * 86_400_000


def refused(of: Record) -> str:
    answer = decode(of, partition_of)
    assert isinstance(answer, Refusal), answer
    assert answer.detail
    assert len(answer.detail) <= 500
    return answer.reason


def accepted(of: Record) -> Item:
    answer = decode(of, partition_of)
    assert isinstance(answer, Item), answer
    return answer


def with_value(value: bytes | None) -> Record:
    return msgspec.structs.replace(record(1, 0, search_item(1)), value=value)


def with_headers(*replaced: tuple[str, bytes]) -> Record:
    names = {name for name, _ in replaced}
    kept = [(name, value) for name, value in headers(1) if name not in names]
    return msgspec.structs.replace(record(1, 0, search_item(1)), headers=(*kept, *replaced))


def changed(path: str, value: Any) -> Record:
    """A search item with one field replaced (or, for `...`, left out)."""
    item = search_item(1)
    *parents, last = path.split(".")
    part = item
    for parent in parents:
        part = part[parent]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return record(1, 0, item)


def test_a_search_item_is_unescaped_once_and_its_excerpt_kept() -> None:
    item = accepted(record(1, 0, search_item(1, title="Tom &amp;amp; &#39;Jerry&#39;", description="a &amp; b ...")))

    assert item.title == "Tom &amp; 'Jerry'"
    assert item.channel_title == "Tea & Talks"
    assert item.description == "a &amp; b ..."
    assert item.queries == ("tea",)
    assert (item.source, item.duration_seconds, item.live) == ("search", None, "none")


def test_a_playlist_item_speaks_of_the_video_and_its_owner() -> None:
    item = accepted(record(1, 0, playlist_item(1, title="A &amp; B"), source=events.PLAYLIST_ITEMS))

    assert item.source == "playlistItems"
    assert item.title == "A &amp; B"
    assert item.channel_id == "UC0000000000000000000001"
    assert item.published_ms == NOW_MS - 1000


def test_a_video_item_brings_its_duration() -> None:
    item = accepted(record(1, 0, video_item(1), source=events.VIDEOS))

    assert (item.source, item.duration_seconds) == ("videos", 3723)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT15S", 15), ("P1DT2S", 86_402), ("PT0S", None), ("P0D", None), ("an hour", None), ("PT9999999S", None)],
)
def test_durations(text: str, seconds: int | None) -> None:
    item = accepted(record(1, 0, video_item(1, contentDetails={"duration": text}), source=events.VIDEOS))

    assert item.duration_seconds == seconds


def test_the_hash_of_a_search_item_leaves_the_excerpt_and_the_etag_out() -> None:
    one = accepted(record(1, 0, search_item(1, description="x") | {"etag": "1"}))
    other = accepted(record(1, 9, search_item(1, description="y") | {"etag": "2"}))
    third = accepted(record(1, 9, search_item(1, title="Another")))

    assert one.hash == other.hash != third.hash


def test_a_null_is_a_removal() -> None:
    assert decode(record(1, 0, None), partition_of) == Gone(video_id(1), NOW_MS)


def test_missing_headers_are_tolerated() -> None:
    bare = msgspec.structs.replace(record(1, 0, search_item(1)), headers=())

    item = accepted(bare)

    assert (item.time_ms, item.first_seen_ms, item.queries) == (NOW_MS, NOW_MS, ())


def test_unknown_fields_and_u0000_are_accepted() -> None:
    item = search_item(1, title="a\0b", surprise={"deep": [1, 2]}) | {"more": 1}

    assert accepted(record(1, 0, item)).title == "a\0b"


@pytest.mark.parametrize(
    "value",
    [b"", b"nonsense", b"{", b"NaN", b'{"a":1}}', b'{"a":' + b"[" * 100_000, b'{"kind": "youtube#searchResult", '],
)
def test_not_json(value: bytes) -> None:
    assert refused(with_value(value)) == "not_json"


def test_not_utf8() -> None:
    assert refused(with_value(orjson.dumps(search_item(1)).replace(b"A talk", b"A \xff"))) == "not_utf8"


@pytest.mark.parametrize("escape", [rb"\ud800", rb"\udc00", rb"\ud800\u0041"])
def test_lone_surrogates_are_a_fault_of_content(escape: bytes) -> None:
    assert refused(with_value(orjson.dumps(search_item(1)).replace(b"A talk", escape))) == "schema"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("snippet.title", 7),
        ("snippet.title", None),
        ("snippet.title", ...),
        ("snippet", ...),
        ("snippet.publishedAt", ...),
        ("snippet.publishedAt", 1),
        ("snippet.thumbnails", []),
        ("snippet.thumbnails", {"default": {"url": "u", "width": -1}}),
        ("snippet.thumbnails", {"default": {"url": "u", "width": 2**40}}),
        ("snippet.thumbnails", {"a.b": {"url": "u"}}),
        ("snippet.thumbnails", {"$a": {"url": "u"}}),
        ("snippet.thumbnails", {"a\0": {"url": "u"}}),
        ("snippet.description", {}),
        ("id", "vid00000001"),
        ("id.videoId", ...),
        ("kind", "youtube#channel"),
        ("kind", 3),
    ],
)
def test_schema(path: str, value: Any) -> None:
    assert refused(changed(path, value)) == "schema"


def test_an_item_of_no_known_kind_is_refused_but_the_source_header_may_tell() -> None:
    item = search_item(1)
    del item["kind"]

    assert accepted(record(1, 0, item)).source == "search"
    assert refused(record(1, 0, item, source="/elsewhere")) == "schema"


@pytest.mark.parametrize("value", [orjson.dumps(text) for text in ["text", 5, None, []]])
def test_json_that_is_no_object(value: bytes) -> None:
    assert refused(with_value(value)) == "schema"


@pytest.mark.parametrize("key", [None, b""])
def test_no_key(key: bytes | None) -> None:
    assert refused(msgspec.structs.replace(record(1, 0, search_item(1)), key=key)) == "no_key"


@pytest.mark.parametrize("key", [b"short", b"vid0000000!", b"vid00000001x", "vid0000000é".encode(), b"\xff" * 11])
def test_bad_id(key: bytes) -> None:
    assert refused(msgspec.structs.replace(record(1, 0, search_item(1)), key=key)) == "bad_id"


def test_key_mismatch() -> None:
    assert refused(msgspec.structs.replace(record(1, 0, search_item(2)))) == "key_mismatch"


def test_wrong_partition() -> None:
    elsewhere = (partition_of(video_id(1).encode()) + 1) % PARTITIONS

    assert refused(record(1, 0, search_item(1), partition=elsewhere)) == "wrong_partition"


@pytest.mark.parametrize(
    "published",
    ["2005-02-13T23:59:59Z", format_seconds(NOW_MS + 3 * YEAR_MS), "2026-01-01T00:00:00", "yesterday", ""],
)
def test_bad_time(published: str) -> None:
    assert refused(changed("snippet.publishedAt", published)) == "bad_time"


@pytest.mark.parametrize("name", ["ce_time", "ce_firstseen"])
@pytest.mark.parametrize("text", [b"1999-01-01T00:00:00Z", b"9999-12-31T23:59:59Z"])
def test_an_absurd_event_time_is_refused(name: str, text: bytes) -> None:
    assert refused(with_headers((name, text))) == "bad_time"


def test_the_edges_of_time_are_accepted() -> None:
    assert accepted(changed("snippet.publishedAt", "2005-02-14T00:00:00Z")).published_ms == YOUTUBE_FOUNDED_MS
    far = NOW_MS + 700 * 86_400_000
    assert accepted(changed("snippet.publishedAt", format_seconds(far))).published_ms == far
    assert accepted(changed("snippet.publishedAt", "2026-05-28T20:26:39.999+02:00")).published_ms % 1000 == 0


@pytest.mark.parametrize("type_", [b"io.yousync.item.fetched.v2", b"io.yousync.item.fetched.v10", b"com.example.thing"])
def test_unknown_type(type_: bytes) -> None:
    assert refused(with_headers(("ce_type", type_))) == "unknown_type"


@pytest.mark.parametrize(
    "header",
    [
        ("ce_time", b"noon"),
        ("ce_queries", b"tea"),
        ("ce_queries", b'{"tea":1}'),
        ("ce_queries", b"[1]"),
        ("ce_source", b"\xff"),
    ],
)
def test_a_header_that_cannot_be_read_is_a_schema_fault(header: tuple[str, bytes]) -> None:
    assert refused(with_headers(header)) == "schema"


def test_a_refusal_never_carries_the_whole_poison() -> None:
    key = base64.b64encode(b"x" * 3000)

    assert refused(msgspec.structs.replace(record(1, 0, search_item(1)), key=key)) == "bad_id"


@st.composite
def damaged_records(draw: st.DrawFn) -> Record:
    """A good record with a stretch of its bytes replaced, or with a key, value or headers of any bytes."""
    sound = draw(st.sampled_from([record(1, 0, search_item(1)), record(1, 0, video_item(1)), record(1, 0, None)]))
    value = sound.value
    if value is not None:
        start = draw(st.integers(0, len(value)))
        pieces = [b"", b'"', b"&#99", b"\\u", b"\\ud800", b"1e999", b"null", b"{", b"[]", b"\xff", b"\0", b"-1"]
        damage = draw(st.binary(max_size=9) | st.sampled_from(pieces))
        value = value[:start] + damage * draw(st.integers(1, 3)) + value[start + draw(st.integers(0, 9)) :]
    names = st.sampled_from(["ce_type", "ce_time", "ce_queries", "ce_firstseen", "ce_source", "dl_origin", "x"])
    texts = st.sampled_from(
        [b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"[]", b"null", b'["\\u0000"]']
    )
    added = draw(st.lists(st.tuples(names, st.none() | st.binary(max_size=20) | texts), max_size=3))
    return msgspec.structs.replace(
        sound,
        key=draw(st.just(sound.key) | st.none() | st.binary(max_size=12)),
        value=draw(st.just(value) | st.none() | st.binary()),
        headers=(*sound.headers, *added),
        timestamp_ms=draw(st.sampled_from([NOW_MS, 0, -1, 2**62])),
    )


@given(damaged_records())
def test_whatever_a_record_holds_it_is_taken_or_refused_and_nothing_is_raised(damaged: Record) -> None:
    answer = decode(damaged, partition_of)

    assert isinstance(answer, Item | Gone | Refusal)
    assert answer == decode(damaged, partition_of)
