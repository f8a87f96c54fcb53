"""What the simulator's every fault and error is to the producer, asked through the real Google client.

Nothing here needs Kafka: the simulator runs in this process, over HTTP. The simulator's own count proves that one call
is one request on the wire, whatever happens to it.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

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
    to_error,
)
from producer.search_pass import SearchRequest
from producer.windows import Window
from producer.youtube_client import Page, UploadsRequest, YouTubeClient
from simulator import errors
from simulator.app import create_app
from simulator.errors import ApiError
from simulator.faults import FAULTS, Setting
from simulator.quota import Quota
from tests.unit.simulator.simulations import CHANNEL, START_MS, Made, published

KEY = "AIzaSyThisIsNoRealKeyButLooksLikeOne_05"
WINDOW = Window(START_MS - 3_600_000, START_MS + 3_600_000)

Call = Callable[[YouTubeClient, str | None], Awaitable[Page]]
CALLS: dict[str, Call] = {
    "search": lambda client, token: client.search(SearchRequest("talk", WINDOW, token)),
    "playlistItems": lambda client, token: client.uploads(UploadsRequest(CHANNEL, token)),
    "videos": lambda client, _token: client.videos(["video000001", "video000002"]),
}

FAULT_MEANS: dict[str, type[YouTubeError] | None] = {
    "delegation403": DelegationRefused,
    "burst429": RateLimited,
    "quota_exhausted": QuotaExhausted,
    "units_exhausted": QuotaExhausted,
    "daily_limit_exceeded": QuotaExhausted,
    "key_invalid": InvalidCredentials,
    "access_not_configured": InvalidCredentials,
    "key_restricted": InvalidCredentials,
    "error500_json": YouTubeUnavailable,
    "error502_html": YouTubeUnavailable,
    "truncated_body": YouTubeUnavailable,
    "bad_json_200": YouTubeUnavailable,
    "connection_close": YouTubeUnavailable,
    "slow_trickle": YouTubeUnavailable,
    "invalid_page_token": InvalidPageToken,
    "uploads_not_found": NotFound,
    # A page comes all the same; what stands on it is judged where items and passes are.
    "blank_next_page_token": None,
    "stuck_page_token": None,
    "duplicates_across_pages": None,
    "published_after_ignored": None,
    "filters_ignored": None,
    "disorder": None,
    "omission": None,
    "foreign_kinds": None,
    "missing_video_id": None,
    "missing_snippet": None,
    "missing_thumbnails": None,
    "missing_videos": None,
    "private_uploads": None,
}

CONNECTION_FAULTS = ("connection_close", "truncated_body", "slow_trickle", "bad_json_200")

ERRORS: dict[str, tuple[ApiError, type[YouTubeError]]] = {
    "search_quota_exceeded": (errors.search_quota_exceeded(KEY, START_MS // 1000, 100), QuotaExhausted),
    "burst": (errors.burst(KEY, START_MS // 1000), RateLimited),
    "units_exceeded": (errors.units_exceeded(), QuotaExhausted),
    "daily_limit_exceeded": (errors.daily_limit_exceeded(), QuotaExhausted),
    "key_invalid": (errors.key_invalid(), InvalidCredentials),
    "key_missing": (errors.key_missing(), InvalidCredentials),
    "access_not_configured": (errors.access_not_configured(KEY), InvalidCredentials),
    "key_restricted": (errors.key_restricted(KEY), InvalidCredentials),
    "delegation_forbidden": (errors.delegation_forbidden(), DelegationRefused),
    "invalid_search_filter": (errors.invalid_search_filter(), BadQuery),
    "invalid_channel_id": (errors.invalid_channel_id(), BadQuery),
    "invalid_page_token": (errors.invalid_page_token(), InvalidPageToken),
    "invalid_filters": (errors.invalid_filters(), BadQuery),
    "missing_required_parameter": (errors.missing_required_parameter("part"), BadQuery),
    "no_filter_selected": (errors.no_filter_selected("id"), BadQuery),
    "unexpected_parameter": (errors.unexpected_parameter("colour"), BadQuery),
    "unknown_part": (errors.unknown_part("smell"), BadQuery),
    "invalid_parameter": (errors.invalid_parameter("order", "best"), BadQuery),
    "illegal_timestamp": (errors.illegal_timestamp("published_after"), BadQuery),
    "not_unsigned": (errors.not_unsigned("max_results", "-1"), BadQuery),
    "playlist_not_found": (errors.playlist_not_found(), NotFound),
    "backend_error": (errors.backend_error(), YouTubeUnavailable),
    "bad_gateway_page": (errors.bad_gateway_page(), YouTubeUnavailable),
}


@asynccontextmanager
async def connected(
    made: Made, keys: tuple[str, ...] = (KEY,), timeout_seconds: float = 10
) -> AsyncIterator[tuple[YouTubeClient, TestServer]]:
    """The producer's client of a simulation, and the simulation's server."""
    server = TestServer(create_app(made.simulation, trickle_seconds=600))
    await server.start_server()
    try:
        yield YouTubeClient(keys, str(server.make_url("/")), timeout_seconds), server
    finally:
        await server.close()


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Two pages of videos of one channel."""
    return published(tmp_path, 60)


def switch_on(made: Made, name: str) -> None:
    made.simulation.faults.replace({name: Setting(1.0)})


def test_each_fault_and_each_error_of_the_simulator_is_in_these_tables() -> None:
    made_here = {
        name
        for name, function in inspect.getmembers(errors, inspect.isfunction)
        if function.__module__ == errors.__name__
        and inspect.signature(function).return_annotation is ApiError
        and not name.startswith("_")
    }
    assert set(FAULT_MEANS) == set(FAULTS)
    assert set(ERRORS) == made_here


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_of_the_simulator_is_classified_word_for_word(name: str) -> None:
    error, reaction = ERRORS[name]
    assert type(to_error(error.status, error.body, "search")) is reaction


@pytest.mark.parametrize(
    ("fault", "endpoint"),
    [
        (fault.name, endpoint)
        for fault in FAULTS.values()
        for endpoint in CALLS
        if endpoint in fault.where and (fault.name, endpoint) != ("invalid_page_token", "videos")  # it has no pages
    ],
)
async def test_a_fault_is_one_request_with_its_own_reaction(made: Made, fault: str, endpoint: str) -> None:
    call, reaction = CALLS[endpoint], FAULT_MEANS[fault]
    async with connected(made) as (patient, server):
        first = await call(patient, None)
        switch_on(made, fault)
        hasty = YouTubeClient((KEY,), str(server.make_url("/")), timeout_seconds=0.5)
        client = hasty if fault == "slow_trickle" else patient

        if reaction is None:
            assert isinstance(await call(client, first.next_page_token), Page)
        else:
            with pytest.raises(YouTubeError) as caught:
                await call(client, first.next_page_token)
            assert caught.type is reaction
            assert KEY not in str(caught.value)
            if isinstance(caught.value, QuotaExhausted):
                assert caught.value.bucket == ("search" if endpoint == "search" else "units")

    assert made.simulation.calls.wire_requests == 2


@pytest.mark.parametrize("fault", CONNECTION_FAULTS)
async def test_wire_requests_equal_calls_under_every_connection_fault(made: Made, fault: str) -> None:
    switch_on(made, fault)
    calls = [*CALLS.values()] * 3
    async with connected(made, timeout_seconds=0.3 if fault == "slow_trickle" else 10) as (client, server):
        for call in calls:
            with pytest.raises(YouTubeUnavailable):
                await call(client, None)
        async with aiohttp.ClientSession() as session, session.get(server.make_url("/_simulator/calls")) as answer:
            assert (await answer.json())["wire_requests"] == len(calls)

    used = made.simulation.quota.used
    assert used("search", made.clock()) + used("units", made.clock()) == len(calls)


async def test_good_calls_bring_what_is_there(made: Made) -> None:
    async with connected(made) as (client, _):
        found = await client.search(SearchRequest("*", WINDOW, None))
        uploads = await client.uploads(UploadsRequest(CHANNEL))
        rest = await client.uploads(UploadsRequest(CHANNEL, uploads.next_page_token))
        videos = await client.videos(["video000007", "absent00000", "video000001"])
        nothing = await client.videos(["absent00000"])

    assert [item["id"]["videoId"] for item in found.items] == [f"video{number:06d}" for number in range(59, 9, -1)]
    assert [item["contentDetails"]["videoId"] for item in uploads.items + rest.items] == [
        f"video{number:06d}" for number in range(59, -1, -1)
    ]
    assert rest.next_page_token is None
    assert [item["id"] for item in videos.items] == ["video000007", "video000001"]
    assert set(videos.items[0]) >= {"snippet", "contentDetails", "status"}
    assert nothing == Page([], None)


async def test_a_channel_that_is_not_there_and_a_token_that_is_none(made: Made) -> None:
    async with connected(made) as (client, _):
        with pytest.raises(NotFound):
            await client.uploads(UploadsRequest("UCzzzzzzzzzzzzzzzzzzzzzz"))
        with pytest.raises(InvalidPageToken):
            await client.search(SearchRequest("talk", WINDOW, "nonsense"))
        with pytest.raises(InvalidPageToken):
            await client.uploads(UploadsRequest(CHANNEL, "nonsense"))


async def test_each_bucket_is_exhausted_by_itself(tmp_path: Path) -> None:
    made = published(tmp_path, 3, quota=Quota(search_calls_per_day=1, units_per_day=1))
    async with connected(made) as (client, _):
        for name in ("search", "videos"):
            await CALLS[name](client, None)
        for name, bucket in (("search", "search"), ("videos", "units"), ("playlistItems", "units")):
            with pytest.raises(QuotaExhausted) as caught:
                await CALLS[name](client, None)
            assert caught.value.bucket == bucket


async def test_a_key_that_youtube_takes_back_costs_one_call(tmp_path: Path) -> None:
    made = published(tmp_path, 3, keys=frozenset({"the-new-key"}))
    async with connected(made, keys=("the-old-key", "the-new-key")) as (client, _):
        with pytest.raises(KeyRefused, match="key 1 of 2"):
            await CALLS["search"](client, None)
        for call in CALLS.values():
            assert (await call(client, None)).items

    assert made.simulation.calls.wire_requests == 1 + len(CALLS)
