"""`GET /v1/live`: new, updated and removed videos as server-sent events.

The events' bytes are shared by all clients, so they are written as they are, past the rendering of `aiohttp_sse`.
Heartbeats are ours too: they carry the id.
"""

import asyncio
from contextlib import aclosing
from typing import Final, Protocol

from aiohttp import hdrs, web
from aiohttp.http import StreamWriter
from aiohttp_sse import EventSourceResponse
from prometheus_client import Counter, Gauge

from query_api.answering import NO_SNIFFING
from query_api.live_client import Block, Conversation, History, LiveRequest, parse_live_request
from query_api.live_feed import LiveFeed
from query_api.problems import invalid_parameters, too_many_live_clients

LIVE: Final[web.AppKey["LiveStreams"]] = web.AppKey("live")

MOST_CLIENTS: Final = 5_000
HEARTBEAT_SECONDS: Final = 15.0
STALLED_SECONDS: Final = 30.0
"""So long may a write wait for a client that does not read."""

_NEVER_SECONDS: Final = 86_400.0
_STALLED: Final = "stalled"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""With every stream; `query_api.answering` comes too late to add any."""


class LiveMetrics(Protocol):
    """What is counted."""

    @property
    def live_clients(self) -> Gauge: ...
    @property
    def live_events_sent(self) -> Counter: ...
    @property
    def live_dropped(self) -> Counter:
        """By `reason`."""


class LiveStreams:
    """All live clients of the process."""

    def __init__(
        self,
        feed: LiveFeed,
        history: History,
        metrics: LiveMetrics,
        *,
        most_clients: int = MOST_CLIENTS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        stalled_seconds: float = STALLED_SECONDS,
    ) -> None:
        self._feed: Final = feed
        self._history: Final = history
        self._metrics: Final = metrics
        self._most_clients: Final = most_clients
        self._heartbeat_seconds: Final = heartbeat_seconds
        self._stalled_seconds: Final = stalled_seconds
        self._clients = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Returns once the stream has ended."""
        asked = parse_live_request(request.query.items(), request.headers.get(hdrs.LAST_EVENT_ID))
        if isinstance(asked, list):
            return invalid_parameters(request, asked)
        if request.method == hdrs.METH_HEAD:
            return web.Response(content_type="text/event-stream", headers=_HEADERS)
        if self._clients >= self._most_clients:
            return too_many_live_clients(request)
        self._clients += 1
        self._metrics.live_clients.inc()
        try:
            return await self._stream(request, asked)
        finally:
            self._clients -= 1
            self._metrics.live_clients.dec()

    async def _stream(self, request: web.Request, asked: LiveRequest) -> web.StreamResponse:
        response = EventSourceResponse(ping_interval=_NEVER_SECONDS, send_timeout=2 * self._stalled_seconds)
        response.headers.update(_HEADERS)
        response.headers[NO_SNIFFING[0]] = NO_SNIFFING[1]
        conversation = Conversation(self._feed, self._history, asked, self._heartbeat_seconds)
        writer = await response.prepare(request)
        assert isinstance(writer, StreamWriter)  # noqa: S101  # prepared for the first time, it is always there
        response.stop_streaming()  # its pings, which are tasks of their own
        try:
            async with aclosing(conversation.blocks()) as blocks:
                async for block in blocks:
                    if block.text:
                        await self._write(writer, block)
                        if block.dropped:
                            response.force_close()
                    elif request.transport is None:
                        break
        except ConnectionError:
            pass  # gone, as clients go
        except TimeoutError:
            self._metrics.live_dropped.labels(_STALLED).inc()
            if request.transport is not None:
                request.transport.abort()  # what was written last would be waited for
        return response

    async def _write(self, writer: StreamWriter, block: Block) -> None:
        """Send it; only a client whose buffer is full is waited for, and only then is there a timer, which costs."""
        await writer.write(block.text, drain=False)
        if block.events:
            self._metrics.live_events_sent.inc(block.events)
        if block.dropped:
            self._metrics.live_dropped.labels(block.dropped).inc()
        if writer.protocol.writing_paused:
            async with asyncio.timeout(self._stalled_seconds):
                await writer.drain()

    def end(self) -> None:
        """Every stream ends now, and so does each that is asked for from now on."""
        self._feed.stop()


async def stream(request: web.Request) -> web.StreamResponse:
    """`GET /v1/live`."""
    return await request.app[LIVE].answer(request)


async def end_streams(app: web.Application) -> None:
    """For `on_shutdown`: a stream would hold up a graceful stop."""
    app[LIVE].end()


ROUTES: Final = (web.get("/v1/live", stream),)
