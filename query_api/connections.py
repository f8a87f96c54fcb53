"""The connections of one process: how many there may be, and how large and how slow what comes and goes on them.

aiohttp reads HTTP. Added here is an end to what it would wait for: a request that does not arrive, an answer that is
not taken, ever more connections; and a problem where it would answer in plain text.
"""

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import http_exceptions, web

from ops.logging import get_logger
from ops.metrics import ApiMetrics
from query_api.problems import CONTENT_TYPE, NO_TYPE, Problem

log = get_logger(__name__)

MAX_TARGET_BYTES: Final = 8192
MAX_HEADER_BYTES: Final = MAX_TARGET_BYTES - 1
"""Not the same number: which of the two was exceeded can be told only by the limit that aiohttp names."""

MAX_HEADERS: Final = 64

REQUEST_SECONDS: Final = 10.0
"""How long a request may take to arrive, from its first byte; on a new connection from the beginning."""

ANSWER_SECONDS: Final = 30.0
"""How long a client may leave an answer lie that it has asked for."""

IDLE_SECONDS: Final = 75.0
"""How long a connection is kept for the next request: longer than a reverse proxy keeps it (nginx: 60 s)."""

_LINGER_SECONDS: Final = 2.0
"""How long a body that nobody wants is read, so that its sender sees the answer before the connection ends."""

CLOSE_SECONDS: Final = 10.0
"""How long the end of an answer may lie unread once its connection is closed."""

_SETTINGS: Final[dict[str, Any]] = {
    "access_log": None,
    "keepalive_timeout": IDLE_SECONDS,
    "lingering_time": _LINGER_SECONDS,
    "max_line_size": MAX_TARGET_BYTES,
    "max_field_size": MAX_HEADER_BYTES,
    "max_headers": MAX_HEADERS,
}


class Connections:
    """All connections of this process; `accept` makes one of who connects."""

    def __init__(self, server: web.Server, metrics: ApiMetrics, limit: int) -> None:
        self._server = server
        self._metrics = metrics
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._open: set[_Connection] = set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()

    def accept(self) -> asyncio.Protocol:
        """What an event loop's server calls for every new connection."""
        if len(self._open) >= self._limit:
            self._metrics.connections_refused.labels("full").inc()
            return _Refused()
        return _Connection(self, self._server, self._metrics, self._loop)

    def add(self, connection: "_Connection") -> None:
        self._open.add(connection)
        self._all_closed.clear()
        self._metrics.connections.set(len(self._open))

    def discard(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        if not self._open:
            self._all_closed.set()
        self._metrics.connections.set(len(self._open))

    def close_the_slow(self) -> None:
        """Look at every connection, and end what its client takes too long for."""
        now = self._loop.time()
        for connection in list(self._open):
            fault = connection.fault(now)
            if fault is not None:
                self._metrics.connections_refused.labels(fault).inc()
                connection.abort()

    async def wait_until_closed(self, seconds: float) -> None:
        """Wait until no connection is left, or the time is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._all_closed.wait(), seconds)


class _Refused(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _Connection(web.RequestHandler):
    """A connection that knows since when it has been waiting for its client."""

    __slots__ = ("_answer_since", "_closing_since", "_connections", "_metrics", "_request_since", "_requests", "_wire")

    def __init__(
        self, connections: Connections, server: web.Server, metrics: ApiMetrics, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(server, loop=loop, **_SETTINGS)
        self._connections = connections
        self._metrics = metrics
        self._wire: asyncio.Transport | None = None
        self._requests = 0
        self._request_since: float | None = None
        self._answer_since: float | None = None
        self._closing_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._wire = self.transport
        self._request_since = self._loop.time()
        self._connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._wire = None
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._request_count != self._requests:
            self._requests = self._request_count
            self._request_since = None
        elif self._request_since is None and self._waiter is not None:
            self._request_since = self._loop.time()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._answer_since = self._loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._answer_since = None

    def fault(self, now: float) -> str | None:
        """What the client takes too long for."""
        if self._wire is not None and self._wire.is_closing():
            if self._closing_since is None:
                self._closing_since = now
            return "slow_reader" if now - self._closing_since > CLOSE_SECONDS else None
        if self._answer_since is not None and now - self._answer_since > ANSWER_SECONDS:
            return "slow_reader"
        if self._request_since is not None and now - self._request_since > REQUEST_SECONDS:
            return "slow_request"
        return None

    def abort(self) -> None:
        """End the connection, whatever lies on it."""
        if self._wire is not None:
            self._wire.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's, for a text
    ) -> web.StreamResponse:
        """A problem for what never got as far as the application; the connection ends with it."""
        if isinstance(exc, http_exceptions.HttpProcessingError):
            status, detail = _unreadable(exc)
        else:
            log.error("request failed", method=request.method, path=request.path, exc_info=exc)
            detail = "Something unexpected went wrong; it has been logged."
        self._metrics.answered("unreadable", "other", status, None)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        problem = Problem(NO_TYPE, HTTPStatus(status).phrase, status, detail, request.path_qs)
        # aiohttp answers this as if it had been asked in HTTP/1.0, where the end of the connection goes unsaid.
        headers = {"Cache-Control": "no-store", "Connection": "close", "X-Content-Type-Options": "nosniff"}
        answer = web.Response(
            status=status, body=msgspec.json.encode(problem), content_type=CONTENT_TYPE, headers=headers
        )
        answer.force_close()
        return answer


def _unreadable(fault: http_exceptions.HttpProcessingError) -> tuple[int, str]:
    """Status and detail for what is no request that may be served."""
    if isinstance(fault, http_exceptions.LineTooLong):
        if MAX_TARGET_BYTES in fault.args:
            return 414, f"The address is longer than {MAX_TARGET_BYTES} bytes."
        return 431, f"A header is longer than {MAX_HEADER_BYTES} bytes."
    if "Too many headers" in fault.message:
        return 431, f"There are more than {MAX_HEADERS} headers."
    return 400, "This is not a request in HTTP that can be read."
