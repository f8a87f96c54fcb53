"""Chunks: how a fetch is cut, and that acknowledged chunks commit what Faust's own acknowledgements would."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from contract.settings import load_settings
from contract.topics import CHANGELOG, RAW
from processors.agents import records_of
from processors.app import create_app
from processors.chunked_consumer import ChunkMessage, answers_from, cut

PARTITION = TP(RAW, 2)
HOLES = [3, 4, 5, 9, 10, 14, 15, 16, 17, 25]
"""Offsets that a log has in which compaction and transactions have left their holes."""


def fetched(offsets: Iterable[int], *, topic: str = RAW, value: bytes = b"{}") -> list[Any]:
    return [
        ConsumerRecord(
            topic, 2, offset, 1_780_000_000_000 + offset, 0, b"key", value, None, 3, len(value), (("a", b"b"),)
        )
        for offset in offsets
    ]


def offsets_of(records: Sequence[Any]) -> list[int]:
    return [one.offset for one in records]


def test_a_fetch_is_cut_by_records() -> None:
    chunks = list(cut(fetched(range(7)), 3, 1000))

    assert [offsets_of(chunk.records) for chunk in chunks] == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_fetch_is_cut_by_bytes_and_a_large_record_closes_its_chunk() -> None:
    small, large = b"x" * 7, b"x" * 100  # 10 bytes with the key, and more than a chunk may have

    records = [*fetched([0, 1, 2], value=small), *fetched([3, 4], value=large), *fetched([5, 6], value=small)]

    assert [offsets_of(chunk.records) for chunk in cut(records, 500, 30)] == [[0, 1, 2], [3], [4], [5, 6]]


def test_a_record_alone_is_a_chunk_and_nothing_is_none() -> None:
    assert [offsets_of(chunk.records) for chunk in cut(fetched([8]), 500, 1000)] == [[8]]
    assert list(cut([], 500, 1000)) == []


@pytest.mark.parametrize(
    ("first", "read_offset", "begin"),
    [
        pytest.param(100, None, 100, id="nothing was read or committed: the log's start is no hole"),
        pytest.param(100, 99, 100, id="next to what was delivered"),
        pytest.param(100, 90, 91, id="after a hole"),
        pytest.param(100, 100, 100, id="after a seek: the committed offset is the next to be read"),
        pytest.param(105, 100, 101, id="after a seek into a hole"),
    ],
)
def test_a_chunk_answers_for_the_hole_before_it(first: int, read_offset: int | None, begin: int) -> None:
    assert answers_from(first, read_offset) == begin


class FetchThread:
    """Stands in for Faust's consumer thread: gives out what it was told to, a fetch at a time."""

    def __init__(self, fetches: list[dict[TP, list[Any]]]) -> None:
        self.fetches = fetches
        self.committed: dict[TP, int] = {}
        self.all_given = asyncio.Event()

    async def getmany(self, _active: object, timeout: float) -> dict[TP, list[Any]]:  # noqa: ASYNC109  # Faust's
        if self.fetches:
            return self.fetches.pop(0)
        self.all_given.set()
        await asyncio.sleep(timeout)
        return {}

    async def seek_to_committed(self) -> dict[TP, int]:
        return self.committed

    def highwater(self, _tp: TP) -> int:
        return 1000


@asynccontextmanager
async def consumer_of(
    loop: str, tmp_path: Path, fetches: list[dict[TP, list[Any]]], committed: int | None
) -> AsyncIterator[tuple[Any, list[Any]]]:
    """Faust's consumer of the loop, that has delivered these fetches; and the messages."""
    app: Any = create_app(load_settings(processor_loop=loop, home=tmp_path))
    app.finalize()
    app.topics._acking_topics.add(RAW)
    consumer = app.consumer
    consumer._thread.thread_loop.close()
    thread = consumer._thread = FetchThread(fetches)
    if committed is not None:
        thread.committed[PARTITION] = committed
        await consumer.perform_seek()
    consumer._active_partitions = {tp for fetch in fetches for tp in fetch}
    consumer.resume_flow()
    delivered: list[Any] = []

    async def deliver(message: Any) -> None:
        message.incref()
        delivered.append(message)

    consumer.callback = deliver
    drainer = asyncio.create_task(consumer._drain_messages(SimpleNamespace(_stopped=asyncio.Event())))
    await asyncio.wait_for(thread.all_given.wait(), 10)
    yield consumer, delivered
    drainer.cancel()
    await asyncio.gather(drainer, return_exceptions=True)


async def commits(loop: str, tmp_path: Path, fetches: list[list[int]], committed: int | None) -> list[int | None]:
    """The offset that may be committed after each message is acknowledged, in order; a commit is made every time."""
    rounds = [{PARTITION: fetched(one)} for one in fetches]
    found: list[int | None] = []
    async with consumer_of(loop, tmp_path, rounds, committed) as (consumer, delivered):
        for message in delivered:
            assert message.ack(consumer)
            offset = consumer._new_offset(PARTITION)
            if offset is not None:
                consumer._committed_offset[PARTITION] = offset
            found.append(offset)
    return found


@pytest.mark.parametrize("committed", [None, 20, 26])
@pytest.mark.parametrize("seed", range(5))
async def test_acknowledged_chunks_commit_what_single_acknowledgements_would(
    tmp_path: Path, seed: int, committed: int | None
) -> None:
    chance = random.Random(seed)
    begin = committed or 0
    log = [begin + offset for offset in range(60) if offset not in HOLES and chance.random() < 0.8]
    ends = sorted(chance.sample(range(1, len(log)), 3))
    fetches = [log[a:b] for a, b in zip([0, *ends], [*ends, len(log)], strict=True)]

    chunked = await commits("chunked", tmp_path, [list(one) for one in fetches], committed)
    stock = await commits("stock", tmp_path, [list(one) for one in fetches], committed)

    assert chunked == [fetch[-1] + 1 for fetch in fetches]
    assert chunked[-1] == stock[-1]


async def test_a_chunk_still_at_work_holds_the_commit_of_those_after_it(tmp_path: Path) -> None:
    rounds = [{PARTITION: fetched(range(10, 20))}, {PARTITION: fetched(range(20, 30))}]
    async with consumer_of("chunked", tmp_path, rounds, 10) as (consumer, (first, second)):
        second.ack(consumer)
        assert consumer._new_offset(PARTITION) is None
        first.ack(consumer)
        assert consumer._new_offset(PARTITION) == 30


async def test_an_acknowledgement_counts_once(tmp_path: Path) -> None:
    async with consumer_of("chunked", tmp_path, [{PARTITION: fetched(range(5))}], None) as (consumer, (chunk,)):
        consumer.track_message(chunk)
        assert chunk.ack(consumer)
        assert sorted(consumer._acked[PARTITION]) == [0, 1, 2, 3, 4]
        assert not consumer.unacked
        assert consumer._new_offset(PARTITION) == 5

        assert not consumer.ack(chunk)
        assert consumer._acked[PARTITION] == []


async def test_what_was_committed_meanwhile_is_not_acknowledged_again(tmp_path: Path) -> None:
    async with consumer_of("chunked", tmp_path, [{PARTITION: fetched(range(5, 10))}], 5) as (consumer, (chunk,)):
        consumer._committed_offset[PARTITION] = 20
        chunk.ack(consumer)

        assert consumer._acked[PARTITION] == []


async def test_an_acknowledgement_that_comes_after_a_seek_holds_nothing_up(tmp_path: Path) -> None:
    rounds = [{PARTITION: fetched(range(begin, end))} for begin, end in ((5, 10), (10, 20), (5, 20))]
    async with consumer_of("chunked", tmp_path, rounds, 5) as (consumer, (before, at_work, again)):
        consumer.track_message(again)
        before.ack(consumer)
        await consumer.perform_seek()
        at_work.ack(consumer)
        assert consumer._new_offset(PARTITION) is None
        again.ack(consumer)

        assert consumer._new_offset(PARTITION) == 20
        assert not consumer.unacked


async def test_what_is_delivered_again_in_other_chunks_is_acknowledged_once(tmp_path: Path) -> None:
    rounds = [{PARTITION: fetched(range(10, 20))}, {PARTITION: fetched(range(10, 30))}]
    async with consumer_of("chunked", tmp_path, rounds, 10) as (consumer, (before, again)):
        before.ack(consumer)
        again.ack(consumer)

        assert consumer._new_offset(PARTITION) == 30
        assert consumer._acked[PARTITION] == []


async def test_a_seek_forgets_what_was_not_committed(tmp_path: Path) -> None:
    rounds = [{PARTITION: fetched(range(10, 20))}, {PARTITION: fetched(range(20, 30))}]
    async with consumer_of("chunked", tmp_path, rounds, None) as (consumer, (_dropped, second)):
        second.ack(consumer)
        await consumer.perform_seek()

        assert consumer._new_offset(PARTITION) is None
        assert [*consumer._acked_index[PARTITION]] == []


async def test_other_topics_travel_one_record_at_a_time(tmp_path: Path) -> None:
    changelog = TP(CHANGELOG, 2)
    rounds = [{changelog: fetched([1, 2], topic=CHANGELOG), PARTITION: fetched([7, 8])}]
    async with consumer_of("chunked", tmp_path, rounds, None) as (_consumer, delivered):
        singles = [one for one in delivered if one.topic == CHANGELOG]
        (chunk,) = [one for one in delivered if one.topic == RAW]

        assert [(type(one).__name__, one.offset) for one in singles] == [("ConsumerMessage", 1), ("ConsumerMessage", 2)]
        assert isinstance(chunk, ChunkMessage)
        assert (chunk.tp, chunk.offset, chunk.begin) == (PARTITION, 8, 7)


async def test_both_loops_hand_over_the_same_records(tmp_path: Path) -> None:
    handed = {}
    for loop in ("stock", "chunked"):
        rounds = [{PARTITION: [*fetched([7, 9]), *fetched([11], value=b"{..}")]}]
        async with consumer_of(loop, tmp_path, rounds, None) as (_consumer, delivered):
            handed[loop] = [record for message in delivered for record in records_of(message)]

    assert handed["chunked"] == handed["stock"]
    assert [one.offset for one in handed["chunked"]] == [7, 9, 11]


async def test_a_full_queue_does_not_take_the_partition_from_the_fetch(tmp_path: Path) -> None:
    async with consumer_of("chunked", tmp_path, [{PARTITION: fetched([1])}], None) as (consumer, _delivered):
        consumer.on_buffer_full(PARTITION)

        assert PARTITION in consumer._get_active_partitions()
