"""Which items are published, and as what."""

import json
from typing import Any

import pytest

from contract.events import ITEM_FETCHED, SEARCH, read_raw_headers
from contract.topics import RAW
from producer.raw_item import sort_items, to_record
from tests.fakes.producer_edges import search_item, video_id

FETCHED_AT_MS = 1_780_000_000_123


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"id": {"kind": "youtube#channel", "channelId": "UC1"}}, "other_kind"),
        ({"id": {"kind": "youtube#playlist", "playlistId": "PL1"}}, "other_kind"),
        ({"id": {"kind": "youtube#channel", "videoId": video_id(1)}}, "other_kind"),
        ({"id": {"videoId": video_id(1)}}, "other_kind"),
        ({"id": {"kind": "youtube#video"}}, "no_video_id"),
        ({"id": {"kind": "youtube#video", "videoId": None}}, "no_video_id"),
        ({"id": {"kind": "youtube#video", "videoId": ""}}, "no_video_id"),
        ({"id": {"kind": "youtube#video", "videoId": 7}}, "no_video_id"),
        ({"id": {"kind": "youtube#video", "videoId": "tooshort"}}, "bad_video_id"),
        ({"id": {"kind": "youtube#video", "videoId": "twelve_chars"}}, "bad_video_id"),
        ({"id": {"kind": "youtube#video", "videoId": "elevenchar\n"}}, "bad_video_id"),
        ({"id": {"kind": "youtube#video", "videoId": "elevencharé"}}, "bad_video_id"),
        ({"id": video_id(1)}, "no_id"),
        ({"id": None}, "no_id"),
        ({}, "no_id"),
        ([], "no_id"),
        ("text", "no_id"),
        (None, "no_id"),
    ],
)
def test_what_is_no_video_is_counted_and_not_published(item: Any, reason: str) -> None:
    found = sort_items([search_item(1), item, search_item(2)])
    assert [video_id(1), video_id(2)] == [name for name, _ in found.videos]
    assert {reason: 1} == dict(found.ignored)


def test_a_video_needs_no_more_than_its_id() -> None:
    bare = {"id": {"kind": "youtube#video", "videoId": "-_azAZ09xyz"}}
    assert [("-_azAZ09xyz", bare)] == sort_items([bare]).videos


@pytest.mark.parametrize(
    "item",
    [
        search_item(1),
        {**search_item(1), "unknown": {"deep": [1, 2.5, None, True, {"é": "“"}]}, "large": 2**70},
        {"id": {"kind": "youtube#video", "videoId": video_id(1)}, "nul": "\x00", "lone": "\ud800"},
    ],
    ids=["plain", "unknown fields", "lone surrogate"],
)
def test_the_value_is_the_item_itself(item: Any) -> None:
    record = to_record(video_id(1), item, query="tea", fetched_at_ms=FETCHED_AT_MS, event_id="e1")
    assert item == json.loads(record.value)
    assert list(item) == list(json.loads(record.value))


def test_the_record_says_where_it_came_from() -> None:
    record = to_record(video_id(1), search_item(1), query="té", fetched_at_ms=FETCHED_AT_MS, event_id="e1")
    envelope = read_raw_headers(record.headers, gone=False, timestamp_ms=0)

    assert (RAW, video_id(1).encode()) == (record.topic, record.key)
    assert (ITEM_FETCHED, SEARCH, "e1", video_id(1)) == (envelope.type, envelope.source, envelope.id, envelope.subject)
    assert (envelope.queries, envelope.time_ms, envelope.first_seen_ms) == (("té",), FETCHED_AT_MS, FETCHED_AT_MS)
