"""One fetcher, hot standby, on a real Kafka: who leads, what a deposed leader can still do, and what it cannot.

A paused process is a leader in a thread whose event loop stands still: Kafka hears as little of it as of a stopped
process, and what was under way goes on when it wakes up.
"""

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import pytest

from contract.producer_state import LEADER_KEY, FollowedVideo, video_key
from contract.topics import PRODUCER_STATE, TopicSpec, topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics, topic_faults
from producer import partition_owner, state_reader
from producer.kafka_record import KafkaRecord
from producer.kafka_writer import KafkaWriter
from producer.leadership import Deposed, Leadership, Term
from producer.state_log import StateFold, StateRecord
from producer.state_reader import StateReader
from tests.conftest import MakeServers, Servers

T = TypeVar("T")

SHORT_SECONDS = 6.0
"""The shortest session that Kafka's default settings allow."""

LONG_SECONDS = 120.0
"""Nothing that a test waits for comes from the end of such a session."""

PATIENCE_SECONDS = 120

pytestmark = pytest.mark.integration


@dataclass
class Log:
    """A state topic and a group of its own, and the writer of this process."""

    bootstrap: str
    topic: str
    writer: KafkaWriter

    def leadership(self, session_seconds: float, writer: KafkaWriter | None = None) -> Leadership:
        return Leadership(
            KafkaConnection(self.bootstrap),
            writer or self.writer,
            session_seconds,
            topic=self.topic,
            group=f"{self.topic}-group",
        )

    async def operator_writes(self, key: bytes, value: bytes | None) -> None:
        await self.writer.write([KafkaRecord(self.topic, key, value)])

    async def records(self) -> list[StateRecord]:
        reader = StateReader(KafkaConnection(self.bootstrap), self.topic)
        try:
            end, found = await reader.end(), list[StateRecord]()
            while reader.position < end:
                found += await reader.read()
            return found
        finally:
            await reader.close()

    async def fold(self) -> StateFold:
        """As whoever takes over next would find it."""
        fold = StateFold()
        for record in await self.records():
            fold.take(record)
        return fold


def state_spec(name: str) -> TopicSpec:
    (declared,) = (spec for spec in topic_specs(1) if spec.name == PRODUCER_STATE)
    return TopicSpec(name, 1, declared.config)


@pytest.fixture
async def log(servers: Servers) -> AsyncIterator[Log]:
    spec = state_spec(f"leadership-{uuid.uuid4().hex}")
    await create_missing_topics(KafkaConnection(servers.kafka_bootstrap), [spec], 1)
    assert await topic_faults(KafkaConnection(servers.kafka_bootstrap), [spec]) == []
    writer = KafkaWriter(KafkaConnection(servers.kafka_bootstrap))
    yield Log(servers.kafka_bootstrap, spec.name, writer)
    await writer.close()


async def soon(work: Awaitable[T]) -> T:
    return await asyncio.wait_for(work, PATIENCE_SECONDS)


async def until(true: Callable[[], bool | Awaitable[bool]]) -> None:
    """Ask again and again until it is true."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (answer if isinstance(answer := true(), bool) else await answer):  # noqa: ASYNC110  # others act, and tell no one
            await asyncio.sleep(0.02)


async def until_standby(leadership: Leadership) -> None:
    await until(lambda: leadership.is_standby)


async def next_operator_changes(term: Term) -> list[tuple[bytes, bytes | None]]:
    changes: list[tuple[bytes, bytes | None]] = []

    def came() -> bool:
        changes.extend(term.operator_changes())
        return bool(changes)

    await until(came)
    return changes


async def until_deposed(term: Term) -> None:
    async def is_deposed() -> bool:
        try:
            await term.hold()
        except Deposed:
            return True
        return False

    await until(is_deposed)


async def test_a_leader_finds_what_the_one_before_it_wrote(log: Log) -> None:
    async with log.leadership(LONG_SECONDS) as leadership:
        first = await soon(leadership.lead())
        assert (first.epoch, first.values) == (1, {})
        await first.hold()
        await first.append([(b"watermark/tea", b"1"), (b"video/a", b"2"), (b"video/b", b"3")])
        await first.append([(b"watermark/tea", b"4"), (b"video/b", None)])
        second = await soon(leadership.lead())
        assert (second.epoch, second.values) == (2, {b"watermark/tea": b"4", b"video/a": b"2"})
        with pytest.raises(Deposed):
            await first.hold()
        with pytest.raises(Deposed):
            await first.append([(b"video/a", b"5")])
    assert (await log.fold()).values == second.values


async def test_one_of_two_leads_and_a_standby_takes_over_at_once_when_it_stops(log: Log) -> None:
    async with log.leadership(LONG_SECONDS) as second, log.leadership(LONG_SECONDS) as first:
        both = [asyncio.create_task(each.lead()) for each in (first, second)]
        done, waiting = await asyncio.wait(both, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        (leading,), (standing_by,) = done, waiting
        leader, standby = (first, second) if leading is both[0] else (second, first)
        await until_standby(standby)
        term = await leading
        await term.hold()
        await term.append([(b"k", b"v")])
        assert not standing_by.done()
        await leader.__aexit__(None, None, None)
        successor = await soon(standing_by)
        assert (successor.epoch, successor.values) == (2, {b"k": b"v"})
        await successor.hold()


async def test_a_standby_that_joins_and_leaves_costs_the_leader_nothing(log: Log) -> None:
    async with log.leadership(LONG_SECONDS) as leader:
        term = await soon(leader.lead())
        for _ in range(3):
            async with log.leadership(LONG_SECONDS) as standby:
                lead = asyncio.create_task(standby.lead())
                await until_standby(standby)
                await soon(term.hold())
                await term.append([(b"k", b"v")])
                assert not lead.done()
                lead.cancel()
        await soon(term.hold())
    assert (await log.fold()).epoch == 1


async def test_what_operators_write_reaches_the_leader(log: Log) -> None:
    await log.operator_writes(b"query/tea", b"before")
    async with log.leadership(LONG_SECONDS) as leadership:
        term = await soon(leadership.lead())
        assert term.values == {b"query/tea": b"before"}
        assert term.operator_changes() == []
        await term.append([(b"query/tea", b"own")])
        await log.operator_writes(b"query/coffee", b"added")
        assert await next_operator_changes(term) == [(b"query/coffee", b"added")]
        await log.operator_writes(b"query/tea", None)
        assert await next_operator_changes(term) == [(b"query/tea", None)]
        assert term.operator_changes() == []


class ThreadedLeader:
    """A leader with an event loop of its own, which can be made to stand still."""

    def __init__(self, log: Log) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._awake = threading.Event()
        self._log = log

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "asyncio.Future[T]":
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self.resume()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def pause(self) -> None:
        standing = threading.Event()

        def stand_still() -> None:
            standing.set()
            self._awake.wait()

        self._awake.clear()
        self._loop.call_soon_threadsafe(stand_still)
        standing.wait()

    def resume(self) -> None:
        self._awake.set()

    async def start(self) -> tuple[Leadership, KafkaWriter, Term]:
        writer = KafkaWriter(KafkaConnection(self._log.bootstrap))
        leadership = await self._log.leadership(SHORT_SECONDS, writer).__aenter__()
        return leadership, writer, await leadership.lead()

    @staticmethod
    async def stop(leadership: Leadership, writer: KafkaWriter) -> None:
        await leadership.__aexit__(None, None, None)
        await writer.close()


async def test_a_paused_leader_is_deposed_and_what_it_writes_late_is_void_and_repaired(log: Log) -> None:
    zombie = ThreadedLeader(log)
    with zombie.running():
        leadership, writer, old = await zombie.submit(zombie.start())
        await zombie.submit(old.append([(b"ledger", b"1"), (b"video/a", b"1")]))
        async with log.leadership(SHORT_SECONDS) as standby:
            taking_over = asyncio.create_task(standby.lead())
            await until_standby(standby)
            zombie.pause()
            new = await soon(taking_over)
            assert (old.epoch, new.epoch) == (1, 2)
            await new.append([(b"ledger", b"2"), (b"video/a", None)])
            # These go first when it wakes up, before it can hear that its session has ended.
            late = zombie.submit(old.append([(b"ledger", b"zombie"), (b"video/a", b"zombie"), (b"other", b"zombie")]))
            held = zombie.submit(old.hold())
            zombie.resume()
            await late
            with pytest.raises(Deposed):
                await soon(held)
            with pytest.raises(Deposed):
                await zombie.submit(old.append([(b"ledger", b"zombie")]))
            await until_repaired(log)
            await new.hold()
            fold = await log.fold()
            assert (fold.epoch, fold.values) == (2, {b"ledger": b"2"})
            cleaned = {record.key: record.value for record in await log.records()}
            assert cleaned[b"ledger"] == b"2"
            assert cleaned[b"video/a"] is cleaned[b"other"] is None
            await zombie.submit(ThreadedLeader.stop(leadership, writer))


async def until_repaired(log: Log) -> None:
    """The late records are there, and hide nothing from the log cleaner."""

    async def is_repaired() -> bool:
        return b"zombie" in [record.value for record in await log.records()] and not (await log.fold()).voided

    await until(is_repaired)


async def test_a_new_leader_repairs_what_void_records_of_before_hide(log: Log) -> None:
    async with log.leadership(LONG_SECONDS) as leadership:
        await soon(leadership.lead())
        term = await soon(leadership.lead())
        await term.append([(b"k", b"v")])
    late = [KafkaRecord(log.topic, key, b'{"epoch":1}', (("epoch", b"1"),)) for key in (b"k", LEADER_KEY)]
    await log.writer.write(late)
    assert (await log.fold()).voided == {b"k", LEADER_KEY}
    async with log.leadership(LONG_SECONDS) as leadership:
        term = await soon(leadership.lead())
        assert (term.epoch, term.values) == (3, {b"k": b"v"})
        fold = await log.fold()
        assert (fold.epoch, fold.values, fold.voided) == (3, {b"k": b"v"}, set())


async def test_of_two_records_with_one_epoch_the_first_leads_and_writes_its_own_again(log: Log) -> None:
    async with log.leadership(LONG_SECONDS) as leadership:
        term = await soon(leadership.lead())
        rival = b'{"epoch":1,"id":"rival","since":""}'
        await log.writer.write([KafkaRecord(log.topic, LEADER_KEY, rival, (("epoch", b"1"),))])

        async def is_written_again() -> bool:
            return len(await log.records()) == 3

        await until(is_written_again)
        first, second, third = await log.records()
        assert (second.value, third.value) == (rival, first.value)
        await term.hold()


async def test_a_record_of_a_greater_epoch_deposes_although_the_group_has_not_said_so(log: Log) -> None:
    async with log.leadership(LONG_SECONDS) as leadership:
        term = await soon(leadership.lead())
        usurper = b'{"epoch":7,"id":"usurper","since":""}'
        await log.writer.write([KafkaRecord(log.topic, LEADER_KEY, usurper, (("epoch", b"7"),))])
        await until_deposed(term)
        assert (await soon(leadership.lead())).epoch == 8


async def test_a_reader_that_hears_nothing_goes_on_where_it_was(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_reader, "_QUIET_SECONDS", 0.0)
    reader = StateReader(KafkaConnection(log.bootstrap), log.topic)
    for number in range(3):
        await log.operator_writes(b"k", b"%d" % number)
        while not (records := await soon(reader.read())):
            pass
        assert records == [StateRecord(b"k", b"%d" % number, None)]
    await reader.close()


async def test_a_member_whose_coordinator_is_silent_joins_again(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    async with log.leadership(SHORT_SECONDS) as leadership:
        term = await soon(leadership.lead())
        with monkeypatch.context() as patch:
            patch.setattr(partition_owner, "_SILENT_SESSIONS", 0)
            await until_deposed(term)
        assert (await soon(leadership.lead())).epoch == 2


async def test_a_take_over_reads_a_hundred_thousand_videos(log: Log) -> None:
    count = 100_000
    moment = "2026-06-01T00:00:00.000Z"
    video = FollowedVideo(first_seen_at=moment, fetched_at=moment, queries=("a query of some length", "another"))
    value = msgspec.json.encode(video)
    async with log.leadership(LONG_SECONDS) as leadership:
        term = await soon(leadership.lead())
        started = time.monotonic()
        await term.append([(video_key(f"vid{number:08d}"), value) for number in range(count)])
        print(f"written in {time.monotonic() - started:.2f} s")  # noqa: T201
        started = time.monotonic()
        term = await soon(leadership.lead())
        print(f"taken over {len(term.values)} videos in {time.monotonic() - started:.2f} s")  # noqa: T201
        assert len(term.values) == count


async def test_a_leader_goes_on_when_the_brokers_come_back(make_servers: MakeServers) -> None:
    servers = make_servers()
    spec = state_spec("state")
    await create_missing_topics(KafkaConnection(servers.kafka_bootstrap), [spec], 1)
    writer = KafkaWriter(KafkaConnection(servers.kafka_bootstrap))
    log = Log(servers.kafka_bootstrap, spec.name, writer)
    async with log.leadership(SHORT_SECONDS) as leadership:
        term = await soon(leadership.lead())
        await term.append([(b"k", b"1")])
        await asyncio.to_thread(servers.kafka.kill)
        appending = asyncio.create_task(term.append([(b"k", b"2")]))
        await asyncio.sleep(0)
        await asyncio.to_thread(servers.kafka.start)
        await soon(appending)
        term = await still_or_again(leadership, term)
        await log.operator_writes(b"query/tea", b"added")
        assert await next_operator_changes(term) == [(b"query/tea", b"added")]
        assert (await log.fold()).values == {b"k": b"2", b"query/tea": b"added"}
    await writer.close()


async def still_or_again(leadership: Leadership, term: Term) -> Term:
    """Without a rival a leader may keep its term, or take a new one."""
    try:
        await soon(term.hold())
    except Deposed:
        return await soon(leadership.lead())
    return term
