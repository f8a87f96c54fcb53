"""The seam of a replay at its turning points: what is read again, when it counts as closed, and what is said of it."""

from collections.abc import Callable, Sequence

import pytest

from processors import waiting
from processors.decode import Record
from processors.seam import Lease, Seam
from processors.waiting import Patience
from tests.fakes.processor_edges import FakeLease, FakeRawLog, FakeReadModel, Fault, FaultPlan
from tests.raw_items import record

PARTITION = 0
REPLAYED = "generation-1"
"""What readers read at first; whether a replay made it depends on what is said to be applied in it."""


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_DELAY_SECONDS", 0)


class Lost(Exception):
    """The lease is gone."""


class World:
    """A seam over a log of ten records; what it applies is noted, and nothing more happens to it."""

    def __init__(self, applied: int | None) -> None:
        self.read_model = FakeReadModel()
        if applied is not None:
            self.read_model.applied_offsets[REPLAYED] = {PARTITION: applied}
        self.raw_log = FakeRawLog([record(1, offset, None, partition=PARTITION) for offset in range(10)])
        self.again: list[int] = []
        self.while_applying: Callable[[], None] = lambda: None
        self.lease = FakeLease()
        self.seam = Seam(self.read_model, self.raw_log, self._apply_again, Patience())

    async def _apply_again(self, records: Sequence[Record], generation: str, _lease: Lease) -> bool:
        if await self.read_model.generation() != generation:
            return False
        self.while_applying()
        self.again += [one.offset for one in records]
        return True

    async def close(self, position: int, generation: str = REPLAYED) -> None:
        await self.seam.close(PARTITION, position, generation, self.lease)

    async def note(self, position: int) -> None:
        await self.seam.note(PARTITION, position, REPLAYED, self.lease)

    def applied(self) -> int:
        return self.read_model.applied_offsets[REPLAYED][PARTITION]


async def test_what_lies_between_the_replay_and_the_position_is_applied_again_and_then_said_to_be() -> None:
    world = World(applied=3)
    said: list[int] = []
    world.while_applying = lambda: said.append(world.applied())

    await world.close(8)

    assert world.again == [3, 4, 5, 6, 7]
    assert set(said) == {3}
    assert world.applied() == 8
    assert world.seam.applied_records == 5


async def test_a_seam_is_closed_once_in_a_generation() -> None:
    world = World(applied=3)
    await world.close(5)

    await world.close(8)

    assert world.again == [3, 4]


async def test_each_generation_has_a_seam_of_its_own() -> None:
    world = World(applied=3)
    await world.close(5)
    world.read_model.drop()
    generation = await world.read_model.generation()
    world.read_model.applied_offsets[generation] = {PARTITION: 1}

    await world.close(4, generation)

    assert world.again == [3, 4, 1, 2, 3]
    assert world.read_model.applied_offsets == {REPLAYED: {PARTITION: 5}, generation: {PARTITION: 4}}


async def test_after_a_new_assignment_a_seam_is_closed_from_where_the_others_left_it() -> None:
    world = World(applied=3)
    await world.close(5)
    world.read_model.applied_offsets[REPLAYED][PARTITION] = 6
    world.seam.reopen()

    await world.close(8)

    assert world.again == [3, 4, 6, 7]


async def test_a_partition_that_the_replay_did_not_know_is_applied_from_its_beginning() -> None:
    world = World(applied=3)
    del world.read_model.applied_offsets[REPLAYED][PARTITION]

    await world.close(2)

    assert world.again == [0, 1]
    assert world.applied() == 2


async def test_a_generation_that_no_replay_made_has_no_seam() -> None:
    world = World(applied=None)

    await world.close(8)
    await world.note(9)

    assert world.again == []
    assert world.read_model.applied_offsets == {}


async def test_a_position_that_the_replay_has_passed_takes_nothing_back() -> None:
    world = World(applied=6)

    await world.close(4)

    assert world.again == []
    assert world.applied() == 6


async def test_a_seam_whose_generation_is_replaced_meanwhile_is_left_open() -> None:
    world = World(applied=3)
    world.while_applying = world.read_model.drop

    await world.close(8)

    assert world.again == [3, 4]
    assert world.applied() == 3
    world.while_applying = lambda: None
    world.read_model.collection.generation = REPLAYED
    await world.close(8)
    assert world.again == [3, 4, 3, 4, 5, 6, 7]


async def test_a_seam_that_was_closed_for_an_assignment_of_the_past_counts_for_nothing() -> None:
    world = World(applied=3)
    world.while_applying = world.seam.reopen

    await world.close(8)
    world.read_model.applied_offsets[REPLAYED][PARTITION] = 3
    world.while_applying = lambda: None
    await world.close(8)

    assert world.again == [3, 4, 5, 6, 7] * 2


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_chunk_that_cannot_be_read_is_read_again_from_the_start_of_the_seam(at: int) -> None:
    world = World(applied=3)
    away: list[Fault] = [*["none"] * at, "unavailable"]  # type: ignore[list-item]
    world.raw_log.plan = FaultPlan(away)

    await world.close(8)

    assert world.again[-5:] == [3, 4, 5, 6, 7]
    assert world.applied() == 8


async def test_without_the_lease_nothing_is_said_to_be_applied() -> None:
    world = World(applied=3)
    world.lease.lost = Lost()

    with pytest.raises(Lost):
        await world.close(8)

    assert world.applied() == 3
    world.lease.lost = None
    await world.close(8)
    assert world.applied() == 8


async def test_how_far_a_closed_seam_has_come_is_noted() -> None:
    world = World(applied=3)
    await world.close(5)

    await world.note(8)

    assert world.again == [3, 4]
    assert world.applied() == 8


@pytest.mark.parametrize("reopened", [False, True], ids=["never closed", "reopened"])
async def test_nothing_is_noted_of_a_seam_that_is_open(*, reopened: bool) -> None:
    world = World(applied=3)
    if reopened:
        await world.close(5)
        world.seam.reopen()
    before = world.applied()

    await world.note(8)

    assert world.applied() == before


async def test_what_was_noted_is_not_said_again() -> None:
    world = World(applied=3)
    await world.close(5)
    await world.note(8)
    world.read_model.applied_offsets[REPLAYED][PARTITION] = 0

    await world.note(8)

    assert world.applied() == 0
