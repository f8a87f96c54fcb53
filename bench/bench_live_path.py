"""Messages a second through the processor into MongoDB, against a bare Faust loop with a table on the same records.

Every turn has a fresh Kafka and MongoDB and the same records in the topic; each round has a turn of every kind, in
another order. Ours is `yousync processor` as it is, decoding, table, documents, events, with Faust's own loop and with
the chunked one. The baseline is `bare_faust_loop.py`; with `--connector` also MongoDB's own sink connector on the
same topic, which writes the raw items as they are, every repeat too, and sends no events. Counted from the first to
the last message that the worker (of the connector: MongoDB) says is done. Servers and worker share this machine's
cores: read the ratios, not the rates.
"""

import argparse
import asyncio
import os
import random
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil
from pymongo import MongoClient

from bench.bare_faust_loop import GROUP, TABLE
from bench.figures import ratios, spread
from bench.mongodb_sink_connector import COLLECTION, DATABASE, MongodbSinkConnector, written
from bench.servers import PARTITIONS, bench_folder, create_topics, new_servers, running, service_settings
from contract.read_model import VIDEOS
from contract.topics import RAW, TopicSpec, changelog_config
from processors.decode import Record
from tests.history import produce
from tests.raw_items import NOW_MS, record, search_item
from yousync.local.kafka import KafkaServer
from yousync.local.mongod import MongodServer
from yousync.local.server import LocalServer, free_port, last_line
from yousync.local.service_process import ServiceProcess

STOCK: Final = "processor, stock loop"
CHUNKED: Final = "processor, chunked loop"
BARE: Final = "bare Faust loop, table"
CONNECTOR: Final = "sink connector, 4 tasks"
RATIOS: Final = ((STOCK, BARE, 0.8), (CHUNKED, BARE, 0.8), (CHUNKED, STOCK, 4), (CHUNKED, CONNECTOR, 1))

ASK_SECONDS: Final = 0.05
TURN_SECONDS: Final = 300
EXCERPT: Final = "Boil the water, warm the pot, add a spoon of leaves for each cup, and wait. " * 4


class Turn(NamedTuple):
    """What one worker did: messages a second, and microseconds of its processor time for each."""

    rate: float
    cpu_us: float


class BareFaustLoop(ServiceProcess):
    """The baseline as a process."""

    def command(self) -> list[str]:
        return [sys.executable, str(Path(__file__).with_name("bare_faust_loop.py"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=80_000, help="records in the topic (default 80000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of one turn each (default 3)")
    parser.add_argument("--connector", action="store_true", help="also MongoDB's sink connector (downloads its jars)")
    options = parser.parse_args()
    kinds = [STOCK, CHUNKED, BARE, *([CONNECTOR] if options.connector else [])]
    turns: dict[str, list[Turn]] = {kind: [] for kind in kinds}
    with bench_folder() as folder:
        for number in range(options.rounds):
            shift = number % len(kinds)
            for place, kind in enumerate(kinds[shift:] + kinds[:shift]):
                turns[kind].append(take_turn(kind, folder / f"turn-{number}-{place}", options.messages))
    report(turns, options)


def take_turn(kind: str, folder: Path, messages: int) -> Turn:
    """One worker through the whole topic, on servers of its own."""
    kafka, mongod = new_servers(folder)
    with running(kafka, mongod), MongoClient[dict[str, Any]](mongod.uri) as client:
        create_topics(kafka, TopicSpec(f"{GROUP}-{TABLE}-changelog", PARTITIONS, changelog_config()))
        asyncio.run(produce(kafka.address, make_records(messages)))
        if kind == CONNECTOR:
            connector = MongodbSinkConnector(folder / "connector", RAW, kafka, mongod)
            turn = measure(connector, lambda: written(client), messages)
            check_documents(client[DATABASE][COLLECTION], messages)
            return turn
        worker = new_worker(kind, folder, kafka, mongod)
        turn = measure(worker, lambda: count_records(worker.port), messages)
        if kind != BARE:
            check_documents(client["yousync"][VIDEOS], messages)
        return turn


def make_records(messages: int) -> list[Record]:
    """Every second one is a repeat of an id; in random order, which is the same each time."""
    numbers = [number // 2 for number in range(messages)]
    random.Random(messages).shuffle(numbers)
    return [
        record(number, 0, search_item(number, title=f"Tea, part {number}", description=EXCERPT), time_ms=NOW_MS + at)
        for at, number in enumerate(numbers)
    ]


def new_worker(kind: str, folder: Path, kafka: KafkaServer, mongod: MongodServer) -> ServiceProcess:
    port = free_port()
    settings = service_settings(kafka, mongod, folder / "home") | {"YOUSYNC_ADMIN_PORT": str(port)}
    if kind == BARE:
        return BareFaustLoop("bare loop", folder / "worker.log", port, settings)
    loop = {"YOUSYNC_PROCESSOR_LOOP": "stock" if kind == STOCK else "chunked"}
    return ServiceProcess("processor", folder / "worker.log", port, settings | loop)


def measure(worker: LocalServer, done: Callable[[], int], messages: int) -> Turn:
    """One worker through the whole topic; `done` says how many messages it has done."""
    deadline = time.monotonic() + TURN_SECONDS
    worker.prepare()
    worker.launch()
    try:
        first, began_at, began_cpu = wait_for_count(worker, done, 1, deadline)
        last, ended_at, ended_cpu = wait_for_count(worker, done, messages, deadline)
    finally:
        worker.stop()
    counted = last - first
    return Turn(counted / (ended_at - began_at), (ended_cpu - began_cpu) / counted * 1e6)


def wait_for_count(
    worker: LocalServer, done: Callable[[], int], wanted: int, deadline: float
) -> tuple[int, float, float]:
    """Messages done, the moment, and the worker's processor time, as soon as `wanted` messages are done."""
    while True:
        count, now = done(), time.monotonic()
        if worker.pid is None or now > deadline:
            raise SystemExit(f"{count} of {wanted} messages, then no more: {last_line(worker.log_file)}")
        if count >= wanted:
            used = psutil.Process(worker.pid).cpu_times()
            return count, now, used.user + used.system
        time.sleep(ASK_SECONDS)


def count_records(admin_port: int) -> int:
    """Records that the worker says are done; 0 as long as it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("yousync_records_total"))


def check_documents(videos: Any, messages: int) -> None:
    stored = videos.count_documents({})
    assert stored == (messages + 1) // 2, f"{stored} documents"


def report(turns: dict[str, list[Turn]], options: argparse.Namespace) -> None:
    print(
        f"Live path: {options.messages:,} records of about 700 bytes, half of them repeats, {PARTITIONS} partitions, "
        f"{options.rounds} rounds, {os.cpu_count()} cores shared with Kafka and MongoDB"
    )
    rates = {kind: [turn.rate for turn in taken] for kind, taken in turns.items()}
    for kind, taken in turns.items():
        cpu = spread([turn.cpu_us for turn in taken], ".0f")
        print(f"  {kind:<30} {spread(rates[kind], ',.0f')} messages a second, CPU {cpu} us each")
    for ours, other, aim in RATIOS:
        if other in rates:
            print(
                f"  {f'{ours} / {other}':<54} {spread(ratios(rates[ours], rates[other]), '.2f')} (aim {aim:g} or more)"
            )


if __name__ == "__main__":
    main()
