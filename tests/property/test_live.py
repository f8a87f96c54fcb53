"""Live clients over several processes that follow one log at their own pace: whatever happens, nobody misses anything.

The log has partitions of videos that change, go and are told again, also late and out of turn. Each process meets the
partitions interleaved in its own way, keeps a tiny ring, and may be restarted. Clients read a little, fall asleep, are
cut off and go on at another process with the last id they saw, or with an older one.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.events import VIDEO_DISCOVERED, VIDEO_REMOVED, VIDEO_UPDATED
from query_api import live_feed
from query_api.filters import EVERYTHING, Filters
from query_api.live_client import Block, Conversation, HistoryUnavailable, LiveRequest
from query_api.live_feed import LastEvents, LiveFeed
from query_api.live_id import Offsets, parse_id
from query_api.video_event import VideoEvent

PARTITIONS: Final = 2
VIDEOS: Final = 5
CLIENTS: Final = 3
PROCESSES: Final = 2
SOME_TURNS: Final = 12

BLOCK: Final = re.compile(rb"(?:id: (\S+)\n)?(?:event: (\w+)\n)?(?:data: ([^\n]*)\n)?")
State = dict[str, bytes | None]


@pytest.fixture(autouse=True, scope="module")
def _no_rest_between_waves() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_feed, "_WAVE_SECONDS", 0.0)
        yield


class Log:
    """`youtube.videos` as Kafka holds it."""

    def __init__(self) -> None:
        self.partitions: Final[list[list[VideoEvent]]] = [[] for _ in range(PARTITIONS)]
        self.sequence = 0

    @property
    def ends(self) -> Offsets:
        return tuple(map(len, self.partitions))

    def write(self, video: int, sequence: int, body: bytes | None) -> None:
        partition = self.partitions[video % PARTITIONS]
        type_ = VIDEO_REMOVED if body is None else VIDEO_UPDATED if partition else VIDEO_DISCOVERED
        partition.append(
            VideoEvent(
                partition=video % PARTITIONS,
                offset=len(partition),
                video_id=f"video {video}",
                type=type_,
                sequence=sequence,
                sort_key=None,
                previous_sort_key=None,
                body=body,
            )
        )

    def tell(self, video: int, removed: bool) -> None:
        self.sequence += 1
        query = b"tea" if self.sequence % 3 else b"milk"
        body = b'{"id":"video %d","n":%d,"queries":["%b"]}' % (video, self.sequence, query)
        self.write(video, self.sequence, None if removed else body)

    def repeat(self, partition: int, back: int) -> None:
        """Tell again what was told before: the last event, or an older one out of turn."""
        told = self.partitions[partition]
        if told:
            event = told[-1 - back % len(told)]
            self.write(int(event.video_id.split()[1]), event.sequence, event.body)

    def state_at(self, offsets: Offsets) -> State:
        """What the read model says once all below is applied."""
        newest: dict[str, VideoEvent] = {}
        for partition, offset in zip(self.partitions, offsets, strict=True):
            for event in partition[:offset]:
                if event.video_id not in newest or event.sequence >= newest[event.video_id].sequence:
                    newest[event.video_id] = event
        return {video_id: event.body for video_id, event in newest.items() if event.body is not None}

    def news(self, filters: Filters) -> set[tuple[int, int]]:
        """The places of all events that say something new, and that such a client is told."""
        found = set()
        for partition in self.partitions:
            last_events = LastEvents()
            for event in partition:
                passes = event.body is None or filters == EVERYTHING or b'"tea"' in event.body
                if last_events.is_news(event) and passes:
                    found.add((event.partition, event.offset))
        return found


class FakeHistory:
    """The log, in chunks, with others' turns between them; Kafka may be away."""

    def __init__(self, log: Log) -> None:
        self.log: Final = log
        self.away = False
        self.readings = 0

    async def read(self, since: Offsets, until: Offsets) -> AsyncGenerator[Sequence[VideoEvent]]:
        self.readings += 1
        for partition, (begin, end) in enumerate(zip(since, until, strict=True)):
            last_events = LastEvents()
            events = [event for event in self.log.partitions[partition][:end] if last_events.is_news(event)]
            missed = [event for event in events if event.offset >= begin]
            for at in range(0, len(missed), 2):
                await asyncio.sleep(0)
                if self.away:
                    raise HistoryUnavailable("away")
                yield missed[at : at + 2]


class Process:
    """One process of the API: what it has met, and its feed."""

    def __init__(self, log: Log, ring: int) -> None:
        self.log: Final = log
        self.ring: Final = ring
        self.met = [0] * PARTITIONS
        self.start()

    def start(self) -> None:
        """Begin at the end of what it met; what is before is remembered, to tell repeats by."""
        self.feed = LiveFeed(entries=self.ring, overlap_seconds=0.001, tick_seconds=0.001)
        self.feed.start_at(dict(enumerate(self.met)))
        for partition, met in zip(self.log.partitions, self.met, strict=True):
            self.feed.publish(partition[:met])

    def meet(self, partition: int, count: int) -> None:
        begin = self.met[partition]
        events = self.log.partitions[partition][begin : begin + count]
        self.met[partition] += len(events)
        # Some are met twice, as after a consumer's reconnection.
        self.feed.publish(self.log.partitions[partition][max(0, begin - 1) : begin] + events)


class Client:
    """A browser: it loads the page when it is told to, applies what comes as it comes, and remembers the last id."""

    def __init__(self, history: FakeHistory, filters: Filters) -> None:
        self.history: Final = history
        self.filters: Final = filters
        self.ids: list[Offsets] = []
        self.state: State = {}
        self.told: set[tuple[int, int]] = set()
        self.told_from: Offsets = ()
        self.process: Process | None = None
        self.last_told: dict[int, int] = {}
        self.blocks: AsyncGenerator[Block] | None = None
        self.reading: asyncio.Future[Any] | None = None

    def connect(self, process: Process, known: Offsets | None) -> None:
        self.process = process
        self.last_told = {}
        if known is None:
            self.told_from = ()
        asked = LiveRequest(self.filters, known)
        self.blocks = Conversation(process.feed, self.history, asked, heartbeat_seconds=0).blocks()

    async def disconnect(self) -> None:
        if self.reading is not None:
            self.reading.cancel()
            await asyncio.gather(self.reading, return_exceptions=True)
            self.reading = None
        if self.blocks is not None:
            await self.blocks.aclose()
            self.blocks = None

    async def read(self, turns: int) -> None:
        """Take what comes within so many turns of the loop."""
        for _ in range(turns):
            if self.blocks is None:
                return
            if self.reading is None:
                self.reading = asyncio.ensure_future(anext(self.blocks))
            await asyncio.sleep(0)
            if self.reading.done():
                block, self.reading = self.reading.result(), None
                self.take(block)
                if block.dropped:
                    await self.disconnect()

    def take(self, block: Block) -> None:
        for text in block.text.removesuffix(b"\n\n").split(b"\n\n"):
            found = BLOCK.fullmatch(text.removeprefix(b": \n") + b"\n")
            if found is not None:
                self.apply(*found.groups())

    def apply(self, id_: bytes | None, event: bytes | None, data: bytes | None) -> None:
        known = parse_id(id_.decode()) if id_ else None
        if known is not None:
            if event == b"reset" or not self.told_from:
                assert self.process is not None
                self.told_from, self.told = known, set()
                self.state = self.process.log.state_at(tuple(self.process.met))
            self.ids.append(known)
        if event in {b"discovered", b"updated", b"removed"}:
            assert data is not None
            assert known is not None
            self.note(event, data, known)

    def note(self, event: bytes, data: bytes, known: Offsets) -> None:
        video_id = msgspec.json.decode(data)["id"]
        partition = int(video_id.split()[1]) % PARTITIONS
        offset = known[partition] - 1
        assert offset > self.last_told.get(partition, -1), "told twice or out of order within one connection"
        self.last_told[partition] = offset
        self.told.add((partition, offset))
        if event == b"removed":
            self.state.pop(video_id, None)
        else:
            self.state[video_id] = data


class World:
    """The log, its processes and their clients; `play` is one step of what happens."""

    def __init__(self, ring: int) -> None:
        self.log: Final = Log()
        self.history: Final = FakeHistory(self.log)
        self.processes: Final = [Process(self.log, ring) for _ in range(PROCESSES)]
        filters = [EVERYTHING, EVERYTHING, Filters(query="tea")]
        self.clients: Final = [Client(self.history, filters[number]) for number in range(CLIENTS)]

    async def play(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("tell", video, removed):
                self.log.tell(video, removed)
            case ("repeat", partition, back):
                self.log.repeat(partition, back)
            case ("away", away):
                self.history.away = away
            case ("meet", process, partition, count):
                self.processes[process].meet(partition, count)
            case ("restart", process):
                for client in self.clients:
                    if client.process is self.processes[process]:
                        await client.disconnect()
                self.processes[process].start()
            case _:
                await self.play_client(step)

    async def play_client(self, step: tuple[Any, ...]) -> None:
        client = self.clients[step[1]]
        match step:
            case ("connect", _, process, back):
                await client.disconnect()
                known = client.ids[max(0, len(client.ids) - 1 - back)] if client.ids else None
                client.connect(self.processes[process], known)
            case ("cut", _):
                await client.disconnect()
            case ("read", _, turns):
                await client.read(turns)

    async def end(self) -> None:
        """Everything is met, Kafka is there, and every client reads on, again connected when it was dropped."""
        self.history.away = False
        for process in self.processes:
            for partition in range(PARTITIONS):
                process.meet(partition, 10_000)
        for client in self.clients:
            for _ in range(10_000):
                if client.blocks is None:
                    client.connect(self.processes[0], client.ids[-1] if client.ids else None)
                await client.read(20)
                if client.ids and client.ids[-1] == self.log.ends:
                    break
                await asyncio.sleep(0.0005)
            else:
                raise AssertionError(f"the client never has it all: {client.ids[-1:]} of {self.log.ends}")
            await client.disconnect()


STEPS = st.one_of(
    st.tuples(st.just("tell"), st.integers(0, VIDEOS - 1), st.sampled_from([False, False, True])),
    st.tuples(st.just("tell"), st.integers(0, VIDEOS - 1), st.just(False)),
    st.tuples(st.just("repeat"), st.integers(0, PARTITIONS - 1), st.integers(0, 6)),
    st.tuples(st.just("meet"), st.integers(0, PROCESSES - 1), st.integers(0, PARTITIONS - 1), st.integers(1, 4)),
    st.tuples(st.just("meet"), st.integers(0, PROCESSES - 1), st.integers(0, PARTITIONS - 1), st.integers(1, 4)),
    st.tuples(st.just("restart"), st.integers(0, PROCESSES - 1)),
    st.tuples(
        st.just("connect"),
        st.integers(0, CLIENTS - 1),
        st.integers(0, PROCESSES - 1),
        st.sampled_from([0, 0, 0, 1, 5, 100]),
    ),
    st.tuples(st.just("cut"), st.integers(0, CLIENTS - 1)),
    st.tuples(st.just("read"), st.integers(0, CLIENTS - 1), st.integers(1, SOME_TURNS)),
    st.tuples(st.just("read"), st.integers(0, CLIENTS - 1), st.integers(1, SOME_TURNS)),
    st.tuples(st.just("away"), st.booleans()),
)


@settings(max_examples=300)
@given(ring=st.integers(1, 6), steps=st.lists(STEPS, max_size=80))
def test_who_follows_ids_has_the_newest_of_every_video_and_missed_nothing(
    ring: int, steps: list[tuple[Any, ...]]
) -> None:
    asyncio.run(_play(ring, steps))


async def _play(ring: int, steps: Sequence[tuple[Any, ...]]) -> None:
    world = World(ring)
    for step in steps:
        await world.play(step)
    await world.end()
    truth = world.log.state_at(world.log.ends)
    for client in world.clients:
        due = {
            (partition, offset)
            for partition, offset in world.log.news(client.filters)
            if offset >= client.told_from[partition]
        }
        assert due <= client.told, "a gap"
        if client.filters == EVERYTHING:
            assert client.state == truth
