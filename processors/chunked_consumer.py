"""Faust's consumer, in chunks: up to 500 records of one partition travel through Faust as one event.

Faust spends some 200 us on each event: tasks, queue, sensors, bookkeeping. A chunk is one `ConsumerMessage` that
carries the records of a slice of a fetch, so the same machinery (flow control, recovery, rebalance, commit, stop) runs
unchanged, once a chunk. What differs is here:

- a fetch of the raw topic is cut into chunks, by records and by bytes; every other topic takes the stock path;
- an acknowledged chunk acknowledges every offset from the end of the chunk before it to its own last, the holes that
  compaction and transactions leave included;
- a full queue blocks the fetch. Faust would rather stop fetching the partition, and then sleeps a second too long;
- a seek forgets what was acknowledged and not committed: all of it is delivered again.

A chunk never waits to be filled: what a fetch brought is delivered at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec
from aiokafka.structs import ConsumerRecord
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage, ack_lock

from contract.topics import RAW
from processors.consumer import SteadyConsumer

MAX_RECORDS: Final = 500
MAX_BYTES: Final = 4 << 20
"""A chunk is closed by the record that reaches this, so none is larger than this and one record."""

QUEUED_CHUNKS: Final = 16
"""Chunks that wait between Kafka and the agent: 8,000 records, and no more than 80 MiB."""

FetchedRecord: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"


class Chunk(msgspec.Struct, frozen=True):
    """Consecutive records of one partition, at least one, in offset order."""

    records: Sequence[FetchedRecord]


class ChunkMessage(ConsumerMessage):
    """A chunk as Faust's message: `offset` is that of its last record, `begin` the first offset that it answers for."""

    __slots__ = ("begin", "records")

    def __init__(self, tp: TP, begin: int, chunk: Chunk, generation_id: int) -> None:
        last = chunk.records[-1]
        super().__init__(
            tp.topic,
            tp.partition,
            last.offset,
            timestamp=last.timestamp / 1000,
            timestamp_type=last.timestamp_type,
            headers=None,
            key=None,
            value=None,
            checksum=None,
            tp=tp,
            generation_id=generation_id,
        )
        self.begin = begin
        self.records = chunk.records


class ChunkedConsumer(SteadyConsumer):
    """Delivers the raw topic in chunks, behind the same gate."""

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109  # Faust's signature
        fetched: Mapping[Any, Sequence[FetchedRecord]] = await super()._getmany(active_partitions, timeout)
        return {
            tp: list(cut(records, MAX_RECORDS, MAX_BYTES)) if tp.topic == RAW else records
            for tp, records in fetched.items()
        }

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        if not isinstance(record, Chunk):
            return super()._to_message(tp, record)
        begin = answers_from(record.records[0].offset, self._read_offset[tp])
        return ChunkMessage(tp, begin, record, self.app.consumer_generation_id)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        if tp.topic != RAW:  # what Faust sees as a gap is the chunk itself
            await super()._add_gap(tp, offset_from, offset_to)

    def ack(self, message: Any) -> bool:
        with ack_lock:
            is_new = not message.acked
            counted = super().ack(message)
            if is_new and isinstance(message, ChunkMessage):
                # Also when its last offset is known: after a seek a record may come again in another chunk.
                index = self._acked_index[message.tp]
                begin = max(message.begin, self._committed_offset[message.tp] or 0)
                below = [offset for offset in range(begin, message.offset) if offset not in index]
                index.update(below)
                self._acked[message.tp].extend(below)
                self._unacked_messages.discard(message)
            return counted

    async def perform_seek(self) -> None:
        await super().perform_seek()
        for acked in (self._acked, self._acked_index):
            for tp in acked:
                if tp.topic == RAW:
                    acked[tp].clear()

    def on_buffer_full(self, tp: TP) -> None:
        if tp.topic != RAW:
            super().on_buffer_full(tp)


class ChunkedTransport(driver.Transport):
    """Faust's Kafka transport with that consumer."""

    Consumer = ChunkedConsumer


def cut(records: Sequence[FetchedRecord], max_records: int, max_bytes: int) -> Iterator[Chunk]:
    """The records in chunks of at most `max_records`, each closed by the record that brings it to `max_bytes`."""
    begin = size = 0
    for end, record in enumerate(records, 1):
        size += len(record.key or b"") + len(record.value or b"")
        if end - begin == max_records or size >= max_bytes:
            yield Chunk(records[begin:end])
            begin, size = end, 0
    if begin < len(records):
        yield Chunk(records[begin:])


def answers_from(first: int, read_offset: int | None) -> int:
    """The first offset that a chunk acknowledges whose first record is `first`.

    `read_offset` is Faust's: the last offset delivered, or after a seek the one to be read next. What lies between
    it and `first` is a hole, which nobody else would acknowledge.
    """
    return first if read_offset is None else min(first, read_offset + 1)
