"""Every answer that is not a success: RFC 9457 problem details, with all faults of the request at once."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec import UNSET, UnsetType

from ops.logging import get_logger
from query_api.pagination import ParameterFault
from query_api.video_reader import ReadModelUnavailable

log = get_logger(__name__)

CONTENT_TYPE: Final = "application/problem+json"

NO_TYPE: Final = "about:blank"
"""The status says it all."""

INVALID_PARAMETERS: Final = "urn:yousync:problem:invalid-parameters"
NO_SUCH_VIDEO: Final = "urn:yousync:problem:no-such-video"
READ_MODEL_UNAVAILABLE: Final = "urn:yousync:problem:read-model-unavailable"

_RETRY_AFTER_SECONDS: Final = "1"
_DETAILS: Final = {
    404: "Nothing is served at this path.",
    405: "This path does not answer to that method.",
    413: "The request's body is too large.",
    500: "Something unexpected went wrong; it has been logged.",
}


class Problem(msgspec.Struct, frozen=True):
    """The members of a problem; `errors` only when parameters are at fault."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: Sequence[ParameterFault] | UnsetType = UNSET


def invalid_parameters(request: web.Request, faults: Sequence[ParameterFault]) -> web.Response:
    """400, naming every wrong parameter."""
    named = ", ".join(dict.fromkeys(fault.parameter for fault in faults))
    return _answer(request, 400, f"Wrong parameters: {named}.", type_=INVALID_PARAMETERS, errors=faults)


def no_such_video(request: web.Request) -> web.Response:
    """404 for a video that is unknown, or was removed."""
    return _answer(request, 404, "No video has this id, or it is gone from YouTube.", type_=NO_SUCH_VIDEO)


@web.middleware
async def answer_with_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Makes a problem of everything that goes wrong further in."""
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        if refusal.status < 400:
            raise
        allow = {"Allow": refusal.headers["Allow"]} if "Allow" in refusal.headers else {}
        return _answer(request, refusal.status, _DETAILS.get(refusal.status, refusal.reason), headers=allow)
    except ReadModelUnavailable:
        detail = "The videos cannot be read at the moment; try again shortly."
        retry = {"Retry-After": _RETRY_AFTER_SECONDS}
        return _answer(request, 503, detail, type_=READ_MODEL_UNAVAILABLE, headers=retry)
    except Exception:
        log.exception("request failed", method=request.method, path=request.path)
        return _answer(request, 500, _DETAILS[500])


def _answer(
    request: web.Request,
    status: int,
    detail: str,
    *,
    type_: str = NO_TYPE,
    errors: Sequence[ParameterFault] | UnsetType = UNSET,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    problem = Problem(type_, HTTPStatus(status).phrase, status, detail, request.path_qs, errors)
    return web.Response(
        status=status,
        body=msgspec.json.encode(problem),
        content_type=CONTENT_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
