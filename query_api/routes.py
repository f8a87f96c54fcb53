"""The public routes: what is asked for, of whom, and what is answered."""

import asyncio
import re
from typing import Final

from aiohttp import web

from query_api.pagination import link_header, parse_page_request, render_page, to_page, unexpected
from query_api.problems import invalid_parameters, no_such_video
from query_api.video_reader import VideoReader

READER: Final[web.AppKey[VideoReader]] = web.AppKey("reader")

_JSON: Final = "application/json"
_FRESH: Final = {"Cache-Control": "no-cache"}
"""Caches may keep an answer but ask again each time: new videos arrive every few seconds."""

_VIDEO_ID: Final = re.compile(r"[A-Za-z0-9_-]{11}")


async def list_videos(request: web.Request) -> web.Response:
    """`GET /v1/videos`: one page, newest first."""
    asked = parse_page_request(request.query.items())
    if isinstance(asked, list):
        return invalid_parameters(request, asked)
    reader = request.app[READER]
    videos, total = await asyncio.gather(
        reader.list_videos(limit=asked.limit + 1, skip=asked.skip, after=asked.after), reader.count_videos()
    )
    page = to_page(asked, videos, total)
    headers = {**_FRESH, "Link": link_header(request.path, page)}
    return web.Response(body=render_page(page), content_type=_JSON, headers=headers)


async def show_video(request: web.Request) -> web.Response:
    """`GET /v1/videos/{video_id}`: one video."""
    faults = unexpected(request.query.items(), known=())
    if faults:
        return invalid_parameters(request, faults)
    video_id = request.match_info["video_id"]
    body = await request.app[READER].find_video(video_id) if _VIDEO_ID.fullmatch(video_id) else None
    if body is None:
        return no_such_video(request)
    return web.Response(body=body, content_type=_JSON, headers=_FRESH)


ROUTES: Final = (web.get("/v1/videos", list_videos), web.get("/v1/videos/{video_id}", show_video))
