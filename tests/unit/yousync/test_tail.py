"""How one record is shown."""

import json
from dataclasses import replace

import pytest
from aiokafka.structs import ConsumerRecord

from yousync.tail import Filters, json_line, readable, topic_of

NESTED = "[" * 500 + "]" * 500


def record(
    value: bytes | None, key: bytes | None = b"dQw4w9WgXcQ", kind: bytes | None = b"io.yousync.video.discovered.v1"
) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord(
        topic="youtube.videos",
        partition=2,
        offset=123,
        timestamp=1_760_000_000_123,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=(("ce_type", kind),),
    )


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("raw", "youtube.videos.raw"),
        ("videos", "youtube.videos"),
        ("dead-letter", "youtube.videos.dead-letter"),
        ("state", "yousync.producer.state"),
        ("my-topic", "my-topic"),
    ],
)
def test_short_names_stand_for_topics(name: str, topic: str) -> None:
    assert topic_of(name) == topic


def test_a_line_says_when_where_what_and_the_beginning() -> None:
    line = readable(record(b'{"title":"tea"}'))

    assert line == ('2025-10-09T08:53:20.123Z 2/123 dQw4w9WgXcQ io.yousync.video.discovered.v1 {"title":"tea"}')


def test_a_line_stays_one_short_line_whatever_the_value() -> None:
    line = readable(record(b"evil \x1b[31m\n\xff" + b"x" * 5000, key=None))

    assert line.isprintable()
    assert len(line) < 400
    assert "(no key)" in line
    assert readable(record(None)).endswith("(null)")
    assert readable(record(b"", kind=None)).endswith("dQw4w9WgXcQ")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b'{"a":1}', {"value": {"a": 1}}),
        (None, {"value": None}),
        (b"not json", {"value_text": "not json"}),
        (NESTED.encode(), {"value_text": NESTED}),
        (b"\xff\x00", {"value_base64": "/wA="}),
    ],
)
def test_a_json_line_keeps_every_value(value: bytes | None, shown: dict[str, object]) -> None:
    assert json.loads(json_line(record(value))) == {
        "topic": "youtube.videos",
        "partition": 2,
        "offset": 123,
        "time": "2025-10-09T08:53:20.123Z",
        "key": "dQw4w9WgXcQ",
        "headers": {"ce_type": "io.yousync.video.discovered.v1"},
        **shown,
    }


VIDEO = b'{"queries":["tea"],"channel":{"id":"UC-1"}}'


@pytest.mark.parametrize(
    ("filters", "taken"),
    [
        (Filters(), True),
        (Filters(key="dQw4w9WgXcQ", query="tea", channel="UC-1", type="discovered"), True),
        (Filters(type="io.yousync.video.discovered.v1"), True),
        (Filters(key="dQw4w9WgXc"), False),
        (Filters(query="te"), False),
        (Filters(channel="UC"), False),
        (Filters(type="updated"), False),
        (Filters(type="discover"), False),
    ],
)
def test_a_record_must_be_all_that_is_asked_for(filters: Filters, taken: bool) -> None:
    assert filters.take(record(VIDEO)) is taken


@pytest.mark.parametrize(
    ("value", "channel"),
    [
        (b'{"snippet":{"channelId":"UC-1"}}', "UC-1"),
        (b'{"snippet":{"channelId":"UC-of-the-list","videoOwnerChannelId":"UC-1"}}', "UC-1"),
    ],
)
def test_a_raw_item_says_its_channel_in_the_value_and_its_queries_in_a_header(value: bytes, channel: str) -> None:
    item = replace(record(value), headers=(("ce_queries", b'["coffee","tea"]'),))

    assert Filters(channel=channel, query="tea").take(item)
    assert not Filters(channel="UC-2").take(item)
    assert not Filters(query="cocoa").take(item)


@pytest.mark.parametrize("value", [None, b"not json", b"[]", b'{"queries":7,"channel":"UC-1"}', b"\xff"])
def test_a_record_that_does_not_say_what_is_asked_for_is_left_out(value: bytes | None) -> None:
    assert not Filters(query="tea").take(record(value))
    assert not Filters(channel="UC-1").take(record(value))
    assert not Filters(key="dQw4w9WgXcQ").take(record(value, key=None))
    assert not Filters(type="discovered").take(record(value, kind=None))
