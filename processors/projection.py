"""The order of effects: takes a batch through its steps, and decides nothing that the rules decide.

    decode ─► dead letters ─► table ─► documents ─► fold ─► write ─► events ─► table ─► (the caller acknowledges)

The read model before the event, the event before the table, the offset after all: in any other order a process
that dies in between loses a video. Infrastructure that is away is waited for, for ever; before each try to write
documents, events or the table the lease is checked, because a worker that was paused must not speak. Dead letters
need none: their origin makes a copy harmless.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from contract.events import VideoEnvelope
from contract.topics import VIDEOS
from ops import tracing
from ops.logging import get_logger
from ops.metrics import ProcessorMetrics
from processors.batch import Outcome, Taken, fold_batch, overtaken, table_entry, video_event, without_duplicates
from processors.dead_letter_limit import DeadLetterLimit
from processors.decode import Record, Refusal, decode
from processors.dedup import KnownVideo
from processors.document import Document, SourcePosition
from processors.seam import AppliedOffsets, Lease, RawLog, Seam
from processors.waiting import Patience

log = get_logger(__name__)
T = TypeVar("T")
Refused = tuple[Record, Refusal]


class TopicRecreatedError(Exception):
    """A document stands at an offset that its topic has never reached."""


class WriteResult(msgspec.Struct, frozen=True):
    """Keys whose document was overtaken (this write or a newer one is there), and rejected ones with the reason."""

    overtaken: frozenset[str]
    rejected: Mapping[str, str]


class ReadModel(AppliedOffsets, Protocol):
    """MongoDB, as the projection uses it. Every method raises `Unavailable` when it should be tried again."""

    async def generation(self) -> str: ...
    async def documents(self, video_ids: Sequence[str]) -> dict[str, Document]: ...
    async def write(self, documents: Sequence[Document], absent: Collection[str] = ()) -> WriteResult: ...


class VideoEvents(Protocol):
    """`youtube.videos`; returns when every event is acknowledged, raises `Unavailable` otherwise."""

    async def send(self, events: Sequence[tuple[VideoEnvelope, bytes | None]]) -> None: ...


class DeadLetters(Protocol):
    """The dead-letter topic; returns when every one is acknowledged, raises `Unavailable` otherwise."""

    async def send(self, refused: Sequence[Refused]) -> None: ...


class KnownVideos(Protocol):
    """The table; `write` returns when its changelog is acknowledged, raises `Unavailable` otherwise."""

    def read(self, partition: int, video_ids: Sequence[str]) -> dict[str, KnownVideo]: ...
    async def write(self, partition: int, entries: Mapping[str, KnownVideo | None]) -> None: ...


class Projection:
    """Takes batches of raw records into the read model, the stream and the table."""

    def __init__(
        self,
        *,
        read_model: ReadModel,
        events: VideoEvents,
        dead_letters: DeadLetters,
        known_videos: KnownVideos,
        raw_log: RawLog,
        limit: DeadLetterLimit,
        metrics: ProcessorMetrics,
        partition_of: Callable[[bytes], int],
        log_end: Callable[[int], int | None],
    ) -> None:
        self._read_model = read_model
        self._events = events
        self._dead_letters = dead_letters
        self._known_videos = known_videos
        self._limit = limit
        self._metrics = metrics
        self._partition_of = partition_of
        self._log_end = log_end
        self._patience = Patience(lambda part, waits: metrics.waiting.labels(part).set(waits))
        self.seam = Seam(read_model, raw_log, self.apply_again, self._patience)

    @property
    def waiting_for(self) -> set[str]:
        """Parts of the infrastructure that a batch waits for now."""
        return self._patience.waiting_for

    @property
    def failed_tries(self) -> int:
        """How often a part of the infrastructure was asked and was away."""
        return self._patience.failed_tries

    async def project(self, records: Sequence[Record], lease: Lease) -> None:
        """All effects of the records, in order; when this returns their offsets may be acknowledged.

        Raises:
            TopicRecreatedError: the raw topic is not the one that the documents come from.
            Fenced: the lease is lost; nothing more was said.
        """
        began_ns = time.time_ns()
        with self._metrics.batch_seconds.time():
            taken, refused = self._decode(records)
            await self._refuse(refused, lease)
            outcomes, generation, known = await self._fold(taken, _first_offsets(records), lease)
            too_large = [one for outcome in outcomes for one in outcome.refused]
            await self._refuse(too_large, lease)
            outcomes, rejected = await self._write(outcomes, lease)
            partition_of = {one.said.video_id: one.record.partition for one in taken}
            await self._send_events(outcomes, partition_of, began_ns, lease)
            await self._remember(outcomes, partition_of, generation, known, lease)
            self._count(records, [*refused, *too_large, *rejected], outcomes)

    async def generation(self) -> str:
        """The generation of the read model that readers read."""
        return await self._patience.until_available(self._read_model.generation)

    async def apply_again(self, records: Sequence[Record], generation: str, lease: Lease) -> bool:
        """The fold and its effects without the table, for records that an older generation has; what they refuse is
        dead-lettered already. False, with nothing done, if `generation` is no longer what readers read.
        """
        began_ns = time.time_ns()
        by_key: dict[str, list[Taken]] = {}
        for one in self._decode(records)[0]:
            by_key.setdefault(one.said.video_id, []).append(one)
        documents = await self._until_available(lambda: self._read_model.documents(list(by_key)), lease)
        if await self._until_available(self._read_model.generation, lease) != generation:
            return False
        outcomes, _ = await self._write(fold_batch(by_key, documents), lease)
        partition_of = {key: taken[0].record.partition for key, taken in by_key.items()}
        await self._send_events(outcomes, partition_of, began_ns, lease)
        return True

    def _decode(self, records: Sequence[Record]) -> tuple[list[Taken], list[Refused]]:
        taken, refused = [], []
        for record in records:
            said = decode(record, self._partition_of)
            if isinstance(said, Refusal):
                refused.append((record, said))
            else:
                taken.append(Taken(record, said))
        return taken, refused

    async def _refuse(self, refused: Sequence[Refused], lease: Lease) -> None:
        if not refused:
            return
        await self._until_available(lambda: self._dead_letters.send(refused), lease)
        for record, refusal in refused:
            log.warning("record dead-lettered", reason=refusal.reason, detail=refusal.detail, origin=_origin(record))
            self._metrics.dead_letters.labels(refusal.reason).inc()

    async def _fold(
        self, taken: Sequence[Taken], first_offsets: Mapping[int, int], lease: Lease
    ) -> tuple[list[Outcome], str, dict[str, KnownVideo]]:
        """Duplicates dropped, documents read and folded, all against one generation of the read model.

        All below `first_offsets` was applied before, perhaps to an older generation: its seam is closed first.
        """
        known = self._look_up(taken)
        while True:
            generation = await self._until_available(self._read_model.generation, lease)
            for partition, offset in first_offsets.items():
                await self.seam.close(partition, offset, generation, lease)
            by_key = without_duplicates(taken, known, generation)
            if not by_key:
                return [], generation, known
            documents = await self._until_available(lambda: self._read_model.documents(list(by_key)), lease)  # noqa: B023  # awaited within the turn
            if await self._until_available(self._read_model.generation, lease) == generation:
                await self._check_positions(documents, lease)
                return fold_batch(by_key, documents), generation, known

    def _look_up(self, taken: Sequence[Taken]) -> dict[str, KnownVideo]:
        keys: dict[int, list[str]] = {}
        for one in taken:
            keys.setdefault(one.record.partition, []).append(one.said.video_id)
        known: dict[str, KnownVideo] = {}
        for partition, video_ids in keys.items():
            known.update(self._known_videos.read(partition, list(dict.fromkeys(video_ids))))
        return known

    async def _check_positions(self, documents: Mapping[str, Document], lease: Lease) -> None:
        for document in documents.values():
            source = document.source
            if self._is_within_log(source):
                continue
            # A worker that was paused knows where the log ended then, and others have gone on since: it is fenced.
            await lease.hold()
            if not self._is_within_log(source):
                end = self._log_end(source.partition)
                raise TopicRecreatedError(
                    f"the document {document.id} was made from offset {source.offset} of {source.topic}, partition "
                    f"{source.partition}, whose log ends at {end}: the topic was recreated. Give the processors the "
                    "old topic back, or an empty database."
                )

    def _is_within_log(self, source: SourcePosition) -> bool:
        end = self._log_end(source.partition)
        return end is None or source.offset < end

    async def _write(self, outcomes: Sequence[Outcome], lease: Lease) -> tuple[list[Outcome], list[Refused]]:
        """The outcomes as they stand after the write, overtaken ones with the document found; and what was rejected."""
        done = {outcome.video_id: outcome for outcome in outcomes}
        rejected: list[Refused] = []
        pending = [outcome for outcome in outcomes if outcome.write]
        while pending:
            documents = [outcome.document for outcome in pending if outcome.document is not None]
            absent = {outcome.video_id for outcome in pending if outcome.absent}
            result = await self._until_available(lambda: self._read_model.write(documents, absent), lease, speaks=True)  # noqa: B023  # awaited within the turn
            for video_id, reason in result.rejected.items():
                outcome, refusal = done[video_id], Refusal("write_rejected", reason[:500])
                rejected += [(one.record, refusal) for one in outcome.taken]
                done[video_id] = msgspec.structs.replace(outcome, document=None, event=None, write=False)
            found: dict[str, Document] = {}
            if result.overtaken:
                ids = sorted(result.overtaken)
                found = await self._until_available(lambda: self._read_model.documents(ids), lease)  # noqa: B023  # awaited within the turn
            for video_id, document in found.items():
                done[video_id] = overtaken(done[video_id], document)
            # A marker can expire between the refusal and the look: then there is room for the write.
            pending = [done[video_id] for video_id in result.overtaken if video_id not in found]
        await self._refuse(rejected, lease)
        return list(done.values()), rejected

    async def _send_events(
        self, outcomes: Sequence[Outcome], partition_of: Mapping[str, int], began_ns: int, lease: Lease
    ) -> None:
        owed = [video_event(outcome, partition_of[outcome.video_id]) for outcome in outcomes]
        events = [event for event in owed if event is not None]
        if events:
            parents = [envelope.traceparent for envelope, _ in events]
            with tracing.projecting(VIDEOS, parents, began_ns) as traceparents:
                if traceparents != parents:
                    events = [
                        (msgspec.structs.replace(envelope, traceparent=traceparent), value)
                        for (envelope, value), traceparent in zip(events, traceparents, strict=True)
                    ]
                await self._until_available(lambda: self._events.send(events), lease, speaks=True)
        for envelope, _ in events:
            self._metrics.events.labels(envelope.type.split(".")[-2]).inc()

    async def _remember(
        self,
        outcomes: Sequence[Outcome],
        partition_of: Mapping[str, int],
        generation: str,
        known: Mapping[str, KnownVideo],
        lease: Lease,
    ) -> None:
        entries: dict[int, dict[str, KnownVideo | None]] = {}
        for outcome in outcomes:
            entry = table_entry(outcome, generation)
            if entry != known.get(outcome.video_id):
                entries.setdefault(partition_of[outcome.video_id], {})[outcome.video_id] = entry
        for partition, changed in entries.items():
            await self._until_available(lambda: self._known_videos.write(partition, changed), lease, speaks=True)  # noqa: B023  # awaited within the turn

    def _count(self, records: Sequence[Record], dead: Sequence[Refused], outcomes: Sequence[Outcome]) -> None:
        """One outcome for each record, and the dead-letter limit told in the records' order."""
        fates = dict.fromkeys(((record.partition, record.offset) for record in records), "duplicate")
        for outcome in outcomes:
            fate = "applied" if outcome.write else "unchanged"
            fates.update(((one.record.partition, one.record.offset), fate) for one in outcome.taken)
            if outcome.write:
                fetched_ms = outcome.taken[-1].said.time_ms
                self._metrics.fetch_to_store_seconds.observe(max(0.0, time.time() - fetched_ms / 1000))
        fates.update(((record.partition, record.offset), "dead_letter") for record, _ in dead)
        for fate, count in Counter(fates.values()).items():
            self._metrics.records.labels(fate).inc(count)
        for fate in fates.values():
            self._limit.count(dead=fate == "dead_letter")

    async def _until_available(self, call: Callable[[], Awaitable[T]], lease: Lease, *, speaks: bool = False) -> T:
        """The call's answer, tried for ever; `speaks` marks a step that others see, which needs the lease each time."""
        return await self._patience.until_available(call, lease.hold if speaks else None)


def _first_offsets(records: Sequence[Record]) -> dict[int, int]:
    """Per partition the offset of its first record."""
    first: dict[int, int] = {}
    for record in records:
        first.setdefault(record.partition, record.offset)
    return first


def _origin(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"
