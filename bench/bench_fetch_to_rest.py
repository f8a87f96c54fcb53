"""Time from the fetch of an item to REST, against a plain Kafka consumer of the same records.

Raw records of new videos are written as the producer writes them, each with `ce_time` = now, through `yousync
processor` and `yousync api` with default settings. An item's time ends when `GET /v1/videos?page=1&limit=100`, asked
without a pause but a few milliseconds, shows it; the baseline's when a groupless aiokafka consumer in this process
has the same record. Both are measured for every record, so whatever else this machine does falls on both. The answer's
own time and the pause (half of both on average) are part of ours.
"""

import argparse
import asyncio
import os
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer

from bench.figures import percentile, ratios, spread
from bench.servers import bench_folder, create_topics, new_servers, running, service_settings
from contract.times import format_seconds
from contract.topics import RAW
from ops.kafka_connection import KafkaConnection
from producer.kafka_record import KafkaRecord
from producer.kafka_writer import KafkaWriter
from tests.raw_items import headers, search_item, video_id
from yousync.local.server import free_ports
from yousync.local.service_process import ServiceProcess

PAUSE_SECONDS: Final = 0.005
WARM_UP_SECONDS: Final = 3
LATE_SECONDS: Final = 10
"""How long is waited for the last records."""

PERCENTS: Final = (50, 90, 99, 100)
EXCERPT: Final = "Boil the water, warm the pot, add a spoon of leaves for each cup, and wait. " * 4


class ListedVideo(msgspec.Struct):
    id: str


class Listing(msgspec.Struct):
    items: list[ListedVideo]


class Moments:
    """When each video was fetched, was in a consumer's hands, and was first seen on the page; monotonic seconds."""

    def __init__(self) -> None:
        self.fetched: dict[str, float] = {}
        self.consumed: dict[str, float] = {}
        self.shown: dict[str, float] = {}

    def all_there(self) -> bool:
        return len(self.consumed) == len(self.shown) == len(self.fetched)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rate", type=float, default=50, help="records a second; the page shows the last 100 (default 50)"
    )
    parser.add_argument("--seconds", type=float, default=10, help="length of a round (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, without a pause between them (default 3)")
    options = parser.parse_args()
    with bench_folder() as folder:
        kafka, mongod = new_servers(folder)
        api_port, *admin_ports = free_ports(3)
        with running(kafka, mongod):
            create_topics(kafka)
            settings = service_settings(kafka, mongod, folder / "home") | {"YOUSYNC_API_PORT": str(api_port)}
            with running(*services(folder, admin_ports, settings)):
                moments = uvloop.run(observe(kafka.address, api_port, options))
    report(moments, options)


def services(folder: Path, admin_ports: Sequence[int], settings: dict[str, str]) -> list[ServiceProcess]:
    return [
        ServiceProcess(name, folder / f"{name}.log", port, {**settings, "YOUSYNC_ADMIN_PORT": str(port)})
        for name, port in zip(("processor", "api"), admin_ports, strict=True)
    ]


async def observe(bootstrap: str, api_port: int, options: argparse.Namespace) -> Moments:
    """Write all records, and note when each arrives."""
    moments = Moments()
    async with watching(consume(bootstrap, moments), ask(api_port, moments)):
        await asyncio.sleep(1)  # both watch before the first record
        await write(bootstrap, moments, options.rate, WARM_UP_SECONDS + options.seconds * options.rounds)
        for _ in range(10 * LATE_SECONDS):
            if moments.all_there():
                break
            await asyncio.sleep(0.1)
    return moments


@asynccontextmanager
async def watching(*watchers: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Watch while the block runs; the failure of a watcher ends it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(watcher) for watcher in watchers]
        yield
        for task in tasks:
            task.cancel()


async def write(bootstrap: str, moments: Moments, rate: float, seconds: float) -> None:
    """A record at each tick, sent at once; what comes while one is under way goes with the next."""
    writer, queue = KafkaWriter(KafkaConnection(bootstrap)), asyncio.Queue[KafkaRecord | None]()
    sending = asyncio.create_task(send(writer, queue))
    began = time.monotonic()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        moments.fetched[video_id(number)] = time.monotonic()
        queue.put_nowait(new_record(number))
    queue.put_nowait(None)
    await sending
    await writer.close()


async def send(writer: KafkaWriter, queue: "asyncio.Queue[KafkaRecord | None]") -> None:
    while True:
        waiting = [await queue.get()]
        while not queue.empty():
            waiting.append(queue.get_nowait())
        await writer.write([record for record in waiting if record is not None])
        if None in waiting:
            return


def new_record(number: int) -> KafkaRecord:
    """Just published, so that it is on the first page when it comes, and fetched now."""
    now_ms = time.time_ns() // 1_000_000
    item = search_item(number, title=f"Tea, part {number}", description=EXCERPT, publishedAt=format_seconds(now_ms))
    return KafkaRecord(RAW, video_id(number).encode(), orjson.dumps(item), tuple(headers(number, time_ms=now_ms)))


async def consume(bootstrap: str, moments: Moments) -> None:
    """The baseline."""
    consumer = AIOKafkaConsumer(RAW, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async for record in consumer:
            moments.consumed[record.key.decode()] = time.monotonic()
    finally:
        await consumer.stop()


async def ask(api_port: int, moments: Moments) -> None:
    """Look at the first page again and again."""
    url, listing, before = f"http://127.0.0.1:{api_port}/v1/videos?page=1&limit=100", msgspec.json.Decoder(Listing), b""
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        while True:
            async with session.get(url) as answer:
                page = await answer.read()
            now = time.monotonic()
            if page != before:
                for video in listing.decode(page).items:
                    moments.shown.setdefault(video.id, now)
                before = page
            await asyncio.sleep(PAUSE_SECONDS)


def report(moments: Moments, options: argparse.Namespace) -> None:
    skipped, in_round = round(options.rate * WARM_UP_SECONDS), round(options.rate * options.seconds)
    ids = list(moments.fetched)[skipped:]
    rounds = [ids[at : at + in_round] for at in range(0, len(ids), in_round)]
    ours = [delays_ms(moments.fetched, moments.shown, chosen) for chosen in rounds]
    plain = [delays_ms(moments.fetched, moments.consumed, chosen) for chosen in rounds]
    missing = len(ids) - sum(map(len, ours))
    print(
        f"Fetch to REST: {options.rate:g} new videos a second, {options.rounds} rounds of {options.seconds:g} s, "
        f"{os.cpu_count()} cores shared with Kafka, MongoDB and the client"
    )
    for name, delays in (("GET /v1/videos, page 1", ours), ("plain Kafka consumer", plain)):
        everything = [delay for one in delays for delay in one]
        figures = ", ".join(f"p{percent} {percentile(everything, percent):,.1f}" for percent in PERCENTS)
        print(f"  {name:<24} {figures.replace('p100', 'max')} ms (n={len(everything):,})")
    for percent in (50, 99):
        of_rounds = [[percentile(one, percent) for one in delays] for delays in (ours, plain)]
        print(f"  ratio of p{percent}, by round   {spread(ratios(*of_rounds), '.1f')}")
    print(f"  never seen on the page   {missing} (aim: none, and p99 below 500 ms)")


def delays_ms(begun: dict[str, float], ended: dict[str, float], ids: Sequence[str]) -> list[float]:
    return [(ended[video] - begun[video]) * 1000 for video in ids if video in ended]


if __name__ == "__main__":
    main()
