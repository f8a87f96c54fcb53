"""Replays while readers page, records come, and workers and replays are killed and paused at the rename (P6, P7)."""

import asyncio
import http.client
import itertools
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest
from aiokafka import AIOKafkaProducer

from contract.times import format_seconds
from contract.topics import RAW, topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from processors.decode import Record
from processors.document import Document, VideoDocument
from tests.conftest import MakeServers, Servers
from tests.history import check_history, is_consumed, produce, stored_documents
from tests.raw_items import NOW_MS, PARTITIONS, record, search_item, video_id
from tests.replay_process import ReplayProcess, check_tidied, generation_of, replayed
from tests.service_process import ServiceProcess, wait_for
from yousync.local.server import free_port

pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]

BASE: Final = 600
"""Videos that are there from the beginning to the end."""

FIRST_NEW: Final = 10_000
SWAPS: Final = 10
READERS: Final = 4
RECORDS_A_SECOND: Final = 60
SETTLED_SECONDS: Final = 15.0
"""A video that was seen may be missing for a moment after a swap, until its worker has closed the seam; no longer."""

_chance_times = itertools.count(NOW_MS, 1000)


def item(number: int, title: str = "A talk") -> Record:
    """An item of a video, later than all before it; the higher the number, the newer the video."""
    published = format_seconds(NOW_MS + number * 1000)
    return record(number, 0, search_item(number, title=title, publishedAt=published), time_ms=next(_chance_times))


def removal(number: int) -> Record:
    return record(number, 0, None, time_ms=next(_chance_times))


class Background:
    """Something done in a thread until the test leaves; what it raised is raised there."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def work(self) -> None:
        raise NotImplementedError

    def _run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001  # raised in the test's thread
            self._error = error

    def stop(self) -> None:
        self.stopping.set()
        self._thread.join(60)
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._thread.join(60)


class Writer(Background):
    """New videos, changes of old and new ones, and removals of new ones, all the time."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__()
        self._bootstrap = bootstrap
        self.removal_sent_at: dict[str, float] = {}
        self.records = 0

    def work(self) -> None:
        asyncio.run(self._write())

    async def _write(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, enable_idempotence=True, linger_ms=5)
        await producer.start()
        try:
            for turn in itertools.count():
                if self.stopping.is_set():
                    return
                for one in self._records(turn):
                    await producer.send(RAW, one.value, key=one.key, partition=one.partition, headers=list(one.headers))
                    self.records += 1
                await asyncio.sleep(4 / RECORDS_A_SECOND)
        finally:
            await producer.stop()

    def _records(self, turn: int) -> Iterator[Record]:
        newest = FIRST_NEW + turn
        yield item(newest)
        yield item(turn * 7 % BASE, f"Changed in turn {turn}")
        yield item(max(FIRST_NEW, newest - 5), f"Changed in turn {turn}")
        if turn % 3 == 0 and turn > 60:
            self.removal_sent_at[video_id(newest - 50)] = time.monotonic()
            yield removal(newest - 50)


class Sightings:
    """When each video was first seen by any reader."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: dict[str, float] = {}

    def note(self, video_ids: list[str]) -> None:
        now = time.monotonic()
        with self._lock:
            for one in video_ids:
                self._first.setdefault(one, now)

    def before(self, moment: float) -> set[str]:
        with self._lock:
            return {one for one, seen_at in self._first.items() if seen_at < moment}


class Reader(Background):
    """Walks through the whole collection by cursor, again and again, and checks every page and every walk."""

    def __init__(self, port: int, limit: int, sightings: Sightings, writer: Writer) -> None:
        super().__init__()
        self._port = port
        self._limit = limit
        self._sightings = sightings
        self._writer = writer
        self.walks = 0
        self.pages = 0

    def work(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self.stopping.is_set():
            self._walk(connection)
        connection.close()

    def _walk(self, connection: http.client.HTTPConnection) -> None:
        began_at = time.monotonic()
        settled = self._sightings.before(began_at - SETTLED_SECONDS)
        seen: list[tuple[str, str]] = []
        path: str | None = f"/v1/videos?limit={self._limit}"
        while path is not None:
            page = self._get(connection, path)
            cursor = page["next_cursor"]
            seen += [(one["published_at"], one["id"]) for one in page["items"]]
            assert len(page["items"]) == self._limit or cursor is None, f"a short page: {path}"
            assert page["total"] >= BASE, f"only {page['total']} videos: {path}"
            path = cursor and f"/v1/videos?limit={self._limit}&cursor={cursor}"
            self.pages += 1
        assert seen == sorted(set(seen), reverse=True), "out of order, or twice"
        ids = [video for _, video in seen]
        self._sightings.note(ids)
        missing = {video_id(number) for number in range(BASE)} - set(ids)
        assert not missing, f"{len(missing)} of the videos that never went are missing: {sorted(missing)[:5]}"
        gone = settled - set(ids) - self._writer.removal_sent_at.keys()
        assert not gone, f"{len(gone)} videos that were seen long ago are missing: {sorted(gone)[:5]}"
        self.walks += 1

    def _get(self, connection: http.client.HTTPConnection, path: str) -> dict[str, Any]:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, f"{answer.status}: {path}: {body[:300]!r}"
        return dict(json.loads(body))


class Stack:
    """Servers, two workers that can be started, and an API."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.servers = servers
        self.folder = folder
        self.api_port = free_port()
        self.settings = {
            "KAFKA_BOOTSTRAP_SERVERS": servers.kafka_bootstrap,
            "MONGODB_URI": servers.mongodb_uri,
            "YOUSYNC_SESSION_TIMEOUT_SECONDS": "6",
            "YOUSYNC_API_PORT": str(self.api_port),
        }
        self.api = ServiceProcess("api", folder, self.settings)
        self.workers = [self._worker(name) for name in ("one", "two")]

    def _worker(self, name: str) -> ServiceProcess:
        (self.folder / name).mkdir()
        return ServiceProcess("processor", self.folder / name, self.settings)

    def wait_until_consumed(self, seconds: float = 90) -> None:
        wait_for(
            lambda: asyncio.run(is_consumed(self.servers.kafka_bootstrap)),
            seconds,
            lambda: "\n".join(one.tail(2000) for one in self.workers if one.log.exists()),
        )

    def produce(self, *records: Record) -> None:
        asyncio.run(produce(self.servers.kafka_bootstrap, records))

    def documents(self) -> dict[str, Document]:
        return stored_documents(self.servers.mongodb_uri)

    def check_history(self) -> dict[str, Document]:
        return asyncio.run(check_history(self.servers.kafka_bootstrap, self.servers.mongodb_uri)).documents

    def generation(self) -> str | None:
        return generation_of(self.servers.mongodb_uri)

    def replay(self, *options: str, point: str | None = None, deed: signal.Signals = signal.SIGKILL) -> ReplayProcess:
        return ReplayProcess(self.folder, self.settings, "--execute", "--json", *options, point=point, deed=deed)


@pytest.fixture
def stack(make_servers: MakeServers, tmp_path: Path) -> Iterator[Stack]:
    """Base videos in the store, one worker and the API running."""
    servers = make_servers()
    asyncio.run(create_missing_topics(KafkaConnection(servers.kafka_bootstrap), topic_specs(PARTITIONS), 1))
    stack = Stack(servers, tmp_path)
    stack.produce(*(item(number) for number in range(BASE)))
    try:
        stack.api.start()
        stack.workers[0].start()
        stack.wait_until_consumed()
        stack.api.wait_until_ready()
        yield stack
    finally:
        for process in (stack.api, *stack.workers):
            process.__exit__(None, None, None)


def test_readers_notice_nothing_of_ten_swaps(stack: Stack) -> None:
    """One worker, then two: the second joins, is killed, comes back and leaves while a replay is at work."""
    one, two = stack.workers
    meanwhile: dict[int, Callable[[], object]] = {3: two.start, 6: two.kill, 7: two.start, 9: two.terminate}
    writer, sightings = Writer(stack.servers.kafka_bootstrap), Sightings()
    readers = [Reader(stack.api_port, limit, sightings, writer) for limit in (100, 37, 10, 100)][:READERS]
    generations = {stack.generation()}
    with writer, readers[0], readers[1], readers[2], readers[3]:
        for swap in range(SWAPS):
            with stack.replay() as replay:
                if swap in meanwhile:
                    replay.wait_for_phase("indexing")
                    meanwhile[swap]()
                assert replay.finish() == 0, f"{replay.answer}\n{replay.words}"
            generations.add(stack.generation())
        walked = [reader.walks for reader in readers]
        wait_for(
            lambda: all(
                reader.walks > before or reader.stopping.is_set()
                for reader, before in zip(readers, walked, strict=True)
            ),
            60,
            lambda: "readers do not get on",
        )
        for background in (*readers, writer):
            background.stop()
        stack.wait_until_consumed()

    assert len(generations) == SWAPS + 1
    assert all(reader.pages > SWAPS for reader in readers)
    assert len(writer.removal_sent_at) > 5
    live = settled(stack)
    replayed(stack.folder, stack.settings)
    assert stack.documents() == live
    check_tidied(stack.servers.mongodb_uri)
    assert one.terminate() == 0


def settled(stack: Stack) -> dict[str, Document]:
    """The store, when it is what the topic says."""
    stack.wait_until_consumed()
    return stack.check_history()


class Gap:
    """Videos that arrive, change or are removed when the new store is complete and the old one is still live."""

    def __init__(self, stack: Stack, number: int) -> None:
        self._stack = stack
        self.arriving = range(20_000 + 100 * number, 20_012 + 100 * number)
        self.changing = range(20 * number, 20 * number + 8)
        self.going = range(20 * number + 8, 20 * number + 16)
        self._title = f"Changed in gap {number}"

    def open(self) -> None:
        self._stack.produce(
            *(item(one) for one in self.arriving),
            *(item(one, self._title) for one in self.changing),
            *(removal(one) for one in self.going),
        )

    def is_closed(self) -> bool:
        """Readers see all of it."""
        stored = self._stack.documents()
        videos = {one: document.video for one, document in stored.items() if isinstance(document, VideoDocument)}
        changed = [videos.get(video_id(one)) for one in self.changing]
        return (
            all(video_id(one) in videos for one in self.arriving)
            and all(one is not None and one.title == self._title for one in changed)
            and not any(video_id(one) in videos for one in self.going)
        )

    def wait_until_closed(self) -> None:
        wait_for(
            self.is_closed, 60, lambda: "\n".join(one.tail(2000) for one in self._stack.workers if one.log.exists())
        )


def before_the_swap(stack: Stack, gap: Gap) -> ReplayProcess:
    """A replay that stands still with its hand on the rename, while the gap opens and the workers take it all."""
    replay = stack.replay(point="before-swap", deed=signal.SIGSTOP).wait_until_stopped()
    gap.open()
    stack.wait_until_consumed()
    assert gap.is_closed()
    return replay


def let_it_swap(stack: Stack, replay: ReplayProcess) -> None:
    old = stack.generation()
    replay.process.send_signal(signal.SIGCONT)
    wait_for(lambda: stack.generation() != old, 60, lambda: replay.words)


def test_the_seam_is_closed_whatever_the_workers_do_at_the_rename(stack: Stack) -> None:
    """What was projected between `applied` and the rename is in the new store soon, and nothing older comes back."""
    one, two = stack.workers

    gap = Gap(stack, 0)
    with before_the_swap(stack, gap) as replay:
        let_it_swap(stack, replay)
        gap.wait_until_closed()
        assert replay.finish() == 0
    settled(stack)

    gap = Gap(stack, 1)  # a worker joins
    with before_the_swap(stack, gap) as replay:
        two.start()
        let_it_swap(stack, replay)
        gap.wait_until_closed()
        assert replay.finish() == 0
    two.wait_until_ready()
    gap.wait_until_closed()
    settled(stack)

    gap = Gap(stack, 2)  # a worker is paused, and wakes up when others have done its work
    with before_the_swap(stack, gap) as replay:
        two.pause()
        let_it_swap(stack, replay)
        gap.wait_until_closed()
        assert replay.finish() == 0
    stack.produce(*(item(number, "Said to the next owner") for number in range(500, 520)))
    settled(stack)
    two.resume()
    wait_for(lambda: not two.runs or two.readiness() == 200, 60, two.tail)
    settled(stack)

    gap = Gap(stack, 3)  # nobody is alive
    with before_the_swap(stack, gap) as replay:
        one.kill()
        if two.runs:
            two.kill()
        let_it_swap(stack, replay)
        assert replay.finish() == 0
    assert not gap.is_closed(), "nobody was there to close it"
    one.start()
    gap.wait_until_closed()
    settled(stack)
    check_tidied(stack.servers.mongodb_uri)


def test_the_seam_is_closed_though_the_replay_is_paused_or_killed(stack: Stack) -> None:
    gap = Gap(stack, 0)  # killed right after the rename
    with before_the_swap(stack, gap) as replay:
        let_it_swap(stack, replay)
        replay.process.kill()
    gap.wait_until_closed()
    settled(stack)
    replayed(stack.folder, stack.settings, *(["--resume"] if _is_unfinished(stack) else []))
    settled(stack)

    gap = Gap(stack, 1)  # paused right after the rename, and overtaken
    with stack.replay(point="swapped", deed=signal.SIGSTOP).wait_until_stopped() as replay:
        gap.open()
        stack.wait_until_consumed()
        gap.wait_until_closed()
        replayed(stack.folder, stack.settings)
        replay.process.send_signal(signal.SIGCONT)
        assert replay.finish() == 1
        assert "another replay has taken over" in replay.words
    settled(stack)

    gap = Gap(stack, 2)  # paused before the rename, overtaken, and too late
    with before_the_swap(stack, gap) as replay:
        replayed(stack.folder, stack.settings)
        generation = stack.generation()
        replay.process.send_signal(signal.SIGCONT)
        assert replay.finish() == 1
    assert stack.generation() == generation
    settled(stack)
    check_tidied(stack.servers.mongodb_uri)


def _is_unfinished(stack: Stack) -> bool:
    with ReplayProcess(stack.folder, stack.settings, "--json") as plan:
        assert plan.finish() == 0
        return plan.lines[0]["unfinished"] is not None
