"""Error bodies against the recorded ones."""

import json
from typing import Any

import pytest

from simulator import errors
from simulator.errors import ApiError


def body(error: ApiError) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(error.body)
    assert list(answer) == ["error"]
    assert answer["error"]["code"] == error.status
    assert answer["error"]["errors"][0]["message"] == answer["error"]["message"]
    return dict(answer["error"])


def test_a_day_of_searches_used_up() -> None:
    project = errors.project_number("a key")
    message = (
        "Quota exceeded for quota metric 'Search Queries' and limit 'Search Queries per day' of service "
        f"'youtube.googleapis.com' for consumer 'project_number:{project}'."
    )

    assert body(errors.search_quota_exceeded("a key", 1790319600, 100)) == {
        "code": 429,
        "message": message,
        "errors": [{"message": message, "domain": "global", "reason": "rateLimitExceeded"}],
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "RATE_LIMIT_EXCEEDED",
                "domain": "googleapis.com",
                "metadata": {
                    "quota_location": "global",
                    "window_start_time": "1790319600",
                    "quota_limit": "defaultSearchListPerDayPerProject",
                    "consumer": f"projects/{project}",
                    "quota_unit": "1/d/{project}",
                    "service": "youtube.googleapis.com",
                    "quota_metric": "youtube.googleapis.com/search_list",
                    "quota_limit_value": "100",
                },
            }
        ],
    }


def test_the_project_number_does_not_hold_the_key() -> None:
    assert len(errors.project_number("123456789012")) == 12
    assert errors.project_number("123456789012") != "123456789012"


def test_a_burst_has_no_mark_of_a_day() -> None:
    error = body(errors.burst("a key", 1790319661))

    assert error["code"] == 429
    assert error["errors"][0]["reason"] == "rateLimitExceeded"
    assert error["details"][0]["metadata"]["quota_unit"] == "1/min/{project}"
    assert error["details"][0]["metadata"]["window_start_time"] == "1790319660"
    assert "per day" not in error["message"]


def test_a_day_of_units_used_up() -> None:
    message = (
        'The request cannot be completed because you have exceeded your <a href="/youtube/v3/getting-started#quota">'
        "quota</a>."
    )

    assert body(errors.units_exceeded()) == {
        "code": 403,
        "message": message,
        "errors": [{"message": message, "domain": "youtube.quota", "reason": "quotaExceeded"}],
    }


def test_an_invalid_key() -> None:
    error = body(errors.key_invalid())

    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["message"] == "API key not valid. Please pass a valid API key."
    assert error["errors"][0]["domain"] == "global"
    assert error["errors"][0]["reason"] == "badRequest"
    assert [detail["@type"].rpartition(".")[2] for detail in error["details"]] == ["ErrorInfo", "LocalizedMessage"]
    assert error["details"][0]["reason"] == "API_KEY_INVALID"


def test_an_illegal_time() -> None:
    error = body(errors.illegal_timestamp("published_after"))

    assert error["message"] == (
        "Invalid value at 'published_after' (type.googleapis.com/google.protobuf.Timestamp), Field 'published_after', "
        "Illegal timestamp format; timestamps must end with 'Z' or have a valid timezone offset."
    )
    assert error["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("error", "status", "domain", "reason", "detail"),
    [
        (errors.daily_limit_exceeded(), 403, "usageLimits", "dailyLimitExceeded", None),
        (errors.key_missing(), 403, "global", "forbidden", None),
        (errors.access_not_configured("k"), 403, "usageLimits", "accessNotConfigured", "SERVICE_DISABLED"),
        (errors.key_restricted("k"), 403, "global", "forbidden", "API_KEY_HTTP_REFERRER_BLOCKED"),
        (errors.delegation_forbidden(), 403, "youtube.common", "accountDelegationForbidden", None),
        (errors.invalid_search_filter(), 400, "youtube.search", "invalidSearchFilter", None),
        (errors.invalid_channel_id(), 400, "youtube.search", "invalidChannelId", None),
        (errors.invalid_page_token(), 400, "youtube.parameter", "invalidPageToken", None),
        (errors.invalid_filters(), 400, "youtube.parameter", "invalidFilters", None),
        (errors.missing_required_parameter("part"), 400, "youtube.parameter", "missingRequiredParameter", None),
        (errors.no_filter_selected("id"), 400, "youtube.parameter", "missingRequiredParameter", None),
        (errors.unexpected_parameter("x"), 400, "youtube.parameter", "unexpectedParameter", None),
        (errors.unknown_part("x"), 400, "youtube.part", "unknownPart", None),
        (errors.invalid_parameter("order", "x"), 400, "global", "invalidParameter", None),
        (errors.not_unsigned("max_results", "-1"), 400, "global", "badRequest", None),
        (errors.playlist_not_found(), 404, "youtube.playlistItem", "playlistNotFound", None),
        (errors.backend_error(), 500, "global", "backendError", None),
    ],
)
def test_every_other_error_says_what_the_real_one_says(
    error: ApiError, status: int, domain: str, reason: str, detail: str | None
) -> None:
    content = body(error)

    assert (error.status, content["errors"][0]["domain"], content["errors"][0]["reason"]) == (status, domain, reason)
    assert error.reason == reason
    reasons = [one["reason"] for one in content.get("details", []) if "reason" in one]
    assert reasons == ([] if detail is None else [detail])


def test_the_transient_refusal_is_worded_as_recorded() -> None:
    message = "The authenticated user cannot act on behalf of the specified Google Account."

    assert body(errors.delegation_forbidden())["message"] == message


def test_a_wrong_parameter_is_located() -> None:
    assert body(errors.invalid_page_token())["errors"][0]["location"] == "pageToken"
    assert body(errors.invalid_parameter("order", "x"))["errors"][0]["locationType"] == "parameter"


def test_the_gateway_answers_in_html() -> None:
    error = errors.bad_gateway_page()

    assert (error.status, error.content_type) == (502, "text/html")
    assert error.body.startswith(b"<!DOCTYPE html>")
