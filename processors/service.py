"""Starts the processor, keeps it honest while it runs, and stops it: the one place where its parts are put together.

Start: settings, admin server, Kafka and its topics, MongoDB, then Faust. Stop: Faust first (the batch in flight
ends, its offsets are committed), then what it wrote through. A batch that cannot end in time is left: its offsets
are not committed, so it will be taken again.
"""

import asyncio
import os
import sys
import time
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from itertools import count
from typing import Any, Final

import faust
import uvloop
from aiokafka.errors import KafkaError
from faust.types import TP

from contract.settings import Settings
from contract.topics import PROJECTOR_GROUP, RAW, topic_specs
from ops.admin_server import admin_server
from ops.garbage import collect_seldom
from ops.health import Health
from ops.kafka_connection import kafka_connection, refusal
from ops.kafka_lease import HeartbeatWatch
from ops.kafka_topics import enter_kafka, require_topics
from ops.logging import get_logger
from ops.metrics import ProcessorMetrics, process_registry
from ops.partitioner import partitioner
from ops.stop_signal import stop_signal
from ops.tracing import traces
from processors.agents import by_partition, register_agent
from processors.app import create_app, known_videos_table
from processors.dead_letter_limit import DeadLetterLimit
from processors.decode import Record
from processors.fencing import Fenced, GroupLease
from processors.kafka_output import KafkaDeadLetters, KafkaVideoEvents, kafka_output
from processors.known_videos import FaustKnownVideos
from processors.progress import GroupProgress, group_progress, recovery_remaining, table_sizes
from processors.projection import Projection, TopicRecreatedError
from processors.raw_log import KafkaRawLog
from processors.read_model_writer import MongoReadModel, mongo_client
from processors.waiting import Unavailable
from processors.watchdog import STALL_SECONDS, Look, Watchdog

log = get_logger(__name__)

LOOK_SECONDS: Final = 1.0
SEAM_SECONDS: Final = 0.5
"""How often a worker looks whether a replay has swapped in a new generation."""

SEAM_TURNS_TO_NOTE: Final = 20
"""After that many looks it notes how far it is, which is all that the next owner has to read again."""
FAILED: Final = 1
NOT_TO_BE_RESTARTED: Final = 2
"""Starting again would only repeat the fault, or empty the topic into the dead letters piece by piece."""

STOP_SECONDS: Final = 8.0
"""How long a stop may take before the batch in flight is left."""


def run(settings: Settings) -> None:
    """Project the raw topic until SIGTERM or SIGINT.

    Raises:
        ops.kafka_topics.TopicsError: topics are missing or have the wrong number of partitions.
    """
    with traces("processor"):
        uvloop.run(_Service(settings).run())


class _Service:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = process_registry()
        self._metrics = ProcessorMetrics(self._registry)
        self._limit = DeadLetterLimit(settings.dead_letter_max_share, settings.dead_letter_max_consecutive)
        self._watch = HeartbeatWatch(settings.session_timeout_seconds)
        self._watchdog = Watchdog(STALL_SECONDS)
        self._app: Any = create_app(settings)
        self._projection: Projection
        self._owned: set[TP] = set()
        self._positions: dict[int, int] = {}
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ready = False
        self._has_joined = False

    async def run(self) -> None:
        stopping = stop_signal()
        async with AsyncExitStack() as stack:
            port = await stack.enter_async_context(
                admin_server(self._health(), self._registry, self._settings.admin_host, self._settings.admin_port)
            )
            log.info("listening", host=self._settings.admin_host, port=port, what="admin")
            work = asyncio.create_task(self._work(stack))
            await _first_of(work, stopping)
            if stopping.is_set():
                await self._stop()
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
            else:
                await work

    def _health(self) -> Health:
        health = Health()
        health.add_liveness("watchdog", self._stall)
        health.add_readiness("watchdog", self._stall)
        health.add_readiness("processor", self._readiness_fault)
        return health

    async def _stall(self) -> str | None:
        return self._watchdog.fault(time.monotonic())

    async def _readiness_fault(self) -> str | None:
        if not self._ready:
            return "starting: waiting for Kafka or MongoDB"
        if self._app.rebalancing:
            return "the consumer group is rebalancing"
        if not self._app.consumer.assignment():
            return "no partition is assigned to this worker"
        waiting = sorted(self._projection.waiting_for)
        return f"waiting for {', '.join(waiting)}" if waiting else None

    async def _work(self, stack: AsyncExitStack) -> None:
        """Everything from the first connection to the end of the worker; returns only by an exception."""
        settings = self._settings
        kafka = kafka_connection(settings)
        await enter_kafka(kafka)
        await require_topics(kafka, topic_specs(settings.topic_partitions))
        client = await stack.enter_async_context(mongo_client(settings.mongodb_uri.get_secret_value()))
        read_model = MongoReadModel(client, settings.mongodb_database)
        await read_model.require_rights()
        await _prepared(read_model)
        output = await stack.enter_async_context(kafka_output(kafka))
        table = known_videos_table(self._app, settings.topic_partitions)
        self._projection = Projection(
            read_model=read_model,
            events=KafkaVideoEvents(output),
            dead_letters=KafkaDeadLetters(output),
            known_videos=FaustKnownVideos(table, output),
            raw_log=KafkaRawLog(kafka),
            limit=self._limit,
            metrics=self._metrics,
            partition_of=partitioner(settings.topic_partitions),
            log_end=self._log_end,
        )
        (settings.home / "processor").mkdir(parents=True, exist_ok=True)
        register_agent(self._app, self._project, self._acknowledged)
        self._app.on_partitions_assigned.connect(self._on_assigned)
        progress = await stack.enter_async_context(group_progress(kafka))
        _run_beside(stack, self._keep_looking(progress, table))
        await self._app.start()
        self._ready = True
        collect_seldom()
        log.info("projecting", topic=RAW, group=PROJECTOR_GROUP)
        _run_beside(stack, self._close_seams())
        await self._app.wait_until_stopped()
        raise self._app.crash_reason or RuntimeError("Faust stopped by itself")

    async def _on_assigned(self, _app: faust.App, assigned: set[TP], **_signal: object) -> None:
        self._watch.watch(self._app.consumer._thread._consumer._coordinator)  # noqa: SLF001  # no public way: ADR 3
        self._has_joined = True
        self._metrics.forget_partitions()
        self._positions = {}  # a new one: a batch that began before keeps the old one
        self._projection.seam.reopen()
        self._owned = {tp for tp in assigned if tp.topic == RAW}
        log.info("partitions assigned", topic=RAW, partitions=sorted(tp.partition for tp in self._owned))

    def _log_end(self, partition: int) -> int | None:
        end: int | None = self._app.consumer.highwater(TP(RAW, partition))
        return end or None

    async def _keep_looking(self, progress: GroupProgress, table: Any) -> None:
        """Keep figures and verdict true also while nothing is consumed, which is when they matter.

        A stalled worker that nobody starts again ends by itself, so that what starts dead processes does.
        """
        stalled_at: float | None = None
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            refused = None if self._has_joined else self._refusal_to_join()
            if refused is not None:
                log.error("stopping", reason=refused)
                _leave(NOT_TO_BE_RESTARTED)
            with suppress(KafkaError, TimeoutError):  # Kafka is away: the last figures stand
                await self._look(progress, table)
            now = time.monotonic()
            fault = self._watchdog.fault(now)
            self._metrics.stalled.set(fault is not None)
            if fault is None:
                stalled_at = None
            elif stalled_at is None:
                stalled_at = now
                log.error("stalled", reason=fault)
            elif now - stalled_at >= STALL_SECONDS:
                log.error("stopping", reason=fault)
                _leave(FAILED)

    def _refusal_to_join(self) -> str | None:
        """Why the brokers do not let this worker into its group: Faust would wait for ever, and say nothing."""
        thread = getattr(vars(self._app).get("_consumer"), "_thread", None)
        coordinator = getattr(getattr(thread, "_consumer", None), "_coordinator", None)
        if coordinator is None:
            return None  # Faust has not come to it yet
        # Only looked at: it belongs to the loop of Faust's thread.
        ended = coordinator._coordination_task  # noqa: SLF001  # no public way: ADR 3
        error = coordinator._pending_exception  # noqa: SLF001  # as above
        if error is None and ended.done() and not ended.cancelled():
            error = ended.exception()
        return None if error is None else refusal(error, kafka_connection(self._settings))

    async def _look(self, progress: GroupProgress, table: Any) -> None:
        owned = self._owned
        recovering = recovery_remaining(self._app)
        sizes = table_sizes(table)
        places = await progress.places({tp.partition for tp in owned})
        if owned is not self._owned:
            return
        look = Look(
            places,
            generation=self._watch.generation,
            rebalancing=self._app.rebalancing,
            recovering=recovering,
            waiting_for=tuple(self._projection.waiting_for),
            failed_tries=self._projection.failed_tries,
            seam_records=self._projection.seam.applied_records,
        )
        self._watchdog.look(look, time.monotonic())
        self._metrics.show_partitions(
            lag={partition: place.waiting for partition, place in places.items()},
            standing_seconds=self._watchdog.standing_seconds(),
            table_entries={partition: size.entries for partition, size in sizes.items()},
            table_bytes={partition: size.size_bytes for partition, size in sizes.items()},
            recovery_remaining={partition: recovering.get(partition, 0) for partition in places},
        )

    async def _close_seams(self) -> None:
        """Bring what this worker owns into the generation that readers read, also while no record comes."""
        for turn in count():
            await asyncio.sleep(SEAM_SECONDS)
            generation = await self._projection.generation()
            for tp in sorted(self._owned):
                with suppress(Fenced):  # a rebalance: the next owner closes it
                    await self._close_seam(tp, generation, note=turn % SEAM_TURNS_TO_NOTE == 0)

    async def _close_seam(self, tp: TP, generation: str, *, note: bool) -> None:
        lease = GroupLease(self._watch)
        async with self._turns[tp.partition]:
            committed = self._app.consumer._committed_offset.get(tp)  # noqa: SLF001  # no public way: ADR 3
            position = self._positions.get(tp.partition, committed)
            if position is None or tp not in self._owned or self._app.rebalancing:
                return
            await self._projection.seam.close(tp.partition, position, generation, lease)
            if note:
                await self._projection.seam.note(tp.partition, position, generation, lease)

    async def _project(self, records: Sequence[Record]) -> None:
        """Each partition's records take their steps on their own, so that one waits while another works."""
        lease, positions = GroupLease(self._watch), self._positions
        async with asyncio.TaskGroup() as partitions:
            for part in by_partition(records):
                partitions.create_task(self._project_part(part, lease, positions))

    async def _project_part(self, records: Sequence[Record], lease: GroupLease, positions: dict[int, int]) -> None:
        partition = records[0].partition
        try:
            async with self._turns[partition]:
                await self._projection.project(records, lease)
                positions[partition] = records[-1].offset + 1
        except Fenced as fenced:
            # Nothing may be said any more, no offset either: the next owner takes the batch again.
            log.error("stopped speaking", reason=str(fenced))
            _leave(FAILED)
        except TopicRecreatedError as error:
            log.error("stopping", reason=str(error))
            _leave(NOT_TO_BE_RESTARTED)

    async def _acknowledged(self) -> None:
        exceeded = self._limit.exceeded()
        if exceeded:
            await self._app.consumer.commit()
            log.error("stopping", reason=f"the dead-letter limit is reached: {exceeded}. Look at the dead letters.")
            _leave(NOT_TO_BE_RESTARTED)

    async def _stop(self) -> None:
        log.info("stopping")
        # A timer, for Faust swallows the cancellation that a timeout would send while it waits for the batch.
        deadline = asyncio.get_running_loop().call_later(STOP_SECONDS, _give_up)
        if self._ready:
            await self._app.stop()
        deadline.cancel()
        log.info("stopped")


def _run_beside(stack: AsyncExitStack, work: Coroutine[object, object, None]) -> None:
    """Run it until the stack is left; a fault in it ends the process, which would not do its duty without it."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("stopping", exc_info=task.exception())
            _leave(FAILED)

    task = asyncio.create_task(work)
    task.add_done_callback(ended)
    stack.callback(task.cancel)


def _give_up() -> None:
    log.warning("stopped with a batch unfinished: it will be taken again")
    _leave(0)


def _leave(code: int) -> None:
    """End the process at once: no offset is committed and nothing is sent on the way out."""
    sys.stderr.flush()
    os._exit(code)


async def _first_of(work: asyncio.Task[None], stopping: asyncio.Event) -> None:
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()


async def _prepared(read_model: MongoReadModel) -> None:
    """Collection and indexes are there; waits for MongoDB as long as it takes."""
    said = False
    while True:
        try:
            await read_model.prepare()
        except Unavailable as error:
            if not said:
                said = True
                log.warning("waiting", part=error.part, setting="MONGODB_URI", reason=str(error))
            await asyncio.sleep(1)
        else:
            return
