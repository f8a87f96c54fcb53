"""What is answered when a request ends with an error."""

import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from query_api.filters import Filters
from query_api.listing import PageTooDeep, SearchNotReady
from query_api.pagination import PageRequest, Total, encode_cursor, to_page
from query_api.problems import problem_of
from query_api.stored import StoredVideo
from query_api.video_reader import ReadModelUnavailable

KEY = "1790000000000vid-0000007"


def _problem(error: Exception) -> tuple[web.Response, dict[str, Any]]:
    answer = problem_of(make_mocked_request("GET", "/v1/videos?page=11&limit=100&channel_id=UC"), error)
    assert isinstance(answer.body, bytes)
    return answer, json.loads(answer.body)


@pytest.mark.parametrize(
    ("error", "status", "type_"),
    [
        (SearchNotReady(), 503, "urn:yousync:problem:search-not-ready"),
        (ReadModelUnavailable("away"), 503, "urn:yousync:problem:read-model-unavailable"),
        (web.HTTPNotFound(), 404, "about:blank"),
        (ValueError("a bug"), 500, "about:blank"),
    ],
)
def test_each_error_is_a_problem_of_its_own(error: Exception, status: int, type_: str) -> None:
    answer, problem = _problem(error)

    assert (answer.status, answer.content_type) == (status, "application/problem+json")
    assert (problem["type"], problem["status"], problem["instance"]) == (
        type_,
        status,
        "/v1/videos?page=11&limit=100&channel_id=UC",
    )
    assert answer.headers["Cache-Control"] == "no-store"
    assert "bug" not in json.dumps(problem)


def test_only_what_passes_soon_is_asked_for_again() -> None:
    assert _problem(ReadModelUnavailable("away"))[0].headers["Retry-After"] == "1"
    assert "Retry-After" not in _problem(SearchNotReady())[0].headers


def test_a_page_too_deep_offers_the_cursor_that_goes_on() -> None:
    asked = PageRequest(100, 10, filters=Filters(channel_id="UC"), given=(("channel_id", "UC"),))
    last = to_page(asked, [StoredVideo(KEY, b"{}")] * 101, Total(1000, exact=False))

    answer, problem = _problem(PageTooDeep(last))

    cursor = encode_cursor(KEY, Filters(channel_id="UC"))
    assert (answer.status, problem["type"]) == (400, "urn:yousync:problem:page-too-deep")
    assert problem["next_cursor"] == cursor
    assert [fault["parameter"] for fault in problem["errors"]] == ["page"]
    assert f'cursor={cursor}&limit=100&channel_id=UC>; rel="next"' in answer.headers["Link"]
