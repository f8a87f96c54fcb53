"""Messages a second of `yousync replay --execute`, against MongoDB's own sink connector and a bare insert loop.

The raw topic holds full-size items, two of each video close together: its search item and its completion. Beside it,
in the same places, stand the documents that they come to, as JSON (`topic_filling.py`): these the baselines read, so
all write documents of the same size and fields, into the same indexes except search's.

- ours: decoding, the fold, verification, the swap; into an empty store, no processor running;
- the connector (`mongodb_sink_connector.py`) replaces a document for each record; its indexes are there from the start;
- the bare loop (`bare_insert_loop.py`) inserts the first of each key, in one process and in two; indexes afterwards.

All take turns on the same topics, servers and empty database, in another order each round. "Loading" ends with the
last document, "with indexes" when those are there too, "whole" is the command from its start to its end. With
`--growth` ours alone, over a topic that grows, with a plot. Servers and clients share this machine's cores: read the
ratios, not the rates.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil
from pymongo import MongoClient

from bench.figures import ratios, spread
from bench.growth_plot import Point, growth_plot
from bench.mongodb_sink_connector import COLLECTION, DATABASE, MongodbSinkConnector, written
from bench.peak_memory import watching_memory
from bench.servers import PARTITIONS, bench_folder, create_topics, new_servers, running, service_settings
from bench.topic_filling import DOCUMENTS, Filled, documents_topic, fill_topics
from contract.read_model import INDEXES, SEARCH, VIDEOS, IndexSpec
from contract.topics import RAW
from yousync.local.kafka import KafkaServer
from yousync.local.mongod import MongodServer
from yousync.local.server import last_line

LOADING: Final = "loading"
INDEXING: Final = "indexing"

OURS: Final = "yousync replay"
CONNECTOR: Final = "sink connector, 4 tasks"
BARE: Final = "bare insert loop"
BARE_TWICE: Final = "bare insert loop, 2 processes"

OUR_DATABASE: Final = "yousync"
BARE_DATABASE: Final = "bare"
ASK_SECONDS: Final = 0.05
TURN_SECONDS: Final = 1800
GROWTH: Final = (100_000, 1_000_000, 5_000_000)
PLOT: Final = Path(__file__).resolve().with_name("replay_growth.svg")


class Turn(NamedTuple):
    """One turn: seconds of its parts, the most memory of its processes, and what it left in MongoDB."""

    loading: float
    indexing: float
    whole: float
    peak_mib: float
    documents: int
    document_bytes: float
    phases: dict[str, float]
    """What a replay itself says of its seconds."""


class Bench(NamedTuple):
    """What all turns share."""

    folder: Path
    kafka: KafkaServer
    mongod: MongodServer
    messages: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000, help="raw records in the topic (default 1000000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of a turn each (default 3)")
    parser.add_argument("--only", choices=[*KINDS], nargs="+", default=[*KINDS], help="whose turns (default: all)")
    parser.add_argument("--growth", action="store_true", help="ours alone, as the topic grows, with a plot")
    parser.add_argument("--sizes", type=int, nargs="+", default=GROWTH, help="raw records with --growth, ascending")
    parser.add_argument(
        "--plot", type=Path, default=PLOT, help="where --growth draws (default bench/replay_growth.svg)"
    )
    options = parser.parse_args()
    plot = options.plot.resolve()
    with bench_folder() as folder:
        kafka, mongod = new_servers(folder)
        with running(kafka, mongod):
            create_topics(kafka, documents_topic())
            if options.growth:
                measure_growth(folder, kafka, mongod, options, plot)
            else:
                measure_side_by_side(Bench(folder, kafka, mongod, options.messages), options)


def measure_side_by_side(bench: Bench, options: argparse.Namespace) -> None:
    filled = fill_topics(bench.kafka.address, bench.messages, (RAW, DOCUMENTS))
    turns: dict[str, list[Turn]] = {kind: [] for kind in options.only}
    for number in range(options.rounds):
        shift = number % len(options.only)
        for kind in options.only[shift:] + options.only[:shift]:
            turn = take_turn(kind, bench)
            tell(f"round {number + 1}, {kind}: {turn.whole:.1f} s, peak {turn.peak_mib:,.0f} MiB")
            turns[kind].append(turn)
    report(turns, filled, options)


def measure_growth(
    folder: Path, kafka: KafkaServer, mongod: MongodServer, options: argparse.Namespace, plot: Path
) -> None:
    """Ours over ever more of the same topic; each time into an empty store."""
    points: list[Point] = []
    there = 0
    for messages in options.sizes:
        fill_topics(kafka.address, messages - there, (RAW,), first=there // 2)
        there = messages
        turns = [take_turn(OURS, Bench(folder, kafka, mongod, messages)) for _ in range(options.rounds)]
        points.append(Point(messages, [messages / turn.loading for turn in turns], [turn.peak_mib for turn in turns]))
        parts = ", ".join(
            f"{part} {spread([getattr(turn, part) for turn in turns], '.1f')} s"
            for part in ("loading", "indexing", "whole")
        )
        print(
            f"{messages:>9,} messages: {spread(points[-1].rates, ',.0f')} a second, "
            f"peak {spread(points[-1].peaks_mib, ',.0f')} MiB; {parts}",
            flush=True,
        )
    plot.write_text(growth_plot(points, f"{PARTITIONS} partitions, {options.rounds} rounds, {os.cpu_count()} cores"))
    print(f"plot: {plot}")


def take_turn(kind: str, bench: Bench) -> Turn:
    """One turn into an empty MongoDB; what it leaves is counted."""
    with MongoClient[dict[str, Any]](bench.mongod.uri) as client:
        for database in (OUR_DATABASE, DATABASE, BARE_DATABASE):
            client.drop_database(database)
        return KINDS[kind](bench, client)


def replay(bench: Bench, client: MongoClient[dict[str, Any]]) -> Turn:
    """Ours; the parts by the phases that its JSON lines name."""
    log = bench.folder / "replay.log"
    began = time.monotonic()
    command = [sys.executable, "-m", "yousync.cli", "replay", "--execute", "--json"]
    settings = service_settings(bench.kafka, bench.mongod, bench.folder / "home")
    with child(command, log, settings) as process, watching_memory([process.pid]) as peak:
        said = read_lines(process, log)
    whole = time.monotonic() - began
    first = next(one for one in said if one.phase == LOADING)
    indexing = next(one for one in said if one.phase == INDEXING)
    followed = next(one for one in said[said.index(indexing) :] if one.phase != INDEXING)
    loading = stretch(indexing.at - first.at, first.done, bench.messages)
    videos = client[OUR_DATABASE][VIDEOS]
    return Turn(loading, followed.at - indexing.at, whole, peak.mib, *count(videos, bench), said[-1].result["phases"])


class Line(NamedTuple):
    """One line of a replay's, the moment it came, and of the last one the result."""

    at: float
    phase: str
    done: int
    result: dict[str, Any]


def read_lines(process: psutil.Popen, log: Path) -> list[Line]:
    """Everything that the replay says until it has ended well."""
    said: list[Line] = []
    assert process.stdout is not None
    for line in process.stdout:
        with suppress(ValueError):
            one = json.loads(line)
            said.append(Line(time.monotonic(), one["phase"], one.get("done", 0), one))
    code = process.wait(60)
    if code or not said or said[-1].phase != "done":
        raise SystemExit(f"yousync replay ended with {code}: {last_line(log)}")
    return said


def stretch(seconds: float, first: int, messages: int) -> float:
    """Seconds for all messages, where they were measured from the `first` on."""
    return seconds * messages / (messages - first)


def connect(bench: Bench, client: MongoClient[dict[str, Any]]) -> Turn:
    """The connector, from the first of its writes to the last, as MongoDB counts them."""
    videos = client[DATABASE][COLLECTION]
    build_indexes(videos)
    folder = bench.folder / f"connector-{time.monotonic_ns()}"
    connector = MongodbSinkConnector(folder, DOCUMENTS, bench.kafka, bench.mongod)
    before, began = written(client), time.monotonic()
    deadline = began + TURN_SECONDS
    try:
        connector.prepare()
        connector.launch()
        assert connector.pid is not None
        with watching_memory([connector.pid]) as peak:
            first, first_at = wait_for_writes(connector, client, before + 1, deadline)
            last, last_at = wait_for_writes(connector, client, before + bench.messages, deadline)
        whole = time.monotonic() - began
    finally:
        connector.stop()
    loading = stretch(last_at - first_at, bench.messages - (last - first), bench.messages)
    return Turn(loading, 0.0, whole, peak.mib, *count(videos, bench), {})


def wait_for_writes(
    connector: MongodbSinkConnector, client: MongoClient[dict[str, Any]], wanted: int, deadline: float
) -> tuple[int, float]:
    while (done := written(client)) < wanted:
        if connector.pid is None or time.monotonic() > deadline:
            raise SystemExit(f"the connector does not write: {last_line(connector.log_file)}")
        time.sleep(ASK_SECONDS)
    return done, time.monotonic()


def insert_bare(bench: Bench, client: MongoClient[dict[str, Any]]) -> Turn:
    return insert_in([range(PARTITIONS)], 3, bench, client)


def insert_bare_twice(bench: Bench, client: MongoClient[dict[str, Any]]) -> Turn:
    return insert_in([range(0, PARTITIONS, 2), range(1, PARTITIONS, 2)], 2, bench, client)


def insert_in(
    shares: Sequence[Sequence[int]], in_flight: int, bench: Bench, client: MongoClient[dict[str, Any]]
) -> Turn:
    """The bare loop, a process for each share of the partitions."""
    began = time.monotonic()
    videos = client[BARE_DATABASE][VIDEOS]
    program = str(Path(__file__).with_name("bare_insert_loop.py"))
    where = ("--kafka", bench.kafka.address, "--mongodb", bench.mongod.uri, "--topic", DOCUMENTS)
    into = ("--database", BARE_DATABASE, "--collection", VIDEOS, "--in-flight", str(in_flight))
    command = [sys.executable, program, *where, *into, "--partitions"]
    log = bench.folder / "bare.log"
    loops = [
        subprocess.Popen([*command, *map(str, share)], stdout=subprocess.PIPE, stderr=log.open("ab"))
        for share in shares
    ]
    try:
        with watching_memory([loop.pid for loop in loops]) as peak:
            said = [loop.communicate(timeout=TURN_SECONDS)[0] for loop in loops]
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    if any(loop.returncode for loop in loops):
        raise SystemExit(f"the bare loop failed: {log.read_text()[-2000:]}")
    parts = [json.loads(line) for line in said]
    loading = max(part["ended"] for part in parts) - min(part["began"] for part in parts)
    indexing = build_indexes(videos)
    return Turn(loading, indexing, time.monotonic() - began, peak.mib, *count(videos, bench), {})


KINDS: Final[dict[str, Callable[[Bench, MongoClient[dict[str, Any]]], Turn]]] = {
    OURS: replay,
    CONNECTOR: connect,
    BARE: insert_bare,
    BARE_TWICE: insert_bare_twice,
}


def build_indexes(videos: Any) -> float:
    """Seconds that the read model's indexes take, all but that of the search."""
    began = time.monotonic()
    for index in shared_indexes():
        videos.create_index(index.keys, name=index.name, **index.options)
    return time.monotonic() - began


def shared_indexes() -> list[IndexSpec]:
    return [index for index in INDEXES if SEARCH not in dict(index.keys)]


def count(videos: Any, bench: Bench) -> tuple[int, float]:
    """Documents and their mean size in BSON; each video must be there once."""
    documents = videos.count_documents({})
    assert documents == (bench.messages + 1) // 2, f"{documents} documents of {bench.messages} messages"
    names = {index["name"] for index in videos.list_indexes()}
    assert names >= {index.name for index in shared_indexes()}, names
    [stats] = videos.aggregate([{"$collStats": {"storageStats": {}}}])
    return documents, float(stats["storageStats"]["avgObjSize"])


@contextmanager
def child(command: list[str], log: Path, settings: dict[str, str]) -> Iterator[psutil.Popen]:
    """A program whose output is read; ended with all that it started if the block is left early."""
    with log.open("ab") as errors:
        process = psutil.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=os.environ | settings
        )
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            for one in (*process.children(recursive=True), process):
                with suppress(psutil.NoSuchProcess):
                    one.kill()
        process.wait()


def report(turns: dict[str, list[Turn]], filled: Filled, options: argparse.Namespace) -> None:
    print(
        f"Replay: {options.messages:,} raw records of {filled.mean_bytes(RAW):,.0f} bytes on average, two of each "
        f"video, {PARTITIONS} partitions, {options.rounds} rounds, {os.cpu_count()} cores shared with Kafka and MongoDB"
    )
    loading = {kind: [options.messages / turn.loading for turn in taken] for kind, taken in turns.items()}
    indexed = {
        kind: [options.messages / (turn.loading + turn.indexing) for turn in taken] for kind, taken in turns.items()
    }
    for kind, taken in turns.items():
        print(f"  {kind} ({taken[0].documents:,} documents of {taken[0].document_bytes:,.0f} bytes)")
        print(f"    loading       {spread(loading[kind], ',.0f')} messages a second")
        print(f"    with indexes  {spread(indexed[kind], ',.0f')} messages a second")
        print(f"    indexes       {spread([turn.indexing for turn in taken], '.1f')} s")
        print(f"    whole         {spread([turn.whole for turn in taken], '.1f')} s")
        for phase in taken[0].phases:
            print(f"      {phase:<16}{spread([turn.phases[phase] for turn in taken], '.1f')} s")
        print(f"    peak memory   {spread([turn.peak_mib for turn in taken], ',.0f')} MiB in all its processes")
    if OURS not in turns:
        return
    for kind, aim in ((CONNECTOR, 3.0), (BARE, 0.6), (BARE_TWICE, 0.6)):
        if kind in turns:
            print(f"  ratio to {kind}, round by round (aim {aim:g} or more)")
            print(f"    loading       {spread(ratios(loading[OURS], loading[kind]), '.2f')}")
            print(f"    with indexes  {spread(ratios(indexed[OURS], indexed[kind]), '.2f')}")


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
