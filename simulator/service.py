"""The simulator as a service: reads its log, then serves and publishes until it is told to stop."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Final

import uvloop
from aiohttp import web

from contract.settings import Settings, SettingsError
from ops.admin_server import admin_server
from ops.health import Check, Health
from ops.logging import get_logger
from ops.metrics import process_registry
from simulator.app import create_app
from simulator.simulation import Simulation, open_simulation

log = get_logger(__name__)

_TICK_SECONDS: Final = 0.05
_GRACE_SECONDS: Final = 2.0


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: a setting is wrong, the log cannot be read or written, or a port is taken.
    """
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    """Stopping goes backwards: no new calls, then the log is closed, and health is answered to the end."""
    stop = _stop_event()
    loading = ["the publication log is being read"]
    health = Health()
    health.add_readiness("publication_log", _check(loading))
    async with AsyncExitStack() as stack:
        with _blamed_on("YOUSYNC_ADMIN_PORT"):
            admin = admin_server(health, process_registry(), settings.admin_host, settings.admin_port)
            admin_port = await stack.enter_async_context(admin)
        log.info("admin server listening", host=settings.admin_host, port=admin_port)
        simulation = await asyncio.to_thread(open_simulation, settings)
        stack.callback(simulation.close)
        with _blamed_on("YOUSYNC_SIMULATOR_PORT"):
            port = await stack.enter_async_context(_api_server(settings, simulation))
        log.info("listening", host=settings.simulator_host, port=port, published=len(simulation.index))
        loading.clear()
        with _blamed_on("YOUSYNC_HOME"):
            await _publish_until(stop, simulation)
        log.info("stopping", published=len(simulation.index))


def _stop_event() -> asyncio.Event:
    """Set by SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _check(faults: list[str]) -> Check:
    async def check() -> str | None:
        return faults[0] if faults else None

    return check


async def _publish_until(stop: asyncio.Event, simulation: Simulation) -> None:
    was_finished = False
    while not stop.is_set():
        simulation.advance()
        if simulation.finished and not was_finished:
            was_finished = True
            log.info("catalogue finished", published=len(simulation.index))
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _TICK_SECONDS)


@asynccontextmanager
async def _api_server(settings: Settings, simulation: Simulation) -> AsyncIterator[int]:
    """Serve until the block ends; yields the port listened on."""
    runner = web.AppRunner(create_app(simulation), access_log=None, shutdown_timeout=_GRACE_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.simulator_host, settings.simulator_port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextmanager
def _blamed_on(variable: str) -> Iterator[None]:
    """A port that is taken or a disk that is full is the user's to mend: one sentence, no traceback."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{variable}: {error}") from error
