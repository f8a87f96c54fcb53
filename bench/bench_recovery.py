"""Seconds until a processor writes again, with a table of a million keys: empty disk, kept volume, SIGTERM, SIGKILL.

The table's changelog is written directly, in the table's format, so no documents are needed. Each round, under a
slow stream of new videos: a start without the volume (the table is read back from the changelog); then SIGTERM and a
start with the volume as soon as the process has ended; then SIGKILL and a start at once. "Writes again" is the first
document in MongoDB of a video published after the start (or the signal) in *every* partition. Beside it: a plain
consumer that reads the same changelog, which nobody can be faster than from an empty disk.
"""

import argparse
import asyncio
import multiprocessing
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition
from pymongo import MongoClient

from bench.figures import ratios, spread
from bench.peak_memory import watching_memory
from bench.servers import PARTITIONS, bench_folder, create_topics, new_servers, running, service_settings
from bench.topic_filling import partition_of, video_id
from bench.video_stream import VideoStream
from contract.read_model import VIDEOS
from contract.topics import CHANGELOG
from processors.dedup import KnownVideo, encode_known
from processors.document import Register
from tests.raw_items import NOW_MS
from yousync.local.kafka import KafkaServer
from yousync.local.mongod import MongodServer
from yousync.local.server import free_port, last_line
from yousync.local.service_process import ServiceProcess

DATABASE: Final = "yousync"
ASK_SECONDS: Final = 0.02
BACK_SECONDS: Final = 600
CALM_SECONDS: Final = 3.0
"""How long a worker runs before it is stopped: past the interval in which it commits offsets."""

ENTRY: Final = encode_known(
    KnownVideo(
        {"search": Register("0" * 24, NOW_MS), "videos": Register("1" * 24, NOW_MS)},
        ["python", "tea"],
        NOW_MS,
        NOW_MS,
        "00000000-0000-0000-0000-000000000000",
    )
)

Figures = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000, help="entries of the table (default 1000000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all four (default 3)")
    options = parser.parse_args()
    figures: Figures = {}
    with bench_folder() as folder:
        kafka, mongod = new_servers(folder)
        with running(kafka, mongod):
            create_topics(kafka)
            fill_changelog(kafka.address, options.keys)
            for number in range(options.rounds):
                figures.setdefault("plain", []).append(asyncio.run(read_changelog(kafka.address, options.keys)))
                measure_round(folder / f"round-{number}", kafka, mongod, figures)
    report(figures, options)


def fill_changelog(bootstrap: str, keys: int) -> None:
    """The table's entries of the videos 0 to `keys`, each in its partition."""
    workers = os.cpu_count() or 1
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.starmap(_write_entries, [(bootstrap, range(number, keys, workers)) for number in range(workers)])


def _write_entries(bootstrap: str, numbers: Sequence[int]) -> None:
    asyncio.run(_send_entries(bootstrap, numbers))


async def _send_entries(bootstrap: str, numbers: Sequence[int]) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, compression_type="zstd", max_batch_size=256 << 10, linger_ms=10
    )
    await producer.start()
    try:
        for number in numbers:
            key = video_id(number).encode()
            await producer.send(CHANGELOG, ENTRY, key=key, partition=partition_of(key))
        await producer.flush()
    finally:
        await producer.stop()


async def read_changelog(bootstrap: str, keys: int) -> float:
    """Seconds that a plain consumer takes for the whole changelog."""
    began = time.monotonic()
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(CHANGELOG, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        assert sum(ends.values()) >= keys
        while [one for one in partitions if await consumer.position(one) < ends[one]]:
            await consumer.getmany(timeout_ms=500)
        return time.monotonic() - began
    finally:
        await consumer.stop()


def measure_round(folder: Path, kafka: KafkaServer, mongod: MongodServer, figures: Figures) -> None:
    """The three restarts, one after the other, under the stream."""
    port, home = free_port(), folder / "home"
    settings = service_settings(kafka, mongod, home) | {"YOUSYNC_ADMIN_PORT": str(port)}
    worker = ServiceProcess("processor", folder / "processor.log", port, settings)
    with VideoStream(kafka.address).flowing() as stream, MongoClient[dict[str, Any]](mongod.uri) as client:
        videos = client[DATABASE][VIDEOS]

        def writes_again(since: float, what: str) -> None:
            figures.setdefault(what, []).append(wait_for_writes(worker, videos, stream, since))
            used = psutil.Process(worker.pid).cpu_times()
            figures.setdefault(f"CPU, {what}", []).append(used.user + used.system)

        try:
            began = time.monotonic()
            worker.launch()
            assert worker.pid is not None
            with watching_memory([worker.pid]) as peak:
                writes_again(began, "empty disk")
            figures.setdefault("peak", []).append(peak.mib)
            figures.setdefault("volume", []).append(folder_mib(home))
            time.sleep(CALM_SECONDS)
            signalled = time.monotonic()
            worker.stop()
            started = time.monotonic()
            figures.setdefault("stop", []).append(started - signalled)
            worker.launch()
            writes_again(started, "kept volume")
            figures.setdefault("SIGTERM", []).append(figures["stop"][-1] + figures["kept volume"][-1])
            time.sleep(CALM_SECONDS)
            killed = time.monotonic()
            worker.kill()
            worker.launch()
            writes_again(killed, "SIGKILL")
        finally:
            worker.stop()
    shutil.rmtree(home)


def wait_for_writes(worker: ServiceProcess, videos: Any, stream: VideoStream, since: float) -> float:
    """Seconds from `since` until every partition has a document of a video published after it."""
    missing = set(range(PARTITIONS))
    while missing:
        for partition in tuple(missing):
            video = stream.first_after(partition, since)
            if video is not None and videos.find_one({"_id": video}, {"_id": 1}):
                missing.discard(partition)
        if worker.pid is None or time.monotonic() > since + BACK_SECONDS:
            raise SystemExit(f"the processor does not write: {last_line(worker.log_file)}")
        time.sleep(ASK_SECONDS)
    return time.monotonic() - since


def folder_mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / (1 << 20)


def report(figures: Figures, options: argparse.Namespace) -> None:
    print(
        f"Recovery: {options.keys:,} keys in the table, {PARTITIONS} partitions, one worker, {options.rounds} rounds, "
        f"{os.cpu_count()} cores shared with Kafka and MongoDB; seconds until every partition is written again"
    )
    for what, name, aim in (
        ("empty disk", "start with an empty disk", ""),
        ("plain", "(plain consumer reads the changelog)", ""),
        ("kept volume", "start with the volume kept", ""),
        ("SIGTERM", "SIGTERM, then a start", " (aim 5)"),
        ("stop", "(of it, until the process had ended)", ""),
        ("SIGKILL", "SIGKILL, then a start", " (aim 15)"),
    ):
        used = f", processor time {spread(figures[f'CPU, {what}'], '.1f')} s" if f"CPU, {what}" in figures else ""
        print(f"  {name:<38} {spread(figures[what], '.1f')} s{aim}{used}")
    over_plain = spread(ratios(figures["empty disk"], figures["plain"]), ".1f")
    print(f"  {'ratio of empty disk to plain consumer':<38} {over_plain}")
    print(f"  {'peak memory while reading back':<38} {spread(figures['peak'], ',.0f')} MiB")
    print(f"  {'volume':<38} {spread(figures['volume'], ',.0f')} MiB")


if __name__ == "__main__":
    main()
