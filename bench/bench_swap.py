"""How long readers wait around the swap of a replay, and how long until the workers have closed the seam.

`yousync api` and one processor run on a filled store under a live stream of new videos, and `yousync replay --execute`
swaps the store several times. Readers ask for the first page and for a deep one at a steady pace, each at its moment,
whatever became of those before. The rename is seen as a new UUID of the collection, asked for every few milliseconds.
Reads that touch the second before or after a rename are compared with those before the first replay. The seam is
closed when everything that was published before the rename can be read from the new collection. A read failed if its
answer is an error, late by seconds, short or out of order.
"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import msgspec
import uvloop
from pymongo import MongoClient

from bench.bench_replay import child, read_lines
from bench.figures import percentile, spread
from bench.servers import bench_folder, create_topics, new_servers, running, service_settings
from bench.topic_filling import fill_topics
from bench.video_stream import VideoStream
from contract.read_model import VIDEOS
from contract.topics import RAW
from yousync.local.kafka import KafkaServer
from yousync.local.mongod import MongodServer
from yousync.local.server import free_ports
from yousync.local.service_process import ServiceProcess

DATABASE: Final = "yousync"
LIMIT: Final = 10
READ_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.005
AROUND_SECONDS: Final = 1.0
SEAM_SECONDS: Final = 3.0
"""Videos published so long before a rename are looked for after it."""

CLOSED_SECONDS: Final = 60.0
QUIET_SECONDS: Final = 10.0
FILL_SECONDS: Final = 900.0


class Read(NamedTuple):
    """One read: when it began, how long it took, in seconds, and what was wrong with it."""

    at: float
    seconds: float
    fault: str | None


class Swap(NamedTuple):
    """One rename: when it was seen, the seam's videos, and how long until all of them could be read."""

    at: float
    videos: int
    closed_seconds: float


class ListedVideo(msgspec.Struct):
    id: str
    published_at: str


class Listing(msgspec.Struct):
    items: list[ListedVideo]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=20_000, help="videos in the store (default 20000)")
    parser.add_argument("--swaps", type=int, default=10, help="replays, one after the other (default 10)")
    parser.add_argument("--rate", type=float, default=50, help="reads a second, half of them deep (default 50)")
    options = parser.parse_args()
    with bench_folder() as folder:
        kafka, mongod = new_servers(folder)
        api_port, *admin_ports = free_ports(3)
        settings = service_settings(kafka, mongod, folder / "home") | {"YOUSYNC_API_PORT": str(api_port)}
        with running(kafka, mongod):
            create_topics(kafka)
            fill_topics(kafka.address, 2 * options.videos, (RAW,))
            services = [
                ServiceProcess(name, folder / f"{name}.log", port, {**settings, "YOUSYNC_ADMIN_PORT": str(port)})
                for name, port in zip(("processor", "api"), admin_ports, strict=True)
            ]
            with running(*services), MongoClient[dict[str, Any]](mongod.uri) as client:
                wait_for_documents(client, options.videos)
                measure(folder, kafka, mongod, api_port, options)


def measure(folder: Path, kafka: KafkaServer, mongod: MongodServer, api_port: int, options: argparse.Namespace) -> None:
    with (
        VideoStream(kafka.address).flowing() as stream,
        Readers(api_port, options).reading() as readers,
        SwapWatch(mongod.uri, stream).watching() as watch,
    ):
        time.sleep(QUIET_SECONDS)
        replaying_from = time.monotonic()
        for number in range(options.swaps):
            command = [sys.executable, "-m", "yousync.cli", "replay", "--execute", "--json"]
            log = folder / f"replay-{number}.log"
            with child(command, log, service_settings(kafka, mongod, folder / "home")) as process:
                read_lines(process, log)
        time.sleep(AROUND_SECONDS)
        replaying_to = time.monotonic()
        swaps = watch.swaps(options.swaps)
        reads = readers.stop()
    report(reads, swaps, (replaying_from, replaying_to), options)


def wait_for_documents(client: MongoClient[dict[str, Any]], wanted: int) -> None:
    """Until the processor has the whole topic in the store, every video with both of its items."""
    deadline = time.monotonic() + FILL_SECONDS
    complete = {"registers.videos": {"$exists": True}}
    while (found := client[DATABASE][VIDEOS].count_documents(complete)) < wanted:
        if time.monotonic() > deadline:
            raise SystemExit(f"the processor stored {found} of {wanted} videos")
        time.sleep(1)


class SwapWatch:
    """Sees each rename, and how long the seam after it stays open."""

    def __init__(self, mongodb_uri: str, stream: VideoStream) -> None:
        self._uri = mongodb_uri
        self._stream = stream
        self._swaps: list[Swap] = []
        self._stopping = threading.Event()
        self._fault: BaseException | None = None

    @contextmanager
    def watching(self) -> Iterator["SwapWatch"]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            thread.join()

    def swaps(self, wanted: int) -> list[Swap]:
        """All of them, as soon as so many seams are closed."""
        deadline = time.monotonic() + CLOSED_SECONDS
        while len(self._swaps) < wanted:
            if self._fault is not None or time.monotonic() > deadline:
                raise SystemExit(f"{len(self._swaps)} of {wanted} swaps seen: {self._fault!r}")
            time.sleep(0.1)
        return self._swaps

    def _run(self) -> None:
        try:
            with MongoClient[dict[str, Any]](self._uri) as client:
                generation = find_generation(client)
                while not self._stopping.wait(LOOK_SECONDS):
                    found, now = find_generation(client), time.monotonic()
                    if found != generation:
                        generation = found
                        self._swaps.append(self._follow_seam(client, now))
        except BaseException as error:  # noqa: BLE001  # told to whoever waits
            self._fault = error

    def _follow_seam(self, client: MongoClient[dict[str, Any]], at: float) -> Swap:
        published = self._stream.published_between(at - SEAM_SECONDS, at)
        missing = set(published)
        while missing:
            there = client[DATABASE][VIDEOS].find({"_id": {"$in": list(missing)}}, {"_id": 1})
            missing -= {one["_id"] for one in there}
            if time.monotonic() > at + CLOSED_SECONDS:
                raise RuntimeError(f"{len(missing)} videos are not there {CLOSED_SECONDS:.0f} s after a rename")
            time.sleep(LOOK_SECONDS)
        return Swap(at, len(published), time.monotonic() - at)


def find_generation(client: MongoClient[dict[str, Any]]) -> bytes | None:
    return next((one["info"]["uuid"] for one in client[DATABASE].list_collections(filter={"name": VIDEOS})), None)


class Readers:
    """A process that asks for pages at a steady pace; what it saw comes back when it is stopped."""

    def __init__(self, api_port: int, options: argparse.Namespace) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._ours, theirs = spawn.Pipe()
        deep = options.videos // 2 // LIMIT
        self._process = spawn.Process(target=read_pages, args=(theirs, api_port, options.rate, deep))

    @contextmanager
    def reading(self) -> Iterator["Readers"]:
        self._process.start()
        try:
            self._ours.recv()  # it reads
            yield self
        finally:
            self._process.terminate()
            self._process.join()

    def stop(self) -> list[Read]:
        self._ours.send("stop")
        return [Read(*one) for one in self._ours.recv()]


def read_pages(pipe: Connection, api_port: int, rate: float, deep_page: int) -> None:
    """Until something comes over the pipe; the reads go back the same way."""
    urls = [f"http://127.0.0.1:{api_port}/v1/videos?page={page}&limit={LIMIT}" for page in (1, deep_page)]
    pipe.send([tuple(read) for read in uvloop.run(read_steadily(pipe, urls, rate))])


async def read_steadily(pipe: Connection, urls: Sequence[str], rate: float) -> list[Read]:
    """A read at each tick, each page in turn, whether or not the reads before have ended: a stall delays them all."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), stopping.set)
    began, reads = time.monotonic(), list[asyncio.Task[Read]]()
    timeout = aiohttp.ClientTimeout(READ_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(read_page(session, url, began) for url in urls))
        pipe.send("reading")
        began = time.monotonic()
        while not stopping.is_set():
            tick = began + len(reads) / rate
            await asyncio.sleep(tick - time.monotonic())
            reads.append(asyncio.create_task(read_page(session, urls[len(reads) % len(urls)], tick)))
        return await asyncio.gather(*reads)


async def read_page(session: aiohttp.ClientSession, url: str, tick: float) -> Read:
    try:
        async with session.get(url) as answer:
            body = await answer.read()
        fault = fault_of(body) if answer.status == 200 else f"status {answer.status}: {body[:200]!r}"
    except (aiohttp.ClientError, TimeoutError) as error:
        fault = repr(error)
    return Read(tick, time.monotonic() - tick, fault)


def fault_of(body: bytes) -> str | None:
    """What is wrong with a page in the midst of many videos."""
    items = msgspec.json.decode(body, type=Listing).items
    order = [(item.published_at, item.id) for item in items]
    if len(items) != LIMIT:
        return f"{len(items)} items"
    return None if order == sorted(set(order), reverse=True) else "out of order"


def report(
    reads: Sequence[Read],
    swaps: Sequence[Swap],
    replaying: tuple[float, float],
    options: argparse.Namespace,
) -> None:
    quiet = [read for read in reads if read.at + read.seconds < replaying[0]]
    during = [read for read in reads if replaying[0] <= read.at <= replaying[1]]
    around = [
        read
        for read in reads
        if any(read.at - AROUND_SECONDS < swap.at < read.at + read.seconds + AROUND_SECONDS for swap in swaps)
    ]
    print(
        f"Swap: {options.swaps} replays of {options.videos:,} videos under a live stream, "
        f"{options.rate:g} reads a second, half of them deep, {os.cpu_count()} cores shared by all"
    )
    for name, some in (
        ("before the first replay", quiet),
        ("while replays run", during),
        ("within 1 s of a rename", around),
    ):
        figures = ", ".join(
            f"p{percent:g} {percentile([read.seconds * 1000 for read in some], percent):,.1f}"
            for percent in (50, 99, 99.9, 100)
        )
        print(f"  {name:<24} {figures.replace('p100', 'max')} ms (n={len(some):,})")
    faults = [read.fault for read in reads if read.fault]
    print(f"  reads that failed        {len(faults)} of {len(reads):,} (aim 0) {faults[:3] if faults else ''}")
    closed = spread([swap.closed_seconds for swap in swaps], ".2f")
    print(f"  seam closed after        {closed} s (aim below 2; p99.9 of reads around a rename: aim below 50 ms)")


if __name__ == "__main__":
    main()
