r"""Reads records whose header names are not UTF-8, which aiokafka cannot.

Kafka's protocol wants UTF-8 there, but brokers do not look, and clients in C write whatever bytes they are given.
aiokafka's reader (0.14.0) raises UnicodeDecodeError at such a name, at each new try, and so a single record of a
stranger would stop every consumer of the topic for good. Here such a name is read with its bytes escaped (`\xff`).

A batch without such a name is read as ever, by aiokafka's C extension. One with such a name is read again by aiokafka's
reader in pure Python, from the first record that was not given yet.

Patches private parts of aiokafka, for the whole process: ADR 3.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Any, Final

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBase, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_LENGTH: Final = Struct(">i")
_AFTER_LENGTH: Final = DefaultRecordBase.AFTER_LEN_OFFSET


def tolerate_header_names() -> None:
    """Let the consumers of this process read such records; again changes nothing."""
    fetcher.MemoryRecords = _Batches
    fetcher.PartitionRecords = _Records


class _Batches(MemoryRecords):  # type: ignore[misc]  # aiokafka ships no types
    """The batches of one fetched partition; the one that was given last can be had again."""

    def __init__(self, fetched: bytes) -> None:
        super().__init__(fetched)
        self._fetched = memoryview(fetched)
        self._begin = self._end = 0
        self._again: _TolerantBatch | None = None
        self._gave_again = False

    def has_next(self) -> bool:
        return self._again is not None or bool(super().has_next())

    def next_batch(self) -> Any:
        again, self._again = self._again, None
        self._gave_again = again is not None
        if again is not None:
            return again
        batch = super().next_batch()
        self._begin = self._end
        body = self._begin + _AFTER_LENGTH
        self._end = body + _LENGTH.unpack_from(self._fetched, body - _LENGTH.size)[0]
        return batch

    def give_again(self) -> bool:
        """Let the batch that was given last be the next one too, any header's name readable; False if it was so."""
        if not self._gave_again:
            self._again = _TolerantBatch(self._fetched[self._begin : self._end])
        return self._again is not None


class _Records(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka ships no types
    """Records of one fetched partition. What is below `next_fetch_offset` is never given, so none comes twice."""

    def _unpack_records(self) -> Iterator[Any]:
        while True:
            try:
                yield from super()._unpack_records()
            except UnicodeDecodeError:
                if not self._records.give_again():  # not a header's name: a deserializer's own fault
                    raise
            else:
                return


class _TolerantBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka ships no types
    """A batch in which every header's name can be read."""

    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _EscapingBuffer(self._buffer)


class _EscapingBuffer(bytearray):
    """A batch's records, of which the reader decodes nothing but the names of headers."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        if not isinstance(at, slice):
            return found
        if at.stop > len(self):
            raise IndexError("a record reaches beyond its batch")  # the reader calls it corrupt, as in C
        return _EscapingBuffer(found)

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)
