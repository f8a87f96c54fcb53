"""One fetcher, hot standby: who owns the state topic's partition polls, and its epoch says so in the log.

Take-over: read to the end, append `leader {epoch + 1}`, read up to that record. Whatever an earlier leader writes
after it is void (`state_log`). The group alone would not do: a record can be on its way while its writer is deposed.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import msgspec

from contract.producer_state import LEADER_KEY, PRODUCER_GROUP, Leader
from contract.times import format_millis
from contract.topics import PRODUCER_STATE
from ops.clock import now_ms
from ops.kafka_connection import KafkaConnection
from ops.logging import get_logger
from producer.kafka_record import KafkaRecord
from producer.partition_owner import Deposed, PartitionOwner, Tenure
from producer.publisher import RecordWriter
from producer.state import Entry
from producer.state_log import StateFold, StateRecord, epoch_headers
from producer.state_reader import StateReader

__all__ = ["Deposed", "Leadership", "Term"]

_log = get_logger(__name__)


class Leadership:
    """This producer's candidacy, for as long as the context is open; leaving it lets a standby take over at once."""

    def __init__(
        self,
        connection: KafkaConnection,
        writer: RecordWriter,
        session_timeout_seconds: float,
        *,
        topic: str = PRODUCER_STATE,
        group: str = PRODUCER_GROUP,
    ) -> None:
        self._connection: Final = connection
        self._writer: Final = writer
        self._topic: Final = topic
        self._owner: Final = PartitionOwner(connection, topic, group, session_timeout_seconds)
        self._term: Term | None = None

    async def __aenter__(self) -> Self:
        self._owner.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end_term()
        await self._owner.close()

    @property
    def is_standby(self) -> bool:
        """In the group, and another producer polls."""
        return self._owner.is_standby

    async def lead(self) -> "Term":
        """Wait as a standby until it is our turn, then take over; may be called again after `Deposed`."""
        await self._end_term()
        while True:
            tenure = await self._owner.owned()
            self._term = Term(StateReader(self._connection, self._topic), self._writer, self._topic, tenure)
            try:
                await self._term.take_over()
            except Deposed as deposed:
                _log.warning("did not take over, standing by", reason=str(deposed))
                await self._end_term()
            else:
                return self._term

    async def _end_term(self) -> None:
        term, self._term = self._term, None
        if term is not None:
            await term.end()


class Term:
    """One leader's time: what it found, what it writes, and whether it still leads."""

    def __init__(self, reader: StateReader, writer: RecordWriter, topic: str, tenure: Tenure) -> None:
        self._reader: Final = reader
        self._writer: Final = writer
        self._topic: Final = topic
        self._tenure: Final = tenure
        self._fold: Final = StateFold()
        self._operator_changes: list[Entry] = []
        self._writing: Final = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None
        self._leader = Leader(0, "", "")
        self.values: dict[bytes, bytes] = {}
        """Last value of each key, as it was at take-over."""

    @property
    def epoch(self) -> int:
        """Greater than that of every earlier leader."""
        return self._leader.epoch

    async def take_over(self) -> None:
        """Become the leader in the log, and find out what is known.

        Raises:
            Deposed: another producer was faster.
        """
        started = time.monotonic()
        await self._read_to_end()
        found = self._reader.position
        await self._tenure.hold()
        since = format_millis(now_ms())
        self._leader = Leader(self._fold.epoch + 1, uuid.uuid4().hex, since)
        await self._write([(LEADER_KEY, msgspec.json.encode(self._leader))])
        await self._read_to_end()
        self._check()
        await self._tenure.hold()
        await self._repair()
        self._check()
        self.values = dict(self._fold.values)
        self._operator_changes.clear()
        self._following = asyncio.create_task(self._follow())
        seconds = round(time.monotonic() - started, 3)
        _log.info("leading", epoch=self.epoch, keys=len(self.values), log_end=found, seconds=seconds)

    async def hold(self) -> None:
        """Return when it is certain that no other producer polls; wait while that is not known.

        Raises:
            Deposed: this term is over.
        """
        self._check()
        await self._tenure.hold()
        self._check()

    async def append(self, entries: Sequence[Entry]) -> None:
        """Write values, and return when all are durable, however long that takes.

        Raises:
            Deposed: this term is over, by what is known here; nothing was written.
            ValueError: a value is too large for Kafka; the others are written.
        """
        async with self._writing:
            self._check()
            self._tenure.check()
            await self._write(entries)

    def operator_changes(self) -> list[Entry]:
        """What operators wrote since this was last asked, in order."""
        changes, self._operator_changes = self._operator_changes, []
        return changes

    async def end(self) -> None:
        """Stop following the log."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})
        await self._reader.close()

    def _check(self) -> None:
        if self._following is not None and self._following.done():
            if self._following.cancelled():
                raise Deposed("this term was ended")
            self._following.result()  # a fault in following the log must not pass unseen
        if (self._fold.epoch, self._fold.leader_id) != (self.epoch, self._leader.id):
            raise Deposed(f"another producer leads in epoch {self._fold.epoch}")

    async def _write(self, entries: Sequence[Entry]) -> None:
        headers = epoch_headers(self.epoch)
        too_large = await self._writer.write([KafkaRecord(self._topic, *entry, headers) for entry in entries])
        if too_large:
            raise ValueError(f"too large for Kafka: the value of {too_large[0].key!r}")

    async def _follow(self) -> None:
        """Until another producer leads: what comes then is its business."""
        while self._fold.epoch == self.epoch:
            self._take(await self._reader.read())
            if self._fold.voided:
                await self._repair()
        _log.warning("another producer leads", epoch=self._fold.epoch, own_epoch=self.epoch)

    async def _read_to_end(self) -> list[Entry]:
        """Take all that is in the log now; returns what operators wrote."""
        end = await self._reader.end()
        changes: list[Entry] = []
        while self._reader.position < end:
            changes += self._take(await self._reader.read())
        return changes

    def _take(self, records: Sequence[StateRecord]) -> list[Entry]:
        changes = []
        void = []
        for record in records:
            if not self._fold.take(record):
                void.append(record)
            elif record.epoch is None and record.key != LEADER_KEY:
                changes.append((record.key, record.value))
        self._operator_changes += changes
        if void:
            _log.warning("void records in the producer's state", records=len(void), first_key=repr(void[0].key))
        return changes

    async def _repair(self) -> None:
        """Write the values that void records hide from the log cleaner again.

        What this leader wrote itself has been read when its turn comes, or else it would go back to an older value;
        what an operator writes meanwhile is put after the repair.
        """
        async with self._writing:
            await self._read_to_end()
            hidden = self._hidden_values()
            while hidden and self._fold.epoch == self.epoch:
                _log.info("writing again what void records hide", keys=len(hidden))
                await self._write(list(hidden.items()))
                newer = {key: value for key, value in await self._read_to_end() if key in hidden}
                hidden = {**self._hidden_values(), **newer}

    def _hidden_values(self) -> dict[bytes, bytes | None]:
        own: dict[bytes, bytes] = {LEADER_KEY: msgspec.json.encode(self._leader)}
        return {key: own.get(key, self._fold.values.get(key)) for key in sorted(self._fold.voided)}
