"""Starting an HTTP server on an address of the settings: what stands in the way is one sentence with its remedy."""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from contract.settings import SettingsError


@asynccontextmanager
async def http_server(
    app: web.Application, host: str, port: int, *, variables: str, grace_seconds: float = 2.0
) -> AsyncIterator[int]:
    """Serve until the block ends; yields the port listened on.

    `variables` is what the two variables of the address begin with: `YOUSYNC_API` for `YOUSYNC_API_HOST` and
    `YOUSYNC_API_PORT`. At the end requests under way have `grace_seconds`, and as long again once they are cancelled.

    Raises:
        SettingsError: the address cannot be listened on.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=grace_seconds)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SettingsError(_address_fault(error, host, port, variables)) from None
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _address_fault(error: OSError, host: str, port: int, variables: str) -> str:
    if error.errno == errno.EADDRINUSE:
        remedy = "choose another port, or 0 for a free one"
        return f"{variables}_PORT: {host}:{port} is taken by another program: {remedy}"
    if error.errno == errno.EACCES:
        return f"{variables}_PORT: port {port} may not be listened on without more rights: choose one above 1023"
    return f"{variables}_HOST: cannot listen on {host}: {error.strerror or error}"
