"""Listening: the port is told, and what stands in the way is one sentence that names the setting and the remedy."""

import socket

import pytest
from aiohttp import web

from contract.settings import SettingsError
from ops.http_server import http_server


async def _refusal(host: str, port: int) -> str:
    with pytest.raises(SettingsError) as refused:
        async with http_server(web.Application(), host, port, variables="YOUSYNC_API"):
            pass
    return str(refused.value)


async def test_a_free_port_is_taken_and_told_and_given_back() -> None:
    async with http_server(web.Application(), "127.0.0.1", 0, variables="YOUSYNC_API") as port:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


async def test_a_taken_port_is_named_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert await _refusal("127.0.0.1", port) == (
            f"YOUSYNC_API_PORT: 127.0.0.1:{port} is taken by another program: choose another port, or 0 for a free one"
        )


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_a_host_that_is_not_ours_is_named(host: str) -> None:
    assert (await _refusal(host, 0)).startswith(f"YOUSYNC_API_HOST: cannot listen on {host}: ")
