"""The producer as a process: start in order, tick until told to stop, stop between two calls.

Start: settings first (a fault ends it before anything runs), then the admin server, so that operators see why it is
not ready, then Kafka, the topics and the state, and only then the first call. Stop: the call under way may finish and
its items be published; the watermark moves with a finished pass only, so nothing is half done.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Final, TypeVar

import uvloop
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry

from contract.producer_state import SEARCH_BUCKET, UNITS_BUCKET
from contract.settings import Settings, SettingsError, require_for_polling
from contract.topics import PRODUCER_STATE, RAW, topic_specs
from ops.admin_server import admin_server
from ops.health import Health
from ops.kafka_topics import require_topics, wait_for_kafka
from ops.logging import get_logger
from ops.metrics import ProducerMetrics, process_registry
from ops.stop_signal import stop_signal
from producer.error_policy import InvalidCredentials
from producer.kafka_writer import KafkaWriter
from producer.poller import Poller
from producer.publisher import Publisher
from producer.quota import QuotaLedger
from producer.state import KafkaStateLog, ProducerState
from producer.ticks import ticks
from producer.youtube_client import YouTubeClient

_T = TypeVar("_T")

STOP_SECONDS: Final = 5.0
"""How long the call under way may take to finish once the process is told to stop."""

_PAUSE_SECONDS: Final = 1.0

_log = get_logger(__name__)


def run(settings: Settings) -> None:
    """Poll until SIGTERM or SIGINT.

    Raises:
        SettingsError: key or queries are missing, YouTube refuses the key, or the admin port cannot be had.
        ops.kafka_topics.TopicsError: a topic is missing or has the wrong number of partitions.
    """
    queries = require_for_polling(settings)
    uvloop.run(_serve(settings, queries))


async def _serve(settings: Settings, queries: Sequence[str]) -> None:
    stopping = stop_signal()
    producer = _Producer(settings, queries, stopping)
    running = asyncio.create_task(producer.run())
    told = asyncio.create_task(stopping.wait())
    await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    await asyncio.wait({running}, timeout=STOP_SECONDS if producer.is_ready else 0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    _log.info("stopped")


class _Producer:
    """Puts the parts together, in the order that the module's docstring gives reasons for."""

    def __init__(self, settings: Settings, queries: Sequence[str], stopping: asyncio.Event) -> None:
        self._settings: Final = settings
        self._queries: Final = queries
        self._stopping: Final = stopping
        self.is_ready = False

    async def run(self) -> None:
        registry = process_registry()
        async with AsyncExitStack() as stack:
            await self._start_admin_server(stack, registry)
            await self._until_kafka_allows(self._check_topics)
            writer = KafkaWriter(self._settings.kafka_bootstrap_servers)
            stack.push_async_callback(writer.close)
            state = await self._read_state(writer)
            poller = self._poller(state, writer, ProducerMetrics(registry))
            self.is_ready = True
            _log.info("following", queries=list(self._queries), poll_seconds=self._settings.poll_seconds)
            try:
                async for elapsed_seconds in ticks(self._settings.poll_seconds, self._stopping):
                    await poller.tick(elapsed_seconds)
            except InvalidCredentials as error:
                raise SettingsError(f"YOUTUBE_API_KEY: YouTube refuses it: {error}") from None

    async def _start_admin_server(self, stack: AsyncExitStack, registry: CollectorRegistry) -> None:
        health = Health()
        health.add_readiness("state", self._state_fault)
        host = self._settings.admin_host
        port = await stack.enter_async_context(admin_server(health, registry, host, self._settings.admin_port))
        _log.info("listening", host=host, port=port)

    async def _state_fault(self) -> str | None:
        return None if self.is_ready else "the producer's state has not been read yet"

    async def _check_topics(self) -> None:
        specs = topic_specs(self._settings.topic_partitions)
        await require_topics(
            self._settings.kafka_bootstrap_servers, [spec for spec in specs if spec.name in {RAW, PRODUCER_STATE}]
        )

    async def _read_state(self, writer: KafkaWriter) -> ProducerState:
        log = KafkaStateLog(self._settings.kafka_bootstrap_servers, writer)
        state = ProducerState(log, await self._until_kafka_allows(log.read))
        for query in self._queries:
            await state.follow(query, _now_ms())
        return state

    def _poller(self, state: ProducerState, writer: KafkaWriter, metrics: ProducerMetrics) -> Poller:
        settings = self._settings
        key = settings.youtube_api_key
        limits = {SEARCH_BUCKET: settings.search_calls_per_day, UNITS_BUCKET: settings.units_per_day}
        return Poller(
            queries=self._queries,
            overlap_seconds=settings.overlap_seconds,
            backfill_seconds=settings.backfill_seconds,
            client=YouTubeClient(
                key.get_secret_value() if key else "", settings.youtube_api_endpoint, settings.youtube_timeout_seconds
            ),
            publisher=Publisher(writer, metrics),
            state=state,
            ledger=QuotaLedger(limits, state),
            metrics=metrics,
            now_ms=_now_ms,
            stopping=self._stopping.is_set,
        )

    async def _until_kafka_allows(self, action: Callable[[], Awaitable[_T]]) -> _T:
        """Do something at start that needs the brokers, again and again while they are away."""
        while True:
            await wait_for_kafka(self._settings.kafka_bootstrap_servers)
            try:
                return await action()
            except (KafkaError, OSError) as error:
                _log.warning("Kafka answered and went away again", error=repr(error))
                await asyncio.sleep(_PAUSE_SECONDS)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
