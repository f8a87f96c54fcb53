"""The API's process: the public server, the admin server beside it, and a stop that lets requests finish."""

import asyncio
import errno
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final

import uvloop
from aiohttp import web

from contract.settings import Settings, SettingsError
from ops.admin_server import admin_server
from ops.health import Health
from ops.logging import get_logger
from ops.metrics import ApiMetrics, process_registry
from query_api.app import create_app
from query_api.video_reader import MongoVideoReader

log = get_logger(__name__)

_STOP_SECONDS: Final = 5.0
"""How long requests in flight may take to finish once the process was told to stop: twice what a read may take.

The framework spends it twice, waiting for a request and then for its cancellation (a client that does not read).
"""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. MongoDB may be away, at the start too.

    Raises:
        SettingsError: an address cannot be listened on, or the connection string cannot be used.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = _stop_signal()
    registry, health = process_registry(), Health()
    async with AsyncExitStack() as stack:
        reader = MongoVideoReader(settings.mongodb_uri.get_secret_value(), settings.mongodb_database)
        stack.callback(reader.close)
        health.add_readiness("mongodb", reader.readiness_fault)
        # Stopped in reverse: the public server first, watched through the admin server to its end.
        with _address_faults("ADMIN", settings.admin_host, settings.admin_port):
            admin = admin_server(health, registry, settings.admin_host, settings.admin_port)
            admin_port = await stack.enter_async_context(admin)
        with _address_faults("API", settings.api_host, settings.api_port):
            public = _public_server(create_app(reader, ApiMetrics(registry)), settings.api_host, settings.api_port)
            port = await stack.enter_async_context(public)
        log.info("listening", host=settings.api_host, port=port, admin_port=admin_port)
        await stop.wait()
        log.info("stopping")
    log.info("stopped")


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


@asynccontextmanager
async def _public_server(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve until the block ends; yields the port listened on."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextmanager
def _address_faults(server: str, host: str, port: int) -> Iterator[None]:
    """Say which setting to change when the address of `server` (API or ADMIN) cannot be had."""
    try:
        yield
    except OSError as error:
        variable = f"YOUSYNC_{server}_PORT"
        if error.errno == errno.EADDRINUSE:
            remedy = "stop what listens there, or choose another port (0 picks a free one)"
            fault = f"{variable}: port {port} of {host} is in use; {remedy}"
        elif error.errno == errno.EACCES:
            fault = f"{variable}: port {port} may not be listened on without more rights; choose one above 1023"
        else:
            fault = f"YOUSYNC_{server}_HOST: cannot listen on {host}: {error.strerror or error}"
        raise SettingsError(fault) from None
