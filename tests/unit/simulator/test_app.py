"""The simulator over HTTP: keys, quotas, faults that replace or break an answer, and the routes for tests."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from simulator.app import create_app
from simulator.faults import ENDPOINTS, FAULTS
from simulator.quota import Quota
from tests.unit.simulator.simulations import CHANNEL, Made, always, published

SEARCH = "/youtube/v3/search"
KEY = {"X-Goog-Api-Key": "a key"}
ASK = {"part": "snippet", "type": "video", "order": "date"}

Client = TestClient[Any, Any]
Serve = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Serve three published videos; keyword arguments as of `make_simulation`."""

    @asynccontextmanager
    async def served(made: Made | None = None, **changed: Any) -> AsyncIterator[Client]:
        made = made or published(tmp_path, 3, **changed)
        async with TestClient(TestServer(create_app(made.simulation, trickle_seconds=1.0))) as client:
            yield client

    return served


async def get(client: Client, path: str = SEARCH, **parameters: str) -> tuple[int, dict[str, Any]]:
    async with client.get(path, params={**ASK, **parameters} if path == SEARCH else parameters, headers=KEY) as answer:
        assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
        return answer.status, await answer.json()


async def outcomes(client: Client) -> dict[str, dict[str, int]]:
    async with client.get("/_simulator/calls") as answer:
        return dict((await answer.json())["outcomes"])


def reason(body: dict[str, Any]) -> str:
    return str(body["error"]["errors"][0]["reason"])


async def test_the_key_is_taken_from_header_or_parameter(serve: Serve) -> None:
    async with serve() as client:
        for headers, parameters, status in (
            (KEY, {}, 200),
            ({}, {"key": "k"}, 200),
            ({}, {}, 403),
            ({}, {"key": "invalid"}, 400),
            ({"X-Goog-Api-Key": "invalid"}, {}, 400),
        ):
            async with client.get(SEARCH, params={**ASK, **parameters}, headers=headers) as answer:
                assert answer.status == status, (headers, parameters)

        assert await outcomes(client) == {"search": {"ok": 2, "forbidden": 1, "badRequest": 2}}


async def test_a_long_get_may_come_as_a_post(serve: Serve) -> None:
    async with serve() as client:
        override = {**KEY, "X-HTTP-Method-Override": "GET"}
        async with client.post(SEARCH, data={**ASK, "maxResults": "2"}, headers=override) as answer:
            assert (answer.status, len((await answer.json())["items"])) == (200, 2)
        async with client.post(SEARCH, data=ASK, headers=KEY) as answer:
            assert answer.status == 404


async def test_a_repeated_parameter_is_a_list(serve: Serve) -> None:
    async with serve() as client:
        ids = [("part", "id"), ("part", "snippet"), ("id", "video000001"), ("id", "video000002,video000000")]
        async with client.get("/youtube/v3/videos", params=ids, headers=KEY) as answer:
            items = (await answer.json())["items"]

    assert [item["id"] for item in items] == ["video000001", "video000002", "video000000"]
    assert "snippet" in items[0]


async def test_the_two_quotas_run_out_apart_with_their_own_bodies(serve: Serve) -> None:
    async with serve(quota=Quota(search_calls_per_day=1, units_per_day=2)) as client:
        assert (await get(client))[0] == 200
        status, body = await get(client)
        assert (status, reason(body)) == (429, "rateLimitExceeded")
        metadata = body["error"]["details"][0]["metadata"]
        assert metadata["window_start_time"] == "1790406000"  # 2026-09-26 00:00 in Los Angeles
        assert metadata["quota_limit_value"] == "1"

        videos = {"part": "id", "id": "video000001"}
        answers = [await get(client, "/youtube/v3/videos", **videos) for _ in range(3)]
        assert [status for status, _ in answers] == [200, 200, 403]
        assert reason(answers[2][1]) == "quotaExceeded"


async def test_a_wrong_call_costs_and_a_wrong_key_does_not(serve: Serve) -> None:
    once = always("key_invalid", times=1)
    async with serve(quota=Quota(search_calls_per_day=1, units_per_day=1), faults=once) as client:
        assert reason((await get(client))[1]) == "badRequest"
        assert (await get(client, publishedAfter="yesterday"))[0] == 400
        assert (await get(client))[0] == 429


async def test_midnight_pacific_gives_the_calls_back(serve: Serve, tmp_path: Path) -> None:
    made = published(tmp_path, 1, quota=Quota(search_calls_per_day=1, units_per_day=1))
    async with serve(made) as client:
        assert [(await get(client))[0] for _ in range(2)] == [200, 429]
        made.clock.forward(19 * 3600)  # from 05:00 to midnight in Los Angeles
        assert [(await get(client))[0] for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("delegation403", 403, "accountDelegationForbidden"),
        ("burst429", 429, "rateLimitExceeded"),
        ("quota_exhausted", 429, "rateLimitExceeded"),
        ("daily_limit_exceeded", 403, "dailyLimitExceeded"),
        ("key_invalid", 400, "badRequest"),
        ("access_not_configured", 403, "accessNotConfigured"),
        ("key_restricted", 403, "forbidden"),
        ("error500_json", 500, "backendError"),
    ],
)
async def test_a_fault_takes_the_answers_place(serve: Serve, fault: str, status: int, said: str) -> None:
    async with serve(faults=always(fault, times=1)) as client:
        got, body = await get(client)
        assert (got, reason(body)) == (status, said)
        assert (await get(client))[0] == 200
        assert await outcomes(client) == {"search": {said: 1, "ok": 1}}


async def test_units_can_seem_exhausted(serve: Serve) -> None:
    async with serve(faults=always("units_exhausted")) as client:
        status, body = await get(client, "/youtube/v3/channels", part="id", id=CHANNEL)
        assert (status, reason(body)) == (403, "quotaExceeded")
        assert (await get(client))[0] == 200


async def test_the_gateway_answers_in_html(serve: Serve) -> None:
    async with serve(faults=always("error502_html")) as client, client.get(SEARCH, params=ASK, headers=KEY) as answer:
        assert (answer.status, answer.content_type) == (502, "text/html")
        assert "<html" in await answer.text()


async def test_a_closed_connection_gives_nothing(serve: Serve) -> None:
    async with serve(faults=always("connection_close", times=1)) as client:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            # A POST, because the client would send a GET again by itself.
            await client.post(SEARCH, data=ASK, headers={**KEY, "X-HTTP-Method-Override": "GET"})
        assert await outcomes(client) == {"search": {"connection_close": 1}}
        assert (await get(client))[0] == 200


async def test_a_truncated_body_is_shorter_than_said(serve: Serve) -> None:
    async with serve(faults=always("truncated_body", times=1)) as client:
        async with client.get(SEARCH, params=ASK, headers=KEY) as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        assert (await get(client))[0] == 200


async def test_a_whole_body_may_be_no_json(serve: Serve) -> None:
    async with serve(faults=always("bad_json_200")) as client, client.get(SEARCH, params=ASK, headers=KEY) as answer:
        assert answer.status == 200
        with pytest.raises(json.JSONDecodeError):
            json.loads(await answer.read())


async def test_a_slow_answer_comes_bit_by_bit_and_whole(serve: Serve) -> None:
    async with serve(faults=always("slow_trickle", times=1)) as client:
        began = asyncio.get_running_loop().time()
        async with client.get(SEARCH, params=ASK, headers=KEY) as answer:
            first = asyncio.get_running_loop().time() - began
            body = json.loads(await answer.read())
        whole = asyncio.get_running_loop().time() - began

    assert len(body["items"]) == 3
    assert first < 0.5
    assert 0.9 < whole < 10


async def test_every_fault_of_the_table_is_drawn_by_some_call(serve: Serve) -> None:
    """A name in the table without code behind it would keep its one strike."""
    first = (SEARCH, {**ASK, "maxResults": "2", "publishedAfter": "2026-09-26T12:00:00Z"})
    second = (SEARCH, {**first[1], "pageToken": "CAIQAA"})
    others = ("/youtube/v3/videos", {"part": "snippet", "id": "video000001"})

    async with serve() as client:
        for name in FAULTS:
            async with client.put("/_simulator/faults", json={name: {"times": 1}}) as put:
                assert put.status == 200
            for path, parameters in (first, second, others):
                with suppress(aiohttp.ClientError):
                    async with client.get(path, params=parameters, headers=KEY) as answer:
                        await answer.read()
            async with client.get("/_simulator/faults") as answer:
                assert (await answer.json())["active"][name]["times"] == 0, name


async def test_the_oracle_knows_every_video(serve: Serve, tmp_path: Path) -> None:
    made = published(tmp_path, 3)
    made.simulation.remove("video000001")
    async with serve(made) as client:
        async with client.get("/_simulator/published") as answer:
            assert await answer.json() == {
                "videos": [
                    {
                        "id": f"video{number:06d}",
                        "published_at": f"2026-09-26T12:00:0{number}Z",
                        "searchable": number != 1,
                        "removed": number == 1,
                    }
                    for number in (2, 1, 0)
                ],
                "finished": False,
            }
        for q, ids in (("", [2, 0]), ("?q=talk", [2, 0]), ("?q=2", [2]), ("?q=absent", [])):
            async with client.get(f"/_simulator/expected{q}") as answer:
                assert await answer.json() == {"ids": [f"video{number:06d}" for number in ids]}


async def test_the_oracle_publishes_and_removes(serve: Serve) -> None:
    async with serve() as client:
        videos = [{"video_id": "fresh000001", "title": "Fresh", "channel_id": CHANNEL}]
        async with client.post("/_simulator/publish", json=videos) as answer:
            assert await answer.json() == {"published": 1}
        assert len((await get(client))[1]["items"]) == 4
        async with client.post("/_simulator/publish", json=[{"title": "no id"}]) as answer:
            assert answer.status == 400
            assert "video_id" in (await answer.json())["error"]
        for status in (200, 404):
            async with client.post("/_simulator/videos/fresh000001/remove") as answer:
                assert answer.status == status
        assert len((await get(client))[1]["items"]) == 3


async def test_the_oracle_publishes_many_at_once(serve: Serve) -> None:
    videos = [{"video_id": f"many{n:07d}", "title": "Talk", "description": "x" * 1000} for n in range(2000)]
    body = io.BytesIO(json.dumps(videos).encode())  # over a megabyte, which the client does not take as bytes
    async with serve() as client, client.post("/_simulator/publish", data=body) as answer:
        assert await answer.json() == {"published": 2000}


async def test_the_oracle_counts_requests_and_quota(serve: Serve) -> None:
    async with serve() as client:
        await get(client)
        await get(client, "/youtube/v3/videos", part="id", id="video000001")
        await get(client, "/youtube/v3/videos", part="id", id="video000001")
        async with client.get("/_simulator/calls") as answer:
            assert await answer.json() == {
                "wire_requests": 3,
                "outcomes": {"search": {"ok": 1}, "videos": {"ok": 2}},
                "quota_used": {"search": 1, "units": 2},
            }


async def test_faults_are_put_shown_and_taken_away(serve: Serve) -> None:
    async with serve() as client:
        async with client.put("/_simulator/faults", json={"burst429": {"times": 2}, "omission": 0.1}) as answer:
            assert answer.status == 200
        assert (await get(client))[0] == 429
        async with client.get("/_simulator/faults") as answer:
            body = await answer.json()
        assert body["active"] == {
            "burst429": {"probability": 1.0, "times": 1},
            "omission": {"probability": 0.1, "times": None},
        }
        assert body["known"].keys() == FAULTS.keys()
        async with client.put("/_simulator/faults", json={"nonsense": 1}) as answer:
            assert answer.status == 400
            assert "nonsense" in (await answer.json())["error"]
        async with client.delete("/_simulator/faults") as answer:
            assert (await answer.json())["active"] == {}
        assert (await get(client))[0] == 200


async def test_every_endpoint_has_a_route(serve: Serve) -> None:
    async with serve() as client:
        for endpoint in ENDPOINTS:
            async with client.get(f"/youtube/v3/{endpoint}") as answer:
                assert answer.status == 403, endpoint
