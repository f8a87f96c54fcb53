"""Requests a second of `GET /v1/videos?page=1&limit=10`, against a bare aiohttp handler with the same bytes.

Both servers run at once, each a process of its own on uvloop, and are loaded in turns, so that whatever else this
machine does falls on both. Client, servers and MongoDB share its cores: read the ratio, not the rates.
"""

import argparse
import asyncio
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import uvloop
from aiohttp import web
from pymongo import MongoClient

from bench.figures import ratios, spread
from contract.read_model import INDEXES, VIDEOS, sort_key
from contract.settings import load_settings
from contract.times import format_millis, format_seconds
from contract.video import Channel, Thumbnail, Video, encode, watch_url
from ops.logging import configure_logging
from query_api.service import run
from yousync.local.mongod import MongodServer, find_mongod
from yousync.local.server import free_port, port_answers

PATH: Final = "/v1/videos?page=1&limit=10"
DATABASE: Final = "bench"
NEWEST_MS: Final = 1_790_000_000_000
START_SECONDS: Final = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=20_000, help="videos in the read model (default 20000)")
    parser.add_argument("--connections", type=int, default=16, help="requests in flight (default 16)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of one turn each (default 5)")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a turn (default 1.5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mongod = MongodServer(Path(folder) / "mongod", Path(folder) / "mongod.log", free_port(), find_mongod(None))
        try:
            mongod.start()
            store(mongod.uri, options.videos)
            compare(mongod.uri, options)
        finally:
            mongod.stop()


def compare(mongodb_uri: str, options: argparse.Namespace) -> None:
    """Load both servers in turns, and print what they did."""
    api_port, bare_port = free_port(), free_port()
    spawn = multiprocessing.get_context("spawn")
    servers: list[BaseProcess] = [spawn.Process(target=serve_api, args=(mongodb_uri, api_port))]
    try:
        start(servers[0], api_port)
        page = uvloop.run(fetch(api_port))
        servers.append(spawn.Process(target=serve_bare, args=(page, bare_port)))
        start(servers[1], bare_port)
        rates: dict[int, list[float]] = {api_port: [], bare_port: []}
        for port in (api_port, bare_port) * (options.rounds + 1):
            rates[port].append(uvloop.run(load(port, page, options.connections, options.seconds)))
    finally:
        for server in servers:
            server.terminate()
            server.join()
    # The first round is for caches and connections to warm up.
    report(rates[api_port][1:], rates[bare_port][1:], len(page), options)


def report(api: Sequence[float], bare: Sequence[float], page_bytes: int, options: argparse.Namespace) -> None:
    print(
        f"GET {PATH} ({page_bytes:,} bytes) of {options.videos:,} videos, {options.connections} connections, "
        f"{options.rounds} rounds of {options.seconds:g} s each, {os.cpu_count()} cores shared with the client"
    )
    print(f"  query API over MongoDB     {spread(api, ',.0f')} requests a second")
    print(f"  bare handler, same bytes   {spread(bare, ',.0f')} requests a second")
    print(f"  ratio, round by round      {spread(ratios(api, bare), '.3f')}")


def store(mongodb_uri: str, count: int) -> None:
    client: MongoClient[dict[str, Any]] = MongoClient(mongodb_uri)
    videos = client[DATABASE][VIDEOS]
    videos.insert_many(make_document(number) for number in range(count))
    for index in INDEXES:
        videos.create_index(index.keys, name=index.name, **index.options)
    client.close()


def make_document(number: int) -> dict[str, Any]:
    """A video of usual size (about a kilobyte), as readers of the read model see it."""
    published_ms, video_id = NEWEST_MS + number * 1000, f"bench{number:06d}"
    video = Video(
        id=video_id,
        title=f"How to make tea the right way, part {number}",
        description="Boil the water, warm the pot, and wait. " * 8,
        channel=Channel("UC38IQsAvIsxxjztdMZQtwHA", "The tea room"),
        published_at=format_seconds(published_ms),
        live="none",
        duration_seconds=213,
        thumbnails={
            name: Thumbnail(f"https://i.ytimg.com/vi/{video_id}/{name}.jpg", width, height)
            for name, width, height in (("default", 120, 90), ("medium", 320, 180), ("high", 480, 360))
        },
        queries=["tea"],
        first_seen_at=format_millis(published_ms + 5000),
        url=watch_url(video_id),
    )
    return {"_id": video_id, "k": sort_key(published_ms, video_id), "body": encode(video)}


def start(server: BaseProcess, port: int) -> None:
    server.start()
    deadline = time.monotonic() + START_SECONDS
    while not port_answers(port):
        if not server.is_alive() or time.monotonic() > deadline:
            raise SystemExit("a server did not start")
        time.sleep(0.05)


def serve_api(mongodb_uri: str, port: int) -> None:
    configure_logging("warning", "auto", service="api")
    run(load_settings(mongodb_uri=mongodb_uri, mongodb_database=DATABASE, api_port=port, admin_port=0))


def serve_bare(page: bytes, port: int) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=page, content_type="application/json")

    app = web.Application()
    app.router.add_get("/v1/videos", answer)
    loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, loop=loop)


async def fetch(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = await ask(reader, writer)
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """One whole answer, head and body."""
    writer.write(f"GET {PATH} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
    assert head.startswith(b"HTTP/1.1 200"), head
    return head + await reader.readexactly(length)


async def load(port: int, page: bytes, connections: int, seconds: float) -> float:
    """Requests a second over some time; each answer is checked to be the page."""
    began = time.perf_counter()
    counts = await asyncio.gather(*(keep_asking(port, page, began + seconds) for _ in range(connections)))
    return sum(counts) / (time.perf_counter() - began)


async def keep_asking(port: int, page: bytes, deadline: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # Answers have one length, so the rest need no parsing: the client must not be the bottleneck.
    length = len(await ask(reader, writer))
    request = f"GET {PATH} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
    count = 1
    while time.perf_counter() < deadline:
        writer.write(request)
        answer = await reader.readexactly(length)
        assert answer.endswith(page)
        count += 1
    writer.close()
    return count


if __name__ == "__main__":
    main()
