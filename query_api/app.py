"""The public application, put together from its parts."""

import time

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from ops.metrics import ApiMetrics
from query_api.problems import answer_with_problems
from query_api.routes import READER, ROUTES
from query_api.video_reader import VideoReader


def create_app(reader: VideoReader, metrics: ApiMetrics) -> web.Application:
    """Routes over `reader`; every answer, problems included, is counted in `metrics`."""
    app = web.Application(middlewares=[_counted_in(metrics), answer_with_problems])
    app[READER] = reader
    app.add_routes(ROUTES)
    return app


def _counted_in(metrics: ApiMetrics) -> Middleware:
    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        answer = await handler(request)
        # Never the raw path or a foreign method: each would be a new series, for anybody to make.
        resource = request.match_info.route.resource
        route = "unmatched" if resource is None else resource.canonical
        method = request.method if request.method in hdrs.METH_ALL else "other"
        metrics.requests.labels(route, method, str(answer.status)).inc()
        metrics.request_seconds.labels(route).observe(time.perf_counter() - began)
        return answer

    return count
