"""The processor's edges in memory, with behaviour: what the real ones keep, and faults on request.

Every call goes through a plan, so that a test can crash, or lose an answer, at any step. What the servers keep
(`FakeCollection`, the events sent, the table's changelog) can be shared by the edges of several workers.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from contract.events import VideoEnvelope
from processors.decode import Record, Refusal
from processors.dedup import KnownVideo, decode_known, encode_known
from processors.document import Document, from_stored, to_stored
from processors.projection import WriteResult
from processors.waiting import Unavailable

Fault = Literal["none", "unavailable", "lost_half_way", "lost_answer", "crash_before", "crash_half_way", "crash_after"]

HALF_WAY = frozenset({"lost_half_way", "crash_half_way"})
"""Faults that let half of a call's effects happen."""


class Crash(Exception):
    """The process dies here."""


class Plan(Protocol):
    """Decides what becomes of a call: how many of its effects happen, and how it is answered."""

    async def run(self, effects: Sequence[Callable[[], None]], what: str) -> None:
        """Have effects, and return the answer or raise; `what` tells a person which call it is."""


class FaultPlan:
    """One fault for each call to come, then none."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self._faults: Iterator[Fault] = iter(faults)

    async def run(self, effects: Sequence[Callable[[], None]], _what: str) -> None:
        """Have the effects, or as many of them as the next fault lets happen."""
        fault = next(self._faults, "none")
        if fault == "crash_before":
            raise Crash
        if fault == "unavailable":
            raise Unavailable("a fake", "asked for")
        for effect in effects[: len(effects) // 2 if fault in HALF_WAY else len(effects)]:
            effect()
        if fault in {"crash_half_way", "crash_after"}:
            raise Crash
        if fault in {"lost_half_way", "lost_answer"}:
            raise Unavailable("a fake", "the answer was lost")


class FakeCollection:
    """What MongoDB keeps: the collection that readers read, and what is said about generations."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, Any]] = {}
        self.applied_offsets: dict[str, dict[int, int]] = {}
        self.highest: dict[str, int] = {}
        """Per video the highest position that any generation has had."""
        self.generation = "generation-1"
        self.generations = 1

    def new_generation(self) -> str:
        """The name of a collection that is made."""
        self.generations += 1
        return f"generation-{self.generations}"

    def swap(self, stored: Mapping[str, dict[str, Any]], generation: str) -> None:
        """Rename another collection over the one that readers read."""
        self.stored.clear()
        self.generation = generation
        for document in stored.values():
            self.store(document)

    def store(self, document: dict[str, Any]) -> None:
        """Whatever was there before."""
        video_id, offset = document["_id"], document["source"]["offset"]
        self.stored[video_id] = document
        self.highest[video_id] = max(offset, self.highest.get(video_id, offset))


class FakeReadModel:
    """Documents as MongoDB stores them, with the write's condition on the position; `rejects` names refused ids."""

    def __init__(self, collection: FakeCollection | None = None) -> None:
        self.plan: Plan = FaultPlan()
        self.collection = collection or FakeCollection()
        self.rejects: set[str] = set()
        self.writes = 0

    @property
    def stored(self) -> dict[str, dict[str, Any]]:
        return self.collection.stored

    @property
    def applied_offsets(self) -> dict[str, dict[int, int]]:
        return self.collection.applied_offsets

    def drop(self) -> None:
        """The collection goes, and with it its generation."""
        self.collection.swap({}, self.collection.new_generation())

    async def generation(self) -> str:
        """As in `ReadModel`."""
        found: list[str] = []
        await self.plan.run([lambda: found.append(self.collection.generation)], "which generation?")
        return found[0]

    async def applied(self, generation: str) -> dict[int, int] | None:
        """As in `AppliedOffsets`; a call that can fail only after a replay, so that other plans need not count it."""
        if not self.applied_offsets:
            return None
        found: dict[int, int] = {}
        there: list[bool] = []

        def look() -> None:
            there.append(generation in self.applied_offsets)
            found.update(self.applied_offsets.get(generation, {}))

        await self.plan.run([look], f"what is applied in {generation}?")
        return found if there[0] else None

    async def raise_applied(self, generation: str, partition: int, offset: int) -> None:
        """As in `AppliedOffsets`."""

        def raise_() -> None:
            applied = self.applied_offsets.get(generation)
            if applied is not None:
                applied[partition] = max(offset, applied.get(partition, 0))

        await self.plan.run([raise_], f"all below {partition}@{offset} is applied in {generation}")

    async def documents(self, video_ids: Sequence[str]) -> dict[str, Document]:
        """As in `ReadModel`."""
        found: dict[str, Document] = {}

        def look() -> None:
            found.update({one: from_stored(self.stored[one]) for one in video_ids if one in self.stored})

        await self.plan.run([look], f"documents of {', '.join(video_ids)}?")
        return found

    async def write(self, documents: Sequence[Document], absent: Collection[str] = ()) -> WriteResult:
        """As in `ReadModel`; `absent` only makes the real one quicker."""
        overtaken: set[str] = set()
        accepted = [document for document in documents if document.id not in self.rejects]
        await self.plan.run(
            [self._writer(document, overtaken) for document in accepted],
            f"write {', '.join(f'{one.id}@{one.source.offset}' for one in accepted)}",
        )
        rejected = {document.id: "rejected by a fake" for document in documents if document.id in self.rejects}
        return WriteResult(frozenset(overtaken), rejected)

    def _writer(self, document: Document, overtaken: set[str]) -> Callable[[], None]:
        def write() -> None:
            there = self.stored.get(document.id)
            if there is not None and not there["source"]["offset"] < document.source.offset:
                overtaken.add(document.id)
                return
            self.writes += 1
            self.collection.store(to_stored(document, datetime(2026, 1, 1, tzinfo=UTC)))

        return write


class FakeRawLog:
    """The raw topic as a list of records."""

    def __init__(self, records: list[Record] | None = None) -> None:
        self.plan: Plan = FaultPlan()
        self.records: list[Record] = [] if records is None else records

    async def read(self, partition: int, start: int, end: int) -> AsyncGenerator[Sequence[Record]]:
        """As in `RawLog`, two records at a time."""
        wanted = [one for one in self.records if one.partition == partition and start <= one.offset < end]
        for at in range(0, len(wanted), 2):
            chunk = wanted[at : at + 2]
            await self.plan.run([], f"read {', '.join(f'{one.partition}@{one.offset}' for one in chunk)} again")
            yield chunk


class FakeVideoEvents:
    """Every event that was sent, in order."""

    def __init__(self, sent: list[tuple[VideoEnvelope, bytes | None]] | None = None) -> None:
        self.plan: Plan = FaultPlan()
        self.sent: list[tuple[VideoEnvelope, bytes | None]] = [] if sent is None else sent

    async def send(self, events: Sequence[tuple[VideoEnvelope, bytes | None]]) -> None:
        """As in `VideoEvents`."""
        await self.plan.run(
            [lambda event=event: self.sent.append(event) for event in events],  # type: ignore[misc]
            f"send {', '.join(f'{one.subject}@{one.sequence}' for one, _ in events)}",
        )

    def by_highest_sequence(self) -> dict[str, tuple[VideoEnvelope, bytes | None]]:
        """What a consumer that follows the contract ends with: per key the highest, the later one on a tie."""
        kept: dict[str, tuple[VideoEnvelope, bytes | None]] = {}
        for envelope, value in self.sent:
            there = kept.get(envelope.subject)
            if there is None or envelope.sequence >= there[0].sequence:
                kept[envelope.subject] = envelope, value
        return kept


class FakeDeadLetters:
    """Every dead letter that was sent, in order."""

    def __init__(self) -> None:
        self.plan: Plan = FaultPlan()
        self.sent: list[tuple[Record, Refusal]] = []

    async def send(self, refused: Sequence[tuple[Record, Refusal]]) -> None:
        """As in `DeadLetters`."""
        await self.plan.run(
            [lambda one=one: self.sent.append(one) for one in refused],  # type: ignore[misc]
            f"dead-letter {', '.join(f'{one.partition}@{one.offset}' for one, _ in refused)}",
        )


class FakeKnownVideos:
    """The table: the bytes of each entry, by partition and id.

    Without a changelog of its own there is one worker, whose store and changelog are one.
    """

    def __init__(self, changelog: dict[tuple[int, str], bytes] | None = None) -> None:
        self.plan: Plan = FaultPlan()
        self.entries: dict[tuple[int, str], bytes] = {}
        self.changelog = self.entries if changelog is None else changelog
        self.writes = 0

    def recover(self, partition: int) -> None:
        """Take a partition over as the changelog has it."""
        self.entries = {key: value for key, value in self.entries.items() if key[0] != partition}
        self.entries.update({key: value for key, value in self.changelog.items() if key[0] == partition})

    def read(self, partition: int, video_ids: Sequence[str]) -> dict[str, KnownVideo]:
        """As in `KnownVideos`."""
        there = {one: self.entries[partition, one] for one in video_ids if (partition, one) in self.entries}
        known = {video_id: decode_known(value) for video_id, value in there.items()}
        return {video_id: entry for video_id, entry in known.items() if entry is not None}

    async def write(self, partition: int, entries: Mapping[str, KnownVideo | None]) -> None:
        """As in `KnownVideos`; the worker's own store follows the changelog's acknowledgement."""
        values = {
            (partition, video_id): None if entry is None else encode_known(entry) for video_id, entry in entries.items()
        }
        await self.plan.run(
            [lambda key=key, value=value: self.log_change(key, value) for key, value in values.items()],  # type: ignore[misc]
            f"table {', '.join(video_id if entry else f'no {video_id}' for video_id, entry in entries.items())}",
        )
        for key, value in values.items():
            _set(self.entries, key, value)

    def log_change(self, key: tuple[int, str], value: bytes | None) -> None:
        """The changelog has it."""
        self.writes += 1
        _set(self.changelog, key, value)


def _set(entries: dict[tuple[int, str], bytes], key: tuple[int, str], value: bytes | None) -> None:
    if value is None:
        entries.pop(key, None)
    else:
        entries[key] = value


class FakeLease:
    """A lease that is held until somebody takes it away."""

    def __init__(self) -> None:
        self.lost: Exception | None = None

    async def hold(self) -> None:
        """As in `Lease`."""
        if self.lost:
            raise self.lost
