"""Ready pages over HTTP: which bytes, which headers, and for how long they are good."""

import gzip
import json
from collections.abc import AsyncIterator

import brotli
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from query_api.negotiation import choose_coding
from query_api.node import HotPage, Shown
from query_api.pagination import PageRequest, Total, parse_page_request, render_page, to_page
from query_api.ready_page import ReadyPages
from query_api.stored import StoredVideo
from tests.fakes.video_documents import make_document

Client = TestClient[web.Request, web.Application]


class Stage:
    """One list with so many videos, and a route that answers as the API's does."""

    def __init__(self) -> None:
        self.shown = Shown()
        self.count = 30
        self.rendered = 0
        self.now = 100.0
        self.fresh_until = 101.0
        self.ready = ReadyPages(self, clock=lambda: self.now)

    def age_seconds(self, now: float) -> float:
        return now - 98.0

    def page(self, asked: PageRequest) -> HotPage:
        newest = [make_document(number) for number in range(self.count, self.count - asked.limit - 1, -1)]
        videos = [StoredVideo(document["k"], bytes(document["body"])) for document in newest if asked.page == 1]
        return HotPage(to_page(asked, videos, Total(self.count)), self.shown, self.shown.version)

    async def answer(self, request: web.Request) -> web.Response:
        ready = self.ready.answer(request)
        if ready is not None:
            return ready
        self.rendered += 1
        asked = parse_page_request(request.query.items())
        assert isinstance(asked, PageRequest)
        return self.ready.keep(request, self.page(asked))


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
async def client(stage: Stage) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_get("/v1/videos", stage.answer)
    async with TestClient(TestServer(app), auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as client:
        yield client


async def test_the_same_bytes_are_sent_again_without_being_rendered(client: Client, stage: Stage) -> None:
    answers = [await client.get("/v1/videos?limit=3") for _ in range(3)]

    bodies = {await answer.read() for answer in answers}
    assert bodies == {render_page(stage.page(PageRequest(3)).page)}
    assert stage.rendered == 1
    headers = answers[1].headers
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["Vary"] == "Accept-Encoding"
    assert headers["Link"].startswith('</v1/videos?page=1&limit=3>; rel="first"')
    assert headers["Content-Length"] == str(len(bodies.pop()))
    assert not {"Age", "Warning", "Content-Encoding"} & set(headers)
    assert len({answer.headers["ETag"] for answer in answers}) == 1


async def test_another_version_is_another_page(client: Client, stage: Stage) -> None:
    before = await client.get("/v1/videos?limit=3")
    stage.count = 31
    stage.shown.version += 1

    after = await client.get("/v1/videos?limit=3")

    assert json.loads(await after.read())["total"] == 31
    assert before.headers["ETag"] != after.headers["ETag"]
    assert stage.rendered == 2


async def test_a_version_with_the_same_bytes_has_the_same_tag(client: Client, stage: Stage) -> None:
    before = await client.get("/v1/videos?limit=3")
    stage.shown.version += 1
    after = await client.get("/v1/videos?limit=3", headers={"If-None-Match": before.headers["ETag"]})

    assert after.status == 304


async def test_query_strings_are_kept_apart(client: Client) -> None:
    first = await client.get("/v1/videos?limit=3")
    other = await client.get("/v1/videos?limit=4")

    assert len(json.loads(await first.read())["items"]) == 3
    assert len(json.loads(await other.read())["items"]) == 4


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip", "gzip"), ("br;q=0.1, gzip", "br"), ("br;q=0, gzip;q=0.5", "gzip"), ("deflate", None), ("", None)],
)
async def test_it_is_sent_in_the_best_coding_that_is_taken(
    client: Client, stage: Stage, accepted: str, coding: str | None
) -> None:
    answers = [await client.get("/v1/videos?limit=30", headers={"Accept-Encoding": accepted}) for _ in range(2)]

    plain = render_page(stage.page(PageRequest(30)).page)
    for answer in answers:
        body = await answer.read()
        assert answer.headers.get("Content-Encoding") == coding
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert {"gzip": gzip.decompress, "br": brotli.decompress, None: bytes}[coding](body) == plain
        assert int(answer.headers["Content-Length"]) == len(body)
        assert coding is None or len(body) < len(plain) / 3


async def test_every_process_compresses_to_the_same_bytes(client: Client) -> None:
    answer = await client.get("/v1/videos?limit=30", headers={"Accept-Encoding": "gzip"})

    no_time = b"\0\0\0\0"
    assert (await answer.read())[4:8] == no_time


async def test_each_coding_has_a_tag_of_its_own(client: Client) -> None:
    tags = {}
    for accepted in ("identity", "gzip", "br"):
        answer = await client.get("/v1/videos?limit=30", headers={"Accept-Encoding": accepted})
        tags[accepted] = answer.headers["ETag"]

    assert tags["gzip"] == tags["identity"][:-1] + '-gzip"'
    assert tags["br"] == tags["identity"][:-1] + '-br"'
    for accepted, tag in tags.items():
        for known, status in (
            (tag, 304),
            ("*", 304),
            ("W/" + tag, 304),
            (f'"other", {tag}', 304),
            ('"other"', 200),
            ("nonsense", 200),
            ('"*"', 200),
        ):
            answer = await client.get(
                "/v1/videos?limit=30", headers={"Accept-Encoding": accepted, "If-None-Match": known}
            )
            assert (answer.status, known) == (status, known)
            assert answer.headers["ETag"] == tag
            if status == 304:
                assert await answer.read() == b""
                assert answer.headers["Cache-Control"] == "no-cache"
                assert answer.headers["Vary"] == "Accept-Encoding"
    crossed = {"Accept-Encoding": "gzip", "If-None-Match": tags["identity"]}
    assert (await client.get("/v1/videos?limit=30", headers=crossed)).status == 200


async def test_what_is_small_is_sent_as_it_is(client: Client) -> None:
    answer = await client.get("/v1/videos?page=2", headers={"Accept-Encoding": "gzip, br"})

    assert json.loads(await answer.read())["items"] == []
    assert "Content-Encoding" not in answer.headers


async def test_head_is_get_without_the_body(client: Client) -> None:
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        whole = await client.get("/v1/videos?limit=30", headers=headers)
        head = await client.head("/v1/videos?limit=30", headers=headers)

        assert await head.read() == b""
        assert {**head.headers, "Date": ""} == {**whole.headers, "Date": ""}
    tag = {"If-None-Match": "*"}
    assert (await client.head("/v1/videos?limit=30", headers=tag)).status == 304


async def test_a_stale_page_says_so_with_the_same_bytes(client: Client, stage: Stage) -> None:
    fresh = await client.get("/v1/videos?limit=3")
    stage.now = 102.5

    stale = await client.get("/v1/videos?limit=3")
    unmodified = await client.get("/v1/videos?limit=3", headers={"If-None-Match": "*"})
    stage.now = 100.5
    again = await client.get("/v1/videos?limit=3")

    assert await stale.read() == await fresh.read()
    for answer in (stale, unmodified):
        assert answer.headers["Age"] == "4"
        assert answer.headers["Warning"] == '110 - "Response is Stale"'
        assert answer.headers["ETag"] == fresh.headers["ETag"]
    assert unmodified.status == 304
    assert not {"Age", "Warning"} & set(again.headers)


async def test_what_is_kept_is_bounded(client: Client, stage: Stage) -> None:
    size = 2 * len(render_page(stage.page(PageRequest(5)).page))
    stage.ready = ReadyPages(stage, most_bytes=3 * size)
    for page in ("limit=5", "limit=05", "limit=005", "limit=0005"):
        await client.get(f"/v1/videos?{page}")
        await client.get(f"/v1/videos?{page}")
    assert stage.rendered == 4

    await client.get("/v1/videos?limit=0005")
    assert stage.rendered == 4
    await client.get("/v1/videos?limit=5")
    assert stage.rendered == 5
    for _ in range(20):
        stage.shown.version += 1
        await client.get("/v1/videos?limit=5")
    stage.rendered = 0
    for page in ("limit=05", "limit=005") * 2:
        await client.get(f"/v1/videos?{page}")
    assert stage.rendered == 2


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("br", "br"),
        ("BR", "br"),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "br"),
        ("*;q=0", "identity"),
        ("br;q=0, *", "gzip"),
        ("br;q=0.000, gzip ; q=0.001", "gzip"),
        ("br; Q=0", "identity"),
        ("br;q=1.000", "br"),
        ("gzip;q=0., br;q=0", "identity"),
        ("identity", "identity"),
        ("", "identity"),
        (",;=,", "identity"),
        ("br;q=high", "br"),
    ],
)
def test_the_best_allowed_coding_is_chosen(accepted: str, coding: str) -> None:
    assert choose_coding(accepted) == coding
