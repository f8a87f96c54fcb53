"""The simulator over HTTP: keys, quotas, faults that replace or break an answer, and the routes for tests."""

import asyncio
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from contract.times import pacific_date
from ops.http_server import http_server
from simulator.app import create_app
from simulator.faults import ENDPOINTS, FAULTS
from simulator.indexing_delay import IndexingDelay
from simulator.quota import Quota
from tests.unit.simulator.simulations import CHANNEL, START_MS, Made, always, make_simulation, published, video

SEARCH = "/youtube/v3/search"
UPLOADS = "UU" + CHANNEL[2:]
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


async def test_a_channels_uploads_can_seem_to_be_missing(serve: Serve) -> None:
    uploads = {"part": "snippet", "playlistId": UPLOADS}
    async with serve(faults=always("uploads_not_found", times=1)) as client:
        status, body = await get(client, "/youtube/v3/playlistItems", **uploads)
        assert (status, reason(body)) == (404, "playlistNotFound")
        assert (await get(client, "/youtube/v3/playlistItems", **uploads))[0] == 200


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
    videos = ("/youtube/v3/videos", {"part": "snippet", "id": "video000001"})
    uploads = ("/youtube/v3/playlistItems", {"part": "snippet", "playlistId": UPLOADS})

    async with serve() as client:
        for name in FAULTS:
            async with client.put("/_simulator/faults", json={name: {"times": 1}}) as put:
                assert put.status == 200
            for path, parameters in (first, second, videos, uploads):
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
                        "hidden": False,
                    }
                    for number in (2, 1, 0)
                ],
                "finished": False,
            }
        for q, ids in (("", [2, 0]), ("?q=talk", [2, 0]), ("?q=2", [2]), ("?q=absent", [])):
            async with client.get(f"/_simulator/expected{q}") as answer:
                assert await answer.json() == {"ids": [f"video{number:06d}" for number in ids]}


async def answered(client: Client) -> dict[str, list[str]]:
    async with client.get("/_simulator/answered") as answer:
        return dict(await answer.json())


async def test_the_oracle_knows_what_each_method_showed(serve: Serve) -> None:
    async with serve() as client:
        assert await answered(client) == {"search": [], "playlistItems": [], "videos": []}
        for token in ("", "CAEQAA", ""):
            await get(client, maxResults="1", pageToken=token)
        await get(client, "/youtube/v3/videos", part="id", id="video000000,absent00000")
        uploads = {"part": "contentDetails", "playlistId": UPLOADS, "maxResults": "1"}
        await get(client, "/youtube/v3/playlistItems", **uploads, pageToken="CAEQAA")
        await get(client, "/youtube/v3/channels", part="id", id=CHANNEL)

        assert await answered(client) == {
            "search": ["video000002", "video000001"],
            "playlistItems": ["video000001"],
            "videos": ["video000000"],
        }


@pytest.mark.parametrize("parts", ["snippet,contentDetails", "snippet", "contentDetails"])
async def test_items_without_a_video_show_none(serve: Serve, parts: str) -> None:
    async with serve(faults=always("foreign_kinds", "missing_video_id", "private_uploads", times=1)) as client:
        await get(client, maxResults="3")
        await get(client, "/youtube/v3/playlistItems", part=parts, playlistId=UPLOADS)

        assert await answered(client) == {
            "search": ["video000001"],  # the first place has a channel, the second the newest without its id
            "playlistItems": ["video000001", "video000000"],
            "videos": [],
        }


@pytest.mark.parametrize("fault", ["truncated_body", "bad_json_200", "connection_close", "error500_json"])
async def test_an_answer_that_nobody_could_read_showed_nothing(serve: Serve, fault: str) -> None:
    async with serve(faults=always(fault)) as client:
        with suppress(aiohttp.ClientError):
            await client.post(SEARCH, data=ASK, headers={**KEY, "X-HTTP-Method-Override": "GET"})

        assert sum(map(sum, (counts.values() for counts in (await outcomes(client)).values()))) == 1
        assert (await answered(client))["search"] == []


async def test_a_trickled_answer_has_shown_its_videos_when_it_has_ended(serve: Serve) -> None:
    async with serve(faults=always("slow_trickle")) as client, client.get(SEARCH, params=ASK, headers=KEY) as answer:
        await answer.read()
        assert len((await answered(client))["search"]) == 3


async def test_a_trickled_answer_that_the_caller_left_showed_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On the service's own server: the one for tests cancels what nobody waits for."""
    made = published(tmp_path, 3, faults=always("slow_trickle"))
    app = create_app(made.simulation, trickle_seconds=1.0)
    async with http_server(app, "127.0.0.1", 0, variables="TEST") as port, aiohttp.ClientSession() as client:
        async with client.get(f"http://127.0.0.1:{port}{SEARCH}", params=ASK, headers=KEY) as answer:
            await answer.content.read(1)  # and goes: leaving the block closes the connection
        # What is left is the server's work on that call.
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
    assert made.simulation.answered.ids()["search"] == []
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_days_of_a_clock_of_the_tests_own_are_published_indexed_and_granted(serve: Serve, tmp_path: Path) -> None:
    """As a simulation of a month drives it: nobody calls `advance`, and no time passes but by the clock."""
    quota = Quota(search_calls_per_day=2, units_per_day=2)
    made = make_simulation(tmp_path, quota=quota, indexing_delay=IndexingDelay(1, 1e9, 3 * 3600))
    statuses: Counter[tuple[str, int]] = Counter()
    async with serve(made) as client:
        for hour in range(72):
            made.simulation.publish([video(hour, "Talk")])
            status, body = await get(client, maxResults="50")
            statuses[pacific_date(made.clock()), status] += 1
            if status == 200:
                seen = [item["id"]["videoId"] for item in body["items"]]
                assert seen == [f"video{number:06d}" for number in range(hour - 3, -1, -1)][:50]
            made.clock.forward(3600)

    times = [one.published_ms for one in made.simulation.index.newest_first()]
    assert times == [START_MS + 3_600_000 * hour for hour in range(71, -1, -1)]
    # From 05:00 in Los Angeles on the first day to 04:00 on the fourth.
    assert statuses == {
        ("2026-09-26", 200): 2,
        ("2026-09-26", 429): 17,
        ("2026-09-27", 200): 2,
        ("2026-09-27", 429): 22,
        ("2026-09-28", 200): 2,
        ("2026-09-28", 429): 22,
        ("2026-09-29", 200): 2,
        ("2026-09-29", 429): 3,
    }


async def test_a_private_video_is_a_bare_place_in_its_channels_uploads(serve: Serve) -> None:
    uploads = {"part": "snippet,contentDetails", "playlistId": UPLOADS}
    async with serve() as client:
        async with client.post("/_simulator/videos/video000001/hide") as answer:
            assert (answer.status, await answer.json()) == (200, {"hidden": "video000001"})

        assert len((await get(client))[1]["items"]) == 2
        assert (await get(client, "/youtube/v3/videos", part="id", id="video000001"))[1]["items"] == []
        items = (await get(client, "/youtube/v3/playlistItems", **uploads))[1]["items"]
        assert [item["contentDetails"].get("videoPublishedAt") is None for item in items] == [False, True, False]
        assert items[1]["snippet"]["title"] == "Private video"
        async with client.get("/_simulator/published") as answer:
            seen = (await answer.json())["videos"][1]
        assert (seen["hidden"], seen["searchable"], seen["removed"]) == (True, False, False)

        async with client.post("/_simulator/videos/video000001/show") as answer:
            assert (answer.status, await answer.json()) == (200, {"shown": "video000001"})
        assert len((await get(client))[1]["items"]) == 3
        assert len((await get(client, "/youtube/v3/videos", part="id", id="video000001"))[1]["items"]) == 1
        items = (await get(client, "/youtube/v3/playlistItems", **uploads))[1]["items"]
        assert items[1]["snippet"]["title"] == "Talk 1"


async def test_a_broadcast_is_announced_begins_and_ends(serve: Serve) -> None:
    ask = {"part": "snippet,contentDetails", "id": "video000001"}
    async with serve() as client:
        for live, duration in (("upcoming", "P0D"), ("live", "P0D"), ("none", None)):
            async with client.put("/_simulator/videos/video000001/live", json={"live": live}) as answer:
                assert (answer.status, await answer.json()) == (200, {"live": live})
            (item,) = (await get(client, "/youtube/v3/videos", **ask))[1]["items"]
            assert item["snippet"]["liveBroadcastContent"] == live
            assert item["contentDetails"].get("duration") == duration
            found = (await get(client, q="1"))[1]["items"]
            assert [one["snippet"]["liveBroadcastContent"] for one in found] == [live]
        for body in (b"{}", b'{"live": "over"}', b"live"):
            async with client.put("/_simulator/videos/video000001/live", data=body) as answer:
                assert answer.status == 400
                assert (await answer.json())["error"]


async def test_what_is_not_there_cannot_be_changed(serve: Serve) -> None:
    async with serve() as client:
        for change in ("remove", "hide", "show"):
            async with client.post(f"/_simulator/videos/absent00000/{change}") as answer:
                assert (answer.status, "absent00000" in await answer.text()) == (404, True)
        async with client.put("/_simulator/videos/absent00000/live", json={"live": "live"}) as answer:
            assert (answer.status, "absent00000" in await answer.text()) == (404, True)


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
