"""The application over HTTP, with a read model in memory."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry
from yarl import URL

from contract.settings import load_settings
from ops.kafka_connection import KafkaConnection
from ops.metrics import ApiMetrics
from query_api.app import Parts, create_app
from query_api.filters import Filters
from query_api.listing import Listing
from query_api.live import LiveStreams
from query_api.live_feed import LiveFeed
from query_api.live_history import KafkaHistory
from query_api.node import Node
from query_api.pagination import Page, PageRequest, Total, encode_cursor, to_page
from query_api.pipeline import Pipeline
from query_api.video_stream import VideoStream
from tests.fakes.video_documents import make_document, make_id, make_marker
from tests.fakes.video_reader import InMemoryVideoReader

Client = TestClient[web.Request, web.Application]

PATHS = ["/v1/videos?limit=1", f"/v1/videos/{make_id(1)}"]


@pytest.fixture
def reader() -> InMemoryVideoReader:
    return InMemoryVideoReader()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def client(reader: InMemoryVideoReader, registry: CollectorRegistry) -> AsyncIterator[Client]:
    """The application of a process that has just begun: it remembers nothing, so the read model is asked for all."""
    metrics, feed, nowhere = ApiMetrics(registry), LiveFeed(), "127.0.0.1:1"
    node = Node(reader, VideoStream(KafkaConnection(nowhere)), feed, metrics)
    live = LiveStreams(feed, KafkaHistory(KafkaConnection(nowhere)), metrics)
    parts = Parts(reader, node, live, Pipeline(load_settings(kafka_bootstrap_servers=nowhere), lambda: 0.0))
    async with TestClient(TestServer(create_app(parts, metrics))) as client:
        yield client
    await parts.pipeline.close()


async def _problem(client: Client, path: str, status: int, method: str = "GET") -> dict[str, Any]:
    answer = await client.request(method, path)
    assert (answer.status, answer.content_type) == (status, "application/problem+json")
    assert answer.headers["Cache-Control"] == "no-store"
    problem: dict[str, Any] = json.loads(await answer.read())
    assert problem["status"] == status
    assert set(problem) - {"errors"} == {"type", "title", "status", "detail", "instance"}
    return problem


async def test_a_page_is_the_stored_bytes_newest_first(client: Client, reader: InMemoryVideoReader) -> None:
    for number in range(3):
        reader.put(make_document(number))
    reader.put(make_marker(7))
    newest, middle = (bytes(make_document(number)["body"]) for number in (2, 1))

    answer = await client.get("/v1/videos?page=1&limit=2")

    cursor = encode_cursor(make_document(1)["k"]).encode()
    assert await answer.read() == (
        b'{"items":[' + newest + b"," + middle + b'],"page":1,"limit":2,"total":3,'
        b'"total_is_exact":true,"complete":true,"next_cursor":"' + cursor + b'"}'
    )
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert URL(answer.links["next"]["url"]).path_qs == "/v1/videos?page=2&limit=2"


async def test_without_parameters_it_is_the_first_ten(client: Client, reader: InMemoryVideoReader) -> None:
    for number in range(12):
        reader.put(make_document(number))

    page = await (await client.get("/v1/videos")).json()

    assert [item["id"] for item in page["items"]] == [make_id(number) for number in range(11, 1, -1)]
    assert {key: page[key] for key in ("page", "limit", "total")} == {"page": 1, "limit": 10, "total": 12}


async def test_cursors_lead_to_the_end(client: Client, reader: InMemoryVideoReader) -> None:
    for number in range(5):
        reader.put(make_document(number))
    pages = [await (await client.get("/v1/videos?limit=2")).json()]

    while pages[-1]["next_cursor"] is not None:
        pages.append(await (await client.get(f"/v1/videos?limit=2&cursor={pages[-1]['next_cursor']}")).json())

    assert [item["id"] for page in pages for item in page["items"]] == [make_id(n) for n in (4, 3, 2, 1, 0)]
    assert [page["page"] for page in pages] == [1, None, None]


async def test_links_can_be_followed_to_the_end(client: Client, reader: InMemoryVideoReader) -> None:
    for number in range(5):
        reader.put(make_document(number))
    answer = await client.get("/v1/videos?limit=2")
    ids = [item["id"] for item in (await answer.json())["items"]]

    for _ in range(10):
        if "next" not in answer.links:
            break
        answer = await client.get(URL(answer.links["next"]["url"]).path_qs)
        ids += [item["id"] for item in (await answer.json())["items"]]

    assert ids == [make_id(n) for n in (4, 3, 2, 1, 0)]


async def test_past_the_end_is_an_empty_page(client: Client, reader: InMemoryVideoReader) -> None:
    reader.put(make_document(1))

    answer = await client.get("/v1/videos?page=100&limit=10")

    assert answer.status == 200
    assert await answer.json() == {
        "items": [],
        "page": 100,
        "limit": 10,
        "total": 1,
        "total_is_exact": True,
        "complete": True,
        "next_cursor": None,
    }


async def test_one_video_is_its_stored_bytes(client: Client, reader: InMemoryVideoReader) -> None:
    reader.put(make_document(4))

    answer = await client.get(f"/v1/videos/{make_id(4)}")

    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert await answer.read() == bytes(make_document(4)["body"])


@pytest.mark.parametrize(
    "video_id", [make_id(5), make_id(6), "short", "a" * 12, "vid-00000%0A0", "vid%2F0000001", "%00"]
)
async def test_unknown_removed_and_impossible_ids_are_not_found(
    client: Client, reader: InMemoryVideoReader, video_id: str
) -> None:
    reader.put(make_marker(5))

    problem = await _problem(client, f"/v1/videos/{video_id}", 404)

    assert problem["type"] == "urn:yousync:problem:no-such-video"


async def test_an_impossible_id_needs_no_read_model(client: Client, reader: InMemoryVideoReader) -> None:
    reader.away = True

    await _problem(client, "/v1/videos/short", 404)


async def test_every_fault_of_a_request_is_named(client: Client) -> None:
    problem = await _problem(client, "/v1/videos?page=0&limit=1000&color=red&cursor=abc", 400)

    named = {error["parameter"] for error in problem["errors"]}
    assert named == {"page", "limit", "color", "cursor"}
    assert all(error["detail"] for error in problem["errors"])
    assert problem["type"] == "urn:yousync:problem:invalid-parameters"
    assert problem["title"] == "Bad Request"
    assert problem["instance"] == "/v1/videos?page=0&limit=1000&color=red&cursor=abc"


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("page=0", "page"),
        ("limit=1000", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("sort=asc", "sort"),
        ("page=1&page=1", "page"),
        ("page=1&cursor=" + encode_cursor("1790000000000vid-0000007"), "page"),
        ("cursor=" + encode_cursor("1790000000000vid-0000007", Filters(query="tea")), "cursor"),
        ("page=9223372036854775807", "page"),
    ],
)
async def test_a_wrong_parameter_is_named(client: Client, query: str, parameter: str) -> None:
    problem = await _problem(client, f"/v1/videos?{query}", 400)

    assert [error["parameter"] for error in problem["errors"]] == [parameter]


async def test_a_single_video_takes_no_parameters(client: Client, reader: InMemoryVideoReader) -> None:
    reader.put(make_document(4))

    problem = await _problem(client, f"/v1/videos/{make_id(4)}?page=1", 400)

    assert [error["parameter"] for error in problem["errors"]] == ["page"]


@pytest.mark.parametrize("path", ["/v1/videos", f"/v1/videos/{make_id(4)}"])
async def test_without_the_read_model_it_is_unavailable_until_it_is_back(
    client: Client, reader: InMemoryVideoReader, path: str
) -> None:
    reader.put(make_document(4))
    reader.away = True

    problem = await _problem(client, path, 503)

    assert problem["type"] == "urn:yousync:problem:read-model-unavailable"
    assert "as the test wants it" not in str(problem)
    assert (await client.get(path)).headers["Retry-After"] == "1"
    reader.away = False
    assert (await client.get(path)).status == 200


@pytest.mark.parametrize("path", ["/v1", "/v1/videos/", "/v2/videos", "/livez", "/readyz", "/metrics"])
async def test_other_paths_are_not_found_and_operators_have_no_route_here(client: Client, path: str) -> None:
    assert (await _problem(client, path, 404))["type"] == "about:blank"


async def test_other_methods_are_told_the_allowed_ones(client: Client) -> None:
    await _problem(client, "/v1/videos", 405, method="POST")

    assert (await client.post("/v1/videos")).headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_the_body(client: Client, reader: InMemoryVideoReader, path: str) -> None:
    reader.put(make_document(1))

    got, head = await client.get(path), await client.head(path)

    assert (head.status, await head.read()) == (200, b"")
    names = ("Content-Length", "Content-Type", "Cache-Control", "Link", "ETag")
    assert [head.headers.get(name) for name in names] == [got.headers.get(name) for name in names]


@pytest.mark.parametrize("path", PATHS)
async def test_the_tag_is_strong_and_changes_with_the_body(
    client: Client, reader: InMemoryVideoReader, path: str
) -> None:
    reader.put(make_document(1))
    tags = [(await client.get(path)).headers["ETag"] for _ in range(2)]

    reader.put(make_document(1) | {"body": b'{"changed":true}'})
    tags.append((await client.get(path)).headers["ETag"])

    assert all(re.fullmatch('"[0-9a-f]{24}"', tag) for tag in tags)
    assert tags[0] == tags[1] != tags[2]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("known", ["{}", "W/{}", '"other", {}', 'W/"other" ,W/{}, "third"', "*"])
async def test_who_has_the_bytes_gets_no_body(
    client: Client, reader: InMemoryVideoReader, method: str, path: str, known: str
) -> None:
    reader.put(make_document(1))
    tag = (await client.get(path)).headers["ETag"]

    answer = await client.request(method, path, headers={"If-None-Match": known.format(tag)})

    assert (answer.status, await answer.read()) == (304, b"")
    assert {"ETag": tag, "Cache-Control": "no-cache"}.items() <= answer.headers.items()
    assert not {"Content-Type", "Content-Length", "Transfer-Encoding"} & set(answer.headers)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("known", ['"other"', '"*"', 'W/"*"', "", "nonsense", '"other", *'])
async def test_who_has_other_bytes_gets_these(
    client: Client, reader: InMemoryVideoReader, method: str, path: str, known: str
) -> None:
    reader.put(make_document(1))

    answer = await client.request(method, path, headers={"If-None-Match": known})

    assert answer.status == 200
    assert bool(await answer.read()) == (method == "GET")


async def test_a_problem_has_no_tag_whatever_is_known(client: Client) -> None:
    for path, status in ((f"/v1/videos/{make_id(1)}", 404), ("/v1/videos?page=0", 400)):
        answer = await client.get(path, headers={"If-None-Match": "*"})
        assert (answer.status, answer.headers.get("ETag")) == (status, None)


async def test_an_unexpected_error_shows_nothing_of_itself(client: Client, reader: InMemoryVideoReader) -> None:
    reader.documents["broken"] = {"_id": "broken", "k": None, "body": b"secret"}
    reader.put(make_document(1))

    problem = await _problem(client, "/v1/videos", 500)

    assert not re.search("Traceback|TypeError|secret", str(problem))


async def test_answers_are_counted_by_route_template(
    client: Client, reader: InMemoryVideoReader, registry: CollectorRegistry
) -> None:
    for path in ("/v1/videos", "/v1/videos?page=0", f"/v1/videos/{make_id(1)}", "/v1/videos/other", "/secret"):
        await client.get(path)
    await client.head("/v1/videos")
    reader.away = True
    await client.get("/v1/videos")

    def count(route: str, method: str, status: str) -> float | None:
        labels = {"route": route, "method": method, "status": status}
        return registry.get_sample_value("yousync_http_requests_total", labels)

    assert count("/v1/videos", "GET", "200") == 1
    assert count("/v1/videos", "GET", "400") == 1
    assert count("/v1/videos", "GET", "503") == 1
    assert count("/v1/videos", "HEAD", "200") == 1
    assert count("/v1/videos/{video_id}", "GET", "404") == 2
    assert count("unmatched", "GET", "404") == 1
    observed = registry.get_sample_value("yousync_http_request_seconds_count", {"route": "/v1/videos"})
    assert observed == 4


async def test_a_search_that_ran_out_of_time_is_counted(
    client: Client, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def page(_listing: Listing, asked: PageRequest) -> Page:
        return to_page(asked, [], Total(0, exact=False), "1790000000000vid-0000007")

    monkeypatch.setattr(Listing, "page", page)

    answer = await (await client.get("/v1/videos?search=tea")).json()

    assert (answer["complete"], answer["items"]) == (False, [])
    assert registry.get_sample_value("yousync_search_incomplete_total") == 1
