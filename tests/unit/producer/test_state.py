"""What the producer remembers, and what it makes of records that it cannot read."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from contract.producer_state import FollowedQuery, PurgeRequest, purge_key, query_key
from producer.coverage import Coverage, Stretch
from producer.known import KnownChannel, KnownVideo
from producer.state import KEPT_LEDGER_DAYS, ProducerState
from producer.windows import Window
from tests.fakes.producer_edges import CHANNEL, MemoryStateLog, video_id

NOW_MS = 1_780_000_000_123
ODD_QUERY = 'té; a/b "c"'
COVERAGE = Coverage(
    covered_until_ms=NOW_MS,
    completed_ms=NOW_MS + 1,
    swept_ms=NOW_MS - 1,
    stretches=(Stretch(Window(NOW_MS - 9_000, NOW_MS - 5_000)), Stretch(Window(NOW_MS - 3, NOW_MS), "sweep")),
    videos_per_day=12.5,
)
VIDEO = KnownVideo(1_000, 2_000, ("tea",), completed=True, live="live", missing_ms=3_000, gone_ms=4_000)
CHANNEL_SEEN = KnownChannel(1_000, 2_000, 1.5, 30.25, missing=True)


def names(state: ProducerState) -> list[str]:
    """Everything that is known, by name."""
    return [*state.coverage, *state.queries, *state.videos, *state.channels, *state.purges]


def again(log: MemoryStateLog) -> ProducerState:
    """The state after a restart."""
    return ProducerState(log, dict(log.values))


async def test_state_survives_a_restart() -> None:
    log = MemoryStateLog()
    state = ProducerState(log, {})
    await state.set_coverage(ODD_QUERY, COVERAGE)
    await state.set_used("search", "2026-06-01", 7)
    await state.set_query(ODD_QUERY, FollowedQuery("2026-05-28T20:26:40.000Z", origin="command", refused="HTTP 400"))
    await state.set_known({video_id(1): VIDEO, video_id(2): KnownVideo(5, 6)}, {CHANNEL: CHANNEL_SEEN})

    for known in (state, again(log)):
        assert known.coverage == {ODD_QUERY: COVERAGE}
        assert known.used("search", "2026-06-01") == 7
        assert known.queries[ODD_QUERY].refused == "HTTP 400"
        assert known.videos == {video_id(1): VIDEO, video_id(2): KnownVideo(5, 6)}
        assert known.channels == {CHANNEL: CHANNEL_SEEN}


async def test_what_was_never_written_is_nothing() -> None:
    state = ProducerState(MemoryStateLog(), {})
    assert state.used("search", "2026-06-01") == 0
    assert names(state) == []


async def test_times_are_written_as_text() -> None:
    log = MemoryStateLog()
    await ProducerState(log, {}).set_known({video_id(1): KnownVideo(NOW_MS, NOW_MS)})
    written = msgspec.json.decode(log.values[b"video/" + video_id(1).encode()])
    assert written["first_seen_at"] == "2026-05-28T20:26:40.123Z"


async def test_a_video_that_is_forgotten_is_forgotten_for_good() -> None:
    log = MemoryStateLog()
    state = ProducerState(log, {})
    await state.set_known({video_id(1): VIDEO})
    await state.set_known({video_id(1): None, video_id(9): None})
    assert state.videos == again(log).videos == {}


async def test_what_is_not_durable_is_not_known() -> None:
    """If Kafka does not take it, the next decision must not rest on it."""
    log = MemoryStateLog()

    async def refuse(entries: object) -> None:
        raise ConnectionError

    log.append = refuse  # type: ignore[method-assign]
    state = ProducerState(log, {purge_key("x"): msgspec.json.encode(PurgeRequest("2026-06-01T00:00:00Z", "tea"))})
    for change in (
        state.set_coverage("tea", COVERAGE),
        state.set_used("search", "2026-06-01", 7),
        state.set_query("tea", FollowedQuery("")),
        state.set_known({video_id(1): VIDEO}, {CHANNEL: CHANNEL_SEEN}),
        state.drop_purge("x"),
    ):
        with pytest.raises(ConnectionError):
            await change
    assert state.used("search", "2026-06-01") == 0
    assert names(state) == ["x"]


async def test_all_of_an_answer_is_written_at_once() -> None:
    log = MemoryStateLog()
    written = []
    append = log.append

    async def note(entries: Any) -> None:
        written.append(len(entries))
        await append(entries)

    log.append = note  # type: ignore[method-assign]
    await ProducerState(log, {}).set_known({video_id(1): VIDEO, video_id(2): None}, {CHANNEL: CHANNEL_SEEN})
    assert written == [3]


UNREADABLE = [b"", b"\xff", b"[]", b"{}", b"null", b'{"covered_until":7}']


@pytest.mark.parametrize("value", [*UNREADABLE, b'{"covered_until":"noon"}'])
@pytest.mark.parametrize(
    ("prefix", "known"),
    [
        (b"watermark/", lambda state: state.coverage),
        (b"query/", lambda state: state.queries),
        (b"channel/", lambda state: state.channels),
        (b"video/", lambda state: state.videos),
        (b"purge/", lambda state: state.purges),
    ],
)
async def test_what_cannot_be_read_is_passed_over(
    prefix: bytes, known: Callable[[ProducerState], dict[str, Any]], value: bytes
) -> None:
    log = MemoryStateLog()
    good = ProducerState(log, {})
    await good.set_coverage("good", COVERAGE)
    await good.set_query("good", FollowedQuery("2026-06-01T00:00:00Z"))
    await good.set_known({"good": VIDEO}, {"good": CHANNEL_SEEN})
    log.values[purge_key("good")] = msgspec.json.encode(PurgeRequest("2026-06-01T00:00:00Z", "tea"))
    state = ProducerState(log, {prefix + b"bad": value, prefix + b"\xff": value, **log.values})
    assert list(known(state)) == ["good"]


async def test_records_of_a_later_version_are_read_and_keys_of_one_left_alone() -> None:
    later = b'{"covered_until":"2026-05-28T20:26:40.000Z","more":3}'
    state = ProducerState(MemoryStateLog(), {b"leader": b"\x00", b"\xff": b"?", b"new/x": b"", b"watermark/tea": later})
    assert state.coverage == {"tea": Coverage(1_780_000_000_000)}


async def test_a_watermark_of_the_first_version_is_read() -> None:
    state = ProducerState(MemoryStateLog(), {b"watermark/tea": b'{"covered_until":"2026-05-28T20:26:40.000Z"}'})
    assert state.coverage["tea"].stretches == ()


# Ledgers.


async def test_the_accounts_of_the_last_days_are_kept_whatever_the_clock_says() -> None:
    """A clock that was ahead for a moment must not cost today's account: its budget would be spent twice."""
    log = MemoryStateLog()
    first = date(2026, 6, 1)
    days = [(first + timedelta(days=number)).isoformat() for number in range(KEPT_LEDGER_DAYS + 3)]
    state = ProducerState(log, {})
    for day in days:
        await state.set_used("search", day, 9)
        await state.set_used("units", day, 9)
    await state.drop_old_ledgers()

    for known in (state, again(log)):
        assert [day for day in days if known.used("search", day)] == days[3:]
        assert [day for day in days if known.used("units", day)] == days[3:]


async def test_nothing_is_written_when_no_account_is_old() -> None:
    log = MemoryStateLog()
    state = ProducerState(log, {b"ledger/search/2026-06-01": b'{"used":9}'})
    await state.drop_old_ledgers()
    assert log.journal == []


# Operators.


def test_what_an_operator_says_of_a_query_counts_at_once() -> None:
    state = ProducerState(MemoryStateLog(), {})
    added = FollowedQuery("2026-06-01T00:00:00Z", origin="command")
    state.take(query_key(ODD_QUERY), msgspec.json.encode(added))
    assert state.queries == {ODD_QUERY: added}
    state.take(query_key(ODD_QUERY), None)
    assert state.queries == {}


async def test_a_request_to_purge_is_kept_until_it_is_done() -> None:
    log = MemoryStateLog()
    request = PurgeRequest("2026-06-01T00:00:00Z", query="tea")
    log.values[purge_key("x")] = msgspec.json.encode(request)
    state = ProducerState(log, {})
    state.take(purge_key("x"), log.values[purge_key("x")])
    assert state.purges == again(log).purges == {"x": request}
    await state.drop_purge("x")
    assert state.purges == again(log).purges == {}


@pytest.mark.parametrize("key", [b"watermark/tea", b"ledger/search/2026-06-01", b"leader", b"video/x", b"\xff", b""])
def test_an_operator_cannot_write_what_is_the_producers_own(key: bytes) -> None:
    state = ProducerState(MemoryStateLog(), {})
    state.take(key, b'{"used":0,"covered_until":"2026-05-28T20:26:40.000Z"}')
    state.take(key, None)
    assert state.used("search", "2026-06-01") == 0
    assert names(state) == []


@pytest.mark.parametrize("value", UNREADABLE)
@pytest.mark.parametrize("prefix", [b"query/", b"purge/"])
def test_what_an_operator_wrote_and_nobody_can_read_is_nothing(prefix: bytes, value: bytes) -> None:
    state = ProducerState(MemoryStateLog(), {})
    state.take(prefix + b"x", value)
    state.take(prefix + b"\xff", value)
    assert names(state) == []
