"""Starting an HTTP server on an address of the settings: what stands in the way is one sentence with its remedy."""

import errno
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from contract.settings import SettingsError

BACKLOG: Final = 1024
"""Connections that may wait to be accepted; the system cuts this down to its own limit."""


def listen(host: str, port: int, *, variables: str) -> list[socket.socket]:
    """Listen on every address of the host, on one port; 0 means a free one.

    `variables` is what the two variables of the address begin with: `YOUSYNC_API` for `YOUSYNC_API_HOST` and
    `YOUSYNC_API_PORT`. Clients that come before a server is there wait for it.

    Raises:
        SettingsError: the address cannot be listened on.
    """
    listeners: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port):
            chosen = port_of(listeners) if listeners else port
            listeners.append(_listener(family, (address[0], chosen, *address[2:])))
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise SettingsError(_address_fault(error, host, port, variables)) from None
    return listeners


def port_of(listeners: Sequence[socket.socket]) -> int:
    """The port that they all listen on."""
    return int(listeners[0].getsockname()[1])


@asynccontextmanager
async def http_server(
    app: web.Application, host: str, port: int, *, variables: str, grace_seconds: float = 2.0
) -> AsyncIterator[int]:
    """Serve until the block ends; yields the port listened on.

    At the end requests under way have `grace_seconds`, and as long again once they are cancelled.

    Raises:
        SettingsError: the address cannot be listened on (see `listen`).
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=grace_seconds)
    await runner.setup()
    try:
        listeners = listen(host, port, variables=variables)
        await serve_on(listeners, runner)
        yield port_of(listeners)
    finally:
        await runner.cleanup()


async def serve_on(listeners: Iterable[socket.socket], runner: web.BaseRunner) -> None:
    """Answer who connects there, until the runner's cleanup; it closes the listeners in this process."""
    for listener in listeners:
        await web.SockSite(runner, listener, backlog=BACKLOG).start()


def _addresses(host: str, port: int) -> Iterable[tuple[int, tuple[object, ...]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return dict.fromkeys((family, address) for family, _, _, _, address in found)


def _listener(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A port whose last connections are just being forgotten is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # An IPv4 address is an address of its own.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _address_fault(error: OSError, host: str, port: int, variables: str) -> str:
    if error.errno == errno.EADDRINUSE:
        remedy = "choose another port, or 0 for a free one"
        return f"{variables}_PORT: {host}:{port} is taken by another program: {remedy}"
    if error.errno == errno.EACCES:
        return f"{variables}_PORT: port {port} may not be listened on without more rights: choose one above 1023"
    return f"{variables}_HOST: cannot listen on {host}: {error.strerror or error}"
