"""The public routes: what is asked for, of whom, and what is answered."""

import asyncio
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

from aiohttp import hdrs, web

from contract.video import VIDEO_ID
from query_api.pagination import link_header, parse_page_request, render_page, to_page, unexpected
from query_api.problems import invalid_parameters, no_such_video
from query_api.video_reader import VideoReader

READER: Final[web.AppKey[VideoReader]] = web.AppKey("reader")

_JSON: Final = "application/json"
_FRESH: Final = {"Cache-Control": "no-cache"}
"""Caches may keep an answer but ask again each time: new videos arrive every few seconds."""

_NO_HEADERS: Final[Mapping[str, str]] = {}


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
    return _answer(request, render_page(page), {"Link": link_header(request.path, page)})


async def show_video(request: web.Request) -> web.Response:
    """`GET /v1/videos/{video_id}`: one video."""
    faults = unexpected(request.query.items(), known=())
    if faults:
        return invalid_parameters(request, faults)
    video_id = request.match_info["video_id"]
    body = await request.app[READER].find_video(video_id) if VIDEO_ID.fullmatch(video_id) else None
    if body is None:
        return no_such_video(request)
    return _answer(request, body)


def _answer(request: web.Request, body: bytes, headers: Mapping[str, str] = _NO_HEADERS) -> web.Response:
    """200 with a tag of the body's bytes, or 304 to who has them already."""
    tag = blake2b(body, digest_size=12).hexdigest()
    if _has(request, tag):
        answer = web.Response(status=304, headers=_FRESH)
    else:
        answer = web.Response(body=body, content_type=_JSON, headers={**_FRESH, **headers})
    answer.etag = tag
    return answer


def _has(request: web.Request, tag: str) -> bool:
    """What `If-None-Match` says; a weak tag of the same name will do (RFC 9110, 13.1.2)."""
    # Looked at here: aiohttp takes the tag "*", quoted, for the bare star that means any.
    if request.headers.get(hdrs.IF_NONE_MATCH) == "*":
        return True
    return any(known.value == tag for known in request.if_none_match or ())


ROUTES: Final = (web.get("/v1/videos", list_videos), web.get("/v1/videos/{video_id}", show_video))
