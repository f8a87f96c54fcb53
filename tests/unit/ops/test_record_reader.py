"""Header names that are not UTF-8 are read, and everything else as aiokafka reads it."""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record import memory_records
from aiokafka.record.default_records import DefaultRecordBase
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from ops import record_reader
from ops.record_reader import tolerate_header_names
from tests.foreign_batch import ForeignBatchBuilder

NONE, GZIP, ZSTD = DefaultRecordBase.CODEC_NONE, DefaultRecordBase.CODEC_GZIP, DefaultRecordBase.CODEC_ZSTD
CONTROL = DefaultRecordBase.CONTROL_MASK
LENGTH_AT, CRC_AT, ATTRIBUTES_AT = 8, 17, 21
ABORT = struct.pack(">hh", 0, 0)

FOREIGN = (("before", b"1"), ("caf\\xe9", b"2"), ("after", None))
GOOD = (("before", b"1"), ("café", b"2"), ("after", None))
Headers = Sequence[tuple[str, bytes | None]]


class Written(NamedTuple):
    """One record, as it is written and as it is to be read."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def timestamp(self) -> int:
        return 1_780_000_000_000 + self.offset * 7


def written(offsets: range, foreign: Sequence[int] = ()) -> list[Written]:
    return [Written(one, b"k%d" % one, b"v" * 50, FOREIGN if one in foreign else GOOD) for one in offsets]


def batch(records: Sequence[Written], codec: int = NONE, **builder: Any) -> bytes:
    base = records[0].offset
    building = ForeignBatchBuilder(codec, **builder)
    for one in records:
        building.append(one.offset - base, one.timestamp, one.key, one.value, one.headers)
    built = building.build()
    built[:LENGTH_AT] = struct.pack(">q", base)
    assert built[ATTRIBUTES_AT + 1] & DefaultRecordBase.CODEC_MASK == codec
    return bytes(built)


def sealed(changed: bytes) -> bytes:
    """The batch with its length and check sum put right, as a writer that is wrong would write it."""
    made = bytearray(changed)
    made[LENGTH_AT : LENGTH_AT + 4] = struct.pack(">i", len(made) - LENGTH_AT - 4)
    made[CRC_AT:ATTRIBUTES_AT] = struct.pack(">I", calc_crc32c(bytes(made[ATTRIBUTES_AT:])))
    return bytes(made)


def abort_marker(offset: int, producer_id: int) -> bytes:
    made = bytearray(batch([Written(offset, ABORT, b"\0" * 6, ())], is_transactional=True, producer_id=producer_id))
    made[ATTRIBUTES_AT + 1] |= CONTROL
    return sealed(bytes(made))


def reader(fetched: bytes, start: int = 0, **options: Any) -> Any:
    said = {"aborted": [], "deserializer": None, "isolation": fetcher.READ_UNCOMMITTED, **options}
    return fetcher.PartitionRecords(
        TopicPartition("raw", 0),
        fetcher.MemoryRecords(fetched),
        said["aborted"],
        start,
        None,
        said["deserializer"],
        True,
        said["isolation"],
    )


def read(fetched: bytes, start: int = 0, **options: Any) -> list[Written]:
    found = list(reader(fetched, start, **options))
    assert all(one.timestamp == Written(one.offset, None, None, ()).timestamp for one in found)
    return [Written(one.offset, one.key, one.value, one.headers) for one in found]


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka as it comes, whatever another test has installed."""
    monkeypatch.setattr(fetcher, "MemoryRecords", memory_records.MemoryRecords)
    monkeypatch.setattr(fetcher, "PartitionRecords", record_reader._Records.__base__)


@pytest.fixture
def tolerant(untouched: None) -> None:
    tolerate_header_names()


@pytest.fixture
def read_again(tolerant: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Base offsets of the batches that were read a second time."""
    bases: list[int] = []

    class Noted(record_reader._TolerantBatch):
        def __init__(self, data: bytes) -> None:
            super().__init__(data)
            bases.append(self.base_offset)

    monkeypatch.setattr(record_reader, "_TolerantBatch", Noted)
    return bases


@pytest.mark.usefixtures("untouched")
def test_aiokafka_itself_cannot() -> None:
    """If this fails, `ops/record_reader.py` may go."""
    with pytest.raises(UnicodeDecodeError):
        read(batch(written(range(3), foreign=[1])))


@pytest.mark.usefixtures("tolerant")
@pytest.mark.parametrize("codec", [NONE, GZIP, ZSTD])
@pytest.mark.parametrize("foreign", [[0], [3], [6], [2, 3], [0, 6], range(7)], ids=str)
def test_each_record_is_read_once_with_its_names_escaped(codec: int, foreign: Sequence[int]) -> None:
    records = written(range(7), foreign)

    assert read(batch(records, codec)) == [one._replace(headers=tuple(one.headers)) for one in records]


@pytest.mark.usefixtures("tolerant")
@pytest.mark.parametrize(
    "name",
    [
        "\\xff",
        "\\xff\\xfe",
        "caf\\xe9",
        "a\\xc0\\x80",  # an overlong U+0000
        "\\xed\\xa0\\x80",  # a surrogate
        "\\xf0\\x9f\\xa6",  # three bytes of four
        "\\xf4\\x90\\x80\\x80",  # beyond U+10FFFF
        "\\x80" * 100_000,
    ],
    ids=lambda name: name[:16],
)
def test_any_bytes_are_a_name_beside_others_of_any_value(name: str) -> None:
    headers = ((name, None), ("", b"\xff"), ("é🦆\0", b""), (name, b"\\xff"), ("last", None))
    records = [
        Written(0, None, b"value", headers),
        Written(1, b"key", None, headers),
        Written(2, b"", b"", headers),
        Written(3, b"\xff", b"\xff\xfe", ()),
    ]

    assert read(batch(records)) == records


@pytest.mark.usefixtures("tolerant")
@pytest.mark.parametrize("codec", [NONE, ZSTD])
def test_a_reading_begins_anywhere_and_the_position_goes_on_by_one(codec: int) -> None:
    fetched = batch(written(range(10, 17), foreign=[12, 15]), codec)
    for start in range(10, 17):
        records = reader(fetched, start)
        positions = [(one.offset, records.next_fetch_offset) for one in records]
        assert positions == [(offset, offset + 1) for offset in range(start, 17)]
        assert records.next_fetch_offset == 17


def test_only_the_batch_with_such_a_name_is_read_again(read_again: list[int]) -> None:
    parts = [written(range(at, at + 5), foreign=[7, 11, 14]) for at in range(0, 25, 5)]
    fetched = b"".join(batch(part, [NONE, ZSTD][at % 2]) for at, part in enumerate(parts))

    # The last batch is cut off, as a fetch cuts it.
    assert [one.offset for one in read(fetched[:-1])] == list(range(20))
    assert read_again == [5, 10]


def test_a_batch_below_the_position_is_passed_over(read_again: list[int]) -> None:
    """The next one is read as well, though the position did not move between them."""
    fetched = batch(written(range(5), foreign=[1])) + batch(written(range(5, 8), foreign=[5]))

    assert [one.offset for one in read(fetched, start=5)] == [5, 6, 7]
    assert read_again == [0, 5]


@pytest.mark.parametrize("codec", [NONE, GZIP, ZSTD])
def test_good_batches_are_aiokafkas_own(codec: int, read_again: list[int]) -> None:
    records = [*written(range(100)), Written(100, b"key", None, ()), Written(101, None, b"", (("", None),))]

    assert read(batch(records, codec)) == [one._replace(headers=tuple(one.headers)) for one in records]
    assert read_again == []


@pytest.mark.usefixtures("tolerant")
def test_both_readers_agree_of_a_good_batch() -> None:
    records = [*written(range(5, 20)), Written(20, b"key", None, ()), Written(21, None, b"", (("", None),))]
    for log_append_time in (False, True):
        made = bytearray(batch(records, ZSTD))
        made[ATTRIBUTES_AT + 1] |= DefaultRecordBase.TIMESTAMP_TYPE_MASK * log_append_time
        fetched = sealed(bytes(made))
        own = memory_records.MemoryRecords(fetched).next_batch()
        again = record_reader._TolerantBatch(fetched)
        names = ["offset", "timestamp", "timestamp_type", "key", "value", "headers", "checksum"]
        assert own.validate_crc()
        assert again.validate_crc()
        assert [[getattr(one, name) for name in names] for one in own] == [
            [getattr(one, name) for name in names] for one in again
        ]
        for name in ("next_offset", "base_offset", "producer_id", "is_control_batch", "is_transactional"):
            assert getattr(own, name) == getattr(again, name)


def until_corrupt(fetched: bytes) -> list[int]:
    """Offsets that are given before the batch proves to be corrupt."""
    offsets: list[int] = []
    with pytest.raises(CorruptRecordException):
        offsets.extend(one.offset for one in reader(fetched))
    return offsets


@pytest.mark.usefixtures("tolerant")
@pytest.mark.parametrize("missing", [2, 3, 10, 40, 90])
def test_a_batch_that_ends_too_early_is_corrupt_from_the_record_that_is_cut(missing: int) -> None:
    records = [*written(range(4), foreign=[1]), Written(4, b"key", b"v" * 100, ())]  # the last byte says: no headers

    assert until_corrupt(sealed(batch(records)[:-missing])) == [0, 1, 2, 3]


@pytest.mark.usefixtures("tolerant")
def test_a_batch_with_bytes_left_over_is_corrupt() -> None:
    assert until_corrupt(sealed(batch(written(range(4), foreign=[1])) + b"\0")) == [0, 1, 2, 3]


@pytest.mark.usefixtures("tolerant")
@pytest.mark.parametrize("at", [CRC_AT, -1])
def test_a_wrong_check_sum_is_said_before_any_record(at: int) -> None:
    made = bytearray(batch(written(range(3), foreign=[0])))
    made[at] ^= 1

    assert until_corrupt(bytes(made)) == []


@pytest.mark.usefixtures("tolerant")
def test_what_a_transaction_took_back_stays_so() -> None:
    fetched = (
        batch(written(range(3), foreign=[1]), is_transactional=True, producer_id=9)
        + batch(written(range(3, 5), foreign=[3]), is_transactional=True, producer_id=8)
        + abort_marker(5, 9)
        + batch(written(range(6, 9), foreign=[8]), is_transactional=True, producer_id=9)
        + batch(written(range(9, 11)))
    )
    committed = read(fetched, isolation=fetcher.READ_COMMITTED, aborted=[(9, 0)])
    assert [one.offset for one in committed] == [3, 4, 6, 7, 8, 9, 10]
    assert [one.offset for one in read(fetched)] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]


@pytest.mark.usefixtures("tolerant")
def test_a_deserializers_own_fault_is_raised() -> None:
    records = [Written(0, None, b"text", FOREIGN), Written(1, None, b"\xff", ())]
    found = reader(batch(records), deserializer=bytes.decode)

    assert next(found).value == "text"
    with pytest.raises(UnicodeDecodeError):
        next(found)


@pytest.mark.usefixtures("tolerant")
def test_it_is_installed_once() -> None:
    installed = fetcher.MemoryRecords, fetcher.PartitionRecords
    tolerate_header_names()

    assert (fetcher.MemoryRecords, fetcher.PartitionRecords) == installed
