"""How one record is shown."""

import json

import pytest
from aiokafka.structs import ConsumerRecord

from yousync.tail import json_line, readable, topic_of

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
