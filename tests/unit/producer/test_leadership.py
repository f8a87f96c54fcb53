"""What a term does to the log when others write at the worst of times."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import pytest

from contract.producer_state import LEADER_KEY, Leader
from producer.kafka_record import KafkaRecord
from producer.leadership import Deposed, Term
from producer.state_log import StateFold, StateRecord, read_epoch


class MemoryLog:
    """A log with its reader and its writer; `before_write` stands for others who are faster."""

    def __init__(self) -> None:
        self.records: list[StateRecord] = []
        self.before_write: list[Callable[[], Any]] = []
        self.too_large = b"too large"
        self._grown = asyncio.Event()

    def put(self, key: bytes, value: bytes | None, epoch: int | None) -> None:
        self.records.append(StateRecord(key, value, epoch))
        self._grown.set()

    def put_leader(self, epoch: int, name: str) -> None:
        self.put(LEADER_KEY, msgspec.json.encode(Leader(epoch, name, "")), epoch)

    async def write(self, records: Sequence[KafkaRecord]) -> list[KafkaRecord]:
        if self.before_write:
            self.before_write.pop(0)()
        await asyncio.sleep(0)
        for record in records:
            if record.value != self.too_large:
                self.put(record.key, record.value, read_epoch(record.headers))
        return [record for record in records if record.value == self.too_large]

    def fold(self) -> StateFold:
        fold = StateFold()
        for record in self.records:
            fold.take(record)
        return fold

    async def wait_for_growth(self, position: int) -> None:
        while len(self.records) <= position:
            self._grown.clear()
            await self._grown.wait()


class MemoryReader:
    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.position = 0
        self.closed = False

    async def read(self) -> list[StateRecord]:
        await self._log.wait_for_growth(self.position)
        records = self._log.records[self.position :]
        self.position += len(records)
        return records

    async def end(self) -> int:
        return len(self._log.records)

    async def close(self) -> None:
        self.closed = True


class Tenure:
    def __init__(self) -> None:
        self.lost = False
        self.holds = 0
        self.lost_at_hold: int | None = None

    async def hold(self) -> None:
        self.holds += 1
        if self.holds == self.lost_at_hold:
            self.lost = True
        self.check()

    def check(self) -> None:
        if self.lost:
            raise Deposed("lost")


class Stage:
    def __init__(self) -> None:
        self.log = MemoryLog()
        self.tenure = Tenure()
        self.reader = MemoryReader(self.log)
        self.term = Term(self.reader, self.log, "state", self.tenure)  # type: ignore[arg-type]

    async def until_followed(self) -> None:
        """The term has read all there is, and what it writes in answer."""
        async with asyncio.timeout(30):
            quiet = 0
            while quiet < 20:
                quiet = quiet + 1 if self.reader.position == len(self.log.records) else 0
                await asyncio.sleep(0)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await stage.term.end()
    assert stage.reader.closed


async def test_the_first_term_is_of_epoch_one(stage: Stage) -> None:
    await stage.term.take_over()
    assert (stage.term.epoch, stage.term.values) == (1, {})
    await stage.term.append([(b"k", b"v"), (b"gone", None)])
    assert stage.log.records[1:] == [StateRecord(b"k", b"v", 1), StateRecord(b"gone", None, 1)]
    await stage.until_followed()
    await stage.term.hold()


async def test_nothing_is_written_without_the_partition(stage: Stage) -> None:
    stage.tenure.lost_at_hold = 1
    with pytest.raises(Deposed):
        await stage.term.take_over()
    assert stage.log.records == []


async def test_the_partition_must_still_be_ours_when_the_leader_record_is_there(stage: Stage) -> None:
    stage.tenure.lost_at_hold = 2
    with pytest.raises(Deposed):
        await stage.term.take_over()


@pytest.mark.parametrize("epoch", [1, 2])
async def test_who_is_not_first_in_the_log_does_not_lead(stage: Stage, epoch: int) -> None:
    stage.log.before_write.append(lambda: stage.log.put_leader(epoch, "faster"))
    with pytest.raises(Deposed):
        await stage.term.take_over()


async def test_a_slower_candidate_changes_nothing_and_its_record_is_written_over(stage: Stage) -> None:
    await stage.term.take_over()
    own = stage.log.records[0]
    stage.log.put_leader(1, "slower")
    await stage.until_followed()
    assert stage.log.records[2:] == [own]
    await stage.term.hold()


async def test_a_greater_epoch_ends_the_term(stage: Stage) -> None:
    await stage.term.take_over()
    stage.log.put_leader(2, "next")
    await stage.until_followed()
    with pytest.raises(Deposed):
        await stage.term.hold()
    with pytest.raises(Deposed):
        await stage.term.append([(b"k", b"v")])
    assert len(stage.log.records) == 2


async def test_a_lost_partition_ends_the_term(stage: Stage) -> None:
    await stage.term.take_over()
    stage.tenure.lost = True
    with pytest.raises(Deposed):
        await stage.term.append([(b"k", b"v")])
    with pytest.raises(Deposed):
        await stage.term.hold()
    assert len(stage.log.records) == 1


async def test_a_term_that_was_ended_is_over(stage: Stage) -> None:
    await stage.term.take_over()
    await stage.term.end()
    with pytest.raises(Deposed):
        await stage.term.hold()


async def test_a_deposed_leader_repairs_nothing(stage: Stage) -> None:
    await stage.term.take_over()
    await stage.term.append([(b"k", b"v")])
    stage.log.put_leader(2, "next")
    stage.log.put(b"k", b"late", 1)
    await stage.until_followed()
    assert len(stage.log.records) == 4


async def test_what_void_records_hide_is_written_again(stage: Stage) -> None:
    stage.log.put_leader(4, "before")
    stage.log.put(b"a", b"1", 4)
    stage.log.put(b"a", b"void", 3)
    stage.log.put(b"never", b"void", 3)
    await stage.term.take_over()
    assert (stage.term.epoch, stage.term.values) == (5, {b"a": b"1"})
    assert stage.log.records[-2:] == [StateRecord(b"a", b"1", 5), StateRecord(b"never", None, 5)]
    stage.log.put(b"a", None, 3)
    await stage.until_followed()
    assert stage.log.records[-1] == StateRecord(b"a", b"1", 5)
    assert stage.log.fold().voided == set()


async def test_a_repair_does_not_go_back_behind_what_the_leader_just_wrote(stage: Stage) -> None:
    stage.log.put_leader(1, "before")
    await stage.term.take_over()
    await stage.term.append([(b"k", b"1")])
    await stage.until_followed()
    # The void record is there before the leader's next write, and is read while that is under way.
    stage.log.before_write.append(lambda: stage.log.put(b"k", b"void", 1))
    await stage.term.append([(b"k", b"2")])
    await stage.until_followed()
    assert stage.log.fold().values == {b"k": b"2"}
    assert stage.log.fold().voided == set()


async def test_a_repair_does_not_go_back_behind_what_an_operator_just_wrote(stage: Stage) -> None:
    stage.log.put_leader(1, "before")
    await stage.term.take_over()
    await stage.term.append([(b"query/tea", b"1")])
    await stage.until_followed()
    stage.log.before_write.append(lambda: stage.log.put(b"query/tea", b"operator", None))
    stage.log.put(b"query/tea", b"void", 1)
    await stage.until_followed()
    assert stage.log.fold().values == {b"query/tea": b"operator"}
    assert stage.log.fold().voided == set()
    assert stage.term.operator_changes() == [(b"query/tea", b"operator")]


async def test_operators_are_heard_once_and_own_and_void_records_not_at_all(stage: Stage) -> None:
    stage.log.put_leader(1, "before")
    stage.log.put(b"query/old", b"1", None)
    await stage.term.take_over()
    assert stage.term.values == {b"query/old": b"1"}
    assert stage.term.operator_changes() == []
    stage.log.put(b"query/new", b"2", None)
    stage.log.put(b"query/old", b"void", 1)
    await stage.term.append([(b"query/old", b"own")])
    stage.log.put(b"query/new", None, None)
    await stage.until_followed()
    assert stage.term.operator_changes() == [(b"query/new", b"2"), (b"query/new", None)]
    assert stage.term.operator_changes() == []


async def test_values_stay_as_they_were_at_take_over(stage: Stage) -> None:
    await stage.term.take_over()
    await stage.term.append([(b"k", b"v")])
    await stage.until_followed()
    assert stage.term.values == {}


async def test_a_value_that_kafka_will_never_take_is_a_fault(stage: Stage) -> None:
    await stage.term.take_over()
    with pytest.raises(ValueError, match="b'k'"):
        await stage.term.append([(b"k", stage.log.too_large)])


async def test_a_fault_in_following_the_log_is_not_silent(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> list[StateRecord]:
        raise ZeroDivisionError

    monkeypatch.setattr(stage.reader, "read", broken)
    stage.term._following = asyncio.create_task(stage.term._follow())
    await asyncio.wait([stage.term._following])
    with pytest.raises(ZeroDivisionError):
        await stage.term.hold()
