"""New videos at a steady rate, stored and announced as the processors do it: the document first, then its event.

`python -m bench.arriving_videos KAFKA URI DATABASE FIRST RATE SECONDS` prints how many a second it got to.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import uvloop
from aiokafka import AIOKafkaProducer
from pymongo import AsyncMongoClient

from bench.servers import PARTITIONS
from bench.stored_videos import videos, vocabulary
from contract.events import VideoEnvelope, video_headers
from contract.read_model import VIDEOS
from contract.topics import VIDEOS as TOPIC
from ops.partitioner import partitioner
from processors.document import VideoDocument, to_stored

EVERY_SECONDS: Final = 0.05


class Arrival:
    """Stores videos and announces them; made by `arriving`."""

    def __init__(self, producer: AIOKafkaProducer, stored: Any) -> None:
        self._producer = producer
        self._stored = stored
        self._partition_of = partitioner(PARTITIONS)

    async def of(self, arrived: Sequence[VideoDocument]) -> None:
        """Returns once all are stored and their events are acknowledged."""
        now = datetime.now(UTC)
        await self._stored.insert_many([to_stored(document, now) for document in arrived], ordered=False)
        sent = [await self._send(document) for document in arrived]
        await asyncio.gather(*sent)

    async def _send(self, document: VideoDocument) -> Awaitable[Any]:
        key = document.id.encode()
        envelope = VideoEnvelope(
            type=document.event.type,
            partition=document.source.partition,
            sequence=document.source.offset,
            subject=document.id,
            sort_key=document.sort_key,
        )
        headers = video_headers(envelope)
        sent: Awaitable[Any] = await self._producer.send(
            TOPIC, document.body, key, self._partition_of(key), headers=headers
        )
        return sent


@asynccontextmanager
async def arriving(bootstrap: str, uri: str, database: str) -> AsyncIterator[Arrival]:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        yield Arrival(producer, client[database][VIDEOS])
    finally:
        await producer.stop()
        await client.close()


async def arrive(bootstrap: str, uri: str, database: str, *, first: int, rate: int, seconds: float) -> float:
    words = vocabulary()
    async with arriving(bootstrap, uri, database) as arrival:
        began, made = time.perf_counter(), 0
        while time.perf_counter() < began + seconds:
            due = int((time.perf_counter() - began) * rate) - made
            if due:
                await arrival.of(list(videos(range(first + made, first + made + due), words)))
            made += due
            await asyncio.sleep(EVERY_SECONDS)
        return made / (time.perf_counter() - began)


if __name__ == "__main__":
    kafka, uri, database, first, rate, seconds = sys.argv[1:]
    print(uvloop.run(arrive(kafka, uri, database, first=int(first), rate=int(rate), seconds=float(seconds))))
