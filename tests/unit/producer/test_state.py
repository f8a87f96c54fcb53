"""What the producer remembers, and what it makes of records that it cannot read."""

import pytest

from producer.state import ProducerState
from tests.fakes.producer_edges import MemoryStateLog


async def test_state_survives_a_restart() -> None:
    log = MemoryStateLog()
    state = ProducerState(log, {})
    await state.move_watermark("té; a/b", 1_780_000_000_123)
    await state.set_used("search", "2026-06-01", 7)
    await state.follow("té; a/b", 1_780_000_000_000)

    again = ProducerState(log, await log.read())
    assert again.covered_until_ms("té; a/b") == 1_780_000_000_123
    assert again.used("search", "2026-06-01") == 7
    assert log.values["query/té; a/b".encode()] == b'{"followed_since":"2026-05-28T20:26:40.000Z","enabled":true}'


async def test_a_query_is_recorded_once() -> None:
    log = MemoryStateLog()
    await ProducerState(log, {}).follow("tea", 1_000)
    await ProducerState(log, await log.read()).follow("tea", 2_000)
    assert log.journal == [("state", "query/tea")]


async def test_what_was_never_written_is_nothing() -> None:
    state = ProducerState(MemoryStateLog(), {})
    assert state.covered_until_ms("tea") is None
    assert state.used("search", "2026-06-01") == 0


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b"{}", b'{"covered_until":7}', b'{"covered_until":"noon"}'])
async def test_an_unreadable_watermark_means_the_backfill_again(value: bytes) -> None:
    state = ProducerState(MemoryStateLog(), {b"watermark/tea": value})
    assert state.covered_until_ms("tea") is None


async def test_records_of_a_later_version_are_left_alone() -> None:
    later = b'{"covered_until":"2026-05-28T20:26:40.000Z","epoch":3}'
    state = ProducerState(MemoryStateLog(), {b"leader": b"\x00", b"\xff": b"?", b"watermark/tea": later})
    assert state.covered_until_ms("tea") == 1_780_000_000_000
