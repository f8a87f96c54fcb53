"""What all answers have in common, whatever route they come from: counted, timed, shown to whom they may be.

Around each handler, and not in a middleware: aiohttp's way to a middleware costs a hot page a tenth of its time.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from multidict import istr

from contract.settings import ANY_ORIGIN
from ops.metrics import ApiMetrics
from query_api.problems import problem_of

NO_SNIFFING: Final = (istr("X-Content-Type-Options"), "nosniff")
"""Goes with every answer. A stream, whose head is sent before its handler ends, sets it by itself."""

MAX_BODY_BYTES: Final = 1024
"""No route reads a body; a small one does no harm."""

UNMATCHED: Final = "unmatched"
"""The route of what no route is for."""

_TIMINGS: Final = web.RequestKey("timings", dict[str, float])
_OTHER_METHOD: Final = "other"

_READABLE: Final = "ETag, Link, Age, Warning, Server-Timing, Retry-After"
_PREFLIGHT: Final = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, HEAD, OPTIONS",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "If-None-Match, Last-Event-ID",
    hdrs.ACCESS_CONTROL_MAX_AGE: "600",
}


@contextmanager
def timed(request: web.Request, part: str) -> Iterator[None]:
    """Time a part of the work for the answer's `Server-Timing`; times of one name are added up.

    An answer without any part has no such header: a hot page takes less time than telling it.
    """
    began = perf_counter()
    try:
        yield
    finally:
        timings = request.setdefault(_TIMINGS, {})
        timings[part] = timings.get(part, 0.0) + perf_counter() - began


def serve_routes(
    app: web.Application, routes: Iterable[web.RouteDef], metrics: ApiMetrics, allowed_origins: Iterable[str] = ()
) -> None:
    """Let the application answer at these routes, and say so properly where there is none.

    Each answer is counted in `metrics` by its route's template, problems included.
    """
    stopping = _Stopping()
    app.on_shutdown.append(stopping.begin)
    for route in (*routes, web.route("*", "/{path:.*}", _answer_unmatched)):
        template = UNMATCHED if route.handler is _answer_unmatched else route.path
        handler = _Answering(route.handler, template, metrics, stopping).answer
        app.router.add_routes([web.RouteDef(route.method, route.path, handler, route.kwargs)])
    origins = frozenset(allowed_origins)
    if origins:
        app.on_response_prepare.append(_AllowedOrigins(origins).tell)


class _Stopping:
    """Whether the process ends, and with it every connection after the next answer on it."""

    begun = False

    async def begin(self, _app: web.Application) -> None:
        self.begun = True


class _Answering:
    """One route's handler, and what is done around it."""

    def __init__(self, handler: Handler, template: str, metrics: ApiMetrics, stopping: _Stopping) -> None:
        self._handler = handler
        self._template = template
        self._count = metrics.answered
        self._stopping = stopping

    async def answer(self, request: web.Request) -> web.StreamResponse:
        began = perf_counter()
        try:
            if request.body_exists:
                _refuse_large_body(request)
            answer = await self._handler(request)
        except Exception as error:  # noqa: BLE001 - every one becomes a problem
            answer = problem_of(request, error)
        seconds: float | None = perf_counter() - began
        if answer.prepared:
            seconds = None
        else:
            answer.headers[NO_SNIFFING[0]] = NO_SNIFFING[1]
            if len(request):
                answer.headers["Server-Timing"] = _server_timing(request, perf_counter() - began)
            if self._stopping.begun or answer.status == 413:
                answer.force_close()
        # Never a foreign method: each would be a new series, for anybody to make.
        method = request.method if request.method in hdrs.METH_ALL else _OTHER_METHOD
        self._count(self._template, method, answer.status, seconds)
        return answer


def _refuse_large_body(request: web.Request) -> None:
    if request.content_length is None or request.content_length > MAX_BODY_BYTES:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, request.content_length or 0)


async def _answer_unmatched(request: web.Request) -> web.StreamResponse:
    """404; or 405 where other methods would do, which the answer to `OPTIONS` names."""
    methods: set[str] = set()
    for resource in request.app.router.resources():
        if resource is not request.match_info.route.resource:
            methods |= (await resource.resolve(request))[1]
    if not methods:
        raise web.HTTPNotFound
    allowed = sorted({*methods, hdrs.METH_OPTIONS})
    if request.method == hdrs.METH_OPTIONS:
        return web.Response(status=204, headers={hdrs.ALLOW: ", ".join(allowed)})
    refusal = web.HTTPMethodNotAllowed(request.method, allowed)
    refusal.headers[hdrs.ALLOW] = ", ".join(allowed)
    raise refusal


def _server_timing(request: web.Request, seconds: float) -> str:
    parts = {**request.get(_TIMINGS, {}), "total": seconds}
    return ", ".join(f"{part};dur={spent * 1000:.2f}" for part, spent in parts.items())


class _AllowedOrigins:
    """Tells browsers whose pages may read an answer (CORS)."""

    def __init__(self, origins: frozenset[str]) -> None:
        self._origins = origins

    async def tell(self, request: web.Request, answer: web.StreamResponse) -> None:
        if ANY_ORIGIN in self._origins:
            allowed: str | None = ANY_ORIGIN
        else:
            # To caches: without this one page's answer would be given to another's.
            answer.headers.add(hdrs.VARY, hdrs.ORIGIN)
            origin = request.headers.get(hdrs.ORIGIN)
            allowed = origin if origin in self._origins else None
        if allowed is None:
            return
        answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = allowed
        answer.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _READABLE
        if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
            answer.headers.update(_PREFLIGHT)
