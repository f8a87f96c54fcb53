"""The simulator spoken to by the real Google client, set up as the producer sets it up."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httplib2
import pytest
from aiohttp.test_utils import TestServer
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from googleapiclient.http import HttpRequest

from simulator.app import create_app
from simulator.quota import Quota
from tests.unit.simulator.simulations import CHANNEL, Made, always, make_simulation, published, video

KEY = "a-key-that-must-not-show"
ASK = {"part": "snippet", "type": "video", "order": "date", "maxResults": 50}

Connect = Callable[..., Any]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Serve a simulation; gives the client's service for a key and a timeout."""
    servers: list[TestServer] = []
    connections: list[httplib2.Http] = []

    async def connected(made: Made, key: str = KEY, timeout_seconds: float = 10) -> Any:
        server = TestServer(create_app(made.simulation, trickle_seconds=3))
        await server.start_server()
        servers.append(server)
        connection = httplib2.Http(timeout=timeout_seconds, proxy_info=None)
        connections.append(connection)

        def with_key(_http: object, *arguments: Any, **named: Any) -> Any:
            made_request: Any = HttpRequest(connection, *arguments, **named)
            made_request.headers["X-Goog-Api-Key"] = key
            return made_request

        untyped_build: Any = build  # its stubs want a request builder of their own private type
        return untyped_build(
            "youtube",
            "v3",
            http=connection,
            requestBuilder=with_key,
            client_options={"api_endpoint": str(server.make_url("/"))},
            static_discovery=True,
            cache_discovery=False,
        )

    yield connected
    for connection in connections:
        connection.close()
    for server in servers:
        await server.close()


async def execute(request: Any) -> Any:
    return await asyncio.to_thread(request.execute, num_retries=0)


async def search_all(youtube: Any, **parameters: Any) -> list[dict[str, Any]]:
    """Every item of every page."""
    request, items = youtube.search().list(**ASK, **parameters), []
    for _ in range(30):
        answer = await execute(request)
        items += answer["items"]
        request = youtube.search().list_next(request, answer)
        if request is None:
            return items
    raise AssertionError("the pages do not end")


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["id"]["videoId"] for item in items]


async def test_it_pages_to_the_end(connect: Connect, tmp_path: Path) -> None:
    youtube = await connect(published(tmp_path, 123))

    assert ids(await search_all(youtube)) == [f"video{number:06d}" for number in range(122, -1, -1)]


async def test_a_search_ends_at_five_hundred(connect: Connect, tmp_path: Path) -> None:
    youtube = await connect(published(tmp_path, 560))

    assert len(set(ids(await search_all(youtube)))) == 500


async def test_a_search_by_words_in_a_window_with_everything_the_producer_sends(
    connect: Connect, tmp_path: Path
) -> None:
    made = make_simulation(tmp_path)
    made.simulation.publish([video(1, "Tea & “Biscuits”"), video(2, "Coffee"), video(3, "tea's ready")])
    youtube = await connect(made)

    items = await search_all(
        youtube,
        q='tea -"no such"',
        publishedAfter="2026-09-26T12:00:00Z",
        publishedBefore="2026-09-26T12:00:00Z",
        regionCode="US",
        safeSearch="none",
    )

    assert [item["snippet"]["title"] for item in items] == ["tea&#39;s ready", "Tea &amp; “Biscuits”"]


async def test_the_other_methods_answer(connect: Connect, tmp_path: Path) -> None:
    youtube = await connect(published(tmp_path, 12))

    channel = (await execute(youtube.channels().list(part="contentDetails", id=CHANNEL)))["items"][0]
    playlist = channel["contentDetails"]["relatedPlaylists"]["uploads"]
    request, seen = youtube.playlistItems().list(part="contentDetails", playlistId=playlist), []
    while request is not None:
        answer = await execute(request)
        seen += [item["contentDetails"]["videoId"] for item in answer["items"]]
        request = youtube.playlistItems().list_next(request, answer)
    videos = await execute(youtube.videos().list(part=["snippet", "statistics"], id=[seen[0], "absent00000"]))

    assert seen == [f"video{number:06d}" for number in range(11, -1, -1)]
    assert [item["id"] for item in videos["items"]] == ["video000011"]


async def test_a_uri_over_2048_characters_arrives_as_a_post(connect: Connect, tmp_path: Path) -> None:
    made = published(tmp_path, 2)
    youtube = await connect(made)
    long_query = "talk " + " ".join(f"-absent{number}" for number in range(300))
    request = youtube.search().list(**ASK, q=long_query)
    assert len(request.uri) > 2048

    assert ids((await execute(request))["items"]) == ["video000001", "video000000"]


@pytest.mark.parametrize(
    ("changed", "key", "parameters", "status", "reason", "detail"),
    [
        ({}, "invalid", {}, 400, "badRequest", "API_KEY_INVALID"),
        ({}, "", {}, 403, "forbidden", None),
        ({}, KEY, {"publishedAfter": "yesterday"}, 400, "badRequest", None),
        ({}, KEY, {"pageToken": "nonsense"}, 400, "invalidPageToken", None),
        ({}, KEY, {"channelId": "nonsense"}, 400, "invalidChannelId", None),
        (
            {"quota": Quota(search_calls_per_day=0, units_per_day=0)},
            KEY,
            {},
            429,
            "rateLimitExceeded",
            "RATE_LIMIT_EXCEEDED",
        ),
        ({"faults": always("delegation403")}, KEY, {}, 403, "accountDelegationForbidden", None),
        ({"faults": always("burst429")}, KEY, {}, 429, "rateLimitExceeded", "RATE_LIMIT_EXCEEDED"),
        ({"faults": always("daily_limit_exceeded")}, KEY, {}, 403, "dailyLimitExceeded", None),
        ({"faults": always("access_not_configured")}, KEY, {}, 403, "accessNotConfigured", "SERVICE_DISABLED"),
        ({"faults": always("key_restricted")}, KEY, {}, 403, "forbidden", "API_KEY_HTTP_REFERRER_BLOCKED"),
        ({"faults": always("error500_json")}, KEY, {}, 500, "backendError", None),
    ],
)
async def test_an_error_reaches_the_caller_as_the_real_one_does(
    *,
    connect: Connect,
    tmp_path: Path,
    changed: dict[str, Any],
    key: str,
    parameters: dict[str, Any],
    status: int,
    reason: str,
    detail: str | None,
) -> None:
    youtube = await connect(published(tmp_path, 1, **changed), key)

    with pytest.raises(HttpError) as raised:
        await execute(youtube.search().list(**ASK, **parameters))

    error = json.loads(raised.value.content)["error"]
    assert (raised.value.status_code, error["errors"][0]["reason"]) == (status, reason)
    reasons = [one["reason"] for one in error.get("details", []) if "reason" in one]
    assert reasons == ([] if detail is None else [detail])
    assert KEY not in str(raised.value)


async def test_too_many_units_and_an_unknown_playlist(connect: Connect, tmp_path: Path) -> None:
    youtube = await connect(published(tmp_path, 1, quota=Quota(search_calls_per_day=0, units_per_day=1)))
    request = youtube.playlistItems().list(part="snippet", playlistId="UUzzzzzzzzzzzzzzzzzzzzzz")

    for status, reason in ((404, "playlistNotFound"), (403, "quotaExceeded")):
        with pytest.raises(HttpError) as raised:
            await execute(request)
        assert raised.value.status_code == status
        assert json.loads(raised.value.content)["error"]["errors"][0]["reason"] == reason


async def test_an_html_error_is_an_http_error(connect: Connect, tmp_path: Path) -> None:
    youtube = await connect(published(tmp_path, 1, faults=always("error502_html")))

    with pytest.raises(HttpError) as raised:
        await execute(youtube.search().list(**ASK))

    assert raised.value.status_code == 502
    assert raised.value.content.startswith(b"<!DOCTYPE html>")


async def test_a_truncated_body_is_an_incomplete_read(connect: Connect, tmp_path: Path) -> None:
    youtube = await connect(published(tmp_path, 1, faults=always("truncated_body")))

    with pytest.raises(http.client.IncompleteRead):
        await execute(youtube.search().list(**ASK))


async def test_a_body_that_is_no_json_comes_as_text_without_an_error(connect: Connect, tmp_path: Path) -> None:
    youtube = await connect(published(tmp_path, 1, faults=always("bad_json_200")))

    assert isinstance(await execute(youtube.search().list(**ASK)), str)


async def test_a_closed_connection_puts_two_requests_on_the_wire(connect: Connect, tmp_path: Path) -> None:
    made = published(tmp_path, 1, faults=always("connection_close"))
    youtube = await connect(made)

    with pytest.raises((ConnectionError, http.client.HTTPException)):
        await execute(youtube.search().list(**ASK))

    assert made.simulation.calls.wire_requests == 2
    assert made.simulation.quota.used("search", made.clock()) == 2


async def test_a_trickle_outlasts_a_timeout_that_counts_each_read(connect: Connect, tmp_path: Path) -> None:
    youtube = await connect(published(tmp_path, 30, faults=always("slow_trickle")), timeout_seconds=1)
    began = asyncio.get_running_loop().time()

    answer = await execute(youtube.search().list(**ASK))

    assert len(answer["items"]) == 30
    assert asyncio.get_running_loop().time() - began > 2.5


async def test_a_stuck_page_token_leads_the_client_round_for_ever(connect: Connect, tmp_path: Path) -> None:
    youtube = await connect(published(tmp_path, 60, faults=always("stuck_page_token")))

    with pytest.raises(AssertionError, match="the pages do not end"):
        await search_all(youtube)


async def test_a_private_upload_has_no_publish_time(connect: Connect, tmp_path: Path) -> None:
    made = published(tmp_path, 2)
    youtube = await connect(made)
    made.simulation.hide("video000001")

    ask = {"part": "snippet,contentDetails", "playlistId": "UU" + CHANNEL[2:]}
    private, public = (await execute(youtube.playlistItems().list(**ask)))["items"]
    videos = await execute(youtube.videos().list(part="id", id="video000001,video000000"))

    assert private["contentDetails"] == {"videoId": "video000001"}
    assert private["snippet"]["title"] == "Private video"
    assert public["contentDetails"]["videoPublishedAt"] == "2026-09-26T12:00:00Z"
    assert [item["id"] for item in videos["items"]] == ["video000000"]
    assert made.simulation.answered.ids() == {
        "search": [],
        "playlistItems": ["video000000"],
        "videos": ["video000000"],
    }


async def test_a_blank_next_page_token_ends_the_list(connect: Connect, tmp_path: Path) -> None:
    youtube = await connect(published(tmp_path, 60, faults=always("blank_next_page_token")))
    request = youtube.search().list(**ASK)
    answer = await execute(request)

    assert answer["nextPageToken"] == ""
    assert youtube.search().list_next(request, answer) is None
