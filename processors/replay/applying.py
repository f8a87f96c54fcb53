"""Takes records into a shadow through the same rules as the agent, without events, table or offsets."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from contract import events, video
from contract.events import EnvelopeError, read_video_headers
from contract.times import parse_rfc3339_ms
from contract.topics import RAW
from processors.batch import Taken, fold_batch
from processors.decode import Record, Refusal, decode
from processors.document import Document, Marker, OwedEvent, SourcePosition, VideoDocument
from processors.read_model_writer import MongoDocuments
from processors.replay.fold_buffer import FoldBuffer
from processors.waiting import Patience

Held = TypeVar("Held")

_FLUSH_KEYS: Final = 1_000
_FLUSHES_IN_FLIGHT: Final = 3


def living(document: Document | None) -> int:
    """1 for a video that readers see, else 0."""
    return int(isinstance(document, VideoDocument))


def by_key(records: Sequence[Record], partition_of: Callable[[bytes], int]) -> dict[str, list[Taken]]:
    """What the records say, by key; what the rules refuse is a dead letter of the live run and left out."""
    keyed: dict[str, list[Taken]] = {}
    for record in records:
        said = decode(record, partition_of)
        if not isinstance(said, Refusal):
            keyed.setdefault(said.video_id, []).append(Taken(record, said))
    return keyed


async def apply_over(documents: MongoDocuments, keyed: Mapping[str, Sequence[Taken]], patience: Patience) -> int:
    """Fold over what is stored; by how many the living documents grew."""
    there = await patience.until_available(lambda: documents.documents(list(keyed)))
    return await _write(
        documents,
        there,
        [one.document for one in fold_batch(keyed, there) if one.write and one.document is not None],
        patience,
    )


async def _write(
    documents: MongoDocuments, there: Mapping[str, Document], folded: Sequence[Document], patience: Patience
) -> int:
    if not folded:
        return 0
    result = await patience.until_available(lambda: documents.write(folded, {one.id for one in folded} - there.keys()))
    # Overtaken: this write, whose answer was lost; or a process of this run that was believed dead.
    return sum(living(one) - living(there.get(one.id)) for one in folded if one.id not in result.rejected)


class Loader(ABC, Generic[Held]):
    """Loads one partition into an empty shadow, the records of a key held back until its turn comes."""

    def __init__(self, shadow: MongoDocuments, start: int, buffer_bytes: int, patience: Patience) -> None:
        self._shadow = shadow
        self._patience = patience
        self._buffer = FoldBuffer[Held](buffer_bytes)
        self._position = start
        self._in_flight: dict[asyncio.Task[None], tuple[int, set[str]]] = {}
        self.grown = 0
        """By how many the living documents grew."""

    @property
    def position(self) -> int:
        """The offset to read next."""
        return self._position

    @property
    def safe_offset(self) -> int:
        """All below it is in the shadow."""
        waiting = [first for first, _ in self._in_flight.values()]
        first = self._buffer.first_offset
        return min([*waiting, *([] if first is None else [first]), self._position])

    async def take(self, records: Sequence[Record], position: int) -> None:
        """Hold the records, in offset order, all that is below `position`; write what waited longest when too full."""
        for record in records:
            self._hold(record)
        self._position = position
        while self._buffer.is_full:
            await self._flush()

    async def finish(self) -> None:
        """Write all that is held."""
        while len(self._buffer):
            await self._flush()
        await self._settled(set(self._in_flight))

    async def _flush(self) -> None:
        first = self._buffer.first_offset
        keyed = self._buffer.take(_FLUSH_KEYS)
        # A key's records are written in their order: what is on its way goes first.
        await self._settled({task for task, (_, keys) in self._in_flight.items() if not keys.isdisjoint(keyed)})
        while len(self._in_flight) >= _FLUSHES_IN_FLIGHT:
            await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
            await self._settled({task for task in self._in_flight if task.done()})
        task = asyncio.create_task(self._write(keyed))
        self._in_flight[task] = (self._position if first is None else first), set(keyed)

    async def _settled(self, tasks: set[asyncio.Task[None]]) -> None:
        for task in tasks:
            await task
            del self._in_flight[task]

    @abstractmethod
    def _hold(self, record: Record) -> None:
        """Put what the record says into the buffer."""

    @abstractmethod
    async def _write(self, keyed: dict[str, list[Held]]) -> None:
        """Bring the shadow up to these records of these keys."""


class RawLoader(Loader[Taken]):
    """From the raw topic: a key is folded from nothing and inserted; only one that is there already is read."""

    def __init__(
        self,
        shadow: MongoDocuments,
        start: int,
        buffer_bytes: int,
        patience: Patience,
        partition_of: Callable[[bytes], int],
    ) -> None:
        super().__init__(shadow, start, buffer_bytes, patience)
        self._partition_of = partition_of

    def _hold(self, record: Record) -> None:
        said = decode(record, self._partition_of)
        if isinstance(said, Refusal):
            return  # a dead letter of the live run
        taken = Taken(msgspec.structs.replace(record, value=None, headers=()), said)
        self._buffer.add(said.video_id, taken, offset=record.offset, size=len(record.value or b""))

    async def _write(self, keyed: dict[str, list[Taken]]) -> None:
        outcomes = fold_batch(keyed, {})
        new = [one.document for one in outcomes if one.document is not None]
        # Nothing to insert, a removal say, may still change what an earlier flush has stored.
        there = {one.video_id for one in outcomes if one.document is None}
        if new:
            result = await self._patience.until_available(lambda: self._shadow.insert(new))
            self.grown += sum(
                living(one) for one in new if one.id not in result.overtaken and one.id not in result.rejected
            )
            there |= result.overtaken
        if there:
            again = {video_id: keyed[video_id] for video_id in there}
            grown = await apply_over(self._shadow, again, self._patience)
            self.grown += grown  # after the wait: other flushes count meanwhile


class VideosLoader(Loader[Document]):
    """From the stream: of each key the document of the highest sequence, without what the sources said one by one."""

    def _hold(self, record: Record) -> None:
        document = document_of_event(record)
        if document is not None:
            self._buffer.add(document.id, document, offset=record.offset, size=len(record.value or b""))

    async def _write(self, keyed: dict[str, list[Document]]) -> None:
        newest = {video_id: max(all_, key=lambda one: one.source.offset) for video_id, all_ in keyed.items()}
        result = await self._patience.until_available(lambda: self._shadow.insert(list(newest.values())))
        self.grown += sum(living(one) for one in newest.values() if one.id not in result.overtaken)
        if not result.overtaken:
            return
        there = await self._patience.until_available(lambda: self._shadow.documents(list(result.overtaken)))
        newer = [newest[one] for one, stored in there.items() if newest[one].source.offset > stored.source.offset]
        grown = await _write(self._shadow, there, newer, self._patience)
        self.grown += grown  # as above


def document_of_event(record: Record) -> Document | None:
    """What an event of `youtube.videos` says of its video; None for a record that is no event of ours.

    Sources, sightings and the last confirmation are not in the stream: the next item of each source is taken as new.
    """
    try:
        envelope = read_video_headers(record.headers)
        source = SourcePosition(RAW, envelope.partition, envelope.sequence)
        event = OwedEvent(envelope.sequence, envelope.type, envelope.previous_sort_key)
        if record.value is None:
            event = OwedEvent(envelope.sequence, events.VIDEO_REMOVED, envelope.sort_key)
            return Marker(id=envelope.subject, removed_ms=record.timestamp_ms, source=source, event=event)
        public = video.decode(record.value)
        return VideoDocument(
            video=public,
            published_ms=parse_rfc3339_ms(public.published_at),
            first_seen_ms=parse_rfc3339_ms(public.first_seen_at),
            body=record.value,
            registers={},
            confirmed_ms=record.timestamp_ms,
            source=source,
            event=event,
        )
    except (EnvelopeError, msgspec.DecodeError, ValueError):
        return None
