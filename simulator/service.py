"""The simulator as a service: reads its log, then serves and publishes until it is told to stop."""

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Final

import uvloop

from contract.settings import Settings, SettingsError
from ops.admin_server import admin_server
from ops.health import Check, Health
from ops.http_server import http_server
from ops.logging import get_logger
from ops.metrics import process_registry
from ops.stop_signal import stop_signal
from simulator.app import create_app
from simulator.simulation import Simulation, open_simulation

log = get_logger(__name__)

_TICK_SECONDS: Final = 0.05


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: a setting is wrong, the log cannot be read or written, or a port is taken.
    """
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    """Stopping goes backwards: no new calls, then the log is closed, and health is answered to the end."""
    stop = stop_signal()
    loading = ["the publication log is being read"]
    health = Health()
    health.add_readiness("publication_log", _check(loading))
    async with AsyncExitStack() as stack:
        admin_port = await stack.enter_async_context(
            admin_server(health, process_registry(), settings.admin_host, settings.admin_port)
        )
        log.info("admin server listening", host=settings.admin_host, port=admin_port)
        simulation = await asyncio.to_thread(open_simulation, settings)
        stack.callback(simulation.close)
        host = settings.simulator_host
        port = await stack.enter_async_context(
            http_server(create_app(simulation), host, settings.simulator_port, variables="YOUSYNC_SIMULATOR")
        )
        log.info("listening", host=host, port=port, published=len(simulation.index))
        loading.clear()
        await _publish_until(stop, simulation)
        log.info("stopping", published=len(simulation.index))


def _check(faults: list[str]) -> Check:
    async def check() -> str | None:
        return faults[0] if faults else None

    return check


async def _publish_until(stop: asyncio.Event, simulation: Simulation) -> None:
    was_finished = False
    while not stop.is_set():
        try:
            simulation.advance()
        except OSError as error:  # a full disk is the user's to mend
            raise SettingsError(f"YOUSYNC_HOME: {error}") from error
        if simulation.finished and not was_finished:
            was_finished = True
            log.info("catalogue finished", published=len(simulation.index))
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _TICK_SECONDS)
