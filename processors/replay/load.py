"""One process of a replay's load: reads its partitions as fast as it can, and tells how far it is.

Started by the replay as `python -m processors.replay.load`: the task comes as one line of JSON on standard input
(it holds the connection string, so it is no argument), progress goes out as lines of JSON, and the end of standard
input is the end of the replay that asked, and so of this process.
"""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
import uvloop
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from contract.topics import RAW, VIDEOS
from ops.garbage import collect_seldom
from ops.kafka_client import running_consumer
from ops.kafka_connection import KafkaConnection
from ops.logging import configure_logging
from ops.partitioner import partitioner
from ops.record_reader import tolerate_header_names
from processors.raw_log import to_record
from processors.read_model_writer import MongoDocuments, mongo_client
from processors.replay.applying import Loader, RawLoader, VideosLoader
from processors.replay.extent import Extent
from processors.replay.run_state import Source
from processors.waiting import Patience, Unavailable

_CHUNK: Final = 4_000
_POLL_MS: Final = 500
_TELL_SECONDS: Final = 0.2


class LoadTask(msgspec.Struct, frozen=True, kw_only=True):
    """What one process loads; `rate` in records a second, None for as fast as it goes."""

    kafka: KafkaConnection
    mongodb_uri: str
    database: str
    shadow: str
    source: Source
    partitions: int
    extents: list[Extent]
    rate: float | None
    buffer_bytes: int
    log_format: Literal["auto", "json", "console"]


class Loaded(msgspec.Struct, frozen=True):
    """How far a process is: per partition the offset below which all is in the shadow, records read, growth.

    `failed_tries`: calls that were not answered; what such a call wrote is in nobody's growth.
    """

    offsets: dict[int, int]
    records: int
    grown: int
    waiting_for: list[str]
    failed_tries: int


async def load(task: LoadTask, tell: Any) -> None:
    """Load all extents of the task; `tell` takes a `Loaded` now and then, and at the end."""
    patience = Patience()
    async with mongo_client(task.mongodb_uri) as client:
        shadow = MongoDocuments(client, task.database, task.shadow)
        loaders = {one.partition: _loader(task, shadow, one.start, patience) for one in task.extents}
        ends = {one.partition: one.end for one in task.extents}
        teller = _Teller(loaders, patience, tell)
        while any(loader.safe_offset < ends[partition] for partition, loader in loaders.items()):
            await patience.until_available(lambda: _read(task, loaders, ends, teller))
            for loader in loaders.values():
                await loader.finish()
        teller.tell()


def _loader(task: LoadTask, shadow: MongoDocuments, start: int, patience: Patience) -> Loader[Any]:
    share = task.buffer_bytes // len(task.extents)
    if task.source == "videos":
        return VideosLoader(shadow, start, share, patience)
    return RawLoader(shadow, start, share, patience, partitioner(task.partitions))


class _Teller:
    """Counts what was read, keeps to the rate, and tells now and then."""

    def __init__(self, loaders: Mapping[int, Loader[Any]], patience: Patience, tell: Any) -> None:
        self._loaders = loaders
        self._patience = patience
        self._tell = tell
        self._told_at = 0.0
        self._began_at = time.monotonic()
        self.records = 0

    def tell(self) -> None:
        self._told_at = time.monotonic()
        self._tell(
            Loaded(
                {partition: loader.safe_offset for partition, loader in self._loaders.items()},
                self.records,
                sum(loader.grown for loader in self._loaders.values()),
                sorted(self._patience.waiting_for),
                self._patience.failed_tries,
            )
        )

    def tell_now_and_then(self) -> None:
        if time.monotonic() - self._told_at > _TELL_SECONDS:
            self.tell()

    async def keep_to(self, rate: float | None) -> None:
        if rate is not None:
            await asyncio.sleep(max(0.0, self._began_at + self.records / rate - time.monotonic()))


async def _read(task: LoadTask, loaders: Mapping[int, Loader[Any]], ends: Mapping[int, int], teller: _Teller) -> None:
    """Read every partition from where its loader stands to its end.

    Raises:
        Unavailable: Kafka is away; the loaders stand where they got to.
    """
    tolerate_header_names()
    topic = VIDEOS if task.source == "videos" else RAW
    options = {"auto_offset_reset": "earliest", "max_partition_fetch_bytes": 2 << 20}
    try:
        async with running_consumer(task.kafka, **options) as consumer:
            reading = {TopicPartition(topic, one) for one, loader in loaders.items() if loader.position < ends[one]}
            consumer.assign(list(reading))
            for place in reading:
                consumer.seek(place, loaders[place.partition].position)
            chunk = _CHUNK if task.rate is None else max(1, min(_CHUNK, int(task.rate / 4)))
            while reading:
                found = await consumer.getmany(*reading, timeout_ms=_POLL_MS, max_records=chunk)
                for place, records in found.items():
                    end = ends[place.partition]
                    wanted = [to_record(one) for one in records if one.offset < end]
                    teller.records += len(wanted)
                    await loaders[place.partition].take(wanted, await consumer.position(place))
                    teller.tell_now_and_then()
                    await teller.keep_to(task.rate)
                for place in list(reading):
                    if await consumer.position(place) >= ends[place.partition]:
                        reading.discard(place)
    except (KafkaError, OSError) as error:
        raise Unavailable("Kafka", repr(error)) from error


async def _main() -> None:
    loop = asyncio.get_running_loop()
    line = await loop.run_in_executor(None, sys.stdin.buffer.readline)
    task = msgspec.json.decode(line, type=LoadTask)
    configure_logging("warning", task.log_format, service="replay", secrets=(task.mongodb_uri,))
    loop.run_in_executor(None, _end_with_parent)
    collect_seldom()
    await load(task, _print)
    os._exit(0)  # a thread still waits for the parent's end


def _print(loaded: Loaded) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(loaded) + b"\n")
    sys.stdout.buffer.flush()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    uvloop.run(_main())
