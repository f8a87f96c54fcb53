"""The classification table, row by row, with the bodies that were recorded or are documented."""

import json
from typing import Any

import pytest

from producer.error_policy import (
    BadQuery,
    InvalidCredentials,
    InvalidPageToken,
    QuotaExhausted,
    YouTubeError,
    YouTubeUnavailable,
    to_error,
)

ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"


def body(code: int, message: str, reason: str, domain: str = "global", **more: Any) -> bytes:
    """The envelope of the API."""
    errors = [{"message": message, "domain": domain, "reason": reason}]
    return json.dumps({"error": {"code": code, "message": message, "errors": errors, **more}}).encode()


def info(reason: str, **metadata: str) -> dict[str, Any]:
    return {"@type": ERROR_INFO, "reason": reason, "domain": "googleapis.com", "metadata": metadata}


DAY_MESSAGE = (
    "Quota exceeded for quota metric 'Search Queries' and limit 'Search Queries per day' of service "
    "'youtube.googleapis.com' for consumer 'project_number:994147049083'."
)
DAY_INFO = info(
    "RATE_LIMIT_EXCEEDED",
    quota_location="global",
    window_start_time="1790319600",
    quota_limit="defaultSearchListPerDayPerProject",
    consumer="projects/994147049083",
    quota_unit="1/d/{project}",
    service="youtube.googleapis.com",
    quota_metric="youtube.googleapis.com/search_list",
    quota_limit_value="100",
)
MINUTE_INFO = info("RATE_LIMIT_EXCEEDED", quota_unit="1/min/{project}", quota_limit="defaultPerMinutePerProject")
KEY_INFO = info("API_KEY_INVALID", service="youtube.googleapis.com")
KEY_MESSAGE = "API key not valid. Please pass a valid API key."
UNITS_MESSAGE = (
    'The request cannot be completed because you have exceeded your <a href="/youtube/v3/getting-started#quota">'
    "quota</a>."
)
DAILY_MESSAGE = "Daily Limit Exceeded. The quota will be reset at midnight Pacific Time (PT)."
DELEGATION = "The authenticated user cannot act on behalf of the specified Google Account."
HTML = b"<!DOCTYPE html><html><title>Error 502 (Server Error)!!1</title></html>"

TABLE: list[tuple[str, int, bytes, type[YouTubeError]]] = [
    (
        "A day of search calls, live 2026-09-25",
        429,
        body(429, DAY_MESSAGE, "rateLimitExceeded", status="RESOURCE_EXHAUSTED", details=[DAY_INFO]),
        QuotaExhausted,
    ),
    ("A without details", 429, body(429, DAY_MESSAGE, "rateLimitExceeded"), QuotaExhausted),
    (
        "A by its unit alone",
        429,
        body(429, "Quota exceeded.", "rateLimitExceeded", details=[DAY_INFO]),
        QuotaExhausted,
    ),
    ("B units of the day", 403, body(403, UNITS_MESSAGE, "quotaExceeded", "youtube.quota"), QuotaExhausted),
    ("B older", 403, body(403, DAILY_MESSAGE, "dailyLimitExceeded", "usageLimits"), QuotaExhausted),
    (
        "C invalid key, live 2026-09-07",
        400,
        body(400, KEY_MESSAGE, "badRequest", status="INVALID_ARGUMENT", details=[KEY_INFO]),
        InvalidCredentials,
    ),
    ("C older", 400, body(400, "Bad Request", "keyInvalid", "usageLimits"), InvalidCredentials),
    (
        "C expired",
        400,
        body(400, "API key expired.", "badRequest", details=[info("API_KEY_EXPIRED")]),
        InvalidCredentials,
    ),
    ("no key at all", 401, body(401, "missing credentials", "required"), InvalidCredentials),
    (
        "no key at all, older",
        403,
        body(403, "Daily Limit for Unauthenticated Use Exceeded.", "dailyLimitExceededUnreg", "usageLimits"),
        InvalidCredentials,
    ),
    (
        "D API not enabled",
        403,
        body(
            403,
            "YouTube Data API v3 has not been used in project 1 before or it is disabled.",
            "accessNotConfigured",
            "usageLimits",
            status="PERMISSION_DENIED",
            details=[{"@type": "type.googleapis.com/google.rpc.Help", "links": []}, info("SERVICE_DISABLED")],
        ),
        InvalidCredentials,
    ),
    (
        "E key restricted",
        403,
        body(
            403,
            "Requests from referer <empty> are blocked.",
            "forbidden",
            status="PERMISSION_DENIED",
            details=[info("API_KEY_HTTP_REFERRER_BLOCKED")],
        ),
        InvalidCredentials,
    ),
    ("F transient", 403, body(403, DELEGATION, "accountDelegationForbidden", "youtube.common"), YouTubeUnavailable),
    ("burst", 429, body(429, "Quota exceeded per minute", "rateLimitExceeded"), YouTubeUnavailable),
    (
        "burst with details",
        429,
        body(429, "Quota exceeded", "rateLimitExceeded", details=[MINUTE_INFO]),
        YouTubeUnavailable,
    ),
    ("burst, 403", 403, body(403, "Rate Limit Exceeded", "rateLimitExceeded", "usageLimits"), YouTubeUnavailable),
    ("burst by user", 403, body(403, "User Rate Limit", "userRateLimitExceeded", "usageLimits"), YouTubeUnavailable),
    (
        "G page token",
        400,
        body(400, "The request specifies an invalid page token.", "invalidPageToken", "youtube.parameter"),
        InvalidPageToken,
    ),
    ("G search filter", 400, body(400, "Bad filter", "invalidSearchFilter", "youtube.search"), BadQuery),
    ("G channel", 400, body(400, "Bad channel", "invalidChannelId", "youtube.search"), BadQuery),
    (
        "G time",
        400,
        body(400, "Invalid value at 'published_after'", "badRequest", status="INVALID_ARGUMENT"),
        BadQuery,
    ),
    ("other 400 without an envelope", 400, HTML, BadQuery),
    ("H backend", 500, body(500, "Backend Error", "backendError"), YouTubeUnavailable),
    ("H unavailable", 503, body(503, "Backend Error", "backendError"), YouTubeUnavailable),
    ("H html", 502, HTML, YouTubeUnavailable),
    ("H empty", 504, b"", YouTubeUnavailable),
    ("429 of a proxy", 429, HTML, YouTubeUnavailable),
    ("403 of a proxy", 403, HTML, YouTubeUnavailable),
    ("404", 404, HTML, YouTubeUnavailable),
    ("redirect", 302, b"", YouTubeUnavailable),
    ("5xx that names a quota", 503, body(503, "Backend Error", "quotaExceeded"), YouTubeUnavailable),
    ("not the envelope", 403, b'{"error": "text"}', YouTubeUnavailable),
    ("not an object", 500, b"[1]", YouTubeUnavailable),
    ("not text", 500, b"\xff\xfe\x00", YouTubeUnavailable),
]


@pytest.mark.parametrize(("status", "answer", "reaction"), [pytest.param(*row[1:], id=row[0]) for row in TABLE])
def test_an_error_asks_for_its_reaction(status: int, answer: bytes, reaction: type[YouTubeError]) -> None:
    error = to_error(status, answer, "search")
    assert reaction is type(error)
    assert str(error).startswith(f"HTTP {status}: ")


def test_an_exhausted_bucket_is_the_one_that_was_debited() -> None:
    error = to_error(403, body(403, UNITS_MESSAGE, "quotaExceeded", "youtube.quota"), "units")
    assert isinstance(error, QuotaExhausted)
    assert error.bucket == "units"


def test_a_long_message_is_cut() -> None:
    assert len(str(to_error(500, body(500, "x" * 10_000, "backendError"), "search"))) < 400
