"""The producer as a process: start in order, tick until told to stop, stop between two calls.

Start: settings first (a fault ends it before anything runs), then the admin server, so that operators see why it is
not ready, then Kafka, the topics and the state, and only then the first call. Stop: the call under way may finish and
its items be published; the watermark moves with a finished pass only, so nothing is half done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Final, TypeVar

import uvloop
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry

from contract.producer_state import SEARCH_BUCKET, UNITS_BUCKET
from contract.settings import Settings, SettingsError, require_for_polling, youtube_keys
from contract.topics import PRODUCER_STATE, RAW, topic_specs
from ops.admin_server import admin_server
from ops.clock import now_ms
from ops.health import Health
from ops.kafka_connection import KafkaRefusal, kafka_connection
from ops.kafka_topics import enter_kafka, require_topics
from ops.logging import get_logger
from ops.metrics import ProducerMetrics, process_registry
from ops.stop_signal import stop_signal
from ops.tracing import traces
from producer.calls import Calls
from producer.error_policy import InvalidCredentials
from producer.following import Following
from producer.kafka_writer import KafkaWriter
from producer.leadership import Deposed, Leadership, Term
from producer.poller import Poller
from producer.publisher import Publisher
from producer.quota import QuotaLedger
from producer.state import ProducerState
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
    with traces("producer"):
        uvloop.run(_serve(settings, queries))


async def _serve(settings: Settings, queries: Sequence[str]) -> None:
    stopping = stop_signal()
    producer = _Producer(settings, queries, stopping)
    running = asyncio.create_task(producer.run())
    told = asyncio.create_task(stopping.wait())
    await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    await asyncio.wait({running}, timeout=STOP_SECONDS if producer.is_polling else 0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    _log.info("stopped")


class _Producer:
    """Puts the parts together, in the order that the module's docstring gives reasons for."""

    def __init__(self, settings: Settings, queries: Sequence[str], stopping: asyncio.Event) -> None:
        self._settings: Final = settings
        self._queries: Final = tuple(queries)
        self._stopping: Final = stopping
        self.is_ready = False
        self.is_polling = False

    async def run(self) -> None:
        registry = process_registry()
        metrics = ProducerMetrics(registry)
        async with AsyncExitStack() as stack:
            await self._start_admin_server(stack, registry)
            await self._until_kafka_allows(self._check_topics)
            connection = kafka_connection(self._settings)
            writer = KafkaWriter(connection)
            stack.push_async_callback(writer.close)
            leadership = await stack.enter_async_context(
                Leadership(connection, writer, self._settings.session_timeout_seconds)
            )
            self.is_ready = True
            try:
                while not self._stopping.is_set():
                    await self._serve_a_term(leadership, writer, metrics)
            except InvalidCredentials as error:
                raise SettingsError(f"YOUTUBE_API_KEY: YouTube refuses it: {error}") from None

    async def _serve_a_term(self, leadership: Leadership, writer: KafkaWriter, metrics: ProducerMetrics) -> None:
        """Stand by, take over, and poll until told to stop or deposed."""
        term = await leadership.lead()
        self.is_polling = True
        metrics.leader.set(1)
        metrics.epoch.set(term.epoch)
        poller = self._poller(term, writer, metrics)
        try:
            await poller.begin()
            async for elapsed_seconds in ticks(self._settings.poll_seconds, self._stopping):
                await poller.tick(elapsed_seconds)
        except Deposed as error:
            _log.warning("another producer polls now: standing by", reason=str(error), epoch=term.epoch)
        finally:
            self.is_polling = False
            metrics.leader.set(0)

    async def _start_admin_server(self, stack: AsyncExitStack, registry: CollectorRegistry) -> None:
        health = Health()
        health.add_readiness("group", self._start_fault)
        host = self._settings.admin_host
        port = await stack.enter_async_context(admin_server(health, registry, host, self._settings.admin_port))
        _log.info("listening", host=host, port=port)

    async def _start_fault(self) -> str | None:
        """A standby is as ready as a leader."""
        return None if self.is_ready else "the producer has not joined its group yet"

    async def _check_topics(self) -> None:
        specs = topic_specs(self._settings.topic_partitions)
        await require_topics(
            kafka_connection(self._settings), [spec for spec in specs if spec.name in {RAW, PRODUCER_STATE}]
        )

    def _poller(self, term: Term, writer: KafkaWriter, metrics: ProducerMetrics) -> Poller:
        settings = self._settings
        state = ProducerState(term, term.values)
        limits = {SEARCH_BUCKET: settings.search_calls_per_day, UNITS_BUCKET: settings.units_per_day}
        return Poller(
            following=Following.by(settings),
            client=YouTubeClient(
                youtube_keys(settings), settings.youtube_api_endpoint, settings.youtube_timeout_seconds
            ),
            calls=Calls(lease=term, ledger=QuotaLedger(limits, state), metrics=metrics, now_ms=now_ms),
            lease=term,
            publisher=Publisher(writer, metrics),
            state=state,
            operator_changes=term.operator_changes,
            metrics=metrics,
            now_ms=now_ms,
            stopping=self._stopping.is_set,
        )

    async def _until_kafka_allows(self, action: Callable[[], Awaitable[_T]]) -> _T:
        """Do something at start that needs the brokers, again and again while they are away."""
        while True:
            await enter_kafka(kafka_connection(self._settings))
            try:
                return await action()
            except KafkaRefusal:
                raise
            except (KafkaError, OSError) as error:
                _log.warning("Kafka answered and went away again", error=repr(error))
                await asyncio.sleep(_PAUSE_SECONDS)
