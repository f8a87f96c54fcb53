"""The order of a replay's steps, and the one place that takes them.

    shadow ─► load ─► indexes ─► follow ─► verify ─► announce ─► follow ─► count ─► say what is applied ─► swap
           ─► announce again ─► tidy up

Readers read the old collection until the swap, the workers go on all the time, and after it each of them closes the
seam of its partitions (see `processors.seam`). Killed at any moment, a replay can be resumed or begun again: nothing
of it is seen before the swap, which is one step, and after it only the second announcement and the tidying are left.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from heapq import heappush, heappushpop
from typing import Any, Final, TypeVar
from uuid import uuid4

import msgspec

from contract.read_model import PROJECTION_VERSION, VIDEOS
from contract.settings import Settings
from contract.topics import topic_specs
from ops.kafka_connection import kafka_connection
from ops.kafka_topics import require_topics
from ops.logging import get_logger
from ops.partitioner import partitioner
from processors.kafka_output import KafkaVideoEvents, kafka_output
from processors.raw_log import KafkaRawLog
from processors.read_model_writer import mongo_client
from processors.replay.announcement import announce
from processors.replay.applying import apply_over, by_key
from processors.replay.comparison import DIFFERENCES, Oldest, Row, Verdict, compare
from processors.replay.extent import Extent, eaten, raw_extents, shares
from processors.replay.group import Group, live_group
from processors.replay.load import Loaded, LoadTask
from processors.replay.run_state import Run, Source, resume_fault
from processors.replay.store import BEAT_SECONDS, CollectionRows, ReplayRefused, ReplayStore
from processors.waiting import Patience

log = get_logger(__name__)
T = TypeVar("T")

CLOSE_SECONDS: Final = 1.0
"""The tail is close when a round over all that the group had acknowledged took no longer than that."""

BUFFER_BYTES: Final = 64 << 20
"""Raw bytes that all processes of a load hold back together."""

SHOWN: Final = 20
_DIFFER: Final[Mapping[Verdict, str]] = {
    "differs": "come out otherwise from the same records",
    "gone": "are removed in the topic",
    "unknown": "do not come from the topic",
}
NEWEST: Final = 1_000
_LINE_BYTES: Final = 16 << 20
_CHUNK: Final = 1_000
_SAY_EVERY: Final = 10_000
_CHUNKS_IN_FLIGHT: Final = 3
_NEVER_MS: Final = 2**62
_SAVE_SECONDS: Final = 1.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for; `rate` in raw records a second over all processes."""

    resume: bool = False
    source: Source = "raw"
    rate: float | None = None
    carry_over: bool = False
    accept_differences: bool = False


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a phase is: `done` of `total` (None: not known), in records or videos; `note` for people."""

    phase: str
    done: int = 0
    total: int | None = None
    note: str | None = None


class Plan(msgspec.Struct, frozen=True):
    """What a replay would do. `eaten_records`: raw records that retention removed. `only_in_store`: living videos whose
    last record is among them. `members`: projection version of each live worker, None for one that does not say.
    """

    source: Source
    extents: list[Extent]
    records: int
    eaten_records: int
    only_in_store: int
    live_documents: int
    live_bytes: int
    live_version: int | None
    version: int
    members: list[int | None]
    unfinished: Run | None
    faults: list[str]


class Result(msgspec.Struct, frozen=True):
    """What a replay came to."""

    records: int
    videos: int
    verdicts: dict[Verdict, int]
    seconds: float
    phases: dict[str, float]


Tell = Callable[[Progress], None]


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[tuple[ReplayStore, Group]]:
    kafka = kafka_connection(settings)
    await require_topics(kafka, topic_specs(settings.topic_partitions))
    async with (
        mongo_client(settings.mongodb_uri.get_secret_value()) as client,
        live_group(kafka, settings.topic_partitions) as group,
    ):
        yield ReplayStore(client, settings.mongodb_database), group


async def make_plan(settings: Settings, options: Options) -> Plan:
    """What a replay would do now; nothing is changed.

    Raises:
        Unavailable: Kafka or MongoDB is away.
        ops.kafka_topics.TopicsError: topics are missing.
    """
    async with _connected(settings) as (store, group):
        raw = await group.raw_ends()
        extents = await _extents(group, options.source)
        members = await group.versions()
        documents, size = await store.sizes(VIDEOS)
        run = await store.find_run()
        return Plan(
            source=options.source,
            extents=extents,
            records=sum(one.records for one in extents),
            eaten_records=eaten(raw.begins),
            only_in_store=await store.count_below(raw.begins),
            live_documents=documents,
            live_bytes=size,
            live_version=await store.projection_version(),
            version=PROJECTION_VERSION,
            members=members,
            unfinished=run if run and run.unfinished else None,
            faults=[fault for fault in [_version_fault(members)] if fault],
        )


async def _extents(group: Group, source: Source) -> list[Extent]:
    if source == "videos":
        found = await group.video_ends()
        return [Extent(partition, begin, found.ends[partition]) for partition, begin in sorted(found.begins.items())]
    raw = await group.raw_ends()
    return raw_extents(raw.begins, raw.ends, await group.committed(), group_is_empty=not await group.versions())


def _version_fault(members: list[int | None]) -> str | None:
    others = [version for version in members if version != PROJECTION_VERSION]
    if not others:
        return None
    return (
        f"{len(others)} of {len(members)} running processors have another projection version than this command, which "
        f"has {PROJECTION_VERSION}: upgrade them first"
    )


async def execute(settings: Settings, options: Options, tell: Tell) -> Result:
    """Rebuild the read model and swap it in.

    Raises:
        ReplayRefused: it may not begin, or what it built may not be swapped in; readers saw nothing of it.
        Unavailable: Kafka or MongoDB was away at the start; later they are waited for.
        ops.kafka_topics.TopicsError: topics are missing.
    """
    async with _connected(settings) as (store, group), kafka_output(kafka_connection(settings)) as output:
        events = KafkaVideoEvents(output)
        replay = _Replay(settings=settings, options=options, tell=tell, store=store, group=group, output=events)
        return await replay.run()


class _Replay:
    def __init__(
        self,
        *,
        settings: Settings,
        options: Options,
        tell: Tell,
        store: ReplayStore,
        group: Group,
        output: KafkaVideoEvents,
    ) -> None:
        self._settings = settings
        self._options = options
        self._tell = tell
        self._store = store
        self._group = group
        self._output = output
        self._partition_of = partitioner(settings.topic_partitions)
        self._patience = Patience(self._say_waiting)
        self._attempt = uuid4().hex[:12]
        self._raw_log = KafkaRawLog(kafka_connection(settings))
        self._run: Run
        self._offsets: dict[int, int] = {}
        self._living = 0
        self._records = 0
        self._verdicts: dict[Verdict, int] = {}
        self._phases: dict[str, float] = {}
        self._saved_at = 0.0
        self._failed_tries = 0

    async def run(self) -> Result:
        """All steps, while a beat says that this process has the run."""
        began = time.monotonic()
        self._check_versions(await self._group.versions())
        await self._begin()
        steps = asyncio.create_task(self._steps())
        beats = asyncio.create_task(self._beats())
        try:
            await asyncio.wait({steps, beats}, return_when=asyncio.FIRST_COMPLETED)
            if not steps.done():
                await beats
            videos = await steps
        finally:
            for task in (steps, beats):
                task.cancel()
            await asyncio.gather(steps, beats, return_exceptions=True)
            with suppress(Exception):
                await self._store.leave(self._attempt)
        return Result(self._records, videos, self._verdicts, round(time.monotonic() - began, 3), self._phases)

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self._patience.until_available(lambda: self._store.beat(self._attempt))

    async def _steps(self) -> int:
        if self._run.phase != "swapping" or not await self._is_swapped():
            await self._timed("load", self._load)
            await self._timed("indexes", self._create_indexes)
            await self._timed("follow", self._follow)
            await self._timed("verify", self._verify)
            await self._timed("follow_again", self._follow)
            await self._count()
            await self._timed("swap", self._swap)
        await self._timed("announce_again", self._announce_again)
        await self._until(self._store.forget_old_generations)
        # Its own alone: a run that was paused here may find the shadow of the one that took over.
        await self._until(lambda: self._store.forget_announced(self._run))
        await self._save(phase="done")
        return await self._until(lambda: self._store.count_living(VIDEOS))

    async def _begin(self) -> None:
        """The run is this attempt's, and its shadow is there: a new one, or that of the run that is resumed."""
        found = await self._store.find_run()
        if not self._options.resume:
            run = await self._store.take(self._attempt, found, _nothing(self._options.source))
            await self._store.drop_shadows()
            fields = await self._store.new_shadow(self._attempt, self._options.source)
        else:
            swapped = found is not None and await self._store.live_generation() == found.generation
            is_there = found is not None and await self._store.shadow_generation(found) == found.generation
            fault = resume_fault(found, self._options.source, shadow_is_there=is_there, swapped=swapped)
            if fault or found is None:
                raise ReplayRefused(f"There is nothing to resume: {fault}")
            run = await self._store.take(self._attempt, found, {})
            fields = {} if swapped else await self._store.adopt_shadow(self._attempt, found)
            await self._store.drop_shadows(but=fields.get("shadow", found.shadow))
        await self._store.save(self._attempt, fields)
        self._run = msgspec.convert({**msgspec.to_builtins(run), **fields}, Run)
        self._offsets = {int(one): offset for one, offset in self._run.offsets.items()}
        if self._options.resume and not await self._is_swapped():
            self._living = await self._store.count_living(self._run.shadow)

    async def _load(self) -> None:
        """Everything that the group had acknowledged when the replay began, in parallel, into the shadow."""
        if self._run.phase != "loading":
            return
        if not self._run.ends:
            # What the stream says of the raw topic is at least all that was acknowledged before its end was asked for.
            tail = await self._until(self._raw_extents)
            extents = await self._until(lambda: _extents(self._group, self._options.source))
            await self._save(
                ends={str(one.partition): one.end for one in extents},
                offsets={str(one.partition): one.start for one in extents},
                tail={str(one.partition): one.end for one in tail},
            )
        starts, ends = _numbered(self._run.offsets), _numbered(self._run.ends)
        self._offsets = dict(starts)  # a process that has told nothing yet stands there
        await self._load_in_processes([Extent(one, starts[one], end) for one, end in ends.items()])
        self._offsets = _numbered(self._run.tail) if self._run.source == "videos" else ends
        await self._save(phase="following", offsets=_lettered(self._offsets))

    async def _raw_extents(self) -> list[Extent]:
        return await _extents(self._group, "raw")

    async def _load_in_processes(self, extents: list[Extent]) -> None:
        parts = shares([one for one in extents if one.records], os.cpu_count() or 1)
        total = sum(one.records for one in extents)
        so_far: dict[int, Loaded] = {}
        base = self._living

        async def tell(number: int, loaded: Loaded) -> None:
            so_far[number] = loaded
            self._living = base + sum(one.grown for one in so_far.values())
            waits = sorted({part for one in so_far.values() for part in one.waiting_for})
            done = sum(one.records for one in so_far.values())
            self._say("loading", done, total, f"waiting for {', '.join(waits)}" if waits else None)
            self._failed_tries = sum(one.failed_tries for one in so_far.values())
            for one in so_far.values():
                self._offsets |= one.offsets
            await self._save_now_and_then()

        with _first_fault():
            async with asyncio.TaskGroup() as processes:
                for number, part in enumerate(parts):
                    processes.create_task(self._load_process(number, part, len(parts), tell))
        self._records += sum(one.records for one in so_far.values())

    async def _load_process(
        self, number: int, extents: list[Extent], processes: int, tell: Callable[[int, Loaded], Awaitable[None]]
    ) -> None:
        task = LoadTask(
            kafka=kafka_connection(self._settings),
            mongodb_uri=self._settings.mongodb_uri.get_secret_value(),
            database=self._settings.mongodb_database,
            shadow=self._run.shadow,
            source=self._run.source,
            partitions=self._settings.topic_partitions,
            extents=extents,
            rate=self._options.rate and self._options.rate / processes,
            buffer_bytes=BUFFER_BYTES // processes,
            log_format=self._settings.log_format,
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "processors.replay.load",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
            start_new_session=True,  # Ctrl-C is for the replay, which ends this one by closing its input
        )
        assert process.stdin is not None  # noqa: S101  # both are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            process.stdin.write(msgspec.json.encode(task) + b"\n")
            async for line in process.stdout:
                await tell(number, msgspec.json.decode(line, type=Loaded))
            if await process.wait() != 0:
                raise ReplayRefused(
                    f"a process of the load ended with {process.returncode}: see its words above, then go on with "
                    "`yousync replay --execute --resume`"
                )
        finally:
            if process.returncode is None:
                process.kill()
                await _uninterrupted(process.communicate())

    async def _create_indexes(self) -> None:
        self._say("indexing")
        await self._until(self._store.shadow(self._run).create_indexes)

    async def _follow(self) -> None:
        """The tail, never past what the group has acknowledged, until the shadow is within a second of it."""
        while True:
            began = time.monotonic()
            ends = {one.partition: one.end for one in await self._until(self._raw_extents)}
            with _first_fault():
                async with asyncio.TaskGroup() as partitions:
                    for partition, end in ends.items():
                        partitions.create_task(self._follow_partition(partition, end))
            await self._save(offsets=_lettered(self._offsets))
            self._say("following", note=f"{sum(ends.values()) - sum(self._offsets.values())} behind")
            if time.monotonic() - began < CLOSE_SECONDS:
                return

    async def _follow_partition(self, partition: int, end: int) -> None:
        start = self._offsets.get(partition, 0)
        if start >= end:
            return
        await self._until(lambda: self._apply(partition, end))

    async def _apply(self, partition: int, end: int) -> None:
        shadow = self._store.shadow(self._run)
        async with aclosing(self._raw_log.read(partition, self._offsets.get(partition, 0), end)) as chunks:
            async for records in chunks:
                keyed = by_key(records, self._partition_of)
                grown = await apply_over(shadow, keyed, self._patience)
                self._living += grown  # after the wait: other partitions count meanwhile
                self._offsets[partition] = records[-1].offset + 1
                self._records += len(records)
                if self._options.rate:
                    await asyncio.sleep(len(records) / self._options.rate)
        self._offsets[partition] = max(end, self._offsets.get(partition, 0))

    async def _verify(self) -> None:
        """Compare with what readers have, carry over what the topic no longer says, announce what readers will see.

        Raises:
            ReplayRefused: the shadow may not take the live collection's place.
        """
        await self._until(self._compare)
        await self._until(self._announce_before)

    async def _compare(self) -> None:
        await self._store.forget_announced(self._run)
        total = max(self._living, await self._store.count_living(VIDEOS))
        comparison = _Comparison(self._options, dict(self._offsets), await self._oldest())
        async with (
            aclosing(self._store.rows(VIDEOS)) as live,
            aclosing(self._store.rows(self._run.shadow)) as rebuilt,
        ):
            async for pair in _side_by_side(live, rebuilt):
                comparison.take(*pair)
                if len(comparison.carried) >= _CHUNK:
                    await self._carry_over(comparison)
                if len(comparison.announced) >= _CHUNK:
                    await self._store.note_announced(self._run, comparison.announced)
                    comparison.announced.clear()
                if comparison.compared % _SAY_EVERY == 0:
                    self._say("verifying", comparison.compared, total)
        if comparison.announced:
            await self._store.note_announced(self._run, comparison.announced)
        await self._carry_over(comparison)
        self._verdicts = comparison.counts
        self._say("verified", comparison.compared, total, comparison.summary())
        fault = comparison.fault()
        if fault:
            raise ReplayRefused(fault)
        if await self._store.newest(self._run.shadow, NEWEST) != comparison.newest():
            raise ReplayRefused("The newest pages of the rebuilt store are not its newest videos: its index is damaged")

    async def _oldest(self) -> dict[int, Oldest]:
        """Per partition the oldest record that retention has left; of a partition without any all is uncertain."""
        oldest = {}
        for partition, begin in (await self._group.raw_ends()).begins.items():
            time_ms = 0 if begin == 0 else _NEVER_MS
            async with aclosing(self._raw_log.read(partition, begin, begin + 1)) as chunks:
                async for records in chunks:
                    time_ms = records[0].timestamp_ms
            oldest[partition] = Oldest(begin, time_ms)
        return oldest

    async def _carry_over(self, comparison: "_Comparison") -> None:
        carried = await self._store.copy_from_live(self._run, comparison.carried)
        self._living += carried
        comparison.carried.clear()

    async def _announce_before(self) -> None:
        await self._announce("announcing", self._run.shadow, until_still=False)

    async def _announce_again(self) -> None:
        """What readers can see now they may have asked for when they could not: it is said once more."""
        await self._until(lambda: self._announce("announcing again", VIDEOS, until_still=True))

    async def _announce(self, phase: str, collection: str, *, until_still: bool) -> None:
        """Several chunks at a time, for each spends its time waiting; no id is in two of them."""
        documents = CollectionRows(self._store, collection)
        turns = asyncio.Semaphore(_CHUNKS_IN_FLIGHT)
        done = 0

        async def speak(noted: Mapping[str, bool]) -> None:
            nonlocal done
            try:
                await announce(noted, documents, self._output, self._patience, until_still=until_still)
            finally:
                turns.release()
            done += len(noted)
            self._say(phase, done)

        with _first_fault():
            async with aclosing(self._store.announced(self._run)) as chunks, asyncio.TaskGroup() as speaking:
                async for noted in chunks:
                    await turns.acquire()
                    speaking.create_task(speak(noted))

    async def _count(self) -> None:
        there = await self._until(lambda: self._store.count_living(self._run.shadow))
        # What was written by a call whose answer was lost is in nobody's count.
        is_certain = not self._failed_tries and not self._patience.failed_tries
        if is_certain and there != self._living:
            raise ReplayRefused(
                f"The rebuilt store has {there:,} videos, but {self._living:,} were put into it: somebody else writes "
                "to it. Readers still have the old one; start again: yousync replay --execute"
            )

    async def _swap(self) -> None:
        self._check_versions(await self._until(self._group.versions))
        await self._save(phase="swapping", offsets=_lettered(self._offsets))
        await self._until(lambda: self._store.say_applied(self._run, self._offsets))
        await self._until(self._rename)
        log.info("swapped", generation=self._run.generation)

    async def _rename(self) -> None:
        """Also when the answer to an earlier try was lost."""
        if await self._is_swapped():
            return
        if await self._store.shadow_generation(self._run) != self._run.generation:
            await self._store.beat(self._attempt)  # that somebody took the run over says more
            raise ReplayRefused("What was built has vanished: another replay or somebody else removed it")
        await self._store.beat(self._attempt)
        await self._store.swap(self._run)

    async def _is_swapped(self) -> bool:
        return await self._until(self._store.live_generation) == self._run.generation

    def _check_versions(self, members: list[int | None]) -> None:
        fault = _version_fault(members)
        if fault:
            raise ReplayRefused(f"The replay is refused: {fault}")

    async def _save(self, **fields: Any) -> None:
        await self._until(lambda: self._store.save(self._attempt, fields))
        self._saved_at = time.monotonic()
        self._run = msgspec.convert({**msgspec.to_builtins(self._run), **fields}, Run)

    async def _save_now_and_then(self) -> None:
        if time.monotonic() - self._saved_at > _SAVE_SECONDS:
            await self._save(offsets=_lettered(self._offsets))

    async def _timed(self, phase: str, step: Callable[[], Awaitable[None]]) -> None:
        began = time.monotonic()
        await step()
        self._phases[phase] = round(time.monotonic() - began, 3)

    async def _until(self, call: Callable[[], Awaitable[T]]) -> T:
        return await self._patience.until_available(call)

    def _say(self, phase: str, done: int = 0, total: int | None = None, note: str | None = None) -> None:
        self._tell(Progress(phase, done, total, note))

    def _say_waiting(self, part: str, waits: bool) -> None:
        self._say("waiting" if waits else "going on", note=part)


class _Comparison:
    """What the rebuilt store is to the live one, over all ids."""

    def __init__(self, options: Options, applied: Mapping[int, int], oldest: Mapping[int, Oldest]) -> None:
        self._options = options
        self._applied = applied
        self._oldest = oldest
        self._shown: dict[Verdict, list[str]] = {}
        self._newest: list[str] = []
        self.counts: dict[Verdict, int] = {}
        self.compared = 0
        self.announced: dict[str, bool] = {}
        self.carried: list[str] = []

    def take(self, video_id: str, live: Row | None, rebuilt: Row | None) -> None:
        verdict = compare(live, rebuilt, self._applied, self._oldest, by_event=self._options.source == "videos")
        self.compared += 1
        self.counts[verdict] = self.counts.get(verdict, 0) + 1
        carried = verdict == "missing" and self._options.carry_over
        kept = live if carried else rebuilt
        if kept is not None and kept.sort_key is not None:
            (heappush if len(self._newest) < NEWEST else heappushpop)(self._newest, kept.sort_key)
        if verdict in {"same", "ahead"}:
            return
        shown = self._shown.setdefault(verdict, [])
        if len(shown) < SHOWN:
            shown.append(video_id)
        if carried:
            self.carried.append(video_id)
        elif rebuilt is not None:
            self.announced[video_id] = verdict == "new"

    def newest(self) -> list[str]:
        """The newest sort keys, newest first, whatever an index says."""
        return sorted(self._newest, reverse=True)

    def summary(self) -> str:
        return ", ".join(f"{count:,} {verdict}" for verdict, count in sorted(self.counts.items()))

    def fault(self) -> str | None:
        """Why the rebuilt store may not be swapped in."""
        faults = []
        missing = self.counts.get("missing", 0)
        if missing and not self._options.carry_over:
            faults.append(
                f"{missing:,} videos in the store are no longer in the topic, retention removed them "
                f"({', '.join(self._shown['missing'])}): --carry-over keeps them as they are"
            )
        for verdict in DIFFERENCES:
            if self.counts.get(verdict) and not self._options.accept_differences:
                shown = ", ".join(self._shown[verdict])
                fault = (
                    f"{self.counts[verdict]:,} videos of the store {_DIFFER[verdict]} ({shown}): the store was damaged "
                    "or changed by hand; --accept-differences takes what the topic says"
                )
                faults.append(fault)
        if not faults:
            return None
        again = "Readers still have the old store. With the option, go on by: yousync replay --execute --resume"
        return "\n".join([*faults, again])


async def _side_by_side(
    live: AsyncIterator[Row], rebuilt: AsyncIterator[Row]
) -> AsyncIterator[tuple[str, Row | None, Row | None]]:
    """Every id that is in one of the two or in both; both come by ascending id."""
    one, other = await anext(live, None), await anext(rebuilt, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.video_id < other.video_id):
            assert one is not None  # noqa: S101  # one of the two is there
            yield one.video_id, one, None
            one = await anext(live, None)
        elif one is None or other.video_id < one.video_id:
            yield other.video_id, None, other
            other = await anext(rebuilt, None)
        else:
            yield one.video_id, one, other
            one, other = await anext(live, None), await anext(rebuilt, None)


@contextmanager
def _first_fault() -> Iterator[None]:
    """What failed first, in place of the group that it comes in: whoever reads it wants one sentence."""
    try:
        yield
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _uninterrupted(ending: Coroutine[Any, Any, object]) -> None:
    """Wait for it, also when cancelled again meanwhile: a process that outlives the loop leaves a traceback."""
    task = asyncio.ensure_future(ending)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()


def _nothing(source: Source) -> dict[str, Any]:
    """A run that has no shadow yet."""
    return {
        "started_at": "",
        "phase": "done",
        "source": source,
        "shadow": "",
        "generation": "",
        "projection_version": PROJECTION_VERSION,
        "offsets": {},
        "ends": {},
        "tail": {},
    }


def _numbered(offsets: Mapping[str, int]) -> dict[int, int]:
    return {int(partition): offset for partition, offset in offsets.items()}


def _lettered(offsets: Mapping[int, int]) -> dict[str, int]:
    """MongoDB's field names are text."""
    return {str(partition): offset for partition, offset in offsets.items()}
