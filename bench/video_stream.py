"""A slow stream of new videos into the raw topic, which remembers when it published what."""

import asyncio
import itertools
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import orjson

from bench.servers import PARTITIONS
from contract.times import format_seconds
from contract.topics import RAW
from ops.kafka_connection import KafkaConnection
from producer.kafka_record import KafkaRecord
from producer.kafka_writer import KafkaWriter
from tests.raw_items import headers, partition_of, search_item, video_id

STREAM_EVERY_SECONDS: Final = 0.02

NUMBERS: Final = itertools.count()
"""Of the videos of all streams of this process: each is new."""


class VideoStream:
    """New videos one by one, each acknowledged before it counts as published."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._published: dict[int, list[tuple[float, str]]] = {partition: [] for partition in range(PARTITIONS)}
        self._stopping = threading.Event()
        self._fault: BaseException | None = None

    @contextmanager
    def flowing(self) -> Iterator["VideoStream"]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            thread.join()

    def first_after(self, partition: int, since: float) -> str | None:
        """The first video of the partition that was published after `since`."""
        if self._fault is not None:
            raise SystemExit(f"the stream ended: {self._fault!r}")
        published = self._published[partition]
        place = bisect_right(published, since, key=lambda one: one[0])
        return published[place][1] if place < len(published) else None

    def published_between(self, since: float, until: float) -> list[str]:
        """The videos published in this time, those acknowledged by now."""
        return [video for published in self._published.values() for at, video in published if since <= at <= until]

    def _run(self) -> None:
        try:
            asyncio.run(self._publish())
        except BaseException as error:  # noqa: BLE001  # told to whoever waits
            self._fault = error

    async def _publish(self) -> None:
        writer = KafkaWriter(KafkaConnection(self._bootstrap))
        while not self._stopping.is_set():
            number = next(NUMBERS)
            key = video_id(number).encode()
            at = time.monotonic()
            item = orjson.dumps(search_item(number, publishedAt=format_seconds(time.time_ns() // 1_000_000)))
            await writer.write([KafkaRecord(RAW, key, item, tuple(headers(number)))])
            self._published[partition_of(key)].append((at, key.decode()))
            await asyncio.sleep(STREAM_EVERY_SECONDS)
        await writer.close()
