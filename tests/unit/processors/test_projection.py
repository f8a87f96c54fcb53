"""The order of effects at its turning points: rejected writes, a lost lease, a read model or a topic that changed.

What holds whatever fails is in `tests/property/test_fold_and_order_of_effects.py`.
"""

from collections.abc import Sequence

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from contract.events import VideoEnvelope
from ops.metrics import ProcessorMetrics
from processors import waiting
from processors.dead_letter_limit import DeadLetterLimit
from processors.decode import Record
from processors.document import Document, VideoDocument
from processors.projection import Projection, TopicRecreatedError
from tests.fakes.processor_edges import (
    FakeDeadLetters,
    FakeKnownVideos,
    FakeLease,
    FakeRawLog,
    FakeReadModel,
    FakeVideoEvents,
    Fault,
    FaultPlan,
)
from tests.raw_items import partition_of, record, search_item, video_id

ON_ONE_PARTITION = [number for number in range(60) if partition_of(video_id(number).encode()) == 0]
A, B, C = ON_ONE_PARTITION[:3]
"""Numbers of three videos that share partition 0, so that the table takes them in one write."""

LOG_END = 1_000


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_DELAY_SECONDS", 0)


class Lost(Exception):
    """The lease is gone."""


class CountingLease(FakeLease):
    """A lease that is lost at a certain question, and counts them."""

    def __init__(self, lost_at: int | None = None) -> None:
        super().__init__()
        self.asked = 0
        self._lost_at = lost_at

    async def hold(self) -> None:
        self.asked += 1
        if self.asked == self._lost_at:
            self.lost = Lost()
        await super().hold()


class World:
    """A projection with all of its edges in memory."""

    def __init__(self, read_model: FakeReadModel | None = None, *, max_consecutive: int = 10_000) -> None:
        self.read_model = read_model or FakeReadModel()
        self.events = FakeVideoEvents()
        self.dead_letters = FakeDeadLetters()
        self.known_videos = FakeKnownVideos()
        self.raw_log = FakeRawLog()
        self.limit = DeadLetterLimit(1.0, max_consecutive)
        self.log_end: int | None = LOG_END
        self._registry = CollectorRegistry()
        self.projection = Projection(
            read_model=self.read_model,
            events=self.events,
            dead_letters=self.dead_letters,
            known_videos=self.known_videos,
            raw_log=self.raw_log,
            limit=self.limit,
            metrics=ProcessorMetrics(self._registry),
            partition_of=partition_of,
            log_end=lambda _partition: self.log_end,
        )

    async def project(self, *records: Record, lease: FakeLease | None = None) -> None:
        await self.projection.project(records, lease or FakeLease())

    def count(self, outcome: str) -> float:
        return self._registry.get_sample_value("yousync_records_total", {"outcome": outcome}) or 0

    def known(self) -> set[str]:
        return {video_id for _, video_id in self.known_videos.entries}

    def announced(self) -> list[str]:
        return [envelope.subject for envelope, _ in self.events.sent]

    def effects(self) -> tuple[int, int, int]:
        """How many documents, events and table entries there are."""
        return len(self.read_model.stored), len(self.events.sent), len(self.known_videos.entries)


def fetched(number: int, offset: int, title: str = "A talk") -> Record:
    return record(number, offset, search_item(number, title=title))


def poison(offset: int) -> Record:
    return msgspec.structs.replace(fetched(A, offset), value=b"nonsense")


async def test_a_rejected_write_makes_a_dead_letter_of_each_record_and_the_rest_goes_on() -> None:
    world = World()
    world.read_model.rejects = {video_id(A)}
    batch = [fetched(A, 1), fetched(B, 2), fetched(A, 3, "again"), fetched(C, 4)]

    await world.project(*batch)

    assert [(one.offset, said.reason, said.detail) for one, said in world.dead_letters.sent] == [
        (1, "write_rejected", "rejected by a fake"),
        (3, "write_rejected", "rejected by a fake"),
    ]
    others = {video_id(B), video_id(C)}
    assert set(world.read_model.stored) == others
    assert set(world.announced()) == others
    assert world.known() == others
    assert (world.count("dead_letter"), world.count("applied")) == (2, 2)


async def test_a_rejected_change_leaves_document_and_stream_and_makes_the_table_forget() -> None:
    world = World()
    await world.project(fetched(A, 1), fetched(B, 2))
    before, sent = dict(world.read_model.stored), list(world.events.sent)
    world.read_model.rejects = {video_id(A)}

    await world.project(fetched(A, 3, "changed"))

    assert (world.read_model.stored, world.events.sent) == (before, sent)
    assert world.known() == {video_id(B)}


async def test_after_a_lost_answer_the_event_is_sent_and_the_table_is_left_to_the_next_record() -> None:
    world = World()
    world.read_model.plan = FaultPlan(["none", "none", "none", "lost_answer"])
    world.read_model.rejects = {video_id(A)}

    await world.project(fetched(A, 1), fetched(B, 2))

    assert [said.reason for _, said in world.dead_letters.sent] == ["write_rejected"]
    assert world.announced() == [video_id(B)]
    assert world.known() == set()


async def test_the_limit_counts_a_record_for_whatever_reason_it_is_dead() -> None:
    world = World(max_consecutive=3)
    world.read_model.rejects = {video_id(B)}

    await world.project(poison(1), fetched(B, 2))
    assert world.limit.exceeded() is None
    await world.project(poison(3))

    assert "3 dead letters in a row" in (world.limit.exceeded() or "")


async def test_the_limit_sees_the_records_in_their_order() -> None:
    world = World(max_consecutive=2)
    world.read_model.rejects = {video_id(B)}

    await world.project(poison(1), fetched(A, 2), fetched(B, 3), fetched(C, 4), poison(5))

    assert world.limit.exceeded() is None


async def test_each_record_has_one_outcome() -> None:
    world = World()
    await world.project(fetched(A, 1), fetched(B, 2), poison(3))
    assert (world.count("applied"), world.count("dead_letter")) == (2, 1)

    world.known_videos.entries.pop((0, video_id(B)))
    await world.project(fetched(A, 4), fetched(B, 5), fetched(A, 6), fetched(C, 7))

    counts = {outcome: world.count(outcome) for outcome in ("applied", "unchanged", "duplicate", "dead_letter")}
    assert counts == {"applied": 3, "unchanged": 1, "duplicate": 2, "dead_letter": 1}


@pytest.mark.parametrize(
    ("lost_at", "effects"),
    [(1, (0, 0, 0)), (2, (2, 0, 0)), (3, (2, 2, 0)), (None, (2, 2, 2))],
    ids=["before the write", "before the events", "before the table", "never"],
)
async def test_a_lost_lease_stops_everything_after_it(lost_at: int | None, effects: tuple[int, int, int]) -> None:
    world, lease = World(), CountingLease(lost_at)

    if lost_at is None:
        await world.project(fetched(A, 1), fetched(B, 2), lease=lease)
    else:
        with pytest.raises(Lost):
            await world.project(fetched(A, 1), fetched(B, 2), lease=lease)

    assert world.effects() == effects
    assert lease.asked == (lost_at or 3)
    assert world.limit.exceeded() is None
    assert world.count("applied") == (2 if lost_at is None else 0)


LOOKS: list[Fault] = ["none"] * 3
"""Generation, documents, generation: what is asked of the read model before the write."""


@pytest.mark.parametrize(
    ("step", "fault", "effects"),
    [
        ("write", "unavailable", (0, 0, 0)),
        ("write", "lost_answer", (2, 0, 0)),
        ("events", "unavailable", (2, 0, 0)),
        ("events", "lost_answer", (2, 2, 0)),
        ("table", "unavailable", (2, 2, 0)),
        ("table", "lost_answer", (2, 2, 2)),
    ],
)
async def test_the_lease_is_asked_for_again_before_a_step_is_tried_again(
    step: str, fault: Fault, effects: tuple[int, int, int]
) -> None:
    world = World()
    world.read_model.plan = FaultPlan([*LOOKS, fault] if step == "write" else [])
    world.events.plan = FaultPlan([fault] if step == "events" else [])
    world.known_videos.plan = FaultPlan([fault] if step == "table" else [])
    lease = CountingLease(lost_at=["write", "events", "table"].index(step) + 2)

    with pytest.raises(Lost):
        await world.project(fetched(A, 1), fetched(B, 2), lease=lease)

    assert world.effects() == effects
    assert world.known_videos.writes == effects[2]


async def test_a_step_that_was_unavailable_is_tried_until_it_is_done() -> None:
    world = World()
    away: list[Fault] = ["unavailable"] * 3
    world.read_model.plan = FaultPlan([*away, *LOOKS, *away])
    world.events.plan = FaultPlan(away)
    world.known_videos.plan = FaultPlan(away)
    world.dead_letters.plan = FaultPlan(away)
    lease = CountingLease()

    await world.project(fetched(A, 1), poison(2), fetched(B, 3), lease=lease)

    assert world.effects() == (2, 2, 2)
    assert len(world.dead_letters.sent) == 1
    assert lease.asked >= 3 * 4


async def test_the_part_that_is_waited_for_is_named_while_it_is_away_only() -> None:
    world = World()
    seen: list[set[str]] = []

    class WatchedEvents(FakeVideoEvents):
        async def send(self, events: Sequence[tuple[VideoEnvelope, bytes | None]]) -> None:
            seen.append(set(world.projection.waiting_for))
            await super().send(events)

    world.projection._events = watched = WatchedEvents()
    watched.plan = FaultPlan(["unavailable", "unavailable"])

    await world.project(fetched(A, 1))

    assert seen == [set(), {"a fake"}, {"a fake"}]
    assert world.projection.waiting_for == set()


class ReplacedReadModel(FakeReadModel):
    """Drops the collection after the documents were read from it, once."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[Sequence[str]] = []
        self.replaced = True

    async def documents(self, video_ids: Sequence[str]) -> dict[str, Document]:
        self.looks.append(sorted(video_ids))
        found = await super().documents(video_ids)
        if not self.replaced:
            self.replaced = True
            self.drop()
        return found


async def test_a_read_model_replaced_between_two_looks_starts_the_batch_again() -> None:
    read_model = ReplacedReadModel()
    world = World(read_model)
    await world.project(fetched(A, 1), fetched(B, 2))
    old = await read_model.generation()
    read_model.looks.clear()
    read_model.replaced = False

    # By the old read model A is a duplicate and B unchanged or updated; the new one knows neither.
    await world.project(fetched(A, 11), fetched(B, 12, "changed"))

    generation = await read_model.generation()
    assert generation != old
    assert read_model.looks == [[video_id(B)], sorted([video_id(A), video_id(B)])]
    documents = await read_model.documents([video_id(A), video_id(B)])
    assert {document.source.offset for document in documents.values()} == {11, 12}
    assert all(isinstance(one, VideoDocument) and one.event.previous_sort_key is None for one in documents.values())
    known = world.known_videos.read(0, [video_id(A), video_id(B)])
    assert [entry.generation for entry in known.values()] == [generation] * 2


@pytest.mark.parametrize(("stands_at", "log_end"), [(5, 5), (6, 5), (900, 1)])
async def test_a_document_beyond_the_end_of_the_log_stops_everything(stands_at: int, log_end: int) -> None:
    world = World()
    await world.project(fetched(A, stands_at))
    before = world.effects()
    world.log_end = log_end

    with pytest.raises(TopicRecreatedError, match=rf"{video_id(A)} .* offset {stands_at} .* ends at {log_end}"):
        await world.project(fetched(A, 0, "changed"), fetched(B, 1))

    assert world.effects() == before


async def test_a_worker_that_was_paused_does_not_take_its_old_end_of_the_log_for_another_topic() -> None:
    world = World()
    await world.project(fetched(A, 900))
    before = world.effects()
    world.log_end = 767

    with pytest.raises(Lost):
        await world.project(fetched(A, 700, "changed"), lease=CountingLease(lost_at=1))

    assert world.effects() == before


async def test_an_end_of_the_log_that_is_known_again_by_then_counts() -> None:
    world = World()
    await world.project(fetched(A, 900))
    world.log_end = 767

    class LearningLease(FakeLease):
        async def hold(self) -> None:
            world.log_end = 901
            await super().hold()

    await world.project(fetched(A, 700, "late"), fetched(B, 768), lease=LearningLease())

    assert set(world.read_model.stored) == {video_id(A), video_id(B)}


@pytest.mark.parametrize("log_end", [6, None], ids=["within the log", "the end is not known yet"])
async def test_a_document_within_the_log_stops_nothing(log_end: int | None) -> None:
    world = World()
    await world.project(fetched(A, 5))
    world.log_end = log_end

    await world.project(fetched(A, 3, "late"), fetched(B, 4))

    assert set(world.read_model.stored) == {video_id(A), video_id(B)}
