"""Every answer that is not a success: RFC 9457 problem details, with all faults of the request at once."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from ops.logging import get_logger
from query_api.filters import LAST_COUNTED, ParameterFault
from query_api.listing import PageTooDeep, SearchNotReady
from query_api.pagination import link_header
from query_api.video_reader import ReadModelUnavailable

log = get_logger(__name__)

CONTENT_TYPE: Final = "application/problem+json"

NO_TYPE: Final = "about:blank"
"""The status says it all."""

INVALID_PARAMETERS: Final = "urn:yousync:problem:invalid-parameters"
NO_SUCH_VIDEO: Final = "urn:yousync:problem:no-such-video"
PAGE_TOO_DEEP: Final = "urn:yousync:problem:page-too-deep"
READ_MODEL_UNAVAILABLE: Final = "urn:yousync:problem:read-model-unavailable"
SEARCH_NOT_READY: Final = "urn:yousync:problem:search-not-ready"
TOO_MANY_LIVE_CLIENTS: Final = "urn:yousync:problem:too-many-live-clients"

_RETRY_AFTER_SECONDS: Final = "1"
_LIVE_RETRY_AFTER_SECONDS: Final = "5"
_DETAILS: Final = {
    404: "Nothing is served at this path.",
    405: "This path does not answer to that method.",
    413: "The request's body is too large.",
    500: "Something unexpected went wrong; it has been logged.",
}


class Problem(msgspec.Struct, frozen=True):
    """The members of a problem; `errors` only when parameters are at fault, `next_cursor` where one leads on."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: Sequence[ParameterFault] | UnsetType = UNSET
    next_cursor: str | UnsetType | None = UNSET


def invalid_parameters(request: web.Request, faults: Sequence[ParameterFault]) -> web.Response:
    """400, naming every wrong parameter."""
    named = ", ".join(dict.fromkeys(fault.parameter for fault in faults))
    return _answer(request, 400, f"Wrong parameters: {named}.", type_=INVALID_PARAMETERS, errors=faults)


def no_such_video(request: web.Request) -> web.Response:
    """404 for a video that is unknown, or was removed."""
    return _answer(request, 404, "No video has this id, or it is gone from YouTube.", type_=NO_SUCH_VIDEO)


def too_many_live_clients(request: web.Request) -> web.Response:
    """503 while as many streams are open as may be."""
    detail = "This server has as many live clients as it takes; try again shortly."
    retry = {"Retry-After": _LIVE_RETRY_AFTER_SECONDS}
    return _answer(request, 503, detail, type_=TOO_MANY_LIVE_CLIENTS, headers=retry)


def problem_of(request: web.Request, error: Exception) -> web.Response:
    """What is answered when `error` ended a request; an unexpected one is logged."""
    if isinstance(error, web.HTTPException):
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _answer(request, error.status, _DETAILS.get(error.status, error.reason), headers=allow)
    if isinstance(error, PageTooDeep):
        return _page_too_deep(request, error)
    if isinstance(error, SearchNotReady):
        detail = "The videos were stored by an older version and cannot be searched until they are rebuilt."
        return _answer(request, 503, detail, type_=SEARCH_NOT_READY)
    if isinstance(error, ReadModelUnavailable):
        detail = "The videos cannot be read at the moment; try again shortly."
        retry = {"Retry-After": _RETRY_AFTER_SECONDS}
        return _answer(request, 503, detail, type_=READ_MODEL_UNAVAILABLE, headers=retry)
    log.error("request failed", method=request.method, path=request.path, exc_info=error)
    return _answer(request, 500, _DETAILS[500])


def _page_too_deep(request: web.Request, error: PageTooDeep) -> web.Response:
    """400, with the cursor that goes on where pages by number end."""
    last = error.last
    detail = (
        f"With these filters pages by number end at video {LAST_COUNTED}: "
        f"go on after page {last.request.page} by its cursor."
    )
    fault = ParameterFault("page", f"must be at most {last.request.page} at this limit")
    headers = {"Link": link_header(request.path, last)}
    return _answer(
        request, 400, detail, type_=PAGE_TOO_DEEP, errors=[fault], next_cursor=last.next_cursor, headers=headers
    )


def _answer(
    request: web.Request,
    status: int,
    detail: str,
    *,
    type_: str = NO_TYPE,
    errors: Sequence[ParameterFault] | UnsetType = UNSET,
    next_cursor: str | UnsetType | None = UNSET,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    problem = Problem(type_, HTTPStatus(status).phrase, status, detail, request.path_qs, errors, next_cursor)
    return web.Response(
        status=status,
        body=msgspec.json.encode(problem),
        content_type=CONTENT_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
