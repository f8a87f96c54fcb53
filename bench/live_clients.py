"""Thousands of live clients, and how late they are told: of any server, or (as a program) of a feed without Kafka.

    python -m bench.live_clients [clients]

An event says when it was published by a mark in its video (`mark`), which every client that is told it looks for.
"""

import asyncio
import multiprocessing
import re
import resource
import sys
import time
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import msgspec
import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry

from bench.figures import percentile
from contract.events import VIDEO_DISCOVERED
from contract.video import encode
from ops.kafka_connection import KafkaConnection
from ops.metrics import ApiMetrics
from query_api.live import LIVE, ROUTES, LiveStreams, end_streams
from query_api.live_feed import LiveFeed
from query_api.live_history import KafkaHistory
from query_api.video_event import VideoEvent
from tests.fakes.video_documents import make_video

CLIENTS: Final = 2_000
PARTITIONS: Final = 4
RATE_A_SECOND: Final = 10
BURST: Final = 50
BURSTS: Final = 10
SECONDS: Final = 15

_MARK: Final = re.compile(rb"@(\d{1,19})@")
_CONNECTED_AT_ONCE: Final = 100


def mark() -> str:
    """To be put into a title, say, right before its event is published on this machine."""
    return f"@{time.monotonic_ns()}@"


class _Client(asyncio.Protocol):
    def __init__(self, request: bytes, delays_ns: "array[int]") -> None:
        self._request: Final = request
        self._delays_ns: Final = delays_ns
        self._rest = b""
        self.transport: asyncio.Transport | None = None
        self.told = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self.told.set()
        text = self._rest + data
        end = 0
        for found in _MARK.finditer(text):
            self._delays_ns.append(now - int(found[1]))
            end = found.end()
        self._rest = text[max(end, len(text) - 24) :]  # a mark may be cut in two


@asynccontextmanager
async def live_clients(url: str, count: int) -> AsyncIterator["array[int]"]:
    """Connect so many; yields the delays in ns of all that they are told, as it grows."""
    address = urlsplit(url)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    request = f"GET {address.path}?{address.query} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode()
    delays_ns = array("q")
    loop = asyncio.get_running_loop()
    clients: list[_Client] = []
    try:
        while len(clients) < count:
            more = min(_CONNECTED_AT_ONCE, count - len(clients))
            connecting = [loop.create_connection(lambda: _Client(request, delays_ns), host, port) for _ in range(more)]
            clients += [client for _, client in await asyncio.gather(*connecting)]
            await asyncio.gather(*(client.told.wait() for client in clients[-more:]))
        yield delays_ns
    finally:
        for client in clients:
            if client.transport is not None:
                client.transport.abort()


def _serve(pipe: Connection) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_feed_and_serve(pipe))


async def _feed_and_serve(pipe: Connection) -> None:
    """A server whose feed is told what to publish through `pipe`: (events a burst, bursts, seconds between)."""
    feed = LiveFeed()
    feed.start_at(dict.fromkeys(range(PARTITIONS), 0))
    app = web.Application()
    app[LIVE] = LiveStreams(feed, KafkaHistory(KafkaConnection("127.0.0.1:1")), ApiMetrics(CollectorRegistry()))
    app.add_routes(ROUTES)
    app.on_shutdown.append(end_streams)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    pipe.send(runner.addresses[0][1])
    loop, number = asyncio.get_running_loop(), 0
    while asked := await loop.run_in_executor(None, pipe.recv):
        burst, bursts, pause_seconds = asked
        for _ in range(bursts):
            feed.publish([_event(number + one) for one in range(burst)])
            number += burst
            await asyncio.sleep(pause_seconds)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send((_resident_bytes(), usage.ru_utime + usage.ru_stime))
    await runner.cleanup()


def _event(number: int) -> VideoEvent:
    video = msgspec.structs.replace(make_video(number), title=f"Tea {mark()}", description="Make it. " * 100)
    return VideoEvent(
        partition=number % PARTITIONS,
        offset=number // PARTITIONS,
        video_id=video.id,
        type=VIDEO_DISCOVERED,
        sequence=number,
        sort_key="k",
        previous_sort_key=None,
        body=encode(video),
    )


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def _measure(pipe: Connection, count: int) -> None:
    loop = asyncio.get_running_loop()

    async def publish(burst: int, bursts: int, pause_seconds: float) -> tuple[int, float]:
        pipe.send((burst, bursts, pause_seconds))
        answer: tuple[int, float] = await loop.run_in_executor(None, pipe.recv)
        return answer

    url = f"http://127.0.0.1:{pipe.recv()}/v1/live"
    before, _ = await publish(1, 1, 0.1)
    await asyncio.sleep(1.5)
    async with live_clients(url, count) as delays_ns:
        connected, cpu = await publish(1, 1, 0.5)
        print(f"{count} clients, {(connected - before) / count / 1024:.1f} KiB each once connected")
        for name, plan in (
            (f"{RATE_A_SECOND} events a second", (1, RATE_A_SECOND * SECONDS, 1 / RATE_A_SECOND)),
            (f"bursts of {BURST} each second", (BURST, BURSTS, 1.0)),
        ):
            del delays_ns[:]
            resident, cpu_after = await publish(*plan)
            await asyncio.sleep(1)
            expected = plan[0] * plan[1] * count
            print(
                f"{name}: p50 {percentile(delays_ns, 50) / 1e6:.1f} ms, p99 {percentile(delays_ns, 99) / 1e6:.1f} ms, "
                f"max {max(delays_ns) / 1e6:.1f} ms; {len(delays_ns)} of {expected} told; "
                f"CPU {(cpu_after - cpu) / (plan[1] * plan[2]):.0%} of a core; "
                f"{(resident - before) / count / 1024:.1f} KiB a client"
            )
            cpu = cpu_after
    pipe.send(None)


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,))
    server.start()
    try:
        uvloop.run(_measure(ours, int(sys.argv[1]) if len(sys.argv) > 1 else CLIENTS))
        server.join(10)
    finally:
        server.kill()


if __name__ == "__main__":
    main()
