"""Promises P1, P2 and P7 as properties of the rules and of the order of effects, with the I/O faked.

The oracle is the plain sequential fold. Whatever the batches, redeliveries, lost answers and crashes, the documents
(hidden fields included) and the events that a contract-keeping consumer ends with must be the oracle's.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from contract import events
from contract.events import VideoEnvelope
from ops.metrics import ProcessorMetrics
from processors import waiting
from processors.batch import Outcome, video_event
from processors.dead_letter_limit import DeadLetterLimit
from processors.decode import Gone, Item, Record, Refusal, decode
from processors.dedup import decode_known, encode_known, is_duplicate, known_video
from processors.document import Document, SourcePosition, VideoDocument, from_stored, to_stored
from processors.fold import CONFIRM_AFTER_MS, fold
from processors.projection import Projection
from tests.fakes.processor_edges import (
    Crash,
    FakeDeadLetters,
    FakeKnownVideos,
    FakeLease,
    FakeRawLog,
    FakeReadModel,
    FakeVideoEvents,
    Fault,
    FaultPlan,
)
from tests.raw_items import ITEM_MAKERS, NOW_MS, partition_of, record, video_id

ONE_PARTITION = [n for n in range(60) if partition_of(video_id(n).encode()) == 0][:3]
"""Numbers of three videos that share partition 0, so that one offset line orders them."""


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """A partition's log: few videos, few different items, so that repeats, stale items and removals are common."""
    log = []
    for offset in range(draw(st.integers(1, 14))):
        number = draw(st.sampled_from(ONE_PARTITION))
        time_ms = NOW_MS + draw(st.sampled_from([0, 1, 60_000, CONFIRM_AFTER_MS, CONFIRM_AFTER_MS + 60_001]))
        if draw(st.integers(0, 5)) == 0:
            log.append(record(number, offset, None, time_ms=time_ms))
            continue
        source = draw(st.sampled_from(sorted(ITEM_MAKERS)))
        item = ITEM_MAKERS[source](
            number, title=draw(st.sampled_from("AB")), description=draw(st.sampled_from(["x", "y"]))
        )
        log.append(
            record(
                number,
                offset,
                item,
                source=source,
                time_ms=time_ms,
                queries=tuple(draw(st.sets(st.sampled_from(["tea", "how"])))),
                first_seen_ms=NOW_MS - draw(st.sampled_from([0, 5_000])),
            )
        )
    return log


Owed = dict[str, tuple[VideoEnvelope, bytes | None]]


def sequential(log: Sequence[Record]) -> tuple[dict[str, Document], Owed]:
    """The oracle: one record after another, nothing else."""
    documents: dict[str, Document] = {}
    owed: Owed = {}
    for one in log:
        said = decode(one, partition_of)
        assert not isinstance(said, Refusal)
        folded = fold(documents.get(said.video_id), said, SourcePosition(one.topic, one.partition, one.offset))
        assert not isinstance(folded, Refusal)
        if folded.document is not None:
            documents[said.video_id] = folded.document
        if folded.event is None:
            continue
        outcome = Outcome(
            video_id=said.video_id,
            document=folded.document,
            write=False,
            event=folded.event,
            already_applied=False,
            taken=[],
            refused=[],
        )
        event = video_event(outcome, one.partition)
        assert event is not None
        if said.video_id not in owed or event[0].sequence >= owed[said.video_id][0].sequence:
            owed[said.video_id] = event
    return documents, owed


class World:
    """What outlives a worker: read model, stream, dead letters, table and the committed offset."""

    def __init__(self) -> None:
        self.read_model = FakeReadModel()
        self.events = FakeVideoEvents()
        self.dead_letters = FakeDeadLetters()
        self.known_videos = FakeKnownVideos()
        self.raw_log = FakeRawLog()
        self.committed = 0

    def plan(self, faults: Sequence[Fault]) -> None:
        plan = FaultPlan(faults)
        for edge in (self.read_model, self.events, self.dead_letters, self.known_videos):
            edge.plan = plan

    def consume(self, log: Sequence[Record], sizes: Sequence[int]) -> None:
        """One worker, from the committed offset, in batches of these sizes (then of two), until it dies or ends."""
        projection = Projection(
            read_model=self.read_model,
            events=self.events,
            dead_letters=self.dead_letters,
            known_videos=self.known_videos,
            raw_log=self.raw_log,
            limit=DeadLetterLimit(1.0, 10_000),
            metrics=ProcessorMetrics(CollectorRegistry()),
            partition_of=partition_of,
            log_end=lambda _partition: len(log),
        )
        asyncio.run(self._consume(projection, log, sizes))

    async def _consume(self, projection: Projection, log: Sequence[Record], sizes: Sequence[int]) -> None:
        remaining = iter(sizes)
        while self.committed < len(log):
            batch = log[self.committed : self.committed + next(remaining, 2)]
            await projection.project(batch, FakeLease())
            self.committed += len(batch)

    def check(self, log: Sequence[Record]) -> None:
        documents, owed = sequential(log)
        assert {one: from_stored(stored) for one, stored in self.read_model.stored.items()} == documents
        assert self.events.by_highest_sequence() == owed
        assert not self.dead_letters.sent


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_DELAY_SECONDS", 0)


SIZES = st.lists(st.integers(1, 6), max_size=10)


@st.composite
def fault_plans(draw: st.DrawFn) -> list[Fault]:
    """A life of a worker: some calls go well, then one does not, then perhaps another does not.

    A batch makes up to six calls, so the runs of good ones are long enough to reach every step of several batches.
    """
    plan: list[Fault] = []
    for _ in range(draw(st.integers(1, 3))):
        plan += ["none"] * draw(st.integers(0, 14))
        plan.append(draw(st.sampled_from(get_args(Fault))))
    return plan


@given(log=logs(), sizes=SIZES)
def test_any_split_into_batches_gives_the_same_documents_and_events(log: list[Record], sizes: list[int]) -> None:
    world = World()
    world.consume(log, sizes)

    world.check(log)


@given(log=logs(), sizes=SIZES, again_from=st.lists(st.integers(0, 13), max_size=4), wiped=st.booleans())
def test_any_redelivery_of_a_suffix_changes_nothing(
    log: list[Record], sizes: list[int], again_from: list[int], wiped: bool
) -> None:
    world = World()
    world.consume(log, sizes)
    for offset in again_from:
        world.committed = min(offset, len(log))
        if wiped:
            world.known_videos.entries.clear()
        world.consume(log, list(reversed(sizes)))

    world.check(log)


@settings(max_examples=600)
@given(log=logs(), sizes=SIZES, lives=st.lists(fault_plans(), min_size=1, max_size=3), wiped=st.booleans())
def test_any_crash_point_and_lost_answer_loses_nothing(
    log: list[Record], sizes: list[int], lives: list[list[Fault]], wiped: bool
) -> None:
    world = World()
    for faults in lives:
        world.plan(faults)
        try:
            world.consume(log, sizes)
        except Crash:
            if wiped:
                world.known_videos.entries.clear()
    world.plan([])
    world.consume(log, sizes)

    world.check(log)


@settings(max_examples=200)
@given(log=logs())
def test_a_duplicate_by_the_table_is_one_that_the_fold_would_leave(log: list[Record]) -> None:
    documents: dict[str, Document] = {}
    for one in log:
        said = decode(one, partition_of)
        assert isinstance(said, Item | Gone)
        document = documents.get(said.video_id)
        folded = fold(document, said, SourcePosition(one.topic, one.partition, one.offset))
        assert not isinstance(folded, Refusal)
        if isinstance(said, Item) and isinstance(document, VideoDocument):
            known = decode_known(encode_known(known_video(document, "generation")))
            if is_duplicate(known, said, "generation"):
                assert (folded.document, folded.changed, folded.event) == (document, False, None)
            assert not is_duplicate(known, said, "another generation")
        if folded.document is not None:
            documents[said.video_id] = folded.document


@given(log=logs())
def test_a_stored_document_reads_back_as_it_was(log: list[Record]) -> None:
    documents, _ = sequential(log)

    for document in documents.values():
        assert from_stored(to_stored(document, _SOME_DAY)) == document


@given(log=logs(), sizes=SIZES)
def test_repeating_a_whole_log_writes_nothing(log: list[Record], sizes: list[int]) -> None:
    """With the table in place the second reading of repeated items costs no write to MongoDB."""
    world = World()
    world.consume(log, sizes)
    writes = world.read_model.writes
    world.committed = 0
    world.consume(log, sizes)

    assert world.read_model.writes == writes


_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_generated_logs_contain_what_they_are_for() -> None:
    """The strategy is only worth something if changes, repeats, stale items, removals and rebirths all occur."""
    seen: set[str] = set()

    @settings(max_examples=300, database=None, derandomize=True)
    @given(log=logs())
    def look(log: list[Record]) -> None:
        documents: dict[str, Document] = {}
        for one in log:
            said = decode(one, partition_of)
            assert isinstance(said, Item | Gone)
            before = documents.get(said.video_id)
            folded = fold(before, said, SourcePosition(one.topic, one.partition, one.offset))
            assert not isinstance(folded, Refusal)
            if folded.changed:
                assert folded.document is not None
                rebirth = before is not None and not isinstance(before, VideoDocument)
                confirmed = folded.event is not None and folded.event.offset != one.offset
                seen.add("rebirth" if rebirth else "confirmed" if confirmed else str(folded.document.event.type))
            else:
                seen.add("nothing" if folded.event is None else "removed again")
            if folded.document is not None:
                documents[said.video_id] = folded.document

    look()

    assert seen == {
        events.VIDEO_DISCOVERED,
        events.VIDEO_UPDATED,
        events.VIDEO_REMOVED,
        "rebirth",
        "confirmed",
        "nothing",
        "removed again",
    }
