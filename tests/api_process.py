"""The API's processes around a small application of the tests' own, without MongoDB and Kafka."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

PROGRAM = """
import asyncio, os, sys, time
if int(os.environ["YOUSYNC_API_PROCESSES"]) > 1:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
from aiohttp import web
from contract.settings import load_settings
from ops.logging import configure_logging
from query_api import connections, server
from query_api.answering import serve_routes, timed

if len(sys.argv) > 2:
    connections.REQUEST_SECONDS = connections.ANSWER_SECONDS = connections.CLOSE_SECONDS = float(sys.argv[2])

async def quick(request):
    return web.json_response({"pid": os.getpid()})

async def slow(request):
    with timed(request, "db"):
        await asyncio.sleep(float(request.query["seconds"]))
    return web.json_response({"pid": os.getpid()})

async def block(request):
    time.sleep(float(request.query["seconds"]))
    return web.Response()

async def large(request):
    return web.Response(body=bytes(20_000_000))

async def stream(request):
    answer = web.StreamResponse()
    await answer.prepare(request)
    streams.add(done := asyncio.Event())
    await answer.write(b"begun")
    await done.wait()
    await answer.write(b"ended")
    return answer

async def end_streams(app):
    for done in streams:
        done.set()

streams = set()

async def make_app(settings, instruments):
    while os.path.exists("hold"):
        await asyncio.sleep(0.05)
    app = web.Application()
    routes = [web.get(f"/{handler.__name__}", handler) for handler in (quick, slow, block, large, stream)]
    app.on_shutdown.append(end_streams)
    serve_routes(app, routes, instruments.metrics, settings.api_allowed_origins)
    return app

configure_logging("info", "json", service="api")
server.serve(load_settings(), make_app)
"""
PATIENCE_SECONDS = 60.0


class ApiProcess:
    """The master process, and where its workers listen."""

    def __init__(self, folder: Path, command: Sequence[str], variables: Mapping[str, str]) -> None:
        self.log_file = folder / "api.log"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "YOUSYNC_API_PORT": "0",
            "YOUSYNC_ADMIN_PORT": "0",
            "YOUSYNC_API_PROCESSES": "1",
            "YOUSYNC_LOG_FORMAT": "json",
            **variables,
        }
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, cwd=folder, stderr=log)
        self.port, self.admin_port = 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def wait_until_listening(self) -> None:
        def listening() -> bool:
            for line in self.events():
                if line["event"] == "listening":
                    self.port, self.admin_port = line["port"], line["admin_port"]
            return self.port > 0 or self.process.poll() is not None

        becomes(listening)
        assert self.port, self.log_file.read_text()

    def events(self) -> list[dict[str, Any]]:
        """What it logged; every line is an object in JSON."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]

    def worker_pids(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.process.pid).children()}

    def end(self) -> None:
        """Leave nothing behind, also after a test that failed."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                child.kill()
        self.process.kill()
        self.process.wait()


@contextmanager
def api_process(
    folder: Path,
    *slow_seconds: str,
    command: Sequence[str] | None = None,
    variables: Mapping[str, str] | None = None,
    **settings: str,
) -> Iterator[ApiProcess]:
    """Started, and gone at the end.

    `settings` by the ends of their names (`API_PROCESSES`), `variables` by their whole names; a `command` takes the
    place of the tests' own application, a client of which may be told to be slow after other seconds than usual.
    """
    figures = folder / "figures"
    figures.mkdir()
    command = command or (sys.executable, "-c", PROGRAM, str(figures), *slow_seconds)
    named = {f"YOUSYNC_{name}": value for name, value in settings.items()}
    api = ApiProcess(folder, command, {**named, **(variables or {})})
    try:
        api.wait_until_listening()
        yield api
    finally:
        api.end()


def becomes(true: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never held"
        time.sleep(0.02)
