"""The seam of a replay: what the old generation of the read model got while the new one was made, applied to the new.

A replay swaps in a collection that holds every raw record below `applied`, partition by partition. The worker that
owns a partition stands further on, so before it goes on in the new generation it applies what lies between. Every
owner does that once per generation, whoever did it before, and notes how far all is applied, so that the next one
has little to read.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from ops.logging import get_logger
from processors.decode import Record
from processors.waiting import Patience

log = get_logger(__name__)


class Lease(Protocol):
    """The right to speak for the partitions of a batch, since the batch began."""

    async def hold(self) -> None:
        """Return once it is certain that this worker still owns them; raise when it does not (fencing.Fenced)."""


class AppliedOffsets(Protocol):
    """What is applied in a generation; every method raises `Unavailable` when it should be tried again."""

    async def generation(self) -> str:
        """The generation that readers read."""

    async def applied(self, generation: str) -> Mapping[int, int] | None:
        """Per partition the offset below which all is in the generation; None for one that no replay made."""

    async def raise_applied(self, generation: str, partition: int, offset: int) -> None:
        """Say that all below `offset` is applied, unless more was said before."""


class RawLog(Protocol):
    """The raw topic, read beside the consumer group."""

    def read(self, partition: int, start: int, end: int) -> AsyncGenerator[Sequence[Record]]:
        """The records from `start` up to, not including, `end`, as far as retention left them.

        Raises `Unavailable` when Kafka is away.
        """


ApplyAgain = Callable[[Sequence[Record], str, Lease], Awaitable[bool]]


class Seam:
    """Closes the seam of each partition of this worker, once per generation."""

    def __init__(self, offsets: AppliedOffsets, raw_log: RawLog, apply_again: ApplyAgain, patience: Patience) -> None:
        self._offsets = offsets
        self._raw_log = raw_log
        self._apply_again = apply_again
        self._patience = patience
        self._closed: dict[int, tuple[str, int]] = {}
        self._assignment = 0
        self.applied_records = 0
        """How many records were applied again since the start: a sign of life while a long seam is closed."""

    def reopen(self) -> None:
        """Partitions were assigned anew: others may have worked on them in between."""
        self._closed.clear()
        self._assignment += 1

    async def close(self, partition: int, position: int, generation: str, lease: Lease) -> None:
        """All below `position` is in `generation` afterwards, or `generation` is no longer what readers read.

        Raises:
            Fenced: the lease is lost.
        """
        if partition in self._closed and self._closed[partition][0] == generation:
            return
        assignment = self._assignment
        applied = await self._patience.until_available(lambda: self._offsets.applied(generation))
        if applied is not None:
            start = applied.get(partition, 0)
            if start < position:
                log.info("closing the seam", partition=partition, start=start, end=position, generation=generation)
            if not await self._patience.until_available(
                lambda: self._apply(partition, start, position, generation, lease)
            ):
                return
            await self._raise(partition, position, generation, lease)
        if assignment == self._assignment:
            self._closed[partition] = generation, position

    async def note(self, partition: int, position: int, generation: str, lease: Lease) -> None:
        """Say how far a partition whose seam is closed is applied, so that the next owner has less to read."""
        closed, said = self._closed.get(partition, ("", 0))
        if closed != generation or said >= position:
            return
        if await self._patience.until_available(lambda: self._offsets.applied(generation)) is not None:
            await self._raise(partition, position, generation, lease)
        if self._closed.get(partition) == (generation, said):
            self._closed[partition] = generation, position

    async def _apply(self, partition: int, start: int, end: int, generation: str, lease: Lease) -> bool:
        if start < end:
            async with aclosing(self._raw_log.read(partition, start, end)) as chunks:
                async for records in chunks:
                    if not await self._apply_again(records, generation, lease):
                        return False
                    self.applied_records += len(records)
        return True

    async def _raise(self, partition: int, position: int, generation: str, lease: Lease) -> None:
        await self._patience.until_available(
            lambda: self._offsets.raise_applied(generation, partition, position), lease.hold
        )
