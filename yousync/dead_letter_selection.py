"""Which dead letters there are, which of them are meant, and which can be put back onto the raw topic. Rules only.

One record that failed once or five times is one dead letter: its origin, the place of its first failure, says so.
"""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec.structs import replace

from contract.events import DeadLetterEnvelope, Headers, retried_headers
from contract.times import format_millis
from contract.topics import DAY_MS, RAW, RAW_MAX_BYTES, RAW_RETENTION_MS
from processors.decode import Gone, Item, Record, Refusal, decode

KEY_BYTES: Final = 64
"""As much of a key is kept of each dead letter; a video id has 11."""

MAX_AGE_MS: Final = RAW_RETENTION_MS - DAY_MS
"""An older record would be deleted from the raw topic soon, perhaps before a processor reads it."""

_RECORD_OVERHEAD: Final = 100
_HEADER_OVERHEAD: Final = 10
"""Bytes that Kafka's format adds to a record, and to a header of it, at most."""

PartitionOf = Callable[[bytes], int]


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the dead-letter topic, and what it says of itself; `timestamp_ms` is Kafka's of this record."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    said: DeadLetterEnvelope


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """All failures of one record. Reason, detail and place (`partition`, `offset`) are those of the newest.

    `key` is cut to 64 bytes; `size` counts the bytes of key, value and headers of the newest.
    """

    origin: str
    reason: str
    detail: str
    attempts: int
    first_failed_ms: int
    last_failed_ms: int
    key: bytes | None
    size: int
    partition: int
    offset: int


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters are meant: empty and None leave it open, times are of the last failure, both ends included."""

    origins: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None
    limit: int | None = None


class Origin(msgspec.Struct, frozen=True):
    """Where a record failed first."""

    topic: str
    partition: int
    offset: int


class Word(msgspec.Struct, frozen=True):
    """What an accepted record says of a video, and when: that it was seen, or that it is gone."""

    video_id: str
    time_ms: int
    gone: bool


class Later(msgspec.Struct, frozen=True):
    """The newest times at which a video was seen, and was gone, by the raw topic and by other dead letters."""

    seen_ms: int | None = None
    gone_ms: int | None = None


class PutBack(msgspec.Struct, frozen=True):
    """How a dead letter goes back onto the raw topic, and what a processor of this version would make of it there.

    `word` is what it says if it is accepted, `fails_again` the reason if it is not.
    """

    partition: int
    timestamp_ms: int
    word: Word | None
    fails_again: str | None


def size_of(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes of a record's own content; what Kafka's format adds is not counted."""
    # A header's value may be null, whatever its type says.
    return len(key or b"") + len(value or b"") + sum(len(name.encode()) + len(said or b"") for name, said in headers)


def merged(known: DeadLetter | None, letter: Letter) -> DeadLetter:
    """A dead letter after the next record of it in the topic. The newest is the last of the highest attempt."""
    said = letter.said
    here = DeadLetter(
        origin=said.origin,
        reason=said.reason,
        detail=said.detail,
        attempts=said.attempt,
        first_failed_ms=said.failed_at_ms,
        last_failed_ms=said.failed_at_ms,
        key=None if letter.key is None else letter.key[:KEY_BYTES],
        size=size_of(letter.key, letter.value, letter.headers),
        partition=letter.partition,
        offset=letter.offset,
    )
    if known is None:
        return here
    # An attempt is said again when a processor dies before it acknowledges the record, even after a later attempt.
    newest = here if here.attempts >= known.attempts else known
    return replace(
        newest,
        first_failed_ms=min(known.first_failed_ms, here.first_failed_ms),
        last_failed_ms=max(known.last_failed_ms, here.last_failed_ms),
    )


def matching(letters: Iterable[DeadLetter], wanted: Wanted) -> list[DeadLetter]:
    """Those that are meant, the last failure first; the limit is not applied."""
    found = [each for each in letters if _is_wanted(each, wanted)]
    return sorted(found, key=lambda each: (-each.last_failed_ms, each.origin))


def _is_wanted(letter: DeadLetter, wanted: Wanted) -> bool:
    return (
        (not wanted.origins or letter.origin in wanted.origins)
        and (not wanted.reasons or letter.reason in wanted.reasons)
        and (wanted.since_ms is None or letter.last_failed_ms >= wanted.since_ms)
        and (wanted.until_ms is None or letter.last_failed_ms <= wanted.until_ms)
    )


def parse_origin(text: str) -> Origin:
    """An origin as its parts.

    Raises:
        ValueError: it is not `topic/partition/offset`.
    """
    topic, partition, offset = text.rsplit("/", 2) if text.count("/") == 2 else ("", "", "")
    if not (topic and _is_number(partition) and _is_number(offset)):
        raise ValueError(f"{text!r} is not a topic, partition and offset, such as {RAW}/3/4711")
    return Origin(topic, int(partition), int(offset))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 19


def decide_put_back(letter: Letter, partitions: int, partition_of: PartitionOf, now_ms: int) -> PutBack | str:
    """How a dead letter goes back, or a clause that says why it cannot.

    A key decides the partition, as the processors ask for it: so a record that stood in a wrong partition goes to
    the right one. A record without a key goes where it was.
    """
    try:
        return _put_back(letter, partitions, partition_of, now_ms)
    except _StaysError as stays:
        return str(stays)


class _StaysError(Exception):
    """A dead letter that cannot be put back; the clause says why."""


def _put_back(letter: Letter, partitions: int, partition_of: PartitionOf, now_ms: int) -> PutBack:
    origin = _raw_origin(letter.said.origin)
    if not letter.key and letter.value is None:
        raise _StaysError("it has neither key nor value: whether its key was empty or missing is not known any more")
    headers = tuple(retried_headers(letter.headers, letter.said))
    size = _RECORD_OVERHEAD + size_of(letter.key, letter.value, headers) + _HEADER_OVERHEAD * len(headers)
    if size > RAW_MAX_BYTES:
        raise _StaysError(f"with {size:,} bytes it is larger than {RAW} takes ({RAW_MAX_BYTES:,})")
    timestamp_ms = _timestamp_ms(letter)
    if timestamp_ms < now_ms - MAX_AGE_MS:
        raise _StaysError(
            f"it is of {_moment(timestamp_ms)}, over {MAX_AGE_MS // DAY_MS} days old: {RAW} would soon delete it"
        )
    partition = partition_of(letter.key) if letter.key else origin.partition
    if partition >= partitions:
        raise _StaysError(f"{RAW} has no partition {partition}")
    record = Record(RAW, partition, 0, timestamp_ms, letter.key, letter.value, headers)
    said = decode(record, partition_of)
    if isinstance(said, Refusal):
        return PutBack(partition, timestamp_ms, None, said.reason)
    return PutBack(partition, timestamp_ms, word_of(said), None)


def _raw_origin(text: str) -> Origin:
    try:
        origin = parse_origin(text)
    except ValueError:
        origin = None
    # Whoever writes to the raw topic can claim any origin: nothing is ever put onto another topic.
    if origin is None or origin.topic != RAW:
        raise _StaysError(f"its origin is no place in {RAW}")
    return origin


def _timestamp_ms(letter: Letter) -> int:
    """Kafka's time of the original record; where it is not known, a later one will do if an event time stands."""
    if letter.said.timestamp_ms is not None:
        return letter.said.timestamp_ms
    if not any(name == "ce_time" for name, _ in letter.headers):
        raise _StaysError(
            "nothing says how old it is: it has no ce_time, and the dead letter was written by an earlier version"
        )
    return letter.timestamp_ms


def word_of(said: Item | Gone) -> Word:
    """What is kept of an accepted record."""
    return Word(said.video_id, said.time_ms, isinstance(said, Gone))


def with_word(later: Later, word: Word) -> Later:
    """What is known of a video after one more word on it."""
    if word.gone:
        return replace(later, gone_ms=max(word.time_ms, later.gone_ms or word.time_ms))
    return replace(later, seen_ms=max(word.time_ms, later.seen_ms or word.time_ms))


def overtaken(word: Word, later: Later) -> str | None:
    """Why an accepted record is out of date, or None; `later` is what is known of its video.

    The fold knows stale items from fresh ones, but a removal takes every field with it, and after a removal any item
    is a new video: these two are decided here.
    """
    seen_ms, gone_ms = later.seen_ms, later.gone_ms
    if word.gone:
        if seen_ms is not None and seen_ms > word.time_ms:
            return f"it removes the video {word.video_id}, which was seen again at {_moment(seen_ms)}"
    elif gone_ms is not None and gone_ms >= word.time_ms and (seen_ms is None or seen_ms <= gone_ms):
        return f"the video {word.video_id} was removed at {_moment(gone_ms)}, after this item"
    return None


def _moment(ms: int) -> str:
    try:
        return format_millis(ms)
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms since 1970"
