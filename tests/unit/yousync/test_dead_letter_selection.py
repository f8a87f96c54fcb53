"""How failures fold into dead letters, which are meant, and which can go back."""

from typing import Any

import msgspec
import pytest

from contract.events import DeadLetterEnvelope, dead_letter_headers
from contract.topics import DAY_MS, RAW, RAW_MAX_BYTES
from processors.decode import Record
from tests.raw_items import NOW_MS, PARTITIONS, partition_of, record, search_item, video_id
from yousync.dead_letter_selection import (
    MAX_AGE_MS,
    DeadLetter,
    Later,
    Letter,
    Origin,
    PutBack,
    Wanted,
    Word,
    decide_put_back,
    matching,
    merged,
    overtaken,
    parse_origin,
    with_word,
)

FAILED_MS = NOW_MS + 1_000
replace = msgspec.structs.replace


def letter(original: Record | None = None, *, offset: int = 0, **said: Any) -> Letter:
    """The dead letter that a processor would write of `original`."""
    one = original or record(1, 7, search_item(1))
    envelope = DeadLetterEnvelope(
        **{
            "reason": "not_json",
            "detail": "why",
            "origin": f"{one.topic}/{one.partition}/{one.offset}",
            "attempt": 1,
            "version": "0.1.0",
            "failed_at_ms": FAILED_MS,
            "timestamp_ms": one.timestamp_ms,
            **said,
        }
    )
    return Letter(
        partition=0,
        offset=offset,
        timestamp_ms=FAILED_MS + 5,
        key=one.key,
        value=one.value,
        headers=tuple(dead_letter_headers(one.headers, envelope)),
        said=envelope,
    )


def folded(*letters: Letter) -> DeadLetter:
    found: DeadLetter | None = None
    for one in letters:
        found = merged(found, one)
    assert found is not None
    return found


def decided(one: Letter, now_ms: int = FAILED_MS) -> PutBack | str:
    return decide_put_back(one, PARTITIONS, partition_of, now_ms)


def test_attempts_are_one_dead_letter_with_the_newest_word() -> None:
    first = letter(offset=3)
    second = letter(offset=9, attempt=2, reason="schema", detail="now this", failed_at_ms=FAILED_MS + 50)

    found = folded(first, second)

    assert (found.attempts, found.reason, found.detail, found.offset) == (2, "schema", "now this", 9)
    assert (found.first_failed_ms, found.last_failed_ms) == (FAILED_MS, FAILED_MS + 50)


def test_an_attempt_that_is_said_again_is_no_new_one() -> None:
    first, second = letter(), letter(offset=1, attempt=2, reason="schema", failed_at_ms=FAILED_MS + 50)
    first_again = letter(offset=2, failed_at_ms=FAILED_MS + 99)
    second_again = letter(offset=3, attempt=2, reason="no_key", failed_at_ms=FAILED_MS + 70)

    assert folded(first, first_again).attempts == 1
    late = folded(first, second, first_again)
    assert (late.attempts, late.reason, late.offset, late.last_failed_ms) == (2, "schema", 1, FAILED_MS + 99)
    assert folded(first, second, first_again, second_again).offset == 3


def test_little_is_kept_of_each() -> None:
    found = folded(letter(record(1, 0, search_item(1, title="x" * 5_000)), origin="o"))
    assert found.size > 5_000
    huge = folded(replace(letter(), key=b"k" * 900_000))
    assert huge.key == b"k" * 64
    assert huge.size > 900_000


def rows() -> list[DeadLetter]:
    return [
        folded(letter(origin="a", reason="schema", failed_at_ms=10)),
        folded(letter(origin="b", reason="no_key", failed_at_ms=30)),
        folded(letter(origin="c", reason="no_key", failed_at_ms=20)),
    ]


@pytest.mark.parametrize(
    ("wanted", "origins"),
    [
        (Wanted(), "bca"),
        (Wanted(reasons=frozenset({"no_key"})), "bc"),
        (Wanted(reasons=frozenset({"no_key", "schema"})), "bca"),
        (Wanted(since_ms=20), "bc"),
        (Wanted(until_ms=20), "ca"),
        (Wanted(since_ms=11, until_ms=29), "c"),
        (Wanted(origins=frozenset({"a", "b"}), reasons=frozenset({"schema"})), "a"),
    ],
)
def test_those_that_are_meant_come_last_failure_first(wanted: Wanted, origins: str) -> None:
    assert [one.origin for one in matching(rows(), wanted)] == list(origins)


@pytest.mark.parametrize(
    "text", ["", "raw", "raw/1", "raw/1/x", "raw/-1/2", "raw/1/2/3", "/1/2", "raw/²/1", f"raw/1/{'9' * 20}"]
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a topic"):
        parse_origin(text)


def test_an_origin_is_a_place() -> None:
    assert parse_origin(f"{RAW}/3/4711") == Origin(RAW, 3, 4711)


def test_a_record_goes_back_with_its_own_time_and_what_it_says() -> None:
    original = record(1, 7, search_item(1), time_ms=NOW_MS - 500)

    assert decided(letter(original)) == PutBack(
        original.partition, NOW_MS - 500, Word(video_id(1), NOW_MS - 500, gone=False), None
    )


def test_a_record_of_a_wrong_partition_goes_to_the_right_one() -> None:
    original = record(1, 7, None, partition=(partition_of(video_id(1).encode()) + 1) % PARTITIONS)

    found = decided(letter(original))

    assert isinstance(found, PutBack)
    assert found.partition == partition_of(video_id(1).encode()) != original.partition
    assert found.word == Word(video_id(1), NOW_MS, gone=True)


@pytest.mark.parametrize("key", [None, b""])
def test_a_record_without_a_key_goes_where_it_was_and_fails_again(key: bytes | None) -> None:
    found = decided(letter(replace(record(1, 7, search_item(1)), key=key, partition=2)))

    assert found == PutBack(2, NOW_MS, None, "no_key")


def test_a_record_without_a_time_of_its_own_keeps_kafkas() -> None:
    untimed = replace(record(1, 7, search_item(1), time_ms=NOW_MS - 9), headers=())

    found = decided(letter(untimed))

    assert isinstance(found, PutBack)
    assert found.timestamp_ms == NOW_MS - 9
    assert found.word == Word(video_id(1), NOW_MS - 9, gone=False)


def test_of_an_earlier_version_only_what_has_a_time_of_its_own_goes_back() -> None:
    original = record(1, 7, search_item(1))

    found = decided(letter(original, timestamp_ms=None))
    untimed = decided(letter(replace(original, headers=()), timestamp_ms=None))

    assert isinstance(found, PutBack)
    assert (found.timestamp_ms, found.word) == (FAILED_MS + 5, Word(video_id(1), NOW_MS, gone=False))
    assert isinstance(untimed, str)
    assert "nothing says how old it is" in untimed


@pytest.mark.parametrize("origin", ["yousync.producer.state/0/1", "youtube.videos/1/2", "\x1b[31m", f"{RAW}/1"])
def test_nothing_is_put_onto_another_topic_whatever_it_claims(origin: str) -> None:
    assert decided(letter(origin=origin)) == f"its origin is no place in {RAW}"


def test_neither_key_nor_value_cannot_be_restored() -> None:
    assert "neither key nor value" in str(decided(letter(replace(record(1, 7, None), key=b""))))


def test_what_the_raw_topic_does_not_take_is_named() -> None:
    full = replace(record(1, 7, None), value=b"x" * RAW_MAX_BYTES)
    spare = replace(full, value=b"x" * (RAW_MAX_BYTES - 2_000))

    assert "larger than" in str(decided(letter(full)))
    assert isinstance(decided(letter(spare)), PutBack)


def test_what_retention_would_eat_is_named() -> None:
    assert isinstance(decided(letter(), NOW_MS + MAX_AGE_MS), PutBack)
    assert "over 28 days old" in str(decided(letter(), NOW_MS + MAX_AGE_MS + 1))
    assert "-5 ms" not in str(decided(letter(timestamp_ms=-5)))
    assert "1969-12-31T23:59:59.995Z" in str(decided(letter(timestamp_ms=-5)))


def test_a_time_that_no_calendar_has_is_no_bug() -> None:
    found = decided(letter(replace(record(1, 7, search_item(1)), timestamp_ms=2**62)))
    assert isinstance(found, PutBack)
    assert f"{-(2**62)} ms" in str(decided(letter(timestamp_ms=-(2**62))))


def test_a_partition_that_is_no_more_is_named() -> None:
    unkeyed = replace(record(1, 7, search_item(1)), key=None, partition=9)
    assert decided(letter(unkeyed)) == f"{RAW} has no partition 9"


def heard(*words: tuple[int, bool]) -> Later:
    later = Later()
    for time_ms, gone in words:
        later = with_word(later, Word("v", time_ms, gone))
    return later


@pytest.mark.parametrize(
    ("word", "later", "is_overtaken"),
    [
        (Word("v", NOW_MS, gone=False), heard(), False),
        (Word("v", NOW_MS, gone=False), heard((NOW_MS, False), (NOW_MS + 9, False)), False),
        (Word("v", NOW_MS, gone=False), heard((NOW_MS - 1, True)), False),
        (Word("v", NOW_MS, gone=False), heard((NOW_MS + 1, True), (NOW_MS, False)), True),
        (Word("v", NOW_MS, gone=False), heard((NOW_MS + 1, True), (NOW_MS + 2, False)), False),
        (Word("v", NOW_MS, gone=False), heard((NOW_MS + 2, False), (NOW_MS + 5, True)), True),
        (Word("v", NOW_MS, gone=True), heard((NOW_MS, True)), False),
        (Word("v", NOW_MS, gone=True), heard((NOW_MS - DAY_MS, False)), False),
        (Word("v", NOW_MS, gone=True), heard((NOW_MS + 1, False), (NOW_MS - 1, False)), True),
    ],
)
def test_removals_and_items_that_came_since_decide(word: Word, later: Later, is_overtaken: bool) -> None:
    assert (overtaken(word, later) is not None) == is_overtaken
