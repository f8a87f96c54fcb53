"""The read side: pages from memory and from MongoDB, depth, search, arrivals, live clients, and two plain stacks.

Everything runs on loopback: `yousync api` (one process), Kafka, MongoDB, and wrk as the client, which shares the cores
with them. What is compared takes turns, round by round, so that whatever else the machine does falls on both: read the
ratios. `--quick` shows in a minute or two that everything works; its figures mean little.
"""

import argparse
import asyncio
import http.client
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from urllib.request import urlopen

import psutil
from pymongo import MongoClient

from bench.arriving_videos import arriving
from bench.figures import percentile, ratios, spread
from bench.kept_answer import KeptAnswer
from bench.live_clients import live_clients, mark
from bench.servers import bench_folder, create_topics, new_servers, running, service_settings
from bench.stored_videos import ABSENT, NEVER_MEET, stored_videos, video, videos, vocabulary
from bench.wrk import CONNECTIONS, Load, load
from contract.read_model import INDEXES, PROJECTION_VERSION, READ_MODEL, READ_MODEL_ID, VIDEOS, generation_name
from yousync.local.kafka import KafkaServer
from yousync.local.mongod import MongodServer
from yousync.local.server import free_port, port_answers

ROOT: Final = Path(__file__).parent.parent
START_SECONDS: Final = 300
HOT: Final = "/v1/videos?page=1&limit=10"
YOUSYNC: Final = "from yousync.cli import main; main()"
OUTSIDE: Final = "/v1/videos?page=201&limit=10"
"""The first page of ten that is far outside the hot window, and so comes from MongoDB."""


class Row(NamedTuple):
    """One line of the table: what, ours, beside it, their ratio, and what the ratio aims at."""

    what: str
    ours: str
    beside: str = ""
    ratio: str = ""
    aim: str = ""


class Bench:
    """The servers and the options of one run."""

    def __init__(self, options: argparse.Namespace, folder: Path, kafka: KafkaServer, mongod: MongodServer) -> None:
        self.options = options
        self.folder = folder
        self.kafka = kafka
        self.mongod = mongod
        self.words = vocabulary()
        self.rows: list[Row] = []
        self.rates: dict[str, float] = {}
        """For the plot: requests a second by what was asked."""

    def tell(self, row: Row) -> None:
        self.rows.append(row)
        print(" · ".join(part for part in row if part), flush=True)

    def in_turns(self, *measured: Callable[[], float]) -> list[list[float]]:
        """Figures of each, one a round; a first round, for caches and connections, is not counted."""
        rounds = [[measure() for measure in measured] for _ in range(self.options.rounds + 1)]
        return [list(column) for column in zip(*rounds[1:], strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes of the read model")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of one turn each (default 3)")
    parser.add_argument("--seconds", type=float, default=3, help="length of a turn (default 3)")
    parser.add_argument("--searches", type=int, default=1000, help="searches of the mix (default 1000)")
    parser.add_argument("--live-clients", type=int, default=2000, help="clients of the live feed (default 2000)")
    parser.add_argument("--plot", type=Path, help="draw the plain stacks beside ours into this file (.svg)")
    parser.add_argument("--quick", action="store_true", help="20,000 videos, one round of a second")
    options = parser.parse_args()
    if options.quick:
        options.videos, options.rounds, options.seconds = [20_000], 1, 1
        options.searches, options.live_clients = 100, 200
    plot_file = options.plot.resolve() if options.plot else None
    with bench_folder() as folder:
        kafka, mongod = new_servers(folder)
        with running(kafka, mongod):
            create_topics(kafka)
            bench = Bench(options, folder, kafka, mongod)
            for count in sorted(options.videos):
                measure_size(bench, count, plain=count == min(options.videos))
    print(table(bench.rows, options))
    if plot_file is not None:
        from bench.read_api_plot import plot  # noqa: PLC0415  # what draws is in the benchmarks' environment alone

        plot(bench.rates, plot_file)


def measure_size(bench: Bench, count: int, *, plain: bool) -> None:
    """All figures at one size of the read model; the plain stacks only at the smallest, for they take long to fill."""
    database = f"bench_{count}"
    bench.tell(Row(f"{count:,} videos", f"stored in {store(bench, database, count):.0f} s"))
    with api(bench, database) as server:
        port, base = server.port, f"http://127.0.0.1:{server.port}"
        hot_pages(bench, base)
        pages_from_mongodb(bench, base, database)
        depth(bench, port, count)
        searches(bench, port)
        if plain:
            plain_stacks(bench, base, database, count)
        arrivals(bench, base, database, count)
        changes(bench, port, database, 2 * count)
        live(bench, server, database, 3 * count)
        without_mongodb(bench, base)


# What is stored, and what serves it


def store(bench: Bench, database: str, count: int) -> float:
    """Fill the read model as a finished replay leaves it; returns the seconds that it took."""
    began = time.perf_counter()
    client: MongoClient[dict[str, Any]] = MongoClient(bench.mongod.uri)
    stored = client[database][VIDEOS]
    documents = stored_videos(range(count), bench.words)
    while chunk := list(itertools.islice(documents, 2_000)):
        stored.insert_many(chunk, ordered=False)
    for index in INDEXES:
        stored.create_index(index.keys, name=index.name, **index.options)
    (found,) = client[database].list_collections(filter={"name": VIDEOS})
    generation = generation_name(found["info"]["uuid"])
    client[database][READ_MODEL].insert_one({"_id": READ_MODEL_ID, "versions": {generation: PROJECTION_VERSION}})
    client.close()
    return time.perf_counter() - began


@contextmanager
def process(*command: str, port: int, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """A server of its own until the block ends; yields its process id once `port` answers."""
    server = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=None,
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not port_answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{' '.join(command)} did not start")
            time.sleep(0.05)
        yield server.pid
    finally:
        server.terminate()
        server.wait()


class Server(NamedTuple):
    """A running API."""

    port: int
    process_id: int

    def resident_bytes(self) -> int:
        """Memory of its processes."""
        master = psutil.Process(self.process_id)
        return sum(one.memory_info().rss for one in (master, *master.children(recursive=True)))


@contextmanager
def api(bench: Bench, database: str) -> Iterator[Server]:
    """`yousync api` over the database, once it says that it is ready."""
    port, admin_port = free_port(), free_port()
    environment = {
        **service_settings(bench.kafka, bench.mongod, bench.folder),
        "YOUSYNC_MONGODB_DATABASE": database,
        "YOUSYNC_API_PORT": str(port),
        "YOUSYNC_ADMIN_PORT": str(admin_port),
        "YOUSYNC_LOG_LEVEL": "warning",
    }
    began = time.perf_counter()
    with process("-c", YOUSYNC, "api", port=port, environment=environment) as process_id:
        while not _is_ready(admin_port):
            time.sleep(0.05)
        bench.tell(Row("API ready after its start", f"{time.perf_counter() - began:.1f} s"))
        yield Server(port, process_id)


def _is_ready(admin_port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{admin_port}/readyz") as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


# One figure each


def hot_pages(bench: Bench, base: str) -> None:
    """Pages from memory against a bare handler that gives the very same answer."""
    seconds = bench.options.seconds
    tag = KeptAnswer.fetch(base + HOT, {}).headers["etag"]
    for what, headers in (
        ("hot page", {}),
        ("hot page, 304", {"If-None-Match": tag}),
        ("hot page, gzip", {"Accept-Encoding": "gzip"}),
    ):
        kept = KeptAnswer.fetch(base + HOT, headers)
        file, port = bench.folder / "answer", free_port()
        kept.write(file)
        with process("-m", "bench.bare_page_server", str(file), str(port), port=port):
            bare = f"http://127.0.0.1:{port}/v1/videos?page=1&limit=10"
            urls = (base + HOT, bare)
            ours, theirs = bench.in_turns(*(_rate_of(url, seconds, headers) for url in urls))
        bench.rates.setdefault("YouSync, page 1", sum(ours) / len(ours))
        bench.tell(
            Row(
                f"{what} ({len(kept.body):,} bytes)",
                f"{spread(ours, ',.0f')}/s",
                f"bare handler, same answer: {spread(theirs, ',.0f')}/s",
                spread(ratios(ours, theirs), ".2f"),
                "0.9",
            )
        )


def _rate_of(url: str, seconds: float, headers: Mapping[str, str]) -> Callable[[], float]:
    return lambda: load(url, seconds=seconds, headers=headers).rate


def pages_from_mongodb(bench: Bench, base: str, database: str) -> None:
    """A page that only MongoDB has, against a loop around the driver that reads the same one."""
    before = json.loads(KeptAnswer.fetch(base + "/v1/videos?page=200&limit=10", {}).body)
    cursor, below = before["next_cursor"], _sort_key_of(before["items"][-1])
    seconds = bench.options.seconds

    def loop() -> float:
        arguments = [bench.mongod.uri, database, below, "11", str(seconds), str(CONNECTIONS)]
        said = subprocess.run(
            [sys.executable, "-m", "bench.bare_driver_loop", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        return float(said.stdout)

    by_cursor = _rate_of(f"{base}/v1/videos?cursor={cursor}&limit=10", seconds, {})
    by_number = _rate_of(base + OUTSIDE, seconds, {})
    ours, numbered, theirs = bench.in_turns(by_cursor, by_number, loop)
    beside = f"bare driver loop, same page: {spread(theirs, ',.0f')}/s"
    bench.tell(
        Row(
            "page from MongoDB, by cursor",
            f"{spread(ours, ',.0f')}/s",
            beside,
            spread(ratios(ours, theirs), ".2f"),
            "0.6",
        )
    )
    bench.tell(
        Row(
            "page from MongoDB, by number",
            f"{spread(numbered, ',.0f')}/s",
            beside,
            spread(ratios(numbered, theirs), ".2f"),
            "0.6",
        )
    )


def _sort_key_of(item: Mapping[str, Any]) -> str:
    (number,) = (int(item["id"].removeprefix("bench").removeprefix("ench")),)
    return next(videos([number], ["word"])).sort_key


def depth(bench: Bench, port: int, count: int) -> None:
    """The last pages against the first page that MongoDB has to be asked for, one request after the other."""
    last = count // 10
    asked = 50 * bench.options.rounds
    first, deep = [], []
    with connected(port) as ask:
        for turn in range(asked + 10):
            # Pages near one another, so that none is answered from what the one before left behind.
            shallow_ms, _ = ask(f"/v1/videos?page={201 + turn}&limit=10")
            deep_ms, page = ask(f"/v1/videos?page={last - turn}&limit=10")
            assert page["total"] == count
            assert len(page["items"]) == 10
            if turn >= 10:
                first.append(shallow_ms)
                deep.append(deep_ms)
    bench.tell(
        Row(
            f"page {last:,} of {count:,}, ms",
            f"p50 {percentile(deep, 50):.2f}, p99 {percentile(deep, 99):.2f}",
            f"page 201: p50 {percentile(first, 50):.2f}, p99 {percentile(first, 99):.2f}",
            f"{percentile(deep, 50) / percentile(first, 50):.2f}",
            "at most 2",
        )
    )


@contextmanager
def connected(port: int) -> Iterator[Callable[[str], tuple[float, dict[str, Any]]]]:
    """Asks for one path after the other on one connection: milliseconds, and the page."""
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask(path: str) -> tuple[float, dict[str, Any]]:
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        elapsed = (time.perf_counter() - began) * 1000
        assert answer.status == 200, (path, body)
        page: dict[str, Any] = json.loads(body)
        return elapsed, page

    try:
        yield ask
    finally:
        connection.close()


def search_mix(words: Sequence[str], count: int) -> Iterator[str]:
    """Searches of one to three words: frequent, middling and rare ones, one in ten with a word that is nowhere."""
    chosen = random.Random(5)
    ranks = ((0, 50), (50, 2_000), (2_000, 20_000), (20_000, 120_000))
    for _ in range(count):
        asked = [words[chosen.randrange(*chosen.choice(ranks))] for _ in range(chosen.choice((1, 1, 2, 2, 3)))]
        if chosen.random() < 0.1:
            asked[-1] = ABSENT
        if chosen.random() < 0.3:
            asked[0] = asked[0][: max(2, len(asked[0]) - 2)]  # as while typing
        yield " ".join(asked)


def searches(bench: Bench, port: int) -> None:
    """The mix, and then the worst pair, walked by cursors to its end."""
    took, partial = [], 0
    with connected(port) as ask:
        for words in search_mix(bench.words, bench.options.searches):
            ms, page = ask(f"/v1/videos?search={quote(words)}")
            took.append(ms)
            partial += not page["complete"]
        bench.tell(
            Row(
                f"search, mix of {len(took):,}, ms",
                f"p50 {percentile(took, 50):.1f}, p99 {percentile(took, 99):.1f}, most {max(took):.0f}; "
                f"{partial} partial answers",
                aim="p99 under 10",
            )
        )
        cursor: str | None = ""
        worst, path = [], f"/v1/videos?search={quote(' '.join(NEVER_MEET))}"
        while cursor is not None:
            ms, page = ask(path + (f"&cursor={cursor}" if cursor else ""))
            worst.append(ms)
            cursor = page["next_cursor"]
            assert page["complete"] is (cursor is None)
    bench.tell(
        Row(
            "two frequent words that never meet, ms",
            f"most {max(worst):.0f} an answer; {len(worst)} answers to the end, {sum(worst):.0f} in all",
            aim="250 an answer",
        )
    )


def arrivals(bench: Bench, base: str, database: str, count: int) -> None:
    """Hot pages while 500 new videos arrive a second; afterwards the total must be exact."""
    seconds = max(3.0, bench.options.seconds * 2)
    quiet = load(base + HOT, seconds=seconds, connections=16)
    arguments = [bench.kafka.address, bench.mongod.uri, database, str(count), "500", str(seconds + 2)]
    arriving = subprocess.Popen(
        [sys.executable, "-m", "bench.arriving_videos", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(2)
    busy = load(base + HOT, seconds=seconds, connections=16)
    rate = float(arriving.communicate()[0])
    client: MongoClient[dict[str, Any]] = MongoClient(bench.mongod.uri)
    stored = client[database][VIDEOS].count_documents({})
    client.close()
    deadline = time.monotonic() + 10
    while (total := json.loads(KeptAnswer.fetch(base + HOT, {}).body)["total"]) != stored:
        assert time.monotonic() < deadline, (total, stored)
        time.sleep(0.05)
    bench.tell(
        Row(
            f"hot page while {rate:.0f} videos a second arrive",
            _told(busy),
            f"before: {_told(quiet)}",
            f"{busy.rate / quiet.rate:.2f}",
        )
    )


def _told(one: Load) -> str:
    return f"{one.rate:,.0f}/s, p50 {one.p50_ms:.2f} ms, p99 {one.p99_ms:.2f} ms"


def changes(bench: Bench, port: int, database: str, first: int) -> None:
    """From a new video's acknowledged event until the first page shows it with the right total."""
    ms = asyncio.run(_changes(bench, port, database, first, 50 * bench.options.rounds))
    bench.tell(
        Row(
            f"{len(ms)} new videos, one by one: from event to page 1, ms",
            f"p50 {percentile(ms, 50):.0f}, p99 {percentile(ms, 99):.0f}, most {max(ms):.0f}",
            aim="100",
        )
    )


async def _changes(bench: Bench, port: int, database: str, first: int, count: int) -> list[float]:
    ms = []
    async with arriving(bench.kafka.address, bench.mongod.uri, database) as arrival:
        with connected(port) as ask:
            total = ask(HOT)[1]["total"]
            for number in range(first, first + count):
                arrived = video(number, "Tea that is new")
                await arrival.of([arrived])
                began, total = time.perf_counter(), total + 1
                while (page := ask(HOT)[1])["items"][0]["id"] != arrived.id or page["total"] != total:
                    assert time.perf_counter() < began + 10, (page["items"][0]["id"], page["total"], total)
                    await asyncio.sleep(0.002)
                ms.append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(0.05)
    return ms


def live(bench: Bench, server: "Server", database: str, first: int) -> None:
    """Clients of the live feed: how late they are told of what arrives, and the memory that each takes."""
    row = asyncio.run(_live(bench, server, database, first))
    bench.tell(row)


async def _live(bench: Bench, server: "Server", database: str, first: int) -> Row:
    count, before = bench.options.live_clients, server.resident_bytes()
    events = 10 * max(3, round(bench.options.seconds * 3))
    async with (
        live_clients(f"http://127.0.0.1:{server.port}/v1/live", count) as delays_ns,
        arriving(bench.kafka.address, bench.mongod.uri, database) as arrival,
    ):
        await asyncio.sleep(2)
        each = (server.resident_bytes() - before) / count
        for number in range(first, first + events):
            await arrival.of([video(number, f"Tea {mark()}")])
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        ms = [delay / 1e6 for delay in delays_ns]
    assert len(ms) == events * count, (len(ms), events * count)
    return Row(
        f"{count:,} live clients, 10 videos a second",
        f"told after p50 {percentile(ms, 50):.0f} ms, p99 {percentile(ms, 99):.0f} ms, stored to received; "
        f"{each / 1024:.0f} KiB each",
        aim="p99 under 250 ms",
    )


def without_mongodb(bench: Bench, base: str) -> None:
    """Hot pages while MongoDB does not answer, against the same with it, in turns."""

    def stopped() -> float:
        bench.mongod.pause()
        try:
            time.sleep(4)
            return load(base + HOT, seconds=bench.options.seconds).rate
        finally:
            bench.mongod.resume()

    def present() -> float:
        time.sleep(4)
        return load(base + HOT, seconds=bench.options.seconds).rate

    without, with_it = bench.in_turns(stopped, present)
    bench.tell(
        Row(
            "hot page without MongoDB",
            f"{spread(without, ',.0f')}/s",
            f"with it: {spread(with_it, ',.0f')}/s",
            spread(ratios(without, with_it), ".2f"),
            "1",
        )
    )


# The same list as it is usually written


def plain_stacks(bench: Bench, base: str, database: str, count: int) -> None:
    """FastAPI with Motor, and Django REST framework on SQLite: one process each, the same pages, the same load."""
    fill_plain(bench, database, count)
    lines, sqlite = bench.folder / "plain.jsonl", bench.folder / "plain.sqlite"
    with lines.open("wb") as file:
        for document in videos(range(count), bench.words):
            file.write(document.body + b"\n")
    environment = {"PLAIN_SQLITE": str(sqlite), "MONGODB_URI": bench.mongod.uri, "PLAIN_DATABASE": database}
    subprocess.run(
        [sys.executable, "-m", "bench.plain_stacks.django_rest", str(lines)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=True,
    )
    fastapi, django = free_port(), free_port()
    with ExitStack() as stack:
        uvicorn = ("-m", "uvicorn", "bench.plain_stacks.fastapi_motor:app", "--log-level=error", f"--port={fastapi}")
        gunicorn = ("-m", "gunicorn", "bench.plain_stacks.django_rest:application", "--log-level=error")
        stack.enter_context(process(*uvicorn, port=fastapi, environment=environment))
        bind = f"--bind=127.0.0.1:{django}"
        stack.enter_context(process(*gunicorn, bind, "--no-control-socket", port=django, environment=environment))
        for what, page in (("page 1", 1), (f"page {count // 20:,}", count // 20)):
            query = f"/v1/videos?page={page}&limit=10"
            urls = [base + query, *(f"http://127.0.0.1:{port}{query}" for port in (fastapi, django))]
            figures = bench.in_turns(*(_rate_of(url, bench.options.seconds, {}) for url in urls))
            stacks = ("YouSync", "FastAPI, Motor", "Django REST, SQLite")
            for stack_name, rates in zip(stacks, figures, strict=True):
                bench.rates[f"{stack_name}, {what}"] = sum(rates) / len(rates)
            for stack_name, rates in zip(stacks[1:], figures[1:], strict=True):
                bench.tell(
                    Row(
                        f"{what} of {count:,}, one process",
                        f"{spread(figures[0], ',.0f')}/s",
                        f"{stack_name}: {spread(rates, ',.1f')}/s",
                        spread(ratios(figures[0], rates), ",.0f"),
                    )
                )


def fill_plain(bench: Bench, database: str, count: int) -> None:
    """The same videos as plain documents, with the one index that such a service has."""
    client: MongoClient[dict[str, Any]] = MongoClient(bench.mongod.uri)
    plain = client[database]["plain_videos"]
    made = (json.loads(document.body) for document in videos(range(count), bench.words))
    while chunk := list(itertools.islice(made, 2_000)):
        plain.insert_many([{"_id": video.pop("id"), **video} for video in chunk])
    plain.create_index([("published_at", -1)])
    client.close()


def table(rows: Sequence[Row], options: argparse.Namespace) -> str:
    """All rows as a Markdown table."""
    said = f"{os.cpu_count()} cores shared by all, {options.rounds} rounds of {options.seconds:g} s: median (min, max)"
    lines = ["", said, "", "| what | ours | beside it | ratio | aim |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
