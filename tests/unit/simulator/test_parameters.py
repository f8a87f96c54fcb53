"""Parameters: defaults, clamps, and the 400 that each wrong one gets."""

import json
from typing import Any

import pytest

from contract.times import parse_rfc3339_ms
from simulator.errors import ApiError
from simulator.parameters import PageRequest, parse_by_id, parse_playlist_items, parse_search
from simulator.video_index import Window


def search(**parameters: str) -> Any:
    return parse_search({"part": "snippet", "type": "video", **parameters})


def refusal(**parameters: str) -> tuple[str, str]:
    """Reason and location (or field) of the 400 that a search gets."""
    with pytest.raises(ApiError) as raised:
        search(**parameters)
    assert raised.value.status == 400
    error = json.loads(raised.value.body)["error"]
    if "details" in error:
        return raised.value.reason, error["details"][0]["fieldViolations"][0]["field"]
    return raised.value.reason, error["errors"][0]["location"]


def test_defaults_are_those_of_the_api() -> None:
    request = parse_search({"part": "snippet"})

    assert request.page == PageRequest(0, 5)
    assert request.order == "relevance"
    assert request.types == {"video", "channel", "playlist"}
    assert request.window == Window(None, None)
    assert request.region == "US"
    assert request.query is None


@pytest.mark.parametrize(("given", "size"), [("0", 0), ("1", 1), ("50", 50), ("51", 50), ("100", 50), ("007", 7)])
def test_max_results_is_clamped_not_refused(given: str, size: int) -> None:
    assert search(maxResults=given).page.size == size


def test_a_window_is_read_with_zones_and_fractions() -> None:
    window = search(publishedAfter="2026-01-01T00:00:00.5Z", publishedBefore="2026-01-01T02:00:00+01:00").window

    assert window == Window(parse_rfc3339_ms("2026-01-01T00:00:00.5Z"), parse_rfc3339_ms("2026-01-01T01:00:00Z"))


def test_a_blank_page_token_begins_anew() -> None:
    assert search(pageToken="").page == PageRequest(0, 5)
    assert search(pageToken="CDIQAA", maxResults="50").page == PageRequest(50, 50, "CDIQAA")


def test_types_are_a_comma_list_and_the_region_is_echoed_in_capitals() -> None:
    assert search(type="video,channel").types == {"video", "channel"}
    assert search(regionCode="de").region == "DE"


def test_what_belongs_to_every_call_is_let_pass() -> None:
    assert search(key="k", alt="json", prettyPrint="false", fields="items", quotaUser="x", relevanceLanguage="de")


@pytest.mark.parametrize(
    ("parameters", "reason", "place"),
    [
        ({"publishedAfter": "yesterday"}, "badRequest", "published_after"),
        ({"publishedAfter": "2026-01-01T00:00:00"}, "badRequest", "published_after"),
        ({"publishedBefore": "2026-01-01"}, "badRequest", "published_before"),
        ({"maxResults": "-1"}, "badRequest", "max_results"),
        ({"maxResults": "many"}, "badRequest", "max_results"),
        ({"maxResults": ""}, "badRequest", "max_results"),
        ({"pageToken": "CDIQ"}, "invalidPageToken", "pageToken"),
        ({"part": ""}, "missingRequiredParameter", "part"),
        ({"part": "snippet,nonsense"}, "unknownPart", "part"),
        ({"nonsense": "1"}, "unexpectedParameter", "nonsense"),
        ({"relatedToVideoId": "x"}, "unexpectedParameter", "relatedToVideoId"),
        ({"order": "newest"}, "invalidParameter", "order"),
        ({"type": "film"}, "invalidParameter", "type"),
        ({"safeSearch": "yes"}, "invalidParameter", "safeSearch"),
        ({"regionCode": "Germany"}, "invalidParameter", "regionCode"),
        ({"channelId": "nobody"}, "invalidChannelId", "channelId"),
        ({"type": "", "videoDuration": "short"}, "invalidSearchFilter", "parameters."),
        ({"type": "video,channel", "eventType": "live"}, "invalidSearchFilter", "parameters."),
        ({"type": "", "location": "1,2"}, "invalidSearchFilter", "parameters."),
    ],
)
def test_each_wrong_parameter_gets_its_own_refusal(parameters: dict[str, str], reason: str, place: str) -> None:
    assert refusal(**parameters) == (reason, place)


def test_ids_are_taken_once_in_their_order_and_fifty_at_most() -> None:
    assert parse_by_id({"part": "id", "id": "b,a,,b"}, {"id"}).ids == ("b", "a")
    assert len(parse_by_id({"part": "id", "id": ",".join(map(str, range(50)))}, {"id"}).ids) == 50
    with pytest.raises(ApiError) as raised:
        parse_by_id({"part": "id", "id": ",".join(map(str, range(51)))}, {"id"})
    assert raised.value.reason == "invalidFilters"


@pytest.mark.parametrize("parameters", [{"part": "id"}, {"part": "id", "id": ""}, {"part": "id", "id": ","}])
def test_a_list_by_nothing_is_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(ApiError) as raised:
        parse_by_id(parameters, {"id"})
    assert raised.value.reason == "missingRequiredParameter"


def test_a_playlist_must_be_named() -> None:
    assert parse_playlist_items({"part": "snippet", "playlistId": "UUx", "maxResults": "50"}).page.size == 50
    with pytest.raises(ApiError) as raised:
        parse_playlist_items({"part": "snippet"})
    assert raised.value.reason == "missingRequiredParameter"
