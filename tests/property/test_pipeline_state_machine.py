"""Promises P1, P2 and P7 against anything that may happen to several workers and a replay, step by step.

The workers are the real ones, from the service that drives the partitions down to the fold; only what they talk to
is in memory, and every call they make waits until the machine lets it happen, fail, lose its answer, answer late, or
be the last thing its worker does. The oracle is the plain sequential fold of each video's records. Whenever all is
consumed and every seam closed, the documents (hidden fields included) and the events by highest `ce_sequence` are the
oracle's, and nothing removed is back. In between, at every moment:

- each document is a whole one, what the fold gives at its own position;
- committed records have their events, their documents, and a place in the generation that readers read or in its seam;
- what is said to be applied in that generation is in it;
- no worker makes a call that others see once it was put out of the group, or was told of a new generation.

What the design exempts is played, and only the weaker promise is checked for it. A worker that was put out of the group
while it was between the check of its lease and the call may still have the effect of that call: for documents, events
and applied offsets nothing is taken back because of it, but an older table entry may come to stand above a newer
one. The same holds for a table that is an earlier state of itself. A video that such an entry speaks of is `weak` from
then on: after its next confirmation it is there if and only if the oracle has it, with the same queries.

Markers expire only when no record at or below them can be delivered, or read for a seam, again: they live a day.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final, Literal, NamedTuple, get_args

import pytest
from faust.types import TP
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from prometheus_client import CollectorRegistry

from contract import events
from contract.events import VideoEnvelope
from contract.topics import RAW
from ops.metrics import ProcessorMetrics
from processors import projection, seam, service, waiting
from processors.batch import Outcome, Taken, fold_batch, video_event
from processors.dead_letter_limit import DeadLetterLimit
from processors.decode import Record, Refusal, decode
from processors.dedup import decode_known
from processors.document import Document, Marker, SourcePosition, VideoDocument, from_stored, to_stored
from processors.fold import CONFIRM_AFTER_MS, fold
from processors.projection import Projection
from tests.fakes.processor_edges import (
    HALF_WAY,
    Crash,
    FakeCollection,
    FakeDeadLetters,
    FakeKnownVideos,
    FakeRawLog,
    FakeReadModel,
    FakeVideoEvents,
    Fault,
)
from tests.raw_items import ITEM_MAKERS, NOW_MS, partition_of, record, video_id

EXAMPLES: Final = int(os.environ.get("YOUSYNC_STATE_MACHINE_EXAMPLES", "300"))
STEPS: Final = 40
SOME_DAY: Final = datetime(2026, 1, 1, tzinfo=UTC)

PARTITIONS: Final = (0, 1)
VIDEOS: Final = tuple(
    next(number for number in range(after, 60) if partition_of(video_id(number).encode()) == partition)
    for partition, after in ((0, 0), (0, 6), (1, 0))
)
"""Numbers of three videos, of which two share a partition."""

SPEAKING: Final = ("write", "send", "table", "all below")
"""How calls begin that others see: none is made without the lease."""

MAX_WORKERS: Final = 4
MAX_ROUNDS: Final = 2_000

Owed = tuple[VideoEnvelope, bytes | None]
Fate = Fault | Literal["late_answer"]
FLAGS: Final = st.booleans()
NUMBERS: Final = st.integers(0, 4)
SIZES: Final = st.integers(1, 4)
MEANWHILE: Final = st.sampled_from(["nothing", "nothing", "swap", "others go on"])
FATES: Final = st.sampled_from([*get_args(Fault), "late_answer"])
CRASHES: Final = ("crash_before", "crash_half_way", "crash_after")


class Said(NamedTuple):
    """What a raw record is to say of video number `video`; times in ms after or before NOW_MS. No source: gone."""

    video: int
    source: str | None
    title: str = "A"
    description: str = "x"
    after_ms: int = 0
    queries: tuple[str, ...] = ("tea",)
    seen_before_ms: int = 0

    def as_record(self, offset: int) -> Record:
        time_ms = NOW_MS + self.after_ms
        if self.source is None:
            return record(self.video, offset, None, time_ms=time_ms)
        return record(
            self.video,
            offset,
            ITEM_MAKERS[self.source](self.video, title=self.title, description=self.description),
            source=self.source,
            time_ms=time_ms,
            queries=self.queries,
            first_seen_ms=NOW_MS - self.seen_before_ms,
        )


SAID: Final = st.builds(
    Said,
    video=st.sampled_from(VIDEOS),
    source=st.sampled_from([*sorted(ITEM_MAKERS), None]),
    title=st.sampled_from("AB"),
    description=st.sampled_from("xy"),
    after_ms=st.sampled_from([0, 1, 60_000, CONFIRM_AFTER_MS, CONFIRM_AFTER_MS + 60_001]),
    queries=st.sampled_from([("tea",), ("how",), ("how", "tea")]),
    seen_before_ms=st.sampled_from([0, 5_000]),
)


class History:
    """One video by the plain fold: the document after each record that changed it, and the events owed."""

    def __init__(self) -> None:
        self._documents: list[Document] = []
        self._owed: list[tuple[int, Owed]] = []

    def take(self, one: Record) -> None:
        said = decode(one, partition_of)
        assert not isinstance(said, Refusal)
        folded = fold(self.document(), said, SourcePosition(one.topic, one.partition, one.offset))
        assert not isinstance(folded, Refusal)
        if folded.changed and folded.document is not None:
            self._documents.append(folded.document)
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
        if event is not None:
            self._owed.append((one.offset, event))

    def document(self, below: int | None = None) -> Document | None:
        """After the records below an offset, or after all."""
        there = [one for one in self._documents if below is None or one.source.offset < below]
        return there[-1] if there else None

    def owed(self, below: int | None = None) -> Owed | None:
        """The event that a consumer has last when the records below an offset are done, or all."""
        there = [event for offset, event in self._owed if below is None or offset < below]
        return there[-1] if there else None


class Call:
    """A call of a worker that waits for its fate."""

    def __init__(self, what: str, effects: Sequence[Callable[[], None]]) -> None:
        self.what = what
        self.effects = effects
        self.happened = False
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Watch:
    """What `HeartbeatWatch` is to the service: the group's generation as the worker knows it."""

    def __init__(self, is_member: Callable[[], bool]) -> None:
        self.generation = -1
        self._is_member = is_member

    def watch(self, _coordinator: object) -> None:
        """There is none."""

    async def hold(self, ours: Callable[[], bool]) -> None:
        """A worker that is no longer in the group learns it from the heartbeat that it waits for."""
        if not self._is_member():
            self.generation = -1
        ours()


class Table(FakeKnownVideos):
    """A worker's table; tells the world what the changelog gets."""

    def __init__(self, world: "World", worker: "Worker") -> None:
        super().__init__(world.changelog)
        self._world = world
        self._worker = worker

    def log_change(self, key: tuple[int, str], value: bytes | None) -> None:
        if not self._world.is_member(self._worker):
            self._world.doubt(key, value)
        super().log_change(key, value)


class Worker(service._Service):
    """A worker of the real service, with everything around it in memory: a process that can die or be forgotten."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self.alive = True
        self.closes_a_seam = False
        self.epochs = {"batch": -1, "seams": -1}
        """Generation of the group when the batch in flight, or the look at a seam, began."""
        self.calls: list[tuple[str, Call]] = []
        self.batch: asyncio.Task[None] | None = None
        self.batch_ends: dict[int, int] = {}
        self.fetched: dict[int, int] = {}
        self.acknowledged: dict[int, int] = {}
        self.committed: dict[TP, int | None] = {}
        self._is_member: Callable[[], bool] = lambda: world.is_member(self)
        self.watch = Watch(self._is_member)
        self.table = Table(world, self)
        read_model = FakeReadModel(world.collection)
        events = FakeVideoEvents(world.sent)
        self.dead_letters = FakeDeadLetters()
        raw_log = FakeRawLog(world.raw)
        for edge in (read_model, events, self.dead_letters, raw_log, self.table):
            edge.plan = self
        self._positions = {}
        self._turns = defaultdict(asyncio.Lock)
        self._owned = set()
        self._metrics = METRICS
        self._watch = self.watch  # type: ignore[assignment]
        self._app = SimpleNamespace(rebalancing=True, consumer=self._consumer())
        self._projection = Projection(
            read_model=read_model,
            events=events,
            dead_letters=self.dead_letters,
            known_videos=self.table,
            raw_log=raw_log,
            limit=DeadLetterLimit(1.0, 10_000),
            metrics=METRICS,
            partition_of=partition_of,
            log_end=lambda partition: len(world.log[partition]),
        )
        self.seams = world.loop.create_task(self._close_seams())

    def _consumer(self) -> Any:
        """As much of Faust's consumer as the service looks at."""
        thread = SimpleNamespace(_consumer=SimpleNamespace(_coordinator=None))
        return SimpleNamespace(_committed_offset=self.committed, _thread=thread)

    def __repr__(self) -> str:
        return self.name

    async def _close_seam(self, tp: TP, generation: str, *, note: bool) -> None:
        self.closes_a_seam = True
        self.epochs["seams"] = self.watch.generation
        try:
            await super()._close_seam(tp, generation, note=note)
        finally:
            self.closes_a_seam = False

    async def run(self, effects: Sequence[Callable[[], None]], what: str) -> None:  # type: ignore[override]
        """As in `Plan`: every call of this worker waits here."""
        if not self.alive:
            raise Crash
        lane = "seams" if asyncio.current_task() is self.seams else "batch"
        if what.startswith(SPEAKING):
            assert self.holds(lane), f"{self} speaks without its lease: {what}"
        call = Call(what, effects)
        self.calls.append((lane, call))
        await call.answer

    def holds(self, lane: str) -> bool:
        return self._is_member() and self.epochs[lane] == self.watch.generation

    def project(self, records: Sequence[Record]) -> Coroutine[Any, Any, None]:
        return self._project(records)

    def told(self, partitions: set[int]) -> Coroutine[Any, Any, None]:
        return self._on_assigned(None, {TP(RAW, partition) for partition in partitions})  # type: ignore[arg-type]


METRICS: Final = ProcessorMetrics(CollectorRegistry())


class Replay:
    """A run of the replay: its shadow, and what is applied in it."""

    def __init__(self, collection: FakeCollection) -> None:
        self.generation = collection.new_generation()
        self.stored: dict[str, dict[str, Any]] = {}
        self.applied = dict.fromkeys(PARTITIONS, 0)
        self.followed = False

    def take(self, records: Sequence[Record]) -> None:
        """Fold records of one partition as one batch."""
        by_key: dict[str, list[Taken]] = {}
        for one in records:
            said = decode(one, partition_of)
            assert not isinstance(said, Refusal)
            by_key.setdefault(said.video_id, []).append(Taken(one, said))
        documents = {one: from_stored(self.stored[one]) for one in by_key if one in self.stored}
        for outcome in fold_batch(by_key, documents):
            if outcome.write and outcome.document is not None:
                self.stored[outcome.video_id] = to_stored(outcome.document, SOME_DAY)


class World:
    """What outlives the workers, and the workers; everything happens when it is told to."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.raw: list[Record] = []
        self.log: dict[int, list[Record]] = {partition: [] for partition in PARTITIONS}
        self.histories = {video_id(number): History() for number in VIDEOS}
        self.partition = {video_id(number): partition_of(video_id(number).encode()) for number in VIDEOS}
        self.collection = FakeCollection()
        self.sent: list[Owed] = []
        self.changelog: dict[tuple[int, str], bytes] = {}
        self.changelogs: list[dict[tuple[int, str], bytes]] = []
        self.committed = dict.fromkeys(PARTITIONS, 0)
        self.floor = dict.fromkeys(PARTITIONS, 0)
        """Nothing below is delivered again: a marker that stood there has expired."""
        self.weak: set[str] = set()
        self.expired: set[str] = set()
        self.workers: list[Worker] = []
        self.members: dict[Worker, set[int]] = {}
        self.epoch = 0
        self.started = 0
        self.replay: Replay | None = None

    # The group

    def is_member(self, worker: Worker) -> bool:
        return worker in self.members

    def owner(self, partition: int) -> Worker | None:
        return next((worker for worker, owned in self.members.items() if partition in owned), None)

    def start(self) -> Worker:
        self.started += 1
        worker = Worker(self, f"w{self.started}")
        self.workers.append(worker)
        self.idle()
        return worker

    def rebalance(self, owners: Mapping[int, Worker], others: Sequence[Worker]) -> None:
        """A new generation of the group: owners and others are told, which ends no batch; the rest is put out."""
        self.epoch += 1
        self.members = {worker: set() for worker in [*owners.values(), *others]}
        for partition, worker in owners.items():
            self.members[worker].add(partition)
        for worker, owned in self.members.items():
            worker._app.rebalancing = True
            worker.committed.clear()
            worker.acknowledged.clear()
            worker.fetched.clear()
            worker.watch.generation = self.epoch
            self.loop.run_until_complete(worker.told(owned))
        self.idle()

    def resume(self, worker: Worker) -> None:
        """The end of a rebalance for one worker: committed offsets and table are there."""
        for partition in self.members[worker]:
            worker.fetched[partition] = self.committed[partition]
            worker.committed[TP(RAW, partition)] = self.committed[partition] or None
            worker.table.recover(partition)
        worker._app.rebalancing = False
        self.idle()

    def deliver(self, worker: Worker, sizes: Mapping[int, int]) -> None:
        """Have the worker take that many records of each partition as one batch."""
        records = []
        for partition in sorted(worker.fetched):
            start = worker.fetched[partition]
            taken = self.log[partition][start : start + sizes[partition]]
            if taken:
                worker.batch_ends[partition] = worker.fetched[partition] = start + len(taken)
            records += taken
        if records:
            note(f"  {worker} takes {', '.join(f'{one.partition}@{one.offset}' for one in records)}")
            worker.epochs["batch"] = worker.watch.generation
            worker.batch = self.loop.create_task(worker.project(records))
            self.idle()

    def commit(self, worker: Worker, *, answered: bool = True) -> None:
        """Kafka takes offsets of members only, and Faust commits forwards only."""
        if worker not in self.members:
            return
        for partition, offset in worker.acknowledged.items():
            tp = TP(RAW, partition)
            known = worker.committed.get(tp)
            if partition in self.members[worker] and (known is None or offset > known):
                note(f"  {worker} commits {partition}@{offset}")
                self.committed[partition] = offset
                if answered:
                    worker.committed[tp] = offset

    # Calls and deaths

    def idle(self) -> None:
        """Let everybody run until all wait for a call's fate."""
        while self.loop._ready:  # type: ignore[attr-defined]
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        for worker in self.workers:
            worker.calls = [(lane, call) for lane, call in worker.calls if not call.answer.done()]
            self._reap(worker)

    def _reap(self, worker: Worker) -> None:
        if not worker.alive:
            return
        if worker.seams.done():
            worker.seams.result()
            raise AssertionError("the seams are no longer looked after")
        if worker.batch is None or not worker.batch.done():
            return
        fault = worker.batch.exception()
        if fault is None:
            note(f"  {worker} acknowledges {worker.batch_ends}")
            worker.acknowledged.update(worker.batch_ends)
            worker.batch, worker.batch_ends = None, {}
            return
        if not isinstance(fault, BaseExceptionGroup) or fault.split(Crash)[1] is not None:
            raise fault
        note(f"  {worker} is fenced, and leaves")
        self.die(worker)

    def die(self, worker: Worker) -> None:
        worker.alive = False
        self.members.pop(worker, None)
        self.workers.remove(worker)
        tasks = [task for task in asyncio.all_tasks(self.loop) if task is worker.seams or task is worker.batch]
        for task in tasks:
            task.cancel()
        for _, call in worker.calls:
            call.answer.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.idle()

    def let(self, worker: Worker, lane: str, call: Call, fate: Fate) -> None:
        """The call's fate."""
        note(f"  {worker} {lane}: {call.what}{' (late)' if call.happened else ''}: {fate}")
        if not call.happened and fate not in {"unavailable", "crash_before"}:
            call.happened = True
            sent = len(self.sent)
            for effect in call.effects[: len(call.effects) // 2 if fate in HALF_WAY else None]:
                effect()
            self._check_sent(self.sent[sent:])
        if fate in CRASHES:
            self.die(worker)
        elif fate in {"unavailable", "lost_half_way", "lost_answer"}:
            call.answer.set_exception(waiting.Unavailable("a fake", fate))
        elif fate == "none":
            call.answer.set_result(None)
        self.idle()

    def _check_sent(self, sent: Sequence[Owed]) -> None:
        """What the stream says, the read model has had: some generation of it, at least."""
        for envelope, _ in sent:
            document = self.histories[envelope.subject].document(envelope.sequence + 1)
            if envelope.subject not in self.weak and document is not None:
                there = self.collection.highest.get(envelope.subject, -1)
                assert there >= document.source.offset, f"{envelope.subject}@{envelope.sequence} is sent, not stored"

    # The table

    def doubt(self, key: tuple[int, str], value: bytes | None) -> None:
        """The changelog gets an entry that may be older than the one that it has."""
        entry = None if value is None else decode_known(value)
        if entry is not None and value != self.changelog.get(key):
            note(f"  {key[1]} is weak from now on")
            self.weak.add(key[1])

    # What must hold

    def check_documents(self) -> None:
        for name, stored in self.collection.stored.items():
            if name not in self.weak:
                document = from_stored(stored)
                assert document == self.histories[name].document(document.source.offset + 1), name

    def check_effects(self) -> None:
        """Everything that was committed is done, and everything that is said to be applied is there."""
        followed = self.followed()
        applied = self.collection.applied_offsets.get(self.collection.generation)
        for name, history in self.histories.items():
            if name in self.weak:
                continue
            partition = self.partition[name]
            committed = self.committed[partition]
            owed = history.owed(committed)
            if owed is not None:
                assert name in followed, f"{name} is committed without its event"
                assert followed[name][0].sequence >= owed[0].sequence, f"{name} is committed without its event"
            document = history.document(committed)
            if document is not None:
                there = self.collection.highest.get(name, -1)
                assert there >= document.source.offset, f"{name} is committed without its document"
            self._check_applied(name, committed if applied is None else applied.get(partition, 0))

    def _check_applied(self, name: str, below: int) -> None:
        document = self.histories[name].document(below)
        stored = self.collection.stored.get(name)
        if document is None or (stored is None and isinstance(document, Marker) and name in self.expired):
            return
        said = f"{name} is not in {self.collection.generation}, where all below {below} is said to be"
        assert stored is not None, said
        assert stored["source"]["offset"] >= document.source.offset, said

    def followed(self) -> dict[str, Owed]:
        return FakeVideoEvents(self.sent).by_highest_sequence()

    def check_all(self) -> None:
        """All is consumed, and every seam closed."""
        followed = self.followed()
        for name, history in self.histories.items():
            expected, owed = history.document(), history.owed()
            found = from_stored(self.collection.stored[name]) if name in self.collection.stored else None
            event = followed.get(name)
            if isinstance(expected, Marker) and name in self.expired and found is None:
                found = expected
            if name in self.weak:
                _check_weak(found, expected, event)
            else:
                assert found == expected, name
                if name in self.expired and event is not None and owed is not None and event[1] is None:
                    # What it had is forgotten with the marker.
                    assert (event[0].type, event[0].sequence, None) == (owed[0].type, owed[0].sequence, owed[1]), name
                else:
                    assert event == owed, name


def _check_weak(found: Document | None, expected: Document | None, event: Owed | None) -> None:
    assert isinstance(found, VideoDocument) == isinstance(expected, VideoDocument)
    if isinstance(found, VideoDocument) and isinstance(expected, VideoDocument):
        assert (found.video.queries, found.first_seen_ms) == (expected.video.queries, expected.first_seen_ms)
        assert event is not None
        assert event[1] is not None
    elif expected is not None:
        assert event is not None
        assert event[1] is None


Action = tuple[str, dict[str, Any]]


def often(times: int, name: str, **arguments: st.SearchStrategy[Any]) -> list[st.SearchStrategy[Action]]:
    """A method of the machine with what it is called with, as so many of the choices."""
    return [st.tuples(st.just(name), st.fixed_dictionaries(arguments)) for _ in range(times)]


ACTIONS: Final = st.one_of(
    *often(2, "produce", said=st.lists(SAID, min_size=1, max_size=3)),
    *often(
        12,
        "batch",
        which=NUMBERS,
        said=st.lists(SAID, max_size=2),
        sizes=st.tuples(SIZES, SIZES),
        part=st.integers(0, 1),
        well=st.integers(0, 9),
        meanwhile=MEANWHILE,
        fate=FATES,
    ),
    *often(4, "work", which=NUMBERS, size=st.integers(1, 4), commits=FLAGS, looks=FLAGS),
    *often(3, "seams", which=NUMBERS, well=st.integers(0, 7), meanwhile=MEANWHILE, fate=FATES),
    *often(1, "commit", which=NUMBERS, answered=FLAGS),
    *often(2, "rebalance", first=NUMBERS, second=NUMBERS, others_told=FLAGS, waits=FLAGS, at_once=FLAGS),
    *often(1, "resume"),
    *often(1, "deliver_again", partition=st.sampled_from(PARTITIONS), records=st.integers(1, 6)),
    *often(1, "table", what=st.sampled_from(["wipe", "remember", "go back"]), which=NUMBERS),
    *often(4, "replay", steps=st.integers(1, 5), size=st.integers(1, 5), anew=st.integers(0, 3)),
    *often(1, "markers_expire"),
    *often(1, "settle", zombies_first=FLAGS),
)


class Pipeline(RuleBasedStateMachine):
    """One rule, so that no run leaves out what the others need; numbers choose among what there is at that moment."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.confirmations = 0

    @initialize(two=FLAGS, said=st.lists(SAID, min_size=2, max_size=8))
    def begin(self, two: bool, said: list[Said]) -> None:
        self.produce(said)
        first = self.world.start()
        second = self.world.start() if two else first
        self.world.rebalance({0: first, 1: second}, [])
        for worker in self.world.members:
            self.world.resume(worker)

    @rule(action=ACTIONS)
    def then(self, action: Action) -> None:
        name, arguments = action
        getattr(self, name)(**arguments)

    def produce(self, said: list[Said]) -> None:
        for one in said:
            self._append(one)

    def _append(self, said: Said) -> None:
        name = video_id(said.video)
        log = self.world.log[self.world.partition[name]]
        one = said.as_record(len(log))
        log.append(one)
        self.world.raw.append(one)
        self.world.histories[name].take(one)

    # Workers

    def _busy(self, which: int) -> Worker:
        """One that has a batch in flight or can take one; if nobody owns a partition, the group sees to that first."""
        if any(self.world.owner(partition) is None for partition in PARTITIONS):
            self._rebalance({0: which, 1: which // 2}, others_told=True)
            self.resume()
        there = [one for one in self.world.workers if one.batch or (one.fetched and not one._app.rebalancing)]
        return there[which % len(there)] if there else self.world.workers[0]

    def batch(
        self,
        *,
        which: int,
        said: list[Said],
        sizes: tuple[int, int],
        part: int,
        well: int,
        meanwhile: str,
        fate: Fate,
    ) -> None:
        """Some calls of the batch in flight, or of a new one, go well, then one may not; there it stays."""
        worker = self._busy(which)
        self.produce(said)
        self._take(worker, dict(zip(PARTITIONS, sizes, strict=True)))
        self._let_some(worker, "batch", part, ["none"] * well)
        self._meanwhile(worker, meanwhile)
        self._let_some(worker, "batch", part, [fate])

    def seams(self, which: int, well: int, meanwhile: str, fate: Fate) -> None:
        """The same for the worker's look after its seams; nothing more happens where there is nothing to close."""
        worker = self._busy(which)
        self._let_some(worker, "seams", 0, ["none"] * well)
        self._meanwhile(worker, meanwhile)
        self._let_some(worker, "seams", 0, [fate])

    def _let_some(self, worker: Worker, lane: str, part: int, fates: Sequence[Fate]) -> None:
        for turn, fate in enumerate(fates):
            calls = [call for its, call in worker.calls if its == lane]
            if not calls or (lane == "seams" and turn and not worker.closes_a_seam):
                return
            self.world.let(worker, lane, calls[part % len(calls)], fate)

    def _meanwhile(self, worker: Worker, what: str) -> None:
        if what == "swap" and self.world.replay is not None:
            self._say_what_is_applied(self.world.replay)
            self._swap(self.world.replay)
            self._replay_step(1)
        if what == "others go on" and worker.alive:
            other = next((one for one in self.world.workers if one is not worker and one.batch is None), None)
            self.world.rebalance(dict.fromkeys(PARTITIONS, other or self.world.start()), [])
            self.resume()
            (other,) = self.world.members
            self._take(other, dict.fromkeys(PARTITIONS, 2))
            self._finish_batch(other)
            self.world.commit(other)

    def work(self, which: int, size: int, commits: bool, looks: bool) -> None:
        """The batch in flight ends well, or another; offsets may be committed, and seams looked after."""
        worker = self._busy(which)
        self._take(worker, dict.fromkeys(PARTITIONS, size))
        self._finish_batch(worker)
        if commits:
            self.world.commit(worker)
        if looks and worker.alive:
            self._finish_seams(worker)

    def commit(self, which: int, answered: bool) -> None:
        self.world.commit(self._busy(which), answered=answered)

    def _take(self, worker: Worker, sizes: Mapping[int, int]) -> None:
        if worker.alive and worker.batch is None and not worker._app.rebalancing:
            self.world.deliver(worker, sizes)

    def _finish_batch(self, worker: Worker) -> None:
        for _ in range(MAX_ROUNDS):
            if not worker.alive or worker.batch is None:
                return
            lane, call = next((one for one in worker.calls if one[0] == "batch"), worker.calls[0])
            self.world.let(worker, lane, call, "none")
        raise AssertionError(f"{worker} does not come to an end with its batch")

    def _finish_seams(self, worker: Worker) -> None:
        """One whole look."""
        for _ in range(MAX_ROUNDS):
            calls = [call for lane, call in worker.calls if lane == "seams"]
            if not calls:
                return  # it waits for the turn of a partition whose batch is in flight
            self.world.let(worker, "seams", calls[0], "none")
            if not worker.closes_a_seam:
                return
        raise AssertionError(f"{worker} does not come to an end with its seams")

    def rebalance(self, first: int, second: int, others_told: bool, waits: bool, at_once: bool) -> None:
        """Whoever is not told is put out, and is a zombie.

        Faust lets a batch end before it answers the group, and then who has one in flight is put out. That is not
        relied on: otherwise they are told like anybody else.
        """
        self._rebalance({0: first, 1: second}, others_told=others_told, waits=waits)
        if at_once:
            self.resume()

    def _rebalance(self, choice: Mapping[int, int], *, others_told: bool, waits: bool = True) -> None:
        world = self.world
        fit = [worker for worker in world.workers if worker.batch is None or not waits]
        if not fit or (len(world.workers) < MAX_WORKERS and max(choice.values()) >= len(fit)):
            fit.append(world.start())
        owners = {partition: fit[number % len(fit)] for partition, number in choice.items()}
        note(f"  owners: {owners}")
        world.rebalance(owners, [worker for worker in fit if worker not in owners.values()] if others_told else [])

    def resume(self) -> None:
        for worker in self.world.members:
            if worker._app.rebalancing:
                self.world.resume(worker)

    def deliver_again(self, partition: int, records: int) -> None:
        """Somebody sets the committed offset back; the next owner starts there."""
        committed, floor = self.world.committed, self.world.floor
        committed[partition] = max(committed[partition] - records, min(floor[partition], committed[partition]))

    # The table

    def table(self, what: str, which: int) -> None:
        """The changelog is deleted, or becomes what it was; the store of the present owner stays as it is."""
        world = self.world
        if what == "remember":
            world.changelogs.append(dict(world.changelog))
            return
        earlier = world.changelogs[which % len(world.changelogs)] if what == "go back" and world.changelogs else {}
        for key, value in earlier.items():
            world.doubt(key, value)
        world.changelog.clear()
        world.changelog.update(earlier)

    # The replay

    def replay(self, steps: int, size: int, anew: int) -> None:
        """The next steps of the replay; or of a new one, which drops the other's shadow and so ends it."""
        if anew == 0:
            self.world.replay = None
        for _ in range(steps):
            self._replay_step(size)

    def _replay_step(self, size: int) -> None:
        """Load, follow once, say what is applied, swap."""
        world, replay = self.world, self.world.replay
        if replay is None:
            replay = world.replay = Replay(world.collection)
            self._replay_reads(replay, size)
        elif not replay.followed:
            self._replay_reads(replay, size)
            replay.followed = True
        elif replay.generation not in world.collection.applied_offsets:
            self._say_what_is_applied(replay)
        else:
            self._swap(replay)

    def _say_what_is_applied(self, replay: Replay) -> None:
        self.world.collection.applied_offsets[replay.generation] = dict(replay.applied)

    def _swap(self, replay: Replay) -> None:
        note(f"  {replay.generation} is read from now on, {replay.applied} applied")
        self.world.collection.swap(replay.stored, replay.generation)
        self.world.replay = None

    def _replay_reads(self, replay: Replay, size: int) -> None:
        """Up to the committed offsets, in batches of a size."""
        for partition, end in self.world.committed.items():
            while (start := replay.applied[partition]) < end:
                replay.applied[partition] = min(start + size, end)
                replay.take(self.world.log[partition][start : replay.applied[partition]])
            note(f"  the replay has {partition} up to {replay.applied[partition]}")

    # Markers

    def markers_expire(self) -> None:
        world = self.world
        in_flight = {partition for worker in world.workers for partition in worker.batch_ends}
        if any(worker.closes_a_seam for worker in world.workers):
            return
        applied = world.collection.applied_offsets.get(world.collection.generation)
        for name, stored in list(world.collection.stored.items()):
            partition, offset = world.partition[name], stored["source"]["offset"]
            done = min(
                world.committed[partition], world.committed[partition] if applied is None else applied.get(partition, 0)
            )
            if "removed_at" in stored and offset < done and partition not in in_flight:
                note(f"  the marker of {name}@{offset} expires")
                del world.collection.stored[name]
                world.expired.add(name)
                world.floor[partition] = max(world.floor[partition], offset + 1)

    # What must hold

    def settle(self, zombies_first: bool) -> None:
        """Everything pending goes well until nothing is left to do."""
        self._settle(zombies_first=zombies_first)

    def _settle(self, *, zombies_first: bool) -> None:
        world = self.world
        for name in sorted(world.weak):
            self._confirm(name)
        late = [worker for worker in world.workers if not world.is_member(worker)]
        for worker in [one for one in world.workers if zombies_first or one not in late]:
            self._finish_batch(worker)
        self._consume_all()
        for worker in late:
            self._finish_batch(worker)
        for _ in range(service.SEAM_TURNS_TO_NOTE + 1):
            for worker in list(world.workers):
                self._finish_seams(worker)
        world.check_all()

    def _consume_all(self) -> None:
        world = self.world
        if any(world.owner(partition) is None for partition in PARTITIONS):
            self._rebalance({0: 0, 1: 1}, others_told=False)
        self.resume()
        for _ in range(MAX_ROUNDS):
            for worker in list(world.members):
                self._take(worker, dict.fromkeys(PARTITIONS, 3))
                self._finish_batch(worker)
                world.commit(worker)
            if all(world.committed[one] == len(world.log[one]) for one in PARTITIONS):
                return
            if all(worker.fetched[one] == len(world.log[one]) for worker, its in world.members.items() for one in its):
                # An offset was set back after the owner had started, or its commit would not be one forwards.
                self._rebalance({0: 0, 1: 1}, others_told=False)
                self.resume()
        raise AssertionError("the workers do not come to an end")

    def _confirm(self, name: str) -> None:
        """The refresh of a video, long after all that was said of it."""
        document = self.world.histories[name].document()
        if isinstance(document, VideoDocument):
            self.confirmations += 1
            number = next(number for number in VIDEOS if video_id(number) == name)
            said = Said(
                number,
                min(ITEM_MAKERS),
                after_ms=self.confirmations * 3 * CONFIRM_AFTER_MS,
                queries=tuple(document.video.queries),
                seen_before_ms=NOW_MS - document.first_seen_ms,
            )
            self._append(said)

    @invariant()
    def holds(self) -> None:
        self.world.check_documents()
        self.world.check_effects()

    def teardown(self) -> None:
        try:
            self._settle(zombies_first=True)
        finally:
            for worker in list(self.world.workers):
                self.world.die(worker)
            self.world.loop.run_until_complete(self.world.loop.shutdown_asyncgens())
            self.world.loop.close()


def _leave(code: int) -> None:
    assert code == service.FAILED
    raise Crash


class _Silent:
    """No log lines: there would be millions."""

    def info(self, *_: object, **__: object) -> None: ...

    warning = error = info


@pytest.fixture(autouse=True)
def _by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    patch(monkeypatch)


def patch(monkeypatch: pytest.MonkeyPatch) -> None:
    """No delays, no log lines, and no exit of the process."""
    monkeypatch.setattr(service, "_leave", _leave)
    monkeypatch.setattr(service, "SEAM_SECONDS", 0)
    monkeypatch.setattr(service, "SEAM_TURNS_TO_NOTE", 2)
    monkeypatch.setattr(waiting, "FIRST_DELAY_SECONDS", 0)
    for module in (projection, seam, service, waiting):
        monkeypatch.setattr(module, "log", _Silent())


def test_whatever_happens_the_read_model_and_the_stream_are_what_the_log_says() -> None:
    run_state_machine_as_test(
        Pipeline,
        settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, suppress_health_check=list(HealthCheck)),
    )


def test_a_batch_that_outlives_its_assignment_leaves_no_position_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seam would be closed only up to there, though another owner went further in the old generation."""
    monkeypatch.setitem(globals(), "note", print)
    machine = Pipeline()
    world = machine.world
    machine.begin(two=True, said=[Said(VIDEOS[0], events.SEARCH)])
    first, second = world.workers
    machine.work(which=0, size=1, commits=True, looks=True)
    machine.replay(steps=2, size=1, anew=1)
    machine.produce([Said(VIDEOS[0], events.SEARCH)])
    world.deliver(first, {0: 1, 1: 0})
    machine._rebalance({0: 1, 1: 1}, others_told=True, waits=False)
    machine.resume()
    machine.produce([Said(VIDEOS[0], events.SEARCH, title="B")])
    machine.work(which=1, size=2, commits=True, looks=False)
    assert (second.acknowledged, first.batch is None) == ({0: 3}, False)
    machine._rebalance({0: 0, 1: 1}, others_told=True, waits=False)
    machine.resume()

    machine.work(which=0, size=1, commits=False, looks=False)
    machine.replay(steps=2, size=1, anew=1)
    assert world.replay is None
    machine.teardown()


def test_nothing_is_said_to_be_applied_of_a_partition_whose_batch_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "note", print)
    machine = Pipeline()
    machine.begin(two=False, said=[Said(VIDEOS[0], events.SEARCH)])
    (worker,) = machine.world.workers
    machine.work(which=0, size=1, commits=True, looks=True)
    machine.replay(steps=4, size=1, anew=1)
    machine.work(which=0, size=1, commits=False, looks=True)
    generation = machine.world.collection.generation
    assert machine.world.collection.applied_offsets[generation] == {0: 1, 1: 0}
    machine.produce([Said(VIDEOS[0], events.SEARCH, title="B")])
    machine.world.deliver(worker, {0: 1, 1: 1})

    for _ in range(2 * service.SEAM_TURNS_TO_NOTE):
        machine._finish_seams(worker)
    machine.holds()
    assert machine.world.collection.applied_offsets[generation] == {0: 1, 1: 0}

    machine.teardown()
    assert machine.world.collection.applied_offsets[generation] == {0: 2, 1: 0}
