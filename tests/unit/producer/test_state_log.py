"""Which records of the state topic count."""

import msgspec
import pytest

from contract.producer_state import LEADER_KEY, Leader
from producer.state_log import UNREADABLE_EPOCH, StateFold, StateRecord, epoch_headers, read_epoch


def leader(epoch: int, name: str) -> StateRecord:
    return StateRecord(LEADER_KEY, msgspec.json.encode(Leader(epoch, name, "2026-06-01T00:00:00.000Z")), epoch)


def by(epoch: int | None, value: bytes | None, key: bytes = b"k") -> StateRecord:
    return StateRecord(key, value, epoch)


def folded(*records: StateRecord) -> StateFold:
    fold = StateFold()
    for record in records:
        fold.take(record)
    return fold


def counted(*records: StateRecord) -> list[bool]:
    fold = StateFold()
    return [fold.take(record) for record in records]


def test_an_empty_log_has_no_leader() -> None:
    fold = StateFold()
    assert (fold.epoch, fold.leader_id, fold.values, fold.voided) == (0, None, {}, set())


def test_the_last_value_of_a_key_counts_and_none_removes_it() -> None:
    fold = folded(by(None, b"1"), by(None, b"2"), by(None, b"3", b"other"), by(None, None, b"other"))
    assert (fold.values, fold.voided) == ({b"k": b"2"}, set())


def test_a_leader_of_a_greater_epoch_leads_and_is_no_value() -> None:
    fold = folded(leader(1, "a"), leader(3, "b"))
    assert (fold.epoch, fold.leader_id, fold.values) == (3, "b", {})


def test_of_two_leaders_of_one_epoch_the_first_counts() -> None:
    fold = folded(leader(1, "a"), leader(1, "b"))
    assert (fold.epoch, fold.leader_id, fold.voided) == (1, "a", {LEADER_KEY})


def test_a_leader_of_a_smaller_epoch_is_void() -> None:
    fold = folded(leader(2, "a"), leader(1, "b"))
    assert (fold.epoch, fold.leader_id, fold.voided) == (2, "a", {LEADER_KEY})


def test_a_leader_may_say_again_that_it_leads() -> None:
    assert counted(leader(1, "a"), leader(1, "b"), leader(1, "a")) == [True, False, True]
    assert folded(leader(1, "a"), leader(1, "b"), leader(1, "a")).voided == set()


@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff", b'{"epoch":"1"}', b'{"epoch":0,"id":"a","since":""}'])
def test_a_leader_record_that_says_nothing_is_void(value: bytes | None) -> None:
    fold = folded(leader(2, "a"), StateRecord(LEADER_KEY, value, 9))
    assert (fold.epoch, fold.leader_id, fold.voided) == (2, "a", {LEADER_KEY})
    assert counted(StateRecord(LEADER_KEY, value, None)) == [False]


def test_what_a_deposed_leader_writes_late_is_void_until_the_key_is_written_again() -> None:
    history = [leader(1, "a"), by(1, b"1"), leader(2, "b"), by(2, b"2"), by(1, b"late"), by(1, None)]
    assert counted(*history) == [True, True, True, True, False, False]
    assert (folded(*history).values, folded(*history).voided) == ({b"k": b"2"}, {b"k"})
    assert folded(*history, by(2, b"2")).voided == set()
    assert folded(*history, by(None, b"3")).values == {b"k": b"3"}
    assert folded(*history, by(None, b"3")).voided == set()


def test_what_a_leader_wrote_in_its_time_still_counts_after_it() -> None:
    assert folded(leader(1, "a"), by(1, b"1"), leader(2, "b")).values == {b"k": b"1"}


def test_operators_count_whoever_leads() -> None:
    fold = folded(leader(5, "a"), by(None, b"1"), by(None, b"2", b"other"), by(None, None))
    assert (fold.values, fold.voided) == ({b"other": b"2"}, set())


def test_a_record_speaks_for_its_leader_when_the_cleaner_took_that_away() -> None:
    fold = folded(by(3, b"3"), by(2, b"2"), leader(2, "b"))
    assert (fold.epoch, fold.leader_id, fold.values) == (3, None, {b"k": b"3"})
    assert fold.voided == {b"k", LEADER_KEY}
    assert fold.take(leader(3, "c"))
    assert fold.leader_id == "c"


def test_the_epoch_is_decimal_digits_in_a_header() -> None:
    assert read_epoch([]) is read_epoch([("other", b"7")]) is None
    assert read_epoch([("other", b"7"), *epoch_headers(12)]) == 12
    for unreadable in (b"", b"-1", b" 1", b"1_0", b"x", b"\xd9\xa1"):
        assert read_epoch([("epoch", unreadable)]) == UNREADABLE_EPOCH


def test_an_unreadable_epoch_never_counts() -> None:
    assert counted(by(UNREADABLE_EPOCH, b"1")) == [False]
