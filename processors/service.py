"""Starts the processor, keeps it honest while it runs, and stops it: the one place where its parts are put together.

Start: settings, admin server, Kafka and its topics, MongoDB, then Faust. Stop: Faust first (the batch in flight
ends, its offsets are committed), then what it wrote through. A batch that cannot end in time is left: its offsets
are not committed, so it will be taken again.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

import faust
import uvloop
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from faust.types import TP

from contract.settings import Settings
from contract.topics import PROJECTOR_GROUP, RAW, topic_specs
from ops.admin_server import admin_server
from ops.health import Health
from ops.kafka_lease import HeartbeatWatch
from ops.kafka_topics import require_topics, wait_for_kafka
from ops.logging import get_logger
from ops.metrics import ProcessorMetrics, process_registry
from ops.stop_signal import stop_signal
from processors.agents import by_partition, register_agent
from processors.app import create_app, known_videos_table
from processors.dead_letter_limit import DeadLetterLimit
from processors.decode import Record
from processors.fencing import Fenced, GroupLease
from processors.kafka_output import KafkaDeadLetters, KafkaVideoEvents, kafka_output
from processors.known_videos import FaustKnownVideos
from processors.projection import Projection, TopicRecreatedError, Unavailable
from processors.read_model_writer import MongoReadModel, mongo_client

log = get_logger(__name__)

LAG_SECONDS: Final = 1.0
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
    uvloop.run(_Service(settings).run())


class _Service:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = process_registry()
        self._metrics = ProcessorMetrics(self._registry)
        self._limit = DeadLetterLimit(settings.dead_letter_max_share, settings.dead_letter_max_consecutive)
        self._watch = HeartbeatWatch(settings.session_timeout_seconds)
        self._app: Any = create_app(settings)
        self._projection: Projection
        self._owned: set[TP] = set()
        self._ready = False

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
        health.add_readiness("processor", self._readiness_fault)
        return health

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
        await wait_for_kafka(settings.kafka_bootstrap_servers)
        await require_topics(settings.kafka_bootstrap_servers, topic_specs(settings.topic_partitions))
        client = await stack.enter_async_context(mongo_client(settings.mongodb_uri.get_secret_value()))
        read_model = MongoReadModel(client, settings.mongodb_database)
        await _prepared(read_model)
        output = await stack.enter_async_context(kafka_output(settings.kafka_bootstrap_servers))
        table = known_videos_table(self._app, settings.topic_partitions)
        self._projection = Projection(
            read_model=read_model,
            events=KafkaVideoEvents(output),
            dead_letters=KafkaDeadLetters(output),
            known_videos=FaustKnownVideos(table, output),
            limit=self._limit,
            metrics=self._metrics,
            partition_of=lambda key: (murmur2(key) & 0x7FFFFFFF) % settings.topic_partitions,
            log_end=self._log_end,
        )
        (settings.home / "processor").mkdir(parents=True, exist_ok=True)
        register_agent(self._app, self._project, self._acknowledged)
        self._app.on_partitions_assigned.connect(self._on_assigned)
        await self._app.start()
        self._ready = True
        log.info("projecting", topic=RAW, group=PROJECTOR_GROUP)
        lag = asyncio.create_task(self._measure_lag())
        await self._app.wait_until_stopped()
        lag.cancel()
        raise self._app.crash_reason or RuntimeError("Faust stopped by itself")

    async def _on_assigned(self, _app: faust.App, assigned: set[TP], **_signal: object) -> None:
        self._watch.watch(self._app.consumer._thread._consumer._coordinator)  # noqa: SLF001  # no public way: ADR 3
        self._metrics.lag.clear()
        self._owned = {tp for tp in assigned if tp.topic == RAW}
        log.info("partitions assigned", topic=RAW, partitions=sorted(tp.partition for tp in self._owned))

    def _log_end(self, partition: int) -> int | None:
        end: int | None = self._app.consumer.highwater(TP(RAW, partition))
        return end or None

    async def _measure_lag(self) -> None:
        """Keep the lag true also while nothing is consumed, which is when it matters."""
        while True:
            await asyncio.sleep(LAG_SECONDS)
            owned = self._owned
            with suppress(KafkaError, TimeoutError):  # Kafka is away: the last figure stands
                ends = await self._app.consumer.highwaters(*owned)
                for tp in owned & self._owned:
                    committed = self._app.consumer._committed_offset.get(tp)  # noqa: SLF001  # no public way: ADR 3
                    self._metrics.lag.labels(str(tp.partition)).set(ends[tp] - (committed or 0))

    async def _project(self, records: Sequence[Record]) -> None:
        """Each partition's records take their steps on their own, so that one waits while another works."""
        lease = GroupLease(self._watch)
        async with asyncio.TaskGroup() as partitions:
            for part in by_partition(records):
                partitions.create_task(self._project_part(part, lease))

    async def _project_part(self, records: Sequence[Record], lease: GroupLease) -> None:
        try:
            await self._projection.project(records, lease)
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
