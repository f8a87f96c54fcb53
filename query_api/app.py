"""The public application, put together from its parts."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from aiohttp import web

from contract.settings import Settings
from ops.kafka_connection import find_refusal, kafka_connection
from ops.metrics import ApiMetrics
from query_api import live, pipeline, routes
from query_api.answering import serve_routes
from query_api.instruments import Instruments
from query_api.listing import Listing
from query_api.live import LIVE, LiveStreams, end_streams
from query_api.live_feed import LiveFeed
from query_api.live_history import KafkaHistory
from query_api.node import Node
from query_api.pages import Pages
from query_api.pipeline import PIPELINE, Pipeline
from query_api.ready_page import ReadyPages
from query_api.routes import LISTING, METRICS, NODE, READER, READY
from query_api.video_reader import MongoVideoReader, VideoReader
from query_api.video_stream import VideoStream


class Parts(NamedTuple):
    """What answers come from; `node` is kept by whoever made it."""

    reader: VideoReader
    node: Node
    live: LiveStreams
    pipeline: Pipeline


def create_app(parts: Parts, metrics: ApiMetrics, allowed_origins: Sequence[str] = ()) -> web.Application:
    """Routes over the parts; every answer, problems included, is counted in `metrics`."""
    app = web.Application()
    app[READER], app[NODE], app[LIVE], app[PIPELINE] = parts
    app[METRICS] = metrics
    app[READY] = ReadyPages(parts.node)
    app[LISTING] = Listing(parts.reader, parts.node)
    app.on_shutdown.append(end_streams)
    everything = (*routes.ROUTES, *live.ROUTES, *pipeline.ROUTES, *Pages().routes())
    serve_routes(app, everything, metrics, allowed_origins)
    return app


async def make_app(settings: Settings, instruments: Instruments) -> web.Application:
    """The application of one process on the real servers; what it holds is closed at its end.

    Raises:
        SettingsError: the connection string cannot be used.
    """
    connection, metrics = kafka_connection(settings), instruments.metrics
    reader = MongoVideoReader(settings.mongodb_uri.get_secret_value(), settings.mongodb_database)
    feed = LiveFeed()
    node = Node(reader, VideoStream(connection), feed, metrics)
    instruments.health.add_readiness("newest videos", node.readiness_fault)
    parts = Parts(
        reader,
        node,
        LiveStreams(feed, KafkaHistory(connection), metrics),
        Pipeline(settings, lambda: node.stale_seconds(time.monotonic())),
    )
    app = create_app(parts, metrics, settings.api_allowed_origins)

    async def running(_app: web.Application) -> AsyncIterator[None]:
        keeping = asyncio.create_task(node.run(), name="node")
        yield
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await parts.pipeline.close()
        await reader.close()

    app.cleanup_ctx.append(running)
    return app


async def require_usable_settings(settings: Settings) -> None:
    """Try what only the drivers and the servers can tell; servers that are away are no fault.

    Raises:
        SettingsError: the connection string cannot be used, or one of them refuses us.
    """
    refused = await find_refusal(kafka_connection(settings))
    if refused is not None:
        raise refused
    reader = MongoVideoReader(settings.mongodb_uri.get_secret_value(), settings.mongodb_database)
    try:
        await reader.require_rights()
    finally:
        await reader.close()
