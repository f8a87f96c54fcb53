"""`yousync purge`: have videos removed that were not refreshed for too long, by the producer or in its place.

YouTube's policy lets its data be kept for 30 days; a producer that could not refresh for so long must let it go.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import typer
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from contract.producer_state import VIDEO_PREFIX, PurgeRequest, video_key
from contract.settings import Settings
from contract.times import format_millis
from contract.topics import RAW, topic_specs
from ops.clock import now_ms
from ops.kafka_connection import kafka_connection
from ops.kafka_topics import require_topics
from ops.metrics import ProducerMetrics
from producer.kafka_writer import KafkaWriter
from producer.keeper import Keeper
from producer.leadership import Deposed, Leadership
from producer.publisher import Publisher
from producer.purging import Purging, victims
from producer.recall import recall
from producer.state import ProducerState
from yousync.producer_log import producer_log, purge_entry

_LOOK_SECONDS: Final = 0.5
_REMIND_SECONDS: Final = 10.0

Done = Callable[[int], None]
"""Told how many videos are removed by now."""


def purge_of(older_than_ms: int, now_ms: int) -> PurgeRequest:
    """The request to remove what was not refreshed for so long."""
    return PurgeRequest(format_millis(now_ms), not_fetched_since=format_millis(now_ms - older_than_ms))


async def count_videos(settings: Settings, request: PurgeRequest) -> int:
    """How many videos the request is about now.

    Raises:
        KafkaError: Kafka does not answer.
        TopicsError: the raw topic or the state's cannot be used.
    """
    specs = [spec for spec in topic_specs(settings.topic_partitions) if spec.name == RAW]
    kafka = kafka_connection(settings)
    await require_topics(kafka, specs)
    async with producer_log(kafka) as log:
        return sum(1 for _ in victims(request, log.state(VIDEO_PREFIX).videos, ()))


async def carry_out(settings: Settings, request: PurgeRequest, done: Done) -> None:
    """Write the request, and return when it was carried out: by the producer, or if none runs by this process.

    Raises:
        KafkaError: Kafka does not answer.
        TopicsError: the state's topic cannot be used.
    """
    async with producer_log(kafka_connection(settings)) as log:
        keys = [video_key(video_id) for video_id in victims(request, log.state(VIDEO_PREFIX).videos, ())]
        key, value = purge_entry(request)
        await log.append([(key, value)])

        async def is_pending() -> bool:
            await asyncio.sleep(_LOOK_SECONDS)
            await log.read()
            done(sum(not log.has(each) for each in keys))
            return log.has(key)

        while await is_pending():
            if not await log.has_producer():
                await _stand_in(settings, is_pending)


async def _stand_in(settings: Settings, is_pending: Callable[[], Awaitable[bool]]) -> None:
    """Be a producer that only purges, until that is done; if a real one was faster, until it has done it."""
    connection = kafka_connection(settings)
    writer = KafkaWriter(connection)
    try:
        async with Leadership(connection, writer, settings.session_timeout_seconds) as leadership:
            purging = asyncio.create_task(_purge(leadership, writer))
            try:
                while await is_pending() and not purging.done():
                    continue
            finally:
                purging.cancel()
                await asyncio.wait([purging])
            with suppress(asyncio.CancelledError, Deposed):
                purging.result()
    finally:
        await writer.close()


async def _purge(leadership: Leadership, writer: KafkaWriter) -> None:
    term = await leadership.lead()
    metrics = ProducerMetrics(CollectorRegistry())
    state = ProducerState(term, term.values)
    known = recall(state)
    keeper = Keeper(
        publisher=Publisher(writer, metrics), state=state, known=known, lease=term, metrics=metrics, now_ms=now_ms
    )
    purging = Purging(state, keeper, known)
    while state.purges:
        await term.hold()
        await purging.step()


@contextmanager
def progress(total: int) -> Iterator[Done]:
    """Shows how far it is, on standard error: a bar on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(total).tell
        return
    with Progress(
        TextColumn("removing videos"), BarColumn(), MofNCompleteColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda removed: bar.update(task, completed=removed)


class _Lines:
    def __init__(self, total: int) -> None:
        self._total: Final = total
        self._told_at = time.monotonic()

    def tell(self, removed: int) -> None:
        if time.monotonic() - self._told_at >= _REMIND_SECONDS:
            self._told_at = time.monotonic()
            typer.echo(f"{removed:,} of {self._total:,} videos removed", err=True)
