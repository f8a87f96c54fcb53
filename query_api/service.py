"""The API's process: the public server, the admin server beside it, and a stop that lets requests finish."""

import asyncio
from contextlib import AsyncExitStack
from typing import Final

import uvloop

from contract.settings import Settings
from ops.admin_server import admin_server
from ops.health import Health
from ops.http_server import http_server
from ops.logging import get_logger
from ops.metrics import ApiMetrics, process_registry
from ops.stop_signal import stop_signal
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
    stop = stop_signal()
    registry, health = process_registry(), Health()
    async with AsyncExitStack() as stack:
        reader = MongoVideoReader(settings.mongodb_uri.get_secret_value(), settings.mongodb_database)
        stack.callback(reader.close)
        health.add_readiness("mongodb", reader.readiness_fault)
        # Stopped in reverse: the public server first, watched through the admin server to its end.
        admin_port = await stack.enter_async_context(
            admin_server(health, registry, settings.admin_host, settings.admin_port)
        )
        app, host = create_app(reader, ApiMetrics(registry)), settings.api_host
        port = await stack.enter_async_context(
            http_server(app, host, settings.api_port, variables="YOUSYNC_API", grace_seconds=_STOP_SECONDS)
        )
        log.info("listening", host=host, port=port, admin_port=admin_port)
        await stop.wait()
        log.info("stopping")
    log.info("stopped")
