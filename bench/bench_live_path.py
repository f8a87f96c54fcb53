"""Messages a second through the processor into MongoDB, against a bare Faust loop with a table on the same topic.

Each round has a fresh Kafka and MongoDB and one topic that both read from its start, one after the other, in
alternating order. Ours is `yousync processor` as it is: decoding, table, documents, events. The baseline is
`bare_faust_loop.py`. Counted from the first to the last message that the worker says is done. Servers and worker
share this machine's cores: read the ratio, not the rates.
"""

import argparse
import asyncio
import os
import random
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil
from pymongo import MongoClient

from bench.bare_faust_loop import GROUP, TABLE
from bench.figures import ratios, spread
from bench.servers import PARTITIONS, bench_folder, create_topics, new_servers, running, service_settings
from contract.topics import TopicSpec, changelog_config
from processors.decode import Record
from tests.history import produce
from tests.raw_items import NOW_MS, record, search_item
from yousync.local.kafka import KafkaServer
from yousync.local.mongod import MongodServer
from yousync.local.server import free_port, last_line
from yousync.local.service_process import ServiceProcess

ASK_SECONDS: Final = 0.1
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
    parser.add_argument("--messages", type=int, default=40_000, help="records in the topic (default 40000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of one turn each (default 3)")
    options = parser.parse_args()
    with bench_folder() as folder:
        rounds = [
            measure_round(folder / f"round-{number}", number, options.messages) for number in range(options.rounds)
        ]
    report([ours for ours, _ in rounds], [bare for _, bare in rounds], options)


def measure_round(folder: Path, number: int, messages: int) -> tuple[Turn, Turn]:
    """Ours and the baseline's turn, the latter first in every other round."""
    kafka, mongod = new_servers(folder)
    with running(kafka, mongod):
        create_topics(kafka, TopicSpec(f"{GROUP}-{TABLE}-changelog", PARTITIONS, changelog_config()))
        asyncio.run(produce(kafka.address, make_records(messages)))
        workers = [new_worker(kind, folder, kafka, mongod) for kind in (ServiceProcess, BareFaustLoop)]
        in_turn = reversed(workers) if number % 2 else workers
        turns = {worker: measure(worker, messages) for worker in in_turn}
        check_documents(mongod.uri, messages)
    return turns[workers[0]], turns[workers[1]]


def make_records(messages: int) -> list[Record]:
    """Every second one is a repeat of an id; in random order, which is the same each time."""
    numbers = [number // 2 for number in range(messages)]
    random.Random(messages).shuffle(numbers)
    return [
        record(number, 0, search_item(number, title=f"Tea, part {number}", description=EXCERPT), time_ms=NOW_MS + at)
        for at, number in enumerate(numbers)
    ]


def new_worker(kind: type[ServiceProcess], folder: Path, kafka: KafkaServer, mongod: MongodServer) -> ServiceProcess:
    port = free_port()
    settings = service_settings(kafka, mongod, folder / "home") | {"YOUSYNC_ADMIN_PORT": str(port)}
    return kind("processor", folder / f"{kind.__name__}.log", port, settings)


def measure(worker: ServiceProcess, messages: int) -> Turn:
    """One worker through the whole topic."""
    deadline = time.monotonic() + TURN_SECONDS
    worker.launch()
    try:
        first, began_at, began_cpu = wait_for_count(worker, 1, deadline)
        last, ended_at, ended_cpu = wait_for_count(worker, messages, deadline)
    finally:
        worker.stop()
    counted = last - first
    return Turn(counted / (ended_at - began_at), (ended_cpu - began_cpu) / counted * 1e6)


def wait_for_count(worker: ServiceProcess, wanted: int, deadline: float) -> tuple[int, float, float]:
    """Messages done, the moment, and the worker's processor time, as soon as `wanted` messages are done."""
    while True:
        done, now = count_records(worker.port), time.monotonic()
        if worker.pid is None or now > deadline:
            raise SystemExit(f"{done} of {wanted} messages, then no more: {last_line(worker.log_file)}")
        if done >= wanted:
            used = psutil.Process(worker.pid).cpu_times()
            return done, now, used.user + used.system
        time.sleep(ASK_SECONDS)


def count_records(admin_port: int) -> int:
    """Records that the worker says are done; 0 as long as it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("yousync_records_total"))


def check_documents(mongodb_uri: str, messages: int) -> None:
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        stored = client["yousync"]["videos"].count_documents({})
    assert stored == (messages + 1) // 2, f"{stored} documents"


def report(ours: list[Turn], bare: list[Turn], options: argparse.Namespace) -> None:
    print(
        f"Live path: {options.messages:,} records of about 700 bytes, half of them repeats, {PARTITIONS} partitions, "
        f"{options.rounds} rounds, {os.cpu_count()} cores shared with Kafka and MongoDB"
    )
    for name, turns in (("yousync processor", ours), ("bare Faust loop, table", bare)):
        rate = spread([turn.rate for turn in turns], ",.0f")
        print(f"  {name:<24} {rate} messages a second, CPU {spread([turn.cpu_us for turn in turns], '.0f')} us each")
    rate_ratios = ratios([turn.rate for turn in ours], [turn.rate for turn in bare])
    print(f"  {'ratio, round by round':<24} {spread(rate_ratios, '.2f')} (aim 0.8 or more)")


if __name__ == "__main__":
    main()
