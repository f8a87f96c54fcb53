"""What is read of items, however odd they are, and which records are made of them."""

import json
from typing import Any

import pytest

from contract.events import ITEM_FETCHED, ITEM_GONE, PLAYLIST_ITEMS, SEARCH, VIDEOS, read_raw_headers
from contract.topics import RAW
from producer.raw_item import Sighting, Sightings, fetched_record, gone_record, read_search, read_uploads, read_videos
from tests.fakes.producer_edges import CHANNEL, private_item, search_item, upload_item, video_id, video_item

NOW_MS = 1_780_000_000_123
THEN_MS = 1_770_000_000_000
ONE = video_id(1)
LONE = "\ud800"
ODD_PARTS: tuple[Any, ...] = (None, 7, [], "text", {})
READERS = {"search": read_search, "uploads": read_uploads, "videos": read_videos}


def with_id(source: str, name: Any, **parts: Any) -> dict[str, Any]:
    """An item of nothing but its video id, and `parts`, as a call would show it."""
    if source == "search":
        return {"id": {"kind": "youtube#video", "videoId": name}, **parts}
    if source == "uploads":
        details = {"videoPublishedAt": "2026-02-02T02:40:00Z"} | parts.pop("contentDetails", {})
        return {"id": "UEw", "contentDetails": {"videoId": name, **details}, **parts}
    return {"id": name, **parts}


def read_one(source: str, item: Any) -> Sighting:
    (seen,) = READERS[source]([item]).videos
    return seen


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"id": {"kind": "youtube#channel", "channelId": "UC1"}}, "other_kind"),
        ({"id": {"kind": "youtube#playlist", "playlistId": "PL1"}}, "other_kind"),
        ({"id": {"kind": "youtube#channel", "videoId": ONE}}, "other_kind"),
        ({"id": {"videoId": ONE}}, "other_kind"),
        ({"id": {"kind": ["youtube#video"], "videoId": ONE}}, "other_kind"),
        ({"id": {"kind": "youtube#video"}}, "no_video_id"),
        ({"id": ONE}, "no_id"),
        ({"id": None}, "no_id"),
        ({}, "no_id"),
    ],
)
def test_what_is_no_video_of_a_search_is_counted_and_left_out(item: Any, reason: str) -> None:
    found = read_search([search_item(1), item, search_item(2)])
    assert [video_id(1), video_id(2)] == [seen.video_id for seen in found.videos]
    assert {reason: 1} == dict(found.ignored)


@pytest.mark.parametrize("source", READERS)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (None, "no_video_id"),
        ("", "no_video_id"),
        (7, "no_video_id"),
        ([ONE], "no_video_id"),
        ("tooshort", "bad_video_id"),
        ("twelve_chars", "bad_video_id"),
        ("elevenchar\n", "bad_video_id"),
        ("elevencharé", "bad_video_id"),
        (LONE * 11, "bad_video_id"),
    ],
)
def test_an_id_that_cannot_be_a_key_is_counted_and_left_out(source: str, name: Any, reason: str) -> None:
    found = READERS[source]([with_id(source, name), with_id(source, ONE)])
    assert ([ONE], {reason: 1}) == ([seen.video_id for seen in found.videos], dict(found.ignored))


@pytest.mark.parametrize("source", READERS)
@pytest.mark.parametrize("item", [None, 7, "text", [], [{"id": ONE}], True])
def test_what_is_no_object_is_counted_and_left_out(source: str, item: Any) -> None:
    found = READERS[source]([item])
    assert (found.videos, dict(found.ignored)) == ([], {"no_id": 1})


@pytest.mark.parametrize("details", [None, 7, [], "text"])
def test_an_upload_without_readable_details_has_no_id(details: Any) -> None:
    assert dict(read_uploads([{"id": ONE, "contentDetails": details}]).ignored) == {"no_video_id": 1}


@pytest.mark.parametrize("source", READERS)
@pytest.mark.parametrize("parts", [{}, *({"snippet": odd} for odd in ODD_PARTS)])
def test_a_video_needs_no_more_than_its_id(source: str, parts: dict[str, Any]) -> None:
    item = with_id(source, "-_azAZ09xyz", **parts)
    seen = read_one(source, item)
    assert (seen.video_id, seen.channel_id, seen.live, set(seen.texts)) == ("-_azAZ09xyz", None, None, {""})
    assert seen.item is item


@pytest.mark.parametrize("source", READERS)
@pytest.mark.parametrize("odd", [None, 7, [], {}, True, LONE, "\x00", "x" * 5_000])
def test_odd_parts_are_read_as_nothing_and_published_as_they_are(source: str, odd: Any) -> None:
    """No field of an item may stop the producer: it is the processors that judge items."""
    names = ("title", "description", "channelTitle", "videoOwnerChannelTitle", "channelId", "videoOwnerChannelId")
    more = ("publishedAt", "liveBroadcastContent", "tags", "thumbnails")
    item = with_id(source, ONE, snippet=dict.fromkeys((*names, *more), odd), etag=odd)
    seen = read_one(source, item)
    assert (seen.channel_id, seen.live) == (None, None)
    assert seen.published_ms == (1_770_000_000_000 if source == "uploads" else None)
    assert all(isinstance(text, str) for text in seen.texts)
    assert json.loads(record_of(seen).value or b"") == item


def test_each_call_has_its_own_names_for_the_same_things() -> None:
    texts = {"title": "A &amp; B", "description": "C &amp; D"}
    of_search = search_item(1, THEN_MS)
    of_search["snippet"] |= {**texts, "channelTitle": "E &lt;3"}
    of_upload = upload_item(1, THEN_MS, "A &amp; B")
    of_upload["snippet"] |= {**texts, "videoOwnerChannelTitle": "E &lt;3", "publishedAt": "2020-01-01T00:00:00Z"}
    of_video = video_item(1, THEN_MS, live="live")
    of_video["snippet"] |= {**texts, "channelTitle": "E &lt;3", "tags": ["F", 7, None, "G"]}

    search, upload, video = (
        read_one(source, item) for source, item in zip(READERS, (of_search, of_upload, of_video), strict=True)
    )
    assert {seen.published_ms for seen in (search, upload, video)} == {THEN_MS}
    assert {seen.channel_id for seen in (search, upload, video)} == {CHANNEL}
    assert search.texts == ("A & B", "E <3", "C &amp; D"), "a search escapes titles, and titles alone"
    assert upload.texts == ("A &amp; B", "E &lt;3", "C &amp; D")
    assert video.texts == ("A &amp; B", "E &lt;3", "F", "G", "C &amp; D")
    assert (search.live, upload.live, video.live) == ("none", None, "live")


@pytest.mark.parametrize("published", [None, 7, "", "yesterday", "2026-02-02T02:40:00", LONE])
@pytest.mark.parametrize("source", ["search", "videos"])
def test_an_unreadable_publish_time_is_none(source: str, published: Any) -> None:
    assert read_one(source, with_id(source, ONE, snippet={"publishedAt": published})).published_ms is None


@pytest.mark.parametrize("published", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_the_ends_of_time_are_times(published: str) -> None:
    assert read_one("search", with_id("search", ONE, snippet={"publishedAt": published})).published_ms is not None


@pytest.mark.parametrize("published", [None, 7, "", "yesterday"])
def test_an_upload_without_publish_time_is_private(published: Any) -> None:
    item = with_id("uploads", ONE, contentDetails={"videoPublishedAt": published})
    found = read_uploads([item, private_item(2), upload_item(3, THEN_MS, "tea")])
    assert [seen.video_id for seen in found.videos] == [video_id(3)]
    assert found.private == [ONE, video_id(2)]
    assert not found.ignored


@pytest.mark.parametrize(
    "channel_id",
    [
        "UCshort",
        "UC" + "x" * 23,
        "HC" + "x" * 22,
        "UC" + " " * 22,
        "UC" + "é" * 22,
        "UC" + LONE * 22,
        "UC" + "x" * 21 + "/",
        "UC" + "x" * 22 + "\n",
        "@handle",
        7,
        None,
        ["UC" + "x" * 22],
    ],
)
@pytest.mark.parametrize("source", READERS)
def test_a_channel_id_of_odd_form_is_none(source: str, channel_id: Any) -> None:
    item = with_id(source, ONE, snippet={"channelId": channel_id, "videoOwnerChannelId": channel_id})
    assert read_one(source, item).channel_id is None


def test_a_video_has_another_version_when_its_etag_or_without_one_its_item_is_another() -> None:
    plain = with_id("videos", ONE, snippet={"title": "tea"})
    assert read_one("videos", {**plain, "etag": "a"}).version == "a"
    assert read_one("videos", plain).version == read_one("videos", dict(plain)).version
    other = with_id("videos", ONE, snippet={"title": "coffee"})
    assert read_one("videos", plain).version != read_one("videos", other).version
    assert read_one("videos", {**plain, "etag": 7}).version != read_one("videos", {**plain, "etag": 8}).version


# Records.


def record_of(seen: Sighting, source: str = SEARCH) -> Any:
    return fetched_record(
        seen, source=source, queries=("*", "té"), first_seen_ms=THEN_MS, fetched_at_ms=NOW_MS, event_id="e1"
    )


@pytest.mark.parametrize(
    "item",
    [
        search_item(1),
        {**search_item(1), "unknown": {"deep": [1, 2.5, None, True, {"é": "“"}]}, "large": 2**70},
        with_id("search", ONE, nul="\x00", lone=LONE),
        with_id("search", ONE, **{LONE: [LONE], "large": 2**70}),
    ],
    ids=["plain", "unknown fields", "lone surrogate", "lone surrogate and large number"],
)
def test_the_value_is_the_item_itself(item: Any) -> None:
    value = record_of(read_one("search", item)).value
    assert item == json.loads(value)
    assert list(item) == list(json.loads(value))


@pytest.mark.parametrize("source", [SEARCH, PLAYLIST_ITEMS, VIDEOS])
def test_the_record_says_where_it_came_from(source: str) -> None:
    record = record_of(read_one("search", search_item(1)), source)
    envelope = read_raw_headers(record.headers, gone=False, timestamp_ms=0)
    assert (RAW, ONE.encode()) == (record.topic, record.key)
    assert (ITEM_FETCHED, source, "e1", ONE) == (envelope.type, envelope.source, envelope.id, envelope.subject)
    assert (envelope.queries, envelope.time_ms, envelope.first_seen_ms) == (("*", "té"), NOW_MS, THEN_MS)


def test_a_removal_is_a_null_that_says_what_was_known() -> None:
    record = gone_record(ONE, source=VIDEOS, queries=("tea",), first_seen_ms=THEN_MS, at_ms=NOW_MS, event_id="e1")
    envelope = read_raw_headers(record.headers, gone=True, timestamp_ms=0)
    assert (RAW, ONE.encode(), None) == (record.topic, record.key, record.value)
    assert (envelope.type, envelope.source, envelope.id, envelope.subject) == (ITEM_GONE, VIDEOS, "e1", ONE)
    assert (envelope.queries, envelope.time_ms, envelope.first_seen_ms) == (("tea",), NOW_MS, THEN_MS)


def test_an_answer_without_items_holds_nothing() -> None:
    for read in READERS.values():
        assert read([]) == Sightings([], read([]).ignored)
