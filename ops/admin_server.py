"""The private HTTP server beside every service: `/livez`, `/readyz` and `/metrics`; never on the public port."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ops.health import Health
from ops.http_server import http_server


def create_admin_app(health: Health, registry: CollectorRegistry) -> web.Application:
    """Routes that answer 200 or, with the failing checks named, 503."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/livez", _answer(health.liveness_faults))
    app.router.add_get("/readyz", _answer(health.readiness_faults))
    app.router.add_get("/metrics", metrics)
    return app


def _answer(
    faults_of: Callable[[], Awaitable[dict[str, str]]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        faults = await faults_of()
        return web.json_response({"ok": not faults, "faults": faults}, status=503 if faults else 200)

    return answer


@asynccontextmanager
async def admin_server(health: Health, registry: CollectorRegistry, host: str, port: int) -> AsyncIterator[int]:
    """Serve until the block ends; yields the port listened on.

    Raises:
        SettingsError: the address cannot be listened on.
    """
    async with http_server(create_admin_app(health, registry), host, port, variables="YOUSYNC_ADMIN") as listening:
        yield listening
