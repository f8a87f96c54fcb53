"""The error bodies of the API, word for word as they were recorded where a recording is known."""

from hashlib import blake2b
from typing import Any, Final

import orjson

_KEY_NOT_VALID: Final = "API key not valid. Please pass a valid API key."
_QUOTA: Final = (
    'The request cannot be completed because you have exceeded your <a href="/youtube/v3/getting-started#quota">'
    "quota</a>."
)
_ILLEGAL_TIME: Final = "Illegal timestamp format; timestamps must end with 'Z' or have a valid timezone offset."
_ERROR_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"


class ApiError(Exception):
    """A call is answered with an error: `reason` is how tests and counts name it."""

    def __init__(self, status: int, reason: str, body: bytes, content_type: str = "application/json") -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.body = body
        self.content_type = content_type


def _error(
    code: int,
    message: str,
    domain: str,
    reason: str,
    *,
    where: dict[str, str] | None = None,
    status: str | None = None,
    details: list[dict[str, Any]] | None = None,
) -> ApiError:
    """The envelope: errors of the application have `errors` only, those of the infrastructure status and details."""
    error: dict[str, Any] = {
        "code": code,
        "message": message,
        "errors": [{"message": message, "domain": domain, "reason": reason, **(where or {})}],
    }
    if status is not None:
        error["status"] = status
    if details is not None:
        error["details"] = details
    return ApiError(code, reason, orjson.dumps({"error": error}))


def _at(location: str) -> dict[str, str]:
    return {"location": location, "locationType": "parameter"}


def _info(reason: str, **metadata: str) -> dict[str, Any]:
    return {"@type": _ERROR_INFO, "reason": reason, "domain": "googleapis.com", "metadata": metadata}


def project_number(key: str) -> str:
    """A twelve-digit project number that stands for the key and does not betray it."""
    return str(10**11 + int.from_bytes(blake2b(key.encode(), digest_size=6).digest(), "big") % (9 * 10**11))


def search_quota_exceeded(key: str, window_start_seconds: int, limit: int) -> ApiError:
    """A: the day's search calls are used up. The marker of a day is `quota_unit`."""
    return _rate_limited(
        key,
        "Search Queries per day",
        window_start_time=str(window_start_seconds),
        quota_limit="defaultSearchListPerDayPerProject",
        quota_unit="1/d/{project}",
        quota_limit_value=str(limit),
    )


def burst(key: str, now_seconds: int) -> ApiError:
    """A's sibling for a short window: it clears within a minute and carries no mark of a day."""
    return _rate_limited(
        key,
        "Search Queries per minute",
        window_start_time=str(now_seconds // 60 * 60),
        quota_limit="defaultSearchListPerMinutePerProject",
        quota_unit="1/min/{project}",
        quota_limit_value="30",
    )


def _rate_limited(key: str, limit_name: str, **quota: str) -> ApiError:
    project = project_number(key)
    message = (
        f"Quota exceeded for quota metric 'Search Queries' and limit '{limit_name}' of service "
        f"'youtube.googleapis.com' for consumer 'project_number:{project}'."
    )
    metadata = {
        "quota_location": "global",
        "window_start_time": quota["window_start_time"],
        "quota_limit": quota["quota_limit"],
        "consumer": f"projects/{project}",
        "quota_unit": quota["quota_unit"],
        "service": "youtube.googleapis.com",
        "quota_metric": "youtube.googleapis.com/search_list",
        "quota_limit_value": quota["quota_limit_value"],
    }
    return _error(
        429,
        message,
        "global",
        "rateLimitExceeded",
        status="RESOURCE_EXHAUSTED",
        details=[_info("RATE_LIMIT_EXCEEDED", **metadata)],
    )


def units_exceeded() -> ApiError:
    """B: the day's units are used up."""
    return _error(403, _QUOTA, "youtube.quota", "quotaExceeded")


def daily_limit_exceeded() -> ApiError:
    """B as it was told in older days."""
    message = (
        "Daily Limit Exceeded. The quota will be reset at midnight Pacific Time (PT). "
        "You may monitor your quota usage and adjust limits in the API Console."
    )
    return _error(403, message, "usageLimits", "dailyLimitExceeded")


def key_invalid() -> ApiError:
    """C: no such key."""
    localized = {
        "@type": "type.googleapis.com/google.rpc.LocalizedMessage",
        "locale": "en-US",
        "message": _KEY_NOT_VALID,
    }
    return _error(
        400,
        _KEY_NOT_VALID,
        "global",
        "badRequest",
        status="INVALID_ARGUMENT",
        details=[_info("API_KEY_INVALID", service="youtube.googleapis.com"), localized],
    )


def key_missing() -> ApiError:
    """No key at all."""
    message = (
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API."
    )
    return _error(403, message, "global", "forbidden", status="PERMISSION_DENIED")


def access_not_configured(key: str) -> ApiError:
    """D: the API is not enabled in the key's project."""
    project = project_number(key)
    link = f"https://console.developers.google.com/apis/api/youtube.googleapis.com/overview?project={project}"
    message = (
        f"YouTube Data API v3 has not been used in project {project} before or it is disabled. Enable it by visiting "
        f"{link} then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our "
        "systems and retry."
    )
    help_link = {
        "@type": "type.googleapis.com/google.rpc.Help",
        "links": [{"description": "Google developers console API activation", "url": link}],
    }
    return _error(
        403,
        message,
        "usageLimits",
        "accessNotConfigured",
        where={"extendedHelp": "https://console.developers.google.com"},
        status="PERMISSION_DENIED",
        details=[
            help_link,
            _info("SERVICE_DISABLED", service="youtube.googleapis.com", consumer=f"projects/{project}"),
        ],
    )


def key_restricted(key: str) -> ApiError:
    """E: the key may not be used from here."""
    blocked = _info(
        "API_KEY_HTTP_REFERRER_BLOCKED",
        service="youtube.googleapis.com",
        consumer=f"projects/{project_number(key)}",
    )
    message = "Requests from referer <empty> are blocked."
    return _error(403, message, "global", "forbidden", status="PERMISSION_DENIED", details=[blocked])


def delegation_forbidden() -> ApiError:
    """F: the transient refusal that has nothing to do with the request."""
    message = "The authenticated user cannot act on behalf of the specified Google Account."
    return _error(403, message, "youtube.common", "accountDelegationForbidden")


def invalid_search_filter() -> ApiError:
    """G: a filter that needs `type=video` came without."""
    message = "The request contains an invalid combination of search filters and/or restrictions."
    return _error(400, message, "youtube.search", "invalidSearchFilter", where=_at("parameters."))


def invalid_channel_id() -> ApiError:
    """G: `channelId` is none."""
    message = "The request specifies an invalid channel ID."
    return _error(400, message, "youtube.search", "invalidChannelId", where=_at("channelId"))


def invalid_page_token() -> ApiError:
    """G: the list has no such page."""
    message = "The request specifies an invalid page token."
    return _error(400, message, "youtube.parameter", "invalidPageToken", where=_at("pageToken"))


def invalid_filters() -> ApiError:
    """G: more ids than a call may name."""
    message = "The request specifies an invalid filter parameter."
    return _error(400, message, "youtube.parameter", "invalidFilters", where=_at("parameters."))


def missing_required_parameter(name: str) -> ApiError:
    """G: a parameter that must be there is not."""
    message = f"Required parameter: {name}"
    return _error(400, message, "youtube.parameter", "missingRequiredParameter", where=_at(name))


def no_filter_selected(*expected: str) -> ApiError:
    """G: a list call without anything to list by."""
    message = f"No filter selected. Expected one of: {', '.join(expected)}"
    where = {"location": "parameters.", "locationType": "other"}
    return _error(400, message, "youtube.parameter", "missingRequiredParameter", where=where)


def unexpected_parameter(name: str) -> ApiError:
    """G: a parameter that the method does not have."""
    message = f"The request contains an unexpected parameter: {name}."
    return _error(400, message, "youtube.parameter", "unexpectedParameter", where=_at(name))


def unknown_part(part: str) -> ApiError:
    """G: a part that the resource does not have."""
    return _error(400, f"'{part}'", "youtube.part", "unknownPart", where=_at("part"))


def invalid_parameter(name: str, value: str) -> ApiError:
    """G: a value that is none of those allowed."""
    message = f"Invalid value '{value[:100]}' for parameter {name}."
    return _error(400, message, "global", "invalidParameter", where=_at(name))


def illegal_timestamp(field: str) -> ApiError:
    """G: `field` (`published_after` or `published_before`) is no RFC 3339 time with a zone."""
    described = f"Invalid value at '{field}' (type.googleapis.com/google.protobuf.Timestamp), Field '{field}', "
    return _bad_value(field, described + _ILLEGAL_TIME)


def not_unsigned(field: str, value: str) -> ApiError:
    """G: `field` must be a number without a sign."""
    return _bad_value(field, f"Invalid value at '{field}' (TYPE_UINT32), \"{value[:100]}\"")


def _bad_value(field: str, message: str) -> ApiError:
    violations = {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"field": field, "description": message}],
    }
    return _error(400, message, "global", "badRequest", status="INVALID_ARGUMENT", details=[violations])


def playlist_not_found() -> ApiError:
    """No such uploads playlist."""
    message = "The playlist identified with the request's <code>playlistId</code> parameter cannot be found."
    return _error(404, message, "youtube.playlistItem", "playlistNotFound", where=_at("playlistId"))


def backend_error() -> ApiError:
    """H: Google's own trouble, told in JSON."""
    return _error(500, "Backend Error", "global", "backendError")


def bad_gateway_page() -> ApiError:
    """H: the front end's page, which is not JSON."""
    page = (
        b"<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n<title>Error 502 (Server Error)!!1</title>\n"
        b"<p><b>502.</b> <ins>That\xe2\x80\x99s an error.</ins>\n<p>The server encountered a temporary error and could "
        b"not complete your request.<p>Please try again in 30 seconds.\n</html>\n"
    )
    return ApiError(502, "badGateway", page, "text/html")
