"""What is done around every route: problems, methods, bodies, figures, origins, and the last answer of a connection."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from ops.metrics import ApiMetrics
from query_api.answering import MAX_BODY_BYTES, serve_routes, timed

Client = TestClient[web.Request, web.Application]
StartClient = Callable[..., AbstractAsyncContextManager[Client]]


async def show(request: web.Request) -> web.StreamResponse:
    return web.Response(text=request.match_info["name"], headers={"Vary": "Accept-Encoding"})


async def save(request: web.Request) -> web.StreamResponse:
    return web.Response(text=await request.text())


async def fail(_request: web.Request) -> web.StreamResponse:
    raise RuntimeError("hidden")


async def measure(request: web.Request) -> web.StreamResponse:
    for _ in range(2):
        with timed(request, "db"):
            await asyncio.sleep(0.01)
    return web.Response()


async def stream(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    await asyncio.sleep(0)
    return answer


ROUTES = (
    web.get("/things/{name}", show),
    web.post("/things/{name}", save),
    web.get("/fail", fail),
    web.get("/measure", measure),
    web.get("/stream", stream),
)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def start_client(registry: CollectorRegistry) -> StartClient:
    @asynccontextmanager
    async def start(*origins: str) -> AsyncIterator[Client]:
        app = web.Application()
        serve_routes(app, ROUTES, ApiMetrics(registry), origins)
        async with TestClient(TestServer(app)) as client:
            yield client

    return start


@pytest.fixture
async def client(start_client: StartClient) -> AsyncIterator[Client]:
    async with start_client() as client:
        yield client


async def test_answers_are_counted_by_template_and_only_whole_ones_timed(
    client: Client, registry: CollectorRegistry
) -> None:
    for method, path in (
        *[("GET", "/things/a"), ("GET", "/things/b"), ("HEAD", "/things/c"), ("POST", "/things/d")],
        *[("GET", "/fail"), ("GET", "/stream"), ("GET", "/nowhere"), ("PROPFIND", "/nowhere"), ("DELETE", "/things/a")],
    ):
        await client.request(method, path)

    counted = {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "yousync_http_requests_total"
    }
    assert counted == {
        ("/things/{name}", "GET", "200"): 2,
        ("/things/{name}", "HEAD", "200"): 1,
        ("/things/{name}", "POST", "200"): 1,
        ("/fail", "GET", "500"): 1,
        ("/stream", "GET", "200"): 1,
        ("unmatched", "GET", "404"): 1,
        ("unmatched", "other", "404"): 1,
        ("unmatched", "DELETE", "405"): 1,
    }
    timed_ = {
        route: registry.get_sample_value("yousync_http_request_seconds_count", {"route": route})
        for route in ("/things/{name}", "/fail", "/stream", "unmatched")
    }
    assert timed_ == {"/things/{name}": 4, "/fail": 1, "/stream": None, "unmatched": 3}


async def test_times_fall_into_their_buckets(registry: CollectorRegistry) -> None:
    metrics = ApiMetrics(registry)
    for seconds in (0.0005, 0.001, 0.3, 99.0):
        metrics.answered("/x", "GET", 200, seconds)

    def value(suffix: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"yousync_http_request_seconds_{suffix}", {"route": "/x", **labels})

    assert [value("bucket", le=bound) for bound in ("0.001", "0.25", "0.5", "10.0", "+Inf")] == [2, 2, 3, 3, 4]
    assert value("sum") == pytest.approx(99.3015)
    assert value("count") == 4


async def test_whatever_goes_wrong_is_a_problem_and_shows_nothing_of_itself(client: Client) -> None:
    for path, status in (("/fail", 500), ("/nowhere", 404), ("/things", 404)):
        answer = await client.get(path)

        assert (answer.status, answer.content_type) == (status, "application/problem+json")
        assert "hidden" not in await answer.text()


async def test_every_answer_forbids_to_guess_its_type(client: Client) -> None:
    for path in ("/things/a", "/fail", "/nowhere", "/measure"):
        assert (await client.get(path)).headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
async def test_whatever_can_be_got_answers_to_head_and_options(client: Client, path: str) -> None:
    head = await client.head(path.format(name="a"))
    options = await client.options(path.format(name="a"))

    assert (head.status, await head.read()) == (500 if path == "/fail" else 200, b"")
    assert (options.status, await options.read()) == (204, b"")
    assert options.headers["Allow"] == ("GET, HEAD, OPTIONS, POST" if "{" in path else "GET, HEAD, OPTIONS")


async def test_other_methods_are_told_the_allowed_ones_and_no_path_allows_none(client: Client) -> None:
    refused, unknown = await client.delete("/things/a"), await client.options("/nowhere")

    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert refused.content_type == "application/problem+json"
    assert (unknown.status, "Allow" in unknown.headers) == (404, False)


@pytest.mark.parametrize("path", ["/things/a", "/nowhere"])
async def test_a_large_body_is_refused_whatever_it_is_for(client: Client, path: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    for body in (b"x" * (MAX_BODY_BYTES + 1), chunks()):
        answer = await client.post(path, data=body)
        assert (answer.status, answer.content_type) == (413, "application/problem+json")
        assert answer.headers["Connection"] == "close"


async def test_a_small_body_is_let_through(client: Client) -> None:
    body = "x" * MAX_BODY_BYTES

    assert await (await client.post("/things/a", data=body)).text() == body
    assert (await client.request("GET", "/things/a", data=body)).status == 200


async def test_parts_of_the_time_are_added_up_beside_the_whole(client: Client) -> None:
    answer = await client.get("/measure")

    parts = dict(part.split(";dur=") for part in answer.headers["Server-Timing"].split(", "))
    assert list(parts) == ["db", "total"]
    assert 20 <= float(parts["db"]) <= float(parts["total"])
    assert "Server-Timing" not in (await client.get("/things/a")).headers


async def test_from_the_shutdown_on_every_answer_is_its_connections_last(client: Client) -> None:
    before = await client.get("/things/a")
    await client.app.shutdown()
    after = [await client.get(path) for path in ("/things/a", "/fail", "/nowhere")]

    assert "Connection" not in before.headers
    assert [answer.headers["Connection"] for answer in after] == ["close"] * 3


def _cors(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("Access-Control-")}


async def test_other_origins_are_told_nothing_by_default(client: Client) -> None:
    for method in ("GET", "OPTIONS"):
        answer = await client.request(
            method, "/things/a", headers={"Origin": "https://a.org", "Access-Control-Request-Method": "GET"}
        )
        assert _cors(answer) == {}


@pytest.mark.parametrize("path", ["/things/a", "/stream", "/nowhere", "/fail"])
async def test_an_allowed_origin_may_read_every_answer(start_client: StartClient, path: str) -> None:
    async with start_client("https://a.org", "http://localhost:3000") as client:
        allowed = await client.get(path, headers={"Origin": "http://localhost:3000"})
        other = await client.get(path, headers={"Origin": "https://evil.org"})
        none = await client.get(path)

    assert _cors(allowed) == {
        "Access-Control-Allow-Origin": "http://localhost:3000",
        "Access-Control-Expose-Headers": "ETag, Link, Age, Warning, Server-Timing, Retry-After",
    }
    assert _cors(other) == _cors(none) == {}
    for answer in (allowed, other, none):
        assert answer.headers.getall("Vary") == ["Accept-Encoding", "Origin"][path != "/things/a" :]


async def test_every_origin_may_read_what_is_open_to_all(start_client: StartClient) -> None:
    async with start_client("*") as client:
        answer = await client.get("/things/a")

    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers.getall("Vary") == ["Accept-Encoding"]


async def test_a_browser_that_asks_first_is_told_what_it_may_send(start_client: StartClient) -> None:
    async with start_client("https://a.org") as client:
        asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "if-none-match"}
        allowed = await client.options("/things/a", headers={"Origin": "https://a.org", **asked})
        other = await client.options("/things/a", headers={"Origin": "https://evil.org", **asked})
        plain = await client.options("/things/a", headers={"Origin": "https://a.org"})

    assert allowed.status == 204
    assert _cors(allowed).items() >= {
        ("Access-Control-Allow-Origin", "https://a.org"),
        ("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS"),
        ("Access-Control-Allow-Headers", "If-None-Match, Last-Event-ID"),
    }
    assert _cors(other) == {}
    assert "Access-Control-Allow-Methods" not in plain.headers
