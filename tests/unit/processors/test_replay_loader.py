"""The load of a replay: however little it may hold back, the shadow and the count are those of the sequential fold."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import cycle, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.topics import RAW
from processors import waiting
from processors.decode import Record
from processors.document import Document, VideoDocument, from_stored, to_stored
from processors.projection import WriteResult
from processors.replay.applying import RawLoader
from processors.waiting import Patience
from tests.fakes.processor_edges import FakeReadModel, Fault, FaultPlan
from tests.fault.record_writer import RecordSource
from tests.history import Expected
from tests.raw_items import partition_of

CHUNK = 7
ENOUGH = 1 << 30


@pytest.fixture(autouse=True, scope="module")
def _no_delays() -> None:
    pytest.MonkeyPatch().setattr(waiting, "FIRST_DELAY_SECONDS", 0)


class FakeShadow(FakeReadModel):
    """A collection that can also be inserted into, as `MongoDocuments` can."""

    def __init__(self) -> None:
        super().__init__()
        self._turns = cycle([9, 0, 4])

    async def insert(self, documents: Sequence[Document]) -> WriteResult:
        """Each document whose id is not there; one call of the plan, as `write`."""
        for _ in range(next(self._turns)):  # a later call may be done first
            await asyncio.sleep(0)
        overtaken: set[str] = set()

        def insert(document: Document) -> None:
            if document.id in self.stored:
                overtaken.add(document.id)
            else:
                self.collection.store(to_stored(document, datetime(2026, 1, 1, tzinfo=UTC)))

        await self.plan.run([lambda one=one: insert(one) for one in documents], "insert")  # type: ignore[misc]
        return WriteResult(frozenset(overtaken), {})


def partition_log(seed: int, count: int) -> list[Record]:
    """The records of partition 0 of a random topic, with their offsets."""
    source = RecordSource(random.Random(seed))
    of_partition = (one for one in iter(source.record, None) if one.partition == 0)
    return [
        Record(RAW, 0, 2 * place, one.timestamp_ms, one.key, one.value, one.headers)
        for place, one in enumerate(islice(of_partition, count))
    ]


def sequential(log: Sequence[Record]) -> dict[str, Document]:
    return Expected(log).documents


async def load(shadow: FakeShadow, log: Sequence[Record], buffer_bytes: int, start: int = 0) -> RawLoader:
    """The loader after all of the log from `start`; what it promises on the way is checked."""
    loader = RawLoader(shadow, start, buffer_bytes, Patience(), partition_of)  # type: ignore[arg-type]
    log = [one for one in log if one.offset >= start]
    for at in range(0, len(log), CHUNK):
        chunk = log[at : at + CHUNK]
        await loader.take(chunk, chunk[-1].offset + 1)
        assert loader._buffer._total_bytes <= buffer_bytes  # what memory holds back is bounded
        assert start <= loader.safe_offset <= loader.position == chunk[-1].offset + 1
    await loader.finish()
    assert loader.safe_offset == loader.position
    return loader


def stored(shadow: FakeShadow) -> dict[str, Document]:
    return {one: from_stored(document) for one, document in shadow.stored.items()}


def living(documents: dict[str, Document]) -> int:
    return sum(isinstance(one, VideoDocument) for one in documents.values())


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 120), st.sampled_from([1, 700, 5_000, ENOUGH]))
def test_whatever_it_may_hold_back_the_shadow_is_the_sequential_fold(seed: int, count: int, buffer_bytes: int) -> None:
    log, shadow = partition_log(seed, count), FakeShadow()

    loader = asyncio.run(load(shadow, log, buffer_bytes))

    assert stored(shadow) == sequential(log)
    assert loader.grown == living(stored(shadow))


def test_with_room_every_video_is_written_once() -> None:
    log, shadow = partition_log(3, 400), FakeShadow()

    asyncio.run(load(shadow, log, ENOUGH))

    assert shadow.writes == 0
    assert stored(shadow) == sequential(log)


@settings(max_examples=40)
@given(
    st.integers(0, 10_000),
    st.sampled_from([1, 700, ENOUGH]),
    st.lists(st.sampled_from(["none", "unavailable", "lost_half_way", "lost_answer"]), max_size=30),
)
def test_lost_answers_leave_the_shadow_right(seed: int, buffer_bytes: int, faults: list[Fault]) -> None:
    log, shadow = partition_log(seed, 80), FakeShadow()
    shadow.plan = FaultPlan(faults)

    asyncio.run(load(shadow, log, buffer_bytes))

    assert stored(shadow) == sequential(log)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 79), st.sampled_from([1, 700, ENOUGH]))
def test_all_below_the_safe_offset_is_stored_and_the_rest_may_come_again(
    seed: int, stopped_at: int, buffer_bytes: int
) -> None:
    """Stopped without warning and begun again there, it comes to the same."""
    log, shadow = partition_log(seed, 80), FakeShadow()

    async def stop_and_resume() -> None:
        first = RawLoader(shadow, 0, buffer_bytes, Patience(), partition_of)  # type: ignore[arg-type]
        await first.take(log[:stopped_at], log[stopped_at - 1].offset + 1)
        safe = first.safe_offset
        for task in first._in_flight:
            task.cancel()
        await asyncio.gather(*first._in_flight, return_exceptions=True)
        before = living(stored(shadow))
        second = await load(shadow, log, buffer_bytes, start=safe)
        assert before + second.grown == living(stored(shadow))

    asyncio.run(stop_and_resume())

    assert stored(shadow) == sequential(log)
