"""What the contract writes it reads back, and what it cannot read it refuses in its own words."""

from collections.abc import Sequence
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from contract.events import (
    ITEM_FETCHED,
    ITEM_GONE,
    DeadLetterEnvelope,
    EnvelopeError,
    RawEnvelope,
    VideoEnvelope,
    dead_letter_headers,
    first_failure,
    raw_headers,
    read_dead_letter_headers,
    read_raw_headers,
    read_video_headers,
    retried_headers,
    video_headers,
)
from contract.producer_state import (
    FollowedChannel,
    FollowedQuery,
    FollowedVideo,
    Leader,
    Ledger,
    PurgeRequest,
    Stretch,
    Watermark,
    channel_key,
    ledger_key,
    purge_key,
    query_key,
    video_key,
    watermark_key,
)
from contract.read_model import sort_key
from contract.settings import Settings, load_settings, shown_value
from contract.times import format_millis, format_seconds, parse_rfc3339_ms
from contract.video import Channel, Thumbnail, Video, decode, encode

# 1970 to 2286, the span of the sort key's 13 digits.
moments = st.integers(0, 10**13 - 1)
ids = st.from_regex(r"[A-Za-z0-9_-]{11}", fullmatch=True)
counts = st.integers(0, 2**63 - 1)

raw_envelopes = st.builds(
    RawEnvelope,
    type=st.sampled_from([ITEM_FETCHED, ITEM_GONE]),
    source=st.text(),
    id=st.text(),
    time_ms=moments,
    subject=ids,
    queries=st.sets(st.text()).map(lambda queries: tuple(sorted(queries))),
    first_seen_ms=moments,
)
video_envelopes = st.builds(
    VideoEnvelope,
    type=st.text(),
    partition=st.integers(0, 10_000),
    sequence=counts,
    subject=ids,
    sort_key=st.none() | st.text(),
    previous_sort_key=st.none() | st.text(),
)
dead_letter_envelopes = st.builds(
    DeadLetterEnvelope,
    reason=st.text(),
    detail=st.text(),
    origin=st.from_regex(r"[A-Za-z0-9._-]{1,30}/[0-9]{1,5}/[0-9]{1,18}", fullmatch=True),
    attempt=st.integers(1, 1000),
    version=st.text(),
    failed_at_ms=moments,
    timestamp_ms=st.none() | st.integers(-1, 2**63 - 1),
)
sizes = st.integers(0, 10_000) | st.just(UNSET)
videos = st.builds(
    Video,
    id=ids,
    title=st.text(),
    description=st.text(),
    channel=st.builds(Channel, st.text(), st.text()),
    published_at=moments.map(format_seconds),
    live=st.sampled_from(["none", "upcoming", "live"]),
    duration_seconds=st.integers(0, 10**6) | st.just(UNSET),
    thumbnails=st.dictionaries(st.text(), st.builds(Thumbnail, st.text(), sizes, sizes), max_size=3),
    queries=st.lists(st.text()),
    first_seen_at=moments.map(format_millis),
    url=st.text(),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
# Kafka's headers may be anything, and null; many of these have our names.
names = (
    st.text()
    | st.sampled_from(["ce_type", "ce_time", "ce_queries", "ce_firstseen", "ce_id", "ce_subject", "ce_sequence"])
    | st.sampled_from(
        ["dl_reason", "dl_detail", "dl_origin", "dl_attempt", "dl_version", "dl_failed_at", "dl_timestamp_ms"]
    )
)
contents = st.none() | st.binary() | st.sampled_from([b"1", b"[]", b"3-4711", ITEM_FETCHED.encode()])
headers = st.lists(st.tuples(names, contents))


@given(raw_envelopes, moments)
def test_raw_envelopes_round_trip(envelope: RawEnvelope, timestamp_ms: int) -> None:
    assert read_raw_headers(raw_headers(envelope), gone=False, timestamp_ms=timestamp_ms) == envelope


@given(video_envelopes)
def test_video_envelopes_round_trip(envelope: VideoEnvelope) -> None:
    assert read_video_headers(video_headers(envelope)) == envelope


@given(raw_envelopes, dead_letter_envelopes)
def test_dead_letters_round_trip_and_keep_the_original_headers(raw: RawEnvelope, envelope: DeadLetterEnvelope) -> None:
    original = raw_headers(raw)

    written = dead_letter_headers(original, envelope)

    assert read_dead_letter_headers(written) == envelope
    assert written[: len(original)] == original


@given(raw_envelopes, dead_letter_envelopes, dead_letter_envelopes)
def test_a_dead_letter_that_fails_again_says_only_the_last_failure_and_its_first_place(
    raw: RawEnvelope, first: DeadLetterEnvelope, second: DeadLetterEnvelope
) -> None:
    once = dead_letter_headers(raw_headers(raw), first)

    assert dead_letter_headers(once, second) == dead_letter_headers(raw_headers(raw), second)
    assert first_failure(once, "elsewhere/0/0") == (first.origin, first.attempt + 1)
    put_back = retried_headers(once, first)
    assert first_failure(put_back, "elsewhere/0/0") == (first.origin, first.attempt + 1)
    assert dead_letter_headers(put_back, second) == dead_letter_headers(once, second)
    assert first_failure(raw_headers(raw), "here/0/0") == ("here/0/0", 1)


@given(headers, moments, st.booleans())
def test_any_headers_are_read_or_refused_as_an_envelope(
    headers: Sequence[tuple[str, bytes]], timestamp_ms: int, gone: bool
) -> None:
    for read in (
        lambda: read_raw_headers(headers, gone=gone, timestamp_ms=timestamp_ms),
        lambda: read_video_headers(headers),
        lambda: read_dead_letter_headers(headers),
    ):
        with suppress(EnvelopeError):
            read()
    origin, attempt = first_failure(headers, "here/0/0")
    assert isinstance(origin, str)
    assert isinstance(attempt, int)


@given(videos)
def test_videos_round_trip_to_the_byte(video: Video) -> None:
    body = encode(video)

    assert decode(body) == video
    assert encode(decode(body)) == body


@given(videos, st.dictionaries(st.text(min_size=1), json_values))
def test_unknown_fields_of_a_video_are_passed_over(video: Video, extra: dict[str, object]) -> None:
    fields = msgspec.json.decode(encode(video))

    assert decode(msgspec.json.encode({**extra, **fields})) == video


@given(st.binary() | json_values.map(msgspec.json.encode))
def test_what_is_no_video_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(body)


@given(moments)
def test_times_round_trip(ms: int) -> None:
    assert parse_rfc3339_ms(format_millis(ms)) == ms
    assert parse_rfc3339_ms(format_seconds(ms)) == ms - ms % 1000


@given(moments, st.integers(-14 * 60 + 1, 14 * 60 - 1))
def test_times_of_any_zone_are_the_same_moment(ms: int, zone_minutes: int) -> None:
    local = format_millis(max(0, ms + zone_minutes * 60_000)).removesuffix("Z")
    sign = "-" if zone_minutes < 0 else "+"
    hours, minutes = divmod(abs(zone_minutes), 60)

    moment = parse_rfc3339_ms(f"{local}{sign}{hours:02d}:{minutes:02d}")

    assert moment == max(0, ms + zone_minutes * 60_000) - zone_minutes * 60_000


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", fullmatch=True))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert isinstance(parse_rfc3339_ms(text), int)


@given(st.lists(st.tuples(moments, ids), unique=True))
def test_sort_keys_order_by_time_then_id_and_are_unique(published: list[tuple[int, str]]) -> None:
    assert sorted(published, key=lambda video: sort_key(*video)) == sorted(published)
    assert len({sort_key(*video) for video in published}) == len(published)


times = moments.map(format_millis)
amounts = st.floats(0, 1e9)
producer_values = st.one_of(
    st.builds(Leader, epoch=counts, id=st.text(), since=times),
    st.builds(
        Watermark,
        covered_until=times,
        completed_at=st.none() | times,
        swept_at=st.none() | times,
        stretches=st.lists(st.builds(Stretch, times, times, st.sampled_from(["missed", "sweep"])), max_size=4).map(
            tuple
        ),
        videos_per_day=st.none() | amounts,
    ),
    st.builds(Ledger, used=counts),
    st.builds(
        FollowedQuery,
        followed_since=times,
        enabled=st.booleans(),
        origin=st.sampled_from(["settings", "command"]),
        refused=st.none() | st.text(),
    ),
    st.builds(
        FollowedChannel,
        found_at=times,
        looked_at=st.none() | times,
        uploads=amounts,
        days=amounts,
        missing=st.booleans(),
    ),
    st.builds(
        FollowedVideo,
        first_seen_at=times,
        fetched_at=times,
        queries=st.lists(st.text(), max_size=3).map(tuple),
        completed=st.booleans(),
        live=st.sampled_from(["none", "upcoming", "live"]),
        missing_since=st.none() | times,
        gone_at=st.none() | times,
    ),
    st.builds(PurgeRequest, requested_at=times, query=st.none() | st.text(), not_fetched_since=st.none() | times),
)


@given(producer_values)
def test_the_producers_state_round_trips(value: msgspec.Struct) -> None:
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


@given(producer_values, st.dictionaries(st.text(st.characters(categories=["Lu"]), min_size=1), json_values))
def test_what_a_later_version_adds_to_the_producers_state_is_passed_over(
    value: msgspec.Struct, extra: dict[str, object]
) -> None:
    fields = msgspec.json.decode(msgspec.json.encode(value))

    assert msgspec.json.decode(msgspec.json.encode({**extra, **fields}), type=type(value)) == value


@given(st.integers(max_value=-1) | st.none() | st.text() | st.floats(0.1, 0.9))
def test_a_ledger_that_cannot_be_true_is_refused(used: object) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(msgspec.json.encode({"used": used}), type=Ledger)


state_names = st.text(st.characters(codec="utf-8"), min_size=1)


@given(state_names, state_names)
def test_no_two_names_share_a_key_of_the_producers_state(one: str, other: str) -> None:
    makers = (watermark_key, query_key, channel_key, video_key, purge_key, lambda name: ledger_key(name, "2026-06-01"))
    keys = [make(name) for make in makers for name in {one, other}]

    assert len(set(keys)) == len(keys)


words = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters=";"), min_size=1, max_size=20)


@given(
    st.lists(words, unique=True),
    st.integers(1, 10_000),
    st.floats(0.001, 1),
    st.integers(0, 65_535),
    st.sampled_from(["debug", "info", "warning", "error"]),
)
def test_settings_shown_are_settings_read(
    queries: list[str], partitions: int, share: float, port: int, level: str
) -> None:
    settings = load_settings(
        queries=";".join(queries),
        topic_partitions=partitions,
        dead_letter_max_share=share,
        api_port=port,
        log_level=level,
    )
    assert settings.queries == tuple(queries)

    shown = {name: shown_value(settings, name) for name in Settings.model_fields}
    again = load_settings(**{name: text for name, text in shown.items() if text and "***" not in text})

    assert {name: getattr(again, name) for name in Settings.model_fields} == {
        name: getattr(settings, name) for name in Settings.model_fields
    }
