"""The API as a process of its own on the real MongoDB, spoken to over HTTP."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase

from contract.producer_state import FollowedQuery, query_key
from contract.read_model import INDEXES, VIDEOS
from contract.topics import PRODUCER_STATE, topic_specs
from contract.video import Channel
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from query_api.pagination import encode_cursor
from tests.conftest import MakeServers, Servers
from tests.fakes.video_documents import (
    NEWEST_MS,
    Document,
    make_document,
    make_id,
    make_marker,
    make_video,
    video_document,
)
from yousync.local.mongod import MongodServer, find_mongod
from yousync.local.server import free_port

pytestmark = pytest.mark.integration

Collection = AsyncIOMotorCollection[dict[str, Any]]

PROGRAM = """
from contract.settings import load_settings
from ops.logging import configure_logging
from query_api.service import run
configure_logging("info", "json", service="api")
run(load_settings())
"""
PATIENCE_SECONDS = 60


@dataclass
class Api:
    """The process, and where it listens."""

    process: subprocess.Popen[bytes]
    log_file: Path
    url: str
    admin_url: str

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]


StartApi = Callable[..., Api]
"""Of MongoDB's URI, the database, and Kafka's address, which nobody answers unless it is given."""


@pytest.fixture
def start_api(tmp_path: Path) -> Iterator[StartApi]:
    """Starts the API over a database; what still runs at the end is stopped."""
    started: list[Api] = []

    def start(mongodb_uri: str, database: str, kafka: str = "127.0.0.1:1") -> Api:
        log_file = tmp_path / f"api-{len(started)}.log"
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "MONGODB_URI": mongodb_uri,
            "YOUSYNC_MONGODB_DATABASE": database,
            "YOUSYNC_API_PORT": "0",
            "YOUSYNC_ADMIN_PORT": "0",
        }
        with log_file.open("wb") as log:
            process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, cwd=tmp_path, stderr=log)
        api = Api(process, log_file, "", "")
        started.append(api)
        listening = _listening_line(api)
        api.url = f"http://127.0.0.1:{listening['port']}"
        api.admin_url = f"http://127.0.0.1:{listening['admin_port']}"
        return api

    yield start
    for api in started:
        api.process.kill()
        api.process.wait()


def _listening_line(api: Api) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and api.process.poll() is None:
        for line in api.log_file.read_bytes().splitlines():
            if b'"listening"' in line:
                return dict(json.loads(line))
        time.sleep(0.02)
    raise AssertionError(f"the API did not start: {api.log_file.read_text()}")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS)) as session:
        yield session


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[AsyncIOMotorDatabase[dict[str, Any]]]:
    """A database of the test's own."""
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(servers.mongodb_uri)
    name = f"api_{uuid.uuid4().hex}"
    yield client[name]
    await client.drop_database(name)
    client.close()


@pytest.fixture
def own_mongod(tmp_path: Path) -> Iterator[MongodServer]:
    """A MongoDB for tests that stop it; not running yet."""
    mongod = MongodServer(tmp_path / "mongod", tmp_path / "mongod.log", free_port(), find_mongod(None))
    yield mongod
    mongod.stop()


async def _store(videos: Collection, documents: Sequence[Document]) -> None:
    for index in INDEXES:
        await videos.create_index(index.keys, name=index.name, **index.options)
    if documents:
        await videos.insert_many(documents)


async def _store_at(uri: str, database: str, documents: Sequence[Document]) -> None:
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(uri)
    await _store(client[database][VIDEOS], documents)
    client.close()


async def _status(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(url) as answer:
        return answer.status


async def _becomes(http: aiohttp.ClientSession, url: str, status: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := await _status(http, url)) != status:
        assert time.monotonic() < deadline, f"{url} still answers {found}"
        await asyncio.sleep(0.05)


async def test_pages_and_cursors_list_the_same_videos_without_the_removed(
    http: aiohttp.ClientSession, database: AsyncIOMotorDatabase[dict[str, Any]], servers: Servers, start_api: StartApi
) -> None:
    removed = {3, 11, 24}
    stored = [make_marker(number) if number in removed else make_document(number) for number in range(25)]
    await _store(database[VIDEOS], stored)
    expected = [make_id(number) for number in reversed(range(25)) if number not in removed]
    api = start_api(servers.mongodb_uri, database.name)

    by_number: list[str] = []
    for number in (1, 2, 3, 4):
        async with http.get(f"{api.url}/v1/videos?page={number}&limit=7") as answer:
            page = await answer.json()
        by_number += [item["id"] for item in page["items"]]
        assert (page["page"], page["limit"], page["total"], page["total_is_exact"]) == (number, 7, 22, True)
    by_cursor: list[str] = []
    cursor: str | None = encode_cursor(make_document(999)["k"])
    while cursor is not None:
        async with http.get(f"{api.url}/v1/videos?cursor={cursor}&limit=4") as answer:
            page = await answer.json()
        by_cursor += [item["id"] for item in page["items"]]
        assert (page["page"], page["total"], page["complete"]) == (None, 22, True)
        cursor = page["next_cursor"]

    assert by_number == expected
    assert by_cursor == expected


async def test_bodies_are_the_stored_bytes(
    http: aiohttp.ClientSession, database: AsyncIOMotorDatabase[dict[str, Any]], servers: Servers, start_api: StartApi
) -> None:
    await _store(database[VIDEOS], [make_document(1), make_document(2), make_marker(3)])
    older, newer = (bytes(make_document(number)["body"]) for number in (1, 2))
    api = start_api(servers.mongodb_uri, database.name)

    async with http.get(f"{api.url}/v1/videos") as answer:
        assert answer.headers["Content-Type"] == "application/json"
        assert await answer.read() == (
            b'{"items":[' + newer + b"," + older + b'],"page":1,"limit":10,"total":2,'
            b'"total_is_exact":true,"complete":true,"next_cursor":null}'
        )
    async with http.get(f"{api.url}/v1/videos/{make_id(1)}") as answer:
        assert (answer.status, await answer.read()) == (200, older)
    assert await _status(http, f"{api.url}/v1/videos/{make_id(3)}") == 404
    async with http.get(f"{api.admin_url}/metrics") as answer:
        assert 'yousync_http_requests_total{method="GET",route="/v1/videos",status="200"} 1.0' in await answer.text()


async def test_it_starts_without_mongodb_and_recovers_alone_whatever_happens_to_it(
    http: aiohttp.ClientSession, own_mongod: MongodServer, start_api: StartApi
) -> None:
    api = start_api(own_mongod.uri, "read")
    assert await _status(http, f"{api.url}/v1/videos") == 503
    assert await _status(http, f"{api.admin_url}/readyz") == 503
    await _assert_only_the_newest(http, api, pages=503)

    own_mongod.start()
    await _store_at(own_mongod.uri, "read", [make_document(1)])
    await _becomes(http, f"{api.url}/v1/videos/{make_id(1)}", 200)
    await _becomes(http, f"{api.admin_url}/readyz", 200)
    own_mongod.pause()
    await _assert_only_the_newest(http, api, pages=200)
    own_mongod.resume()
    await _becomes(http, f"{api.url}/v1/videos/{make_id(1)}", 200)
    own_mongod.kill()
    await _assert_only_the_newest(http, api, pages=200)
    own_mongod.start()
    await _becomes(http, f"{api.url}/v1/videos/{make_id(1)}", 200)

    events = [line["event"] for line in api.log_lines()]
    assert events.count("read model away") == events.count("read model back") == 3
    assert "Traceback" not in api.log_file.read_text()


async def _assert_only_the_newest(http: aiohttp.ClientSession, api: Api, *, pages: int) -> None:
    """What MongoDB is not needed for is answered; all else is a problem, soon."""
    begun = time.monotonic()
    async with http.get(f"{api.url}/v1/videos/{make_id(1)}") as answer:
        assert (answer.status, answer.content_type) == (503, "application/problem+json")
        assert (await answer.json(content_type=None))["status"] == 503
    assert await _status(http, f"{api.url}/v1/videos") == pages
    assert await _status(http, f"{api.admin_url}/livez") == 200
    assert await _status(http, f"{api.url}/v1/videos?page=0") == 400
    assert time.monotonic() - begun < 20


async def test_a_crowd_is_answered_in_seconds_while_mongodb_is_away(
    http: aiohttp.ClientSession, start_api: StartApi
) -> None:
    api = start_api(f"mongodb://127.0.0.1:{free_port()}", "read")
    begun = time.monotonic()

    statuses = await asyncio.gather(*(_status(http, f"{api.url}/v1/videos") for _ in range(90)))

    assert set(statuses) == {503}
    assert time.monotonic() - begun < 20
    assert [line["event"] for line in api.log_lines()].count("read model away") == 1
    assert "Traceback" not in api.log_file.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_it_finishes_what_it_began_and_takes_nothing_new(
    http: aiohttp.ClientSession, own_mongod: MongodServer, start_api: StartApi, number: signal.Signals
) -> None:
    own_mongod.start()
    await _store_at(own_mongod.uri, "read", [make_document(1)])
    api = start_api(own_mongod.uri, "read")
    await _becomes(http, f"{api.url}/v1/videos", 200)
    own_mongod.pause()
    slow = asyncio.create_task(http.get(f"{api.url}/v1/videos/{make_id(1)}").__aenter__())
    await asyncio.sleep(0.3)

    api.process.send_signal(number)
    await asyncio.sleep(0.3)
    with pytest.raises(aiohttp.ClientConnectorError):
        await _status(http, f"{api.url}/v1/videos")
    assert await _status(http, f"{api.admin_url}/livez") == 200
    own_mongod.resume()
    answer = await slow

    assert answer.status == 200
    assert (await answer.json())["id"] == make_id(1)
    # Sooner than the master ends a worker that does not end by itself (15 s).
    assert await asyncio.to_thread(api.process.wait, 10) == 0
    events = [line["event"] for line in api.log_lines()]
    assert events[-1] == "stopped"
    assert events.count("stopping") == events.count("stopped") == 1


async def test_a_client_that_never_reads_delays_the_stop_only_so_long(
    http: aiohttp.ClientSession, database: AsyncIOMotorDatabase[dict[str, Any]], servers: Servers, start_api: StartApi
) -> None:
    await _store(database[VIDEOS], [make_document(number) for number in range(200)])
    api = start_api(servers.mongodb_uri, database.name)
    with socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2]))) as client:
        client.sendall(b"GET /v1/videos?limit=100 HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
        await asyncio.sleep(1)

        api.process.terminate()

        assert await asyncio.to_thread(api.process.wait, 20) == 0


async def _pages(http: aiohttp.ClientSession, url: str) -> list[dict[str, Any]]:
    """Everything that a list has, two a page, by its cursors."""
    items: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        async with http.get(f"{url}?limit=2{cursor and '&cursor='}{cursor}") as answer:
            assert answer.status == 200
            page = await answer.json()
        items += page["items"]
        assert page["limit"] == 2
        cursor = page["next_cursor"]
    return items


async def test_queries_and_channels_are_listed_by_name_with_their_counts(
    http: aiohttp.ClientSession, make_servers: MakeServers, start_api: StartApi
) -> None:
    servers = make_servers()
    await create_missing_topics(KafkaConnection(servers.kafka_bootstrap), topic_specs(1), 1)
    stored = []
    for number in range(6):
        channel = Channel(f"UC{number % 3}", f"Channel {number % 3} at {number}")
        video = msgspec.structs.replace(make_video(number), channel=channel, queries=["coffee", "tea"][number % 2 :])
        stored.append(video_document(video, NEWEST_MS + number * 1000))
    await _store_at(servers.mongodb_uri, "read", stored)
    state = {"tea": FollowedQuery("2026-01-01T00:00:00Z"), "zen": FollowedQuery("2026-01-01T00:00:00Z")}
    producer = AIOKafkaProducer(bootstrap_servers=servers.kafka_bootstrap)
    await producer.start()
    for query, followed in state.items():
        await producer.send_and_wait(PRODUCER_STATE, msgspec.json.encode(followed), query_key(query))
    await producer.stop()

    api = start_api(servers.mongodb_uri, "read", servers.kafka_bootstrap)
    await _becomes(http, f"{api.admin_url}/readyz", 200)
    deadline = time.monotonic() + PATIENCE_SECONDS
    # Kafka is asked with the first request, and the queries of the store are looked up after the newest videos.
    while len(queries := await _pages(http, f"{api.url}/v1/queries")) < 3:
        assert time.monotonic() < deadline, queries
        await asyncio.sleep(0.2)

    newest, before = (make_video(number).published_at for number in (5, 4))
    assert queries == [
        {"query": "coffee", "followed": False, "total": 3, "newest_published_at": before},
        {"query": "tea", "followed": True, "total": 6, "newest_published_at": newest},
        {"query": "zen", "followed": True, "total": 0, "newest_published_at": None},
    ]
    assert await _pages(http, f"{api.url}/v1/channels") == [
        {"id": f"UC{number}", "title": f"Channel {number} at {number + 3}", "total": 2,
         "newest_published_at": make_video(number + 3).published_at}
        for number in range(3)
    ]  # fmt: skip
