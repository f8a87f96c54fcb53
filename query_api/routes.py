"""The public routes for videos, queries and channels: what is asked for, of whom, and what is answered."""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec
from aiohttp import web

from contract.read_model import published_ms
from contract.times import format_seconds
from contract.video import VIDEO_ID
from ops.metrics import ApiMetrics
from query_api.answering import timed
from query_api.filters import Filters
from query_api.listing import Listing
from query_api.negotiation import has_already
from query_api.node import Node
from query_api.pagination import link_header, parse_page_request, render_page, unexpected
from query_api.pipeline import PIPELINE
from query_api.problems import invalid_parameters, no_such_video
from query_api.ready_page import ReadyPages
from query_api.summaries import (
    Listed,
    QuerySummary,
    Summary,
    SummaryPage,
    SummaryRequest,
    cursor_after,
    parse_summary_request,
)
from query_api.video_reader import VideoReader

READER: Final[web.AppKey[VideoReader]] = web.AppKey("reader")
NODE: Final[web.AppKey[Node]] = web.AppKey("node")
READY: Final[web.AppKey[ReadyPages]] = web.AppKey("ready")
LISTING: Final[web.AppKey[Listing]] = web.AppKey("listing")
METRICS: Final[web.AppKey[ApiMetrics]] = web.AppKey("metrics")

_JSON: Final = "application/json"
_FRESH: Final = {"Cache-Control": "no-cache"}
"""Caches may keep an answer but ask again each time: new videos arrive every few seconds."""

_NO_HEADERS: Final[Mapping[str, str]] = {}


async def list_videos(request: web.Request) -> web.Response:
    """`GET /v1/videos`: one page, newest first; from this process's memory when it is there."""
    ready = request.app[READY].answer(request)
    if ready is not None:
        return ready
    asked = parse_page_request(request.query.items())
    if isinstance(asked, list):
        return invalid_parameters(request, asked)
    hot = request.app[NODE].hot_page(asked)
    if hot is not None:
        return request.app[READY].keep(request, hot)
    with timed(request, "db"):
        page = await request.app[LISTING].page(asked)
    if not page.complete:
        request.app[METRICS].search_incomplete.inc()
    return _answer(request, render_page(page), {"Link": link_header(request.path, page)})


async def show_video(request: web.Request) -> web.Response:
    """`GET /v1/videos/{video_id}`: one video."""
    faults = unexpected(request.query.items(), known=())
    if faults:
        return invalid_parameters(request, faults)
    video_id = request.match_info["video_id"]
    if not VIDEO_ID.fullmatch(video_id):
        return no_such_video(request)
    with timed(request, "db"):
        body = await request.app[READER].find_video(video_id)
    return no_such_video(request) if body is None else _answer(request, body)


async def list_queries(request: web.Request) -> web.Response:
    """`GET /v1/queries`: what is followed, also without a video yet, and what was followed."""
    asked = parse_summary_request("queries", request.query.items())
    if isinstance(asked, list):
        return invalid_parameters(request, asked)
    followed = await request.app[PIPELINE].followed_queries() or {}
    names = sorted(name for name in {*request.app[NODE].queries(), *followed} if name > (asked.after or ""))
    with timed(request, "db"):
        items = await asyncio.gather(
            *(_summarise(request.app, name, followed=followed.get(name, False)) for name in names[: asked.limit])
        )
    return _answer(request, _rendered("queries", asked, items, names))


async def list_channels(request: web.Request) -> web.Response:
    """`GET /v1/channels`: the channels that videos are stored of."""
    asked = parse_summary_request("channels", request.query.items())
    if isinstance(asked, list):
        return invalid_parameters(request, asked)
    with timed(request, "db"):
        found = await request.app[READER].list_channels(limit=asked.limit + 1, after=asked.after)
    return _answer(request, _rendered("channels", asked, found[: asked.limit], [channel.id for channel in found]))


async def _summarise(app: web.Application, query: str, *, followed: bool) -> QuerySummary:
    ranking, reader = app[NODE].ranking(query), app[READER]
    counting = reader.count_videos(Filters(query=query)) if ranking is None else ranking.count_between("", None)
    newest, total = await asyncio.gather(reader.summarise_query(query), counting)
    published_at = None if newest is None else format_seconds(published_ms(newest))
    return QuerySummary(query, followed, total, published_at)


def _rendered(listed: Listed, asked: SummaryRequest, items: Sequence[Summary], names: Sequence[str]) -> bytes:
    """The page's JSON; `names` are those of the items, and of one more if any follow."""
    cursor = cursor_after(listed, names[asked.limit - 1]) if len(names) > asked.limit else None
    return msgspec.json.encode(SummaryPage(items, asked.limit, cursor))


def _answer(request: web.Request, body: bytes, headers: Mapping[str, str] = _NO_HEADERS) -> web.Response:
    """200 with a tag of the body's bytes, or 304 to who has them already."""
    tag = blake2b(body, digest_size=12).hexdigest()
    if has_already(request, tag):
        answer = web.Response(status=304, headers=_FRESH)
    else:
        answer = web.Response(body=body, content_type=_JSON, headers={**_FRESH, **headers})
    answer.etag = tag
    return answer


ROUTES: Final = (
    web.get("/v1/videos", list_videos),
    web.get("/v1/videos/{video_id}", show_video),
    web.get("/v1/queries", list_queries),
    web.get("/v1/channels", list_channels),
)
