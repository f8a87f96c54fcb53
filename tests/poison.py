"""The poison matrix as data: records that a broken or foreign producer may write to the raw topic, and their ends.

Each case has a video of its own, so that nothing but the record decides its end: one dead letter, or a document with
exactly these public fields, or a removal. The ends are written out here, not taken from the rules.
"""

import json
import random
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import orjson
from msgspec.structs import replace

from contract import events
from contract.times import YEAR_MS, format_millis, format_seconds
from contract.topics import RAW_MAX_BYTES
from processors.decode import Reason, Record
from processors.fold import MAX_BODY_BYTES
from tests.foreign_batch import ForeignBatchBuilder
from tests.raw_items import NOW_MS, PARTITIONS, partition_of, record, search_item, video_id, video_item

FIRST_NUMBER: Final = 50_000
"""Numbers of the matrix's videos start here; other records of a test keep below."""

KAFKAS_TIME: Final = object()
"""Stands for the time that the broker has for the record, in `Case.public`."""

Make = Callable[[int], Record]
Fields = dict[str, Any]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One record and its end; its offset and Kafka's time are settled when it is produced.

    `before` is a good record of the same video that is produced somewhere before it. `reason` None: it is accepted.
    `public` are the fields of the video after both; None: the video is not there (or no more).
    """

    name: str
    record: Record
    before: Record | None
    reason: Reason | None
    public: Fields | None
    number: int

    @property
    def leaves_a_marker(self) -> bool:
        return self.before is not None and self.public is None

    def fields(self, timestamp_ms: int) -> Fields | None:
        """The public fields, when Kafka's time of the record is this."""
        if self.public is None or self.public["first_seen_at"] is not KAFKAS_TIME:
            return self.public
        return {**self.public, "first_seen_at": format_millis(timestamp_ms)}

    def body(self, timestamp_ms: int) -> bytes | None:
        """The `Video` bytes of those fields, written by another encoder than the product's."""
        fields = self.fields(timestamp_ms)
        return None if fields is None else json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def good(number: int) -> Record:
    return record(number, 0, search_item(number))


def plain(number: int) -> Fields:
    """What `good` becomes."""
    return {
        "id": video_id(number),
        "title": "A talk",
        "description": "An excerpt ...",
        "channel": {"id": f"UC{number % 7:022d}", "title": "Tea & Talks"},
        "published_at": format_seconds(NOW_MS - number * 1000),
        "live": "none",
        "thumbnails": {"default": {"url": f"https://i.ytimg.com/vi/{video_id(number)}/default.jpg", "width": 120}},
        "queries": ["tea"],
        "first_seen_at": "2026-05-28T20:26:40.000Z",
        "url": f"https://www.youtube.com/watch?v={video_id(number)}",
    }


# How a record comes to differ from a good one.


def value(made: bytes | None) -> Make:
    return lambda number: replace(good(number), value=made)


def value_from(change: Callable[[bytes], bytes]) -> Make:
    return lambda number: replace(good(number), value=change(good(number).value or b""))


def text(old: bytes, new: bytes) -> Make:
    """The value with a piece of it replaced, once."""

    def make(number: int) -> Record:
        before = good(number).value or b""
        assert before.count(old) == 1
        return replace(good(number), value=before.replace(old, new))

    return make


def title(raw: bytes) -> Make:
    """The title as it stands between the quotes of the JSON text."""
    return text(b'"A talk"', b'"' + raw + b'"')


def unused(raw: bytes) -> Make:
    """A field that nobody reads, with this JSON text."""
    return value_from(lambda made: made[:-1] + b',"surprise":' + raw + b"}")


def snippet(**fields: Any) -> Make:
    """Fields of the snippet; `...` leaves one out."""

    def make(number: int) -> Record:
        item = search_item(number, **fields)
        item["snippet"] = {name: field for name, field in item["snippet"].items() if field is not ...}
        return record(number, 0, item)

    return make


def item(**fields: Any) -> Make:
    """Fields beside the snippet; `...` leaves one out."""

    def make(number: int) -> Record:
        made = {**search_item(number), **fields}
        return record(number, 0, {name: field for name, field in made.items() if field is not ...})

    return make


def thumbnail(**fields: Any) -> Make:
    return snippet(thumbnails={"default": {"url": "u", **fields}})


def width(raw: bytes) -> Make:
    return text(b'"width":120', b'"width":' + raw)


def key(made: bytes | None, make: Make = good) -> Make:
    return lambda number: replace(make(number), key=made)


def header(name: str, said: bytes | None, make: Make = good) -> Make:
    """One header replaced."""
    return lambda number: replace(make(number), headers=(*_without(make(number), name), (name, said)))


def also(*headers: tuple[str, bytes | None], make: Make = good) -> Make:
    """More headers, at the end."""
    return lambda number: replace(make(number), headers=(*make(number).headers, *headers))


def without(name: str, make: Make = good) -> Make:
    return lambda number: replace(make(number), headers=_without(make(number), name))


def _without(made: Record, name: str) -> tuple[tuple[str, bytes], ...]:
    return tuple(one for one in made.headers if one[0] != name)


def gone(number: int) -> Record:
    return record(number, 0, None)


def in_another_partition(make: Make) -> Make:
    return lambda number: replace(make(number), partition=(partition_of(video_id(number).encode()) + 1) % PARTITIONS)


def as_large_as_the_topic_takes(make: Callable[[int, bytes], Record]) -> Make:
    """`make(number, padding)` with the padding that fills a batch of this one record to the topic's limit."""

    def made(number: int) -> Record:
        room = RAW_MAX_BYTES - batch_bytes(make(number, b"")) - 8  # lengths are of variable size
        while batch_bytes(make(number, b"x" * (room + 1))) <= RAW_MAX_BYTES:
            room += 1
        return make(number, b"x" * room)

    return made


def batch_bytes(made: Record) -> int:
    """Size of an uncompressed batch with this record alone, which is what the broker holds to the topic's limit."""
    builder = ForeignBatchBuilder()
    builder.append(0, timestamp=NOW_MS, key=made.key, value=made.value, headers=list(made.headers))
    return len(builder.build())


def title_for_body(size: int) -> Callable[[int], str]:
    """A title with which the `Video` of a good record has this many bytes."""
    return lambda number: "t" * (size - len(json.dumps(plain(number), separators=(",", ":"))) + len("A talk"))


def of_video(**fields: Any) -> Make:
    return lambda number: record(number, 0, video_item(number, **fields), source=events.VIDEOS)


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def _date(ahead_ms: int) -> str:
    return format_seconds(NOW_MS + ahead_ms)


# The matrix.

_MIXED_DIRECTIONS: Final = "שלום \u202eabc\u202c e\u0301 \u1112\u1161\u11ab 👩‍👩‍👧 \ufeff\uffff"
_ODD_HEADERS: Final = (("x", None), ("x", b"\xff"), ("x", None), ("é🦆", b""), ("", b"1"))
_FOREIGN_NAMES: Final = (("\\xff\\xfe", b"1"), ("caf\\xe9", None), ("ce_\\xed\\xa0\\x80", b""), ("\\xff\\xfe", b"2"))
_NO_ASCII: Final = random.Random(5).choices(range(128, 256), k=1_000_000)  # nothing that could be compressed
_LONG_FOREIGN_NAME: Final = bytes(_NO_ASCII).decode(errors="backslashreplace")
_SECOND: Final = 1000

DEAD: Final[list[tuple[str, Reason, Make]]] = [
    # The form of the value.
    ("not JSON", "not_json", value(b"nonsense")),
    ("an empty value", "not_json", value(b"")),
    ("nothing but space", "not_json", value(b" \n")),
    ("half an object", "not_json", value_from(lambda made: made[: len(made) // 2])),
    ("trailing garbage", "not_json", value_from(lambda made: made + b" }\n")),
    ("two documents", "not_json", value_from(lambda made: made + made)),
    ("a byte order mark", "not_json", value_from(lambda made: b"\xef\xbb\xbf" + made)),
    ("UTF-16", "not_json", value_from(lambda made: made.decode().encode("utf-16-le"))),
    ("NaN", "not_json", width(b"NaN")),
    ("Infinity in an unused field", "not_json", unused(b"Infinity")),
    ("a number with a leading zero", "not_json", unused(b"01")),
    ("an unknown escape in an unused field", "not_json", unused(rb'"\x41"')),
    ("a bare control character", "not_json", title(b"a\x01b")),
    ("a bare U+0000", "not_json", title(b"a\0b")),
    ("nested a level too deep", "not_json", unused(nested(100))),
    ("nested very deep", "not_json", unused(nested(100_000))),
    ("nested objects", "not_json", unused(b'{"a":' * 400 + b"1" + b"}" * 400)),
    ("brackets without an end", "not_json", value(b'{"a":' + b"[" * 500_000)),
    (
        "as large as the topic takes, no JSON",
        "not_json",
        as_large_as_the_topic_takes(lambda number, padding: replace(good(number), value=padding)),
    ),
    # Its text.
    ("a byte that is not UTF-8", "not_utf8", title(b"a \xff")),
    ("a byte that is not UTF-8 in an unused field", "not_utf8", unused(b'"\xff"')),
    ("Latin-1", "not_utf8", title("café".encode("latin-1"))),
    ("an overlong U+0000", "not_utf8", title(b"a\xc0\x80")),
    ("a surrogate as UTF-8 bytes", "not_utf8", title(b"\xed\xa0\x80")),
    ("every byte there is, a megabyte of them", "not_utf8", value(bytes(range(256)) * 4000)),
    ("a lone high surrogate", "schema", title(rb"\ud800")),
    ("a lone low surrogate", "schema", title(rb"\udc00")),
    ("surrogates in the wrong order", "schema", title(rb"\udc00\ud800")),
    ("a lone surrogate in an unused field", "schema", unused(rb'"\ud800"')),
    ("a lone surrogate beside a very long number", "schema", unused(rb'["\ud800",' + b"9" * 5000 + b"]")),
    ("a lone surrogate in a thumbnail's name", "schema", text(b'"default":', rb'"\ud800":')),
    ("a character reference of thousands of digits", "schema", title(b"&#" + b"9" * 5000 + b";")),
    ("the same in the channel's title", "schema", snippet(channelTitle="&#" + "9" * 5000)),
    # Its shape.
    ("an array", "schema", value_from(lambda made: b"[" + made + b"]")),
    ("a string", "schema", value(b'"text"')),
    ("a number", "schema", value(b"7")),
    ("the JSON null", "schema", value(b"null")),
    ("an empty object without ce_source", "schema", without("ce_source", value(b"{}"))),
    ("no title", "schema", snippet(title=...)),
    ("a null title", "schema", snippet(title=None)),
    ("a title that is a number", "schema", snippet(title=7)),
    ("the first of two titles of the wrong type", "schema", text(b'"title":', b'"title":7,"title":')),
    ("no publish time", "schema", snippet(publishedAt=...)),
    ("a publish time that is a number", "schema", snippet(publishedAt=1_780_000_000)),
    ("no snippet", "schema", item(snippet=...)),
    ("no id", "schema", item(id=...)),
    ("an id of another shape", "schema", item(id="vid00050000")),
    ("an id without a video", "schema", item(id={"kind": "youtube#channel", "channelId": "UC1"})),
    ("a description that is an object", "schema", snippet(description={})),
    ("thumbnails that are a list", "schema", snippet(thumbnails=[])),
    ("a thumbnail without a URL", "schema", snippet(thumbnails={"default": {"width": 1}})),
    ("a thumbnail named $x", "schema", snippet(thumbnails={"$x": {"url": "u"}})),
    ("a thumbnail named a.b", "schema", snippet(thumbnails={"a.b": {"url": "u"}})),
    ("a thumbnail without a name", "schema", snippet(thumbnails={"": {"url": "u"}})),
    ("a thumbnail with U+0000 in its name", "schema", snippet(thumbnails={"a\0b": {"url": "u"}})),
    ("a negative width", "schema", thumbnail(width=-1)),
    ("a width of 2^31", "schema", thumbnail(width=2**31)),
    ("a width of 2^63", "schema", width(b"9223372036854775808")),
    ("a width of 2^64", "schema", width(b"18446744073709551616")),
    ("a width of 1e999", "schema", width(b"1e999")),
    ("a width of thousands of digits", "schema", width(b"9" * 5000)),
    ("half a pixel", "schema", width(b"1.5")),
    ("a width that is text", "schema", width(b'"120"')),
    ("a height that is true", "schema", thumbnail(height=True)),
    ("an unknown kind", "schema", item(kind="youtube#channel")),
    ("an unknown kind without ce_source", "schema", without("ce_source", item(kind="youtube#channel"))),
    ("a kind that is a number", "schema", item(kind=3)),
    ("no kind and no ce_source", "schema", without("ce_source", item(kind=...))),
    ("no kind and an unknown ce_source", "schema", header("ce_source", b"/youtube/v3/captions", item(kind=...))),
    # The key.
    ("no key", "no_key", key(None)),
    ("an empty key", "no_key", key(b"")),
    ("no key and an empty value", "no_key", key(None, value(b""))),
    ("neither key nor value", "no_key", key(None, gone)),
    ("a null of an empty key", "no_key", key(b"", gone)),
    ("a key of the producer's state", "bad_id", key(b"watermark/tea")),
    ("a channel's id for a key", "bad_id", key(b"UC0000000000000000000001")),
    ("a key that is too short", "bad_id", key(b"vid0005000")),
    ("a key with a line's end", "bad_id", key(b"vid00050000\n")),
    ("a key with U+0000", "bad_id", key(b"vid0005000\0")),
    ("a key that is not ASCII", "bad_id", key("vid0005000é".encode())),
    ("a key that is not UTF-8", "bad_id", key(b"\xff" * 11)),
    ("a key of digits that are not ASCII", "bad_id", key(("vid" + "\u0660" * 8).encode())),
    ("a very long key", "bad_id", key(b"vid00050000" * 2000)),
    ("a JSON key", "bad_id", key(b'"vid00050000"')),
    ("a null of a malformed key", "bad_id", key(b"leader", gone)),
    ("another partition", "wrong_partition", in_another_partition(good)),
    ("a null in another partition", "wrong_partition", in_another_partition(gone)),
    ("the item of another video", "key_mismatch", item(id={"videoId": video_id(1)})),
    ("an id that is empty", "key_mismatch", item(id={"videoId": ""})),
    (
        "an id with a space after it",
        "key_mismatch",
        lambda number: record(number, 0, {**search_item(number), "id": {"videoId": video_id(number) + " "}}),
    ),
    (
        "an id in capitals",
        "key_mismatch",
        lambda number: record(number, 0, {**search_item(number), "id": {"videoId": video_id(number).upper()}}),
    ),
    # Times.
    ("published before YouTube", "bad_time", snippet(publishedAt="2005-02-13T23:59:59Z")),
    ("published before YouTube, in a zone", "bad_time", snippet(publishedAt="2005-02-14T00:00:00+14:00")),
    ("published over two years ahead", "bad_time", snippet(publishedAt=_date(2 * YEAR_MS + _SECOND))),
    ("published in year 9999", "bad_time", snippet(publishedAt="9999-12-31T23:59:59Z")),
    ("published after year 9999", "bad_time", snippet(publishedAt="9999-12-31T23:59:59-14:00")),
    ("published in year 1", "bad_time", snippet(publishedAt="0001-01-01T00:00:00+14:00")),
    ("published in year 0", "bad_time", snippet(publishedAt="0000-01-01T00:00:00Z")),
    ("published on February 30th", "bad_time", snippet(publishedAt="2026-02-30T00:00:00Z")),
    ("published without a zone", "bad_time", snippet(publishedAt="2026-01-01T00:00:00")),
    ("published at a number of seconds", "bad_time", snippet(publishedAt="1780000000")),
    ("published yesterday", "bad_time", snippet(publishedAt="yesterday")),
    ("published at no time", "bad_time", snippet(publishedAt="")),
    ("fetched before YouTube", "bad_time", header("ce_time", b"1999-01-01T00:00:00Z")),
    ("fetched in year 9999", "bad_time", header("ce_time", b"9999-12-31T23:59:59Z")),
    ("fetched after year 9999", "bad_time", header("ce_time", b"9999-12-31T23:59:59-14:00")),
    ("first seen before YouTube", "bad_time", header("ce_firstseen", b"1970-01-01T00:00:00Z")),
    ("first seen in year 9999", "bad_time", header("ce_firstseen", b"9999-12-31T23:59:59Z")),
    ("a null fetched in year 9999", "bad_time", header("ce_time", b"9999-12-31T23:59:59Z", gone)),
    # Headers.
    ("version 2", "unknown_type", header("ce_type", b"io.yousync.item.fetched.v2")),
    ("version 10", "unknown_type", header("ce_type", b"io.yousync.item.fetched.v10")),
    ("a null of version 2", "unknown_type", header("ce_type", b"io.yousync.item.gone.v2", gone)),
    ("a version without a number", "unknown_type", header("ce_type", b"io.yousync.item.fetched.v1.")),
    ("an empty ce_type", "unknown_type", header("ce_type", b"")),
    ("an event of another topic", "unknown_type", header("ce_type", events.VIDEO_UPDATED.encode())),
    ("an event of somebody else", "unknown_type", header("ce_type", b"com.example.thing.v1")),
    ("a ce_type that is not UTF-8", "schema", header("ce_type", b"\xff")),
    ("a ce_source that is not UTF-8", "schema", header("ce_source", b"\xff")),
    ("an unknown attribute that is not UTF-8", "schema", also(("ce_trace", b"\xff"))),
    *[(f"a null {name}", "schema", header(name, None)) for name in ("ce_type", "ce_time", "ce_queries", "ce_source")],
    ("a malformed ce_time", "schema", header("ce_time", b"noon")),
    ("a ce_time in year 0", "schema", header("ce_time", b"0000-01-01T00:00:00Z")),
    ("a malformed ce_firstseen", "schema", header("ce_firstseen", b"1780000000000")),
    ("a null with a malformed ce_time", "schema", header("ce_time", b"noon", gone)),
    ("queries that are not JSON", "schema", header("ce_queries", b"tea")),
    ("queries that are text", "schema", header("ce_queries", b'"tea"')),
    ("queries that are numbers", "schema", header("ce_queries", b"[1]")),
    ("queries that are an object", "schema", header("ce_queries", b'{"tea":1}')),
    ("queries nested deep", "schema", header("ce_queries", b"[" * 100_000)),
    ("queries with a lone surrogate", "schema", header("ce_queries", rb'["\ud800"]')),
    ("no text in ce_queries", "schema", header("ce_queries", b"")),
    ("not JSON, with headers null, twice, not UTF-8 and unnamed", "not_json", also(*_ODD_HEADERS, make=value(b"{"))),
    ("not JSON, with header names that are not UTF-8", "not_json", also(*_FOREIGN_NAMES, make=value(b"{"))),
    (
        "not JSON, with a header's name of a megabyte that is not UTF-8",
        "not_json",
        also((_LONG_FOREIGN_NAME, b""), make=value(b"{")),
    ),
    # Size.
    (
        "a Video one byte too large",
        "too_large",
        lambda number: record(number, 0, search_item(number, title=title_for_body(MAX_BODY_BYTES + 1)(number))),
    ),
    (
        "as large as the topic takes, all title",
        "too_large",
        as_large_as_the_topic_takes(
            lambda number, padding: record(number, 0, search_item(number, title=padding.decode()))
        ),
    ),
    ("text that unescaping makes larger", "too_large", title(b"&nGt;" * 190_000)),
    (
        "a megabyte of queries",
        "too_large",
        header("ce_queries", orjson.dumps([f"{number:06d}" for number in range(115_000)])),
    ),
    (
        "a thumbnail for every size there is",
        "too_large",
        snippet(thumbnails={f"{number:05d}": {"url": ""} for number in range(54_500)}),
    ),
    ("a megabyte of escapes", "too_large", title(rb"\u0001" * 172_500)),
]
"""Ends as one dead letter: name, reason, record."""

ACCEPTED: Final[list[tuple[str, Make, Fields | Callable[[int], Fields]]]] = [
    # What the value may hold.
    ("unknown fields", unused(b'{"deep":[1,{"a":null}]}'), {}),
    ("nested as deep as can be", unused(nested(99)), {}),
    ("many brackets side by side", unused(b"[" + b"[{}]," * 1000 + b"[]]"), {}),
    ("many brackets in text", unused(b'"' + rb"[{\"" * 1000 + b'"'), {}),
    (
        "numbers beyond any type in unused fields",
        unused(b"[1e999,-1e999,9223372036854775808," + b"9" * 5000 + b"]"),
        {},
    ),
    ("space around", value_from(lambda made: b"\r\n\t " + made + b"\n"), {}),
    ("a field said twice", text(b'"title":', b'"title":"first","title":'), {}),
    ("a kind said twice", value_from(lambda made: b'{"kind":"youtube#channel",' + made[1:]), {}),
    ("field names with escapes", text(b'"title":', rb'"\u0074itle":'), {}),
    (
        "as large as the topic takes, mostly unused",
        as_large_as_the_topic_takes(lambda number, padding: unused(b'"' + padding + b'"')(number)),
        {},
    ),
    # Text.
    ("U+0000 in the title", snippet(title="a\0b"), {"title": "a\0b"}),
    ("U+0000 in the description", snippet(description="\0"), {"description": "\0"}),
    (
        "U+0000 in the channel's title",
        snippet(channelTitle="\0x"),
        lambda number: {"channel": {"id": plain(number)["channel"]["id"], "title": "\0x"}},
    ),
    ("U+0000 in a thumbnail's URL", snippet(thumbnails={"a": {"url": "u\0"}}), {"thumbnails": {"a": {"url": "u\0"}}}),
    ("U+0000 in a query", header("ce_queries", rb'["te\u0000a"]'), {"queries": ["te\0a"]}),
    ("an empty title", snippet(title=""), {"title": ""}),
    ("a title of space", snippet(title=" \t\u3000"), {"title": " \t\u3000"}),
    (
        "right to left, combining marks, joiners and noncharacters",
        snippet(title=_MIXED_DIRECTIONS),
        {"title": _MIXED_DIRECTIONS},
    ),
    ("a pair of surrogates", title(rb"\ud83e\udd86"), {"title": "🦆"}),
    ("control characters as escapes", title(rb"\u0001\u001f\u007f\b"), {"title": "\x01\x1f\x7f\b"}),
    (
        "references to no character",
        title(b"&#xD800;&#0;&#x110000;&bogus;&#" + b"9" * 4000 + b";"),
        {"title": "\ufffd\ufffd\ufffd&bogus;\ufffd"},
    ),
    ("a title escaped twice", title(b"&amp;lt;b&amp;gt;"), {"title": "&lt;b&gt;"}),
    ("a very long title", snippet(title="é" * 450_000), {"title": "é" * 450_000}),
    (
        "the largest Video",
        lambda number: record(number, 0, search_item(number, title=title_for_body(MAX_BODY_BYTES)(number))),
        lambda number: {"title": title_for_body(MAX_BODY_BYTES)(number)},
    ),
    # What may be missing or odd.
    ("no channel", snippet(channelId=..., channelTitle=...), {"channel": {"id": "", "title": ""}}),
    ("a null channel", snippet(channelId=None, channelTitle=None), {"channel": {"id": "", "title": ""}}),
    ("no description", snippet(description=...), {"description": ""}),
    ("no thumbnails", snippet(thumbnails=...), {"thumbnails": {}}),
    ("a broadcast of an unknown kind", snippet(liveBroadcastContent="paused"), {"live": "none"}),
    (
        "thumbnails of odd names",
        snippet(thumbnails={name: {"url": "u"} for name in ["é", " ", "_id", "0", "x" * 1000]}),
        {"thumbnails": {name: {"url": "u"} for name in [" ", "0", "_id", "x" * 1000, "é"]}},
    ),
    ("a thumbnail of no size", thumbnail(width=0, height=None), {"thumbnails": {"default": {"url": "u", "width": 0}}}),
    ("the widest thumbnail", thumbnail(width=2**31 - 1), {"thumbnails": {"default": {"url": "u", "width": 2**31 - 1}}}),
    ("a duration that is none", of_video(contentDetails={"duration": "P1Y"}), {"description": "All of it"}),
    ("no kind, but ce_source", item(kind=...), {}),
    ("another ce_subject", header("ce_subject", b"somebody"), {}),
    # Times.
    (
        "published as YouTube began",
        snippet(publishedAt="2005-02-14T00:00:00Z"),
        {"published_at": "2005-02-14T00:00:00Z"},
    ),
    ("published two years ahead", snippet(publishedAt=_date(2 * YEAR_MS)), {"published_at": _date(2 * YEAR_MS)}),
    (
        "published in another zone, to the microsecond",
        snippet(publishedAt="2026-05-28T22:26:39.999999+02:00"),
        {"published_at": "2026-05-28T20:26:39Z"},
    ),
    # Headers.
    ("no headers", lambda number: replace(good(number), headers=()), {"queries": [], "first_seen_at": KAFKAS_TIME}),
    ("version 1.9", header("ce_type", b"io.yousync.item.fetched.v1.9"), {}),
    ("a value that says that it is gone", header("ce_type", events.ITEM_GONE.encode()), {}),
    ("unknown headers, null, twice and not UTF-8", also(*_ODD_HEADERS), {}),
    ("header names that are not UTF-8", also(*_FOREIGN_NAMES), {}),
    ("an attribute said twice", also(("ce_queries", b'["how"]')), {"queries": ["how"]}),
    ("no queries", header("ce_queries", b"[]"), {"queries": []}),
    (
        "unsorted queries with repeats",
        header("ce_queries", '["tea","é","*","tea",""]'.encode()),
        {"queries": ["", "*", "tea", "é"]},
    ),
    (
        "half a megabyte of queries",
        header("ce_queries", orjson.dumps([f"{n:06d}" for n in range(56_000, 0, -1)])),
        {"queries": [f"{n:06d}" for n in range(1, 56_001)]},
    ),
    ("a retry whose origin is no origin", also(("dl_origin", b"nowhere"), ("dl_attempt", b"x")), {}),
]
"""Ends as a document: name, record, and the public fields in which it differs from `plain`."""

REMOVALS: Final[list[tuple[str, Make, bool]]] = [
    ("a null of a known video", gone, True),
    ("a null of an unknown video", gone, False),
    ("a null without headers of a known video", lambda number: replace(gone(number), headers=()), True),
    ("a null of version 1.9", header("ce_type", b"io.yousync.item.gone.v1.9", gone), True),
    ("a null that says that it was fetched", header("ce_type", events.ITEM_FETCHED.encode(), gone), True),
]
"""Ends as a removal: name, record, and whether the video was there."""


def poison_matrix() -> list[Case]:
    """Every case; a dead letter comes up twice, of an unknown video and of a known one, which must stay as it was."""
    return list(_cases())


def _cases() -> Iterable[Case]:
    number = FIRST_NUMBER
    for name, reason, make in DEAD:
        yield Case(name=name, record=make(number), before=None, reason=reason, public=None, number=number)
        number += 1
        known = f"{name}, of a known video"
        yield Case(
            name=known, record=make(number), before=good(number), reason=reason, public=plain(number), number=number
        )
        number += 1
    for name, make, differs in ACCEPTED:
        public = {**plain(number), **(differs(number) if callable(differs) else differs)}
        yield Case(name=name, record=make(number), before=None, reason=None, public=public, number=number)
        number += 1
    for name, make, known_before in REMOVALS:
        before = good(number) if known_before else None
        yield Case(name=name, record=make(number), before=before, reason=None, public=None, number=number)
        number += 1
