"""Pages and their files over HTTP, without anything behind them."""

import gzip
import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import brotli
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from query_api import pages
from query_api.pages import Pages

Client = TestClient[web.Request, web.Application]

FOLDER: Final = Path(pages.__file__).parent
VENDORED: Final = FOLDER / "docs_page" / "swagger_ui"
HTML: Final = ["/", "/pipeline", "/docs"]


@pytest.fixture(scope="module")
def made() -> Pages:
    return Pages()


@pytest.fixture
async def client(made: Pages) -> AsyncIterator[Client]:
    app = web.Application()
    app.add_routes(made.routes())
    async with TestClient(TestServer(app), headers={"Accept-Encoding": "identity"}, auto_decompress=False) as client:
        yield client


def _policy(answer: Any) -> dict[str, set[str]]:
    parts = (part.split() for part in answer.headers["Content-Security-Policy"].split(";"))
    return {name: set(values) for name, *values in parts}


@pytest.mark.parametrize("path", HTML)
async def test_a_page_lets_nothing_in_from_elsewhere(client: Client, path: str) -> None:
    answer = await client.get(path)

    policy = _policy(answer)
    assert (answer.status, answer.content_type, answer.charset) == (200, "text/html", "utf-8")
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == {"'none'"}
    assert policy["script-src"] == policy["connect-src"] == policy["form-action"] == {"'self'"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-cache"


async def test_only_the_docs_may_set_styles_of_elements_and_only_the_dashboard_shows_youtube_s_pictures(
    client: Client,
) -> None:
    dashboard, docs = [_policy(await client.get(path)) for path in ("/", "/docs")]

    assert dashboard["style-src"] == {"'self'"}
    assert dashboard["img-src"] == {"'self'", "https://i.ytimg.com", "https://*.ytimg.com"}
    assert dashboard["require-trusted-types-for"] == {"'script'"}
    assert docs["style-src"] == {"'self'", "'unsafe-inline'"}
    assert docs["img-src"] == {"'self'", "data:"}


@pytest.mark.parametrize("path", HTML)
async def test_everything_a_page_refers_to_is_served_to_be_kept_for_good(client: Client, path: str) -> None:
    page = await (await client.get(path)).text()
    referred = set(re.findall(r'(?:src|href)="(/assets/[^"]+)"', page))
    # What modules import, and they in turn.
    todo = list(referred)
    while todo:
        at = todo.pop()
        answer = await client.get(at)
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable"), at
        if at.endswith(".js") and "/dashboard/" in at:
            found = {
                f"{at.rpartition('/')[0]}/{name}" for name in re.findall(r'from "\./([^"]+)"', await answer.text())
            }
            todo += found - referred
            referred |= found

    assert "{{" not in page
    assert len(referred) >= 5
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=", page)


async def test_which_page_it_is_is_said_in_its_menu_alone(client: Client) -> None:
    for path in HTML:
        page = await (await client.get(path)).text()

        assert re.findall(r'href="([^"]+)" aria-current="page"', page) == [path]


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("br, gzip", "br"), ("gzip", "gzip"), ("gzip;q=0, identity", None), ("", None), ("deflate", None)],
)
async def test_bodies_come_in_the_coding_that_is_accepted(
    client: Client, made: Pages, accepted: str, coding: str | None
) -> None:
    path = f"/assets/{made.version}/dashboard/videos.js"
    unpack = {"br": brotli.decompress, "gzip": gzip.decompress, None: bytes}[coding]

    answer = await client.get(path, headers={"Accept-Encoding": accepted})
    again = await client.get(path, headers={"Accept-Encoding": accepted, "If-None-Match": answer.headers["ETag"]})

    assert answer.headers.get("Content-Encoding") == coding
    assert unpack(await answer.read()) == (FOLDER / "dashboard" / "videos.js").read_bytes()
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", answer.headers["ETag"])


async def test_each_coding_has_a_tag_of_its_own(client: Client) -> None:
    tags = {
        (await client.get("/", headers={"Accept-Encoding": coding})).headers["ETag"] for coding in ("br", "gzip", "")
    }

    assert len(tags) == 3


async def test_a_file_of_another_version_is_not_to_be_kept(client: Client) -> None:
    answer = await client.get("/assets/0123456789abcdef/dashboard/frame.css")

    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-cache")


@pytest.mark.parametrize(
    "name",
    ["nothing.js", "dashboard/frame.html", "docs/swagger_ui/vendored.json", "dashboard/../pages.py", "../app.py"],
)
async def test_what_is_no_asset_is_not_found(client: Client, made: Pages, name: str) -> None:
    answer = await client.get(f"/assets/{made.version}/{name.replace('..', '%2e%2e')}")

    assert answer.status == 404


async def test_the_contract_is_served_as_it_is(client: Client) -> None:
    answer = await client.get("/openapi.json", headers={"Accept-Encoding": "identity"})

    assert answer.content_type == "application/json"
    assert await answer.read() == (FOLDER / "openapi.json").read_bytes()


async def test_a_head_is_a_get_without_its_body(client: Client) -> None:
    got, asked = [
        await client.request(method, "/docs", headers={"Accept-Encoding": "br"}) for method in ("GET", "HEAD")
    ]

    names = ("ETag", "Content-Length", "Content-Encoding", "Content-Type", "Content-Security-Policy")
    assert [asked.headers[name] for name in names] == [got.headers[name] for name in names]
    assert await asked.read() == b""


def test_swagger_ui_is_the_release_that_is_named() -> None:
    said = json.loads((VENDORED / "vendored.json").read_bytes())

    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDORED.iterdir()
        if path.name != "vendored.json"
    }
    assert found == said["sha256"]
    assert f"/swagger-ui-dist-{said['version']}.tgz" in said["source"]
    assert {"LICENSE", "NOTICE"} < set(found)


def test_the_dashboard_s_scripts_make_no_markup() -> None:
    scripts = [path.read_text() for path in (FOLDER / "dashboard").glob("*.js")]

    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert not any(forbidden in script for script in scripts), forbidden
    assert len(scripts) >= 9
