"""The processor's edges in memory, with behaviour: what the real ones keep, and faults on request.

Every call takes the next fault from the plan, so that a test can crash, or lose an answer, at any step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from contract.events import VideoEnvelope
from processors.decode import Record, Refusal
from processors.dedup import KnownVideo, decode_known, encode_known
from processors.document import Document, from_stored, to_stored
from processors.projection import Unavailable, WriteResult

Fault = Literal["none", "unavailable", "lost_answer", "crash_before", "crash_half_way", "crash_after"]


class Crash(Exception):
    """The process dies here."""


class FaultPlan:
    """One fault for each call to come, then none."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self._faults: Iterator[Fault] = iter(faults)

    def run(self, effects: Sequence[Callable[[], None]]) -> None:
        """Have the effects, or as many of them as the next fault lets happen."""
        fault = next(self._faults, "none")
        if fault == "crash_before":
            raise Crash
        if fault == "unavailable":
            raise Unavailable("a fake", "asked for")
        for effect in effects[: len(effects) // 2 if fault == "crash_half_way" else len(effects)]:
            effect()
        if fault in {"crash_half_way", "crash_after"}:
            raise Crash
        if fault == "lost_answer":
            raise Unavailable("a fake", "the answer was lost")


class FakeReadModel:
    """Documents as MongoDB stores them, with the write's condition on the position; `rejects` names refused ids."""

    def __init__(self) -> None:
        self.plan = FaultPlan()
        self.stored: dict[str, dict[str, Any]] = {}
        self.rejects: set[str] = set()
        self.writes = 0
        self._generation = 1

    def drop(self) -> None:
        """The collection goes, and with it its generation."""
        self.stored.clear()
        self._generation += 1

    async def generation(self) -> str:
        """As in `ReadModel`."""
        self.plan.run([])
        return f"generation-{self._generation}"

    async def documents(self, video_ids: Sequence[str]) -> dict[str, Document]:
        """As in `ReadModel`."""
        self.plan.run([])
        return {one: from_stored(self.stored[one]) for one in video_ids if one in self.stored}

    async def write(self, documents: Sequence[Document]) -> WriteResult:
        """As in `ReadModel`."""
        overtaken: set[str] = set()
        accepted = [document for document in documents if document.id not in self.rejects]
        self.plan.run([self._writer(document, overtaken) for document in accepted])
        rejected = {document.id: "rejected by a fake" for document in documents if document.id in self.rejects}
        return WriteResult(frozenset(overtaken), rejected)

    def _writer(self, document: Document, overtaken: set[str]) -> Callable[[], None]:
        def write() -> None:
            there = self.stored.get(document.id)
            if there is not None and there["source"]["offset"] >= document.source.offset:
                overtaken.add(document.id)
                return
            self.writes += 1
            self.stored[document.id] = to_stored(document, datetime(2026, 1, 1, tzinfo=UTC))

        return write


class FakeVideoEvents:
    """Every event that was sent, in order."""

    def __init__(self) -> None:
        self.plan = FaultPlan()
        self.sent: list[tuple[VideoEnvelope, bytes | None]] = []

    async def send(self, events: Sequence[tuple[VideoEnvelope, bytes | None]]) -> None:
        """As in `VideoEvents`."""
        self.plan.run([lambda event=event: self.sent.append(event) for event in events])  # type: ignore[misc]

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
        self.plan = FaultPlan()
        self.sent: list[tuple[Record, Refusal]] = []

    async def send(self, refused: Sequence[tuple[Record, Refusal]]) -> None:
        """As in `DeadLetters`."""
        self.plan.run([lambda one=one: self.sent.append(one) for one in refused])  # type: ignore[misc]


class FakeKnownVideos:
    """The table: the bytes of each entry, by partition and id."""

    def __init__(self) -> None:
        self.plan = FaultPlan()
        self.entries: dict[tuple[int, str], bytes] = {}
        self.writes = 0

    def read(self, partition: int, video_ids: Sequence[str]) -> dict[str, KnownVideo]:
        """As in `KnownVideos`."""
        there = {one: self.entries[partition, one] for one in video_ids if (partition, one) in self.entries}
        known = {video_id: decode_known(value) for video_id, value in there.items()}
        return {video_id: entry for video_id, entry in known.items() if entry is not None}

    async def write(self, partition: int, entries: Mapping[str, KnownVideo | None]) -> None:
        """As in `KnownVideos`."""
        self.plan.run([self._setter((partition, video_id), entry) for video_id, entry in entries.items()])

    def _setter(self, key: tuple[int, str], entry: KnownVideo | None) -> Callable[[], None]:
        def write() -> None:
            self.writes += 1
            if entry is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = encode_known(entry)

        return write


class FakeLease:
    """A lease that is held until somebody takes it away."""

    def __init__(self) -> None:
        self.lost: Exception | None = None

    async def hold(self) -> None:
        """As in `Lease`."""
        if self.lost:
            raise self.lost
