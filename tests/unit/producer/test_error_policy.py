"""The classification table, row by row, with the bodies that were recorded or are documented."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.error_policy import (
    BadQuery,
    DelegationRefused,
    InvalidCredentials,
    InvalidPageToken,
    KeyRefused,
    NotFound,
    QuotaExhausted,
    RateLimited,
    YouTubeError,
    YouTubeUnavailable,
    mask,
    to_error,
)

ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"


def body(code: int, message: str, reason: str, domain: str = "global", **more: Any) -> bytes:
    """The envelope of the API."""
    errors = [{"message": message, "domain": domain, "reason": reason}]
    return json.dumps({"error": {"code": code, "message": message, "errors": errors, **more}}).encode()


def error_body(**parts: Any) -> bytes:
    """An error of any shape."""
    return json.dumps({"error": parts}).encode()


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
NO_KEY_MESSAGE = "Method doesn't allow unregistered callers (callers without established identity)."
MINUTE_MESSAGE = DAY_MESSAGE.replace("per day", "per minute")
SUSPENDED = "Permission denied: Consumer 'api_key:abc' has been suspended."
TIME_MESSAGE = "Invalid value at 'published_after' (type.googleapis.com/google.protobuf.Timestamp)"
NO_PLAYLIST = "The playlist identified with the request's <code>playlistId</code> parameter cannot be found."
DAILY_MESSAGE = "Daily Limit Exceeded. The quota will be reset at midnight Pacific Time (PT)."
DELEGATION = "The authenticated user cannot act on behalf of the specified Google Account."
HTML = b"<!DOCTYPE html><html><title>Error 502 (Server Error)!!1</title></html>"

Row = tuple[str, int, bytes, type[YouTubeError]]

TABLE: list[Row] = [
    # A: the day's search calls
    (
        "A live 2026-09-25",
        429,
        body(429, DAY_MESSAGE, "rateLimitExceeded", status="RESOURCE_EXHAUSTED", details=[DAY_INFO]),
        QuotaExhausted,
    ),
    ("A without details", 429, body(429, DAY_MESSAGE, "rateLimitExceeded"), QuotaExhausted),
    ("A message alone", 429, error_body(code=429, message=DAY_MESSAGE), QuotaExhausted),
    ("A unit alone", 429, body(429, "Quota exceeded.", "rateLimitExceeded", details=[DAY_INFO]), QuotaExhausted),
    (
        "A name of the limit alone",
        429,
        body(
            429,
            "Quota exceeded.",
            "rateLimitExceeded",
            details=[info("RATE_LIMIT_EXCEEDED", quota_limit="defaultSearchListPerDayPerProject")],
        ),
        QuotaExhausted,
    ),
    ("A as 403", 403, body(403, DAY_MESSAGE, "rateLimitExceeded", details=[DAY_INFO]), QuotaExhausted),
    (
        "A among details that are no objects",
        429,
        body(429, "Quota exceeded.", "rateLimitExceeded", details=["text", None, 7, [DAY_INFO], DAY_INFO]),
        QuotaExhausted,
    ),
    # B: the day's units
    ("B units", 403, body(403, UNITS_MESSAGE, "quotaExceeded", "youtube.quota"), QuotaExhausted),
    ("B with the day named", 403, body(403, DAY_MESSAGE, "quotaExceeded", "youtube.quota"), QuotaExhausted),
    ("B older", 403, body(403, DAILY_MESSAGE, "dailyLimitExceeded", "usageLimits"), QuotaExhausted),
    ("B as 429", 429, body(429, UNITS_MESSAGE, "quotaExceeded", "youtube.quota"), QuotaExhausted),
    ("B with odd details", 403, body(403, UNITS_MESSAGE, "quotaExceeded", details="none"), QuotaExhausted),
    (
        "B with odd metadata",
        403,
        body(403, UNITS_MESSAGE, "quotaExceeded", details=[{"reason": 7, "metadata": ["1/d"]}]),
        QuotaExhausted,
    ),
    # C: a key that is none
    (
        "C live 2026-09-07",
        400,
        body(400, KEY_MESSAGE, "badRequest", status="INVALID_ARGUMENT", details=[KEY_INFO]),
        InvalidCredentials,
    ),
    ("C without details", 400, body(400, KEY_MESSAGE, "badRequest"), InvalidCredentials),
    ("C older", 400, body(400, "Bad Request", "keyInvalid", "usageLimits"), InvalidCredentials),
    ("C older, expired", 400, body(400, "Bad Request", "keyExpired", "usageLimits"), InvalidCredentials),
    (
        "C expired",
        400,
        body(400, "API key expired. Please renew the API key.", "badRequest", details=[info("API_KEY_EXPIRED")]),
        InvalidCredentials,
    ),
    ("C no key", 403, body(403, NO_KEY_MESSAGE, "forbidden", status="PERMISSION_DENIED"), InvalidCredentials),
    ("C no key, 401", 401, body(401, "Missing credentials", "required"), InvalidCredentials),
    (
        "C no key, older",
        403,
        body(403, "Daily Limit for Unauthenticated Use Exceeded.", "dailyLimitExceededUnreg", "usageLimits"),
        InvalidCredentials,
    ),
    # D: a project that may not
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
    ("D older", 403, body(403, "Access Not Configured", "accessNotConfigured", "usageLimits"), InvalidCredentials),
    (
        "D by its details alone",
        403,
        error_body(code=403, message="disabled", status="PERMISSION_DENIED", details=[info("SERVICE_DISABLED")]),
        InvalidCredentials,
    ),
    (
        "D suspended",
        403,
        error_body(code=403, message=SUSPENDED, status="PERMISSION_DENIED", details=[info("CONSUMER_SUSPENDED")]),
        InvalidCredentials,
    ),
    # E: a key that may not be used from here
    (
        "E referrer",
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
    (
        "E service, by its details alone",
        403,
        error_body(code=403, message="blocked", details=[info("API_KEY_SERVICE_BLOCKED")]),
        InvalidCredentials,
    ),
    (
        "E without details",
        403,
        body(
            403, "Requests to this API youtube method youtube.api.v3.V3DataSearchService.List are blocked.", "forbidden"
        ),
        InvalidCredentials,
    ),
    (
        "E older",
        403,
        body(403, "There is a per-IP or per-Referer restriction on your key.", "ipRefererBlocked", "usageLimits"),
        InvalidCredentials,
    ),
    # F: the refusal at random
    ("F delegation", 403, body(403, DELEGATION, "accountDelegationForbidden", "youtube.common"), DelegationRefused),
    (
        "F in the global domain",
        403,
        body(403, DELEGATION, "accountDelegationForbidden", "global", status="PERMISSION_DENIED"),
        DelegationRefused,
    ),
    (
        "F with a reason for all",
        403,
        error_body(
            code=403,
            message=DELEGATION,
            errors=[
                {"domain": "global", "reason": "forbidden"},
                {"domain": "youtube.common", "reason": "accountDelegationForbidden"},
            ],
        ),
        DelegationRefused,
    ),
    # Bursts
    ("burst", 429, body(429, MINUTE_MESSAGE, "rateLimitExceeded"), RateLimited),
    ("burst with details", 429, body(429, MINUTE_MESSAGE, "rateLimitExceeded", details=[MINUTE_INFO]), RateLimited),
    ("burst, 403", 403, body(403, "Rate Limit Exceeded", "rateLimitExceeded", "usageLimits"), RateLimited),
    ("burst by user", 403, body(403, "User Rate Limit", "userRateLimitExceeded", "usageLimits"), RateLimited),
    ("burst, 403 by details", 403, error_body(code=403, message="slower", details=[MINUTE_INFO]), RateLimited),
    ("burst that names the quota", 403, body(403, MINUTE_MESSAGE, "quotaExceeded"), RateLimited),
    (
        "burst whose unit contradicts the reason",
        403,
        body(403, UNITS_MESSAGE, "quotaExceeded", details=[MINUTE_INFO]),
        RateLimited,
    ),
    ("burst of a proxy", 429, HTML, RateLimited),
    ("burst, empty", 429, b"", RateLimited),
    # G: 400s
    (
        "G page token",
        400,
        body(400, "The request specifies an invalid page token.", "invalidPageToken", "youtube.parameter"),
        InvalidPageToken,
    ),
    ("G search filter", 400, body(400, "Bad filter", "invalidSearchFilter", "youtube.search"), BadQuery),
    ("G channel", 400, body(400, "Bad channel", "invalidChannelId", "youtube.search"), BadQuery),
    ("G location", 400, body(400, "Bad location", "invalidLocation", "youtube.search"), BadQuery),
    ("G language", 400, body(400, "Bad language", "invalidRelevanceLanguage", "youtube.search"), BadQuery),
    ("G incompatible", 400, body(400, "Incompatible", "incompatibleParameters", "youtube.parameter"), BadQuery),
    ("G filters", 400, body(400, "Bad filters", "invalidFilters", "youtube.parameter"), BadQuery),
    ("G missing", 400, body(400, "Required", "missingRequiredParameter", "youtube.parameter"), BadQuery),
    ("G unexpected", 400, body(400, "Unexpected", "unexpectedParameter", "youtube.parameter"), BadQuery),
    ("G enumeration", 400, body(400, "Invalid value", "invalidParameter"), BadQuery),
    ("G time", 400, body(400, TIME_MESSAGE, "badRequest", status="INVALID_ARGUMENT"), BadQuery),
    ("G unknown reason", 400, body(400, "New in 2027", "somethingNew", "youtube.search"), BadQuery),
    ("G by status alone", 400, error_body(code=400, message="bad", status="INVALID_ARGUMENT"), BadQuery),
    # H: Google's own trouble
    ("H backend", 500, body(500, "Backend Error", "backendError"), YouTubeUnavailable),
    ("H unavailable", 503, body(503, "Backend Error", "backendError"), YouTubeUnavailable),
    ("H html", 502, HTML, YouTubeUnavailable),
    ("H empty", 504, b"", YouTubeUnavailable),
    ("H that names a quota", 503, body(503, DAY_MESSAGE, "quotaExceeded"), YouTubeUnavailable),
    ("H that names the page token", 500, body(500, "Backend Error", "invalidPageToken"), YouTubeUnavailable),
    ("H that names the key", 500, body(500, KEY_MESSAGE, "keyInvalid"), YouTubeUnavailable),
    # What is not there
    ("404 playlist", 404, body(404, NO_PLAYLIST, "playlistNotFound", "youtube.playlistItem"), NotFound),
    ("404 video", 404, body(404, "No video", "videoNotFound", "youtube.video"), NotFound),
    ("404 entity", 404, body(404, "Requested entity was not found.", "notFound", status="NOT_FOUND"), NotFound),
    ("404 html", 404, HTML, YouTubeUnavailable),
    ("404 empty", 404, b"", YouTubeUnavailable),
    ("404 of a proxy", 404, b'{"error": {"message": "no route"}}', YouTubeUnavailable),
    (
        "403 playlist for its owner alone",
        403,
        body(403, "Forbidden", "playlistItemsNotAccessible", "youtube.playlistItem"),
        NotFound,
    ),
    ("403 channel closed", 403, body(403, "Closed", "channelClosed", "youtube.common"), NotFound),
    ("403 channel suspended", 403, body(403, "Suspended", "channelSuspended", "youtube.common"), NotFound),
    ("403 channel not found", 403, body(403, "Not found", "channelNotFound", "youtube.common"), NotFound),
    # Nobody knows
    ("403 unknown", 403, body(403, "New in 2027", "somethingNew", "youtube.search"), YouTubeUnavailable),
    ("403 of one method", 403, body(403, "Forbidden", "forbidden", "youtube.video"), YouTubeUnavailable),
    ("400 html", 400, HTML, YouTubeUnavailable),
    ("400 empty", 400, b"", YouTubeUnavailable),
    ("401 of a proxy", 401, HTML, YouTubeUnavailable),
    ("403 of a proxy", 403, HTML, YouTubeUnavailable),
    ("408", 408, HTML, YouTubeUnavailable),
    ("409", 409, body(409, "Conflict", "conflict"), YouTubeUnavailable),
    ("redirect", 302, b"", YouTubeUnavailable),
    ("304", 304, b"", YouTubeUnavailable),
    ("error is text", 403, b'{"error": "text"}', YouTubeUnavailable),
    ("error is null", 400, b'{"error": null}', YouTubeUnavailable),
    ("error is empty", 400, b'{"error": {}}', YouTubeUnavailable),
    (
        "parts of other types",
        403,
        error_body(code="x", message=[], errors={"reason": "quotaExceeded"}, status=7, details={}),
        YouTubeUnavailable,
    ),
    ("errors that are no objects", 403, error_body(code=403, message="m", errors=[5, "forbidden"]), YouTubeUnavailable),
    ("not an object", 500, b"[1]", YouTubeUnavailable),
    ("not JSON", 400, b'{"error": {"code": 400, "errors": [', YouTubeUnavailable),
    ("nested without end", 400, b"[" * 100_000, YouTubeUnavailable),
    ("not text", 500, b"\xff\xfe\x00", YouTubeUnavailable),
    ("not text within a string", 400, b'{"error": "\xff"}', YouTubeUnavailable),
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


def test_a_secret_that_the_server_repeats_is_masked_before_the_message_is_cut() -> None:
    error = to_error(403, body(403, "x" * 295 + "secret-key", "forbidden"), "search", ("other", "secret-key"))
    assert "***" in str(error)
    assert "secre" not in str(error)


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    assert mask("a key: abcdef, and abc", ("abc", "", "abcdef")) == "a key: ***, and ***"


def test_outcomes_tell_the_reactions_apart() -> None:
    kinds = {reaction for *_, reaction in TABLE}
    assert len({kind.outcome for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("kind", [RateLimited, DelegationRefused, KeyRefused])
def test_what_passes_by_itself_is_unavailability(kind: type[YouTubeError]) -> None:
    assert issubclass(kind, YouTubeUnavailable)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
PARTS = st.fixed_dictionaries({}, optional={"errors": JSON, "details": JSON, "message": JSON, "status": JSON})


@given(status=st.integers(300, 599), answer=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_whatever_is_an_error_of_youtube(status: int, answer: bytes) -> None:
    assert str(to_error(status, answer, "search")).startswith(f"HTTP {status}: ")


@given(parts=PARTS)
def test_any_error_whatever_is_an_error_of_youtube(parts: dict[str, Any]) -> None:
    for status in (400, 401, 403, 404, 429, 500):
        assert isinstance(to_error(status, error_body(**parts), "search"), YouTubeError)
