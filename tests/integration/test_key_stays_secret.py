"""The API key in a full run (promise P9): it reaches YouTube, and then it stands nowhere else.

`yousync up` runs with two keys against a YouTube that is the simulator behind a gossip: it passes calls on, but many
of its answers quote the caller's key, in every form that an answer has. The first key is refused after a while, so
that the second takes its turn, and in the end that one is refused too. Then everything is searched that the run left
or shows: its files and Kafka's and MongoDB's, records with their headers, documents, metrics, command lines, and what
our commands print. Only `.env` and the processes' environments may hold a key.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import bson
import pymongo
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contract.topics import topic_specs
from tests.served import served
from tests.service_process import ServiceProcess, wait_for
from tests.system.test_up import Up, get
from yousync.local.server import free_port

FIRST_KEY = "AIzaSyTheFirstKeyThatNobodyMayRead_-01x"
SECOND_KEY = "second~key~of~another~shape~4711"
KEYS = (FIRST_KEY, SECOND_KEY)
TRACE_CHARACTERS = 12
"""Half a key, cut off by whatever cuts, is no less a leak."""

BACKLOG = 300
REFUSED_QUERY = "a query that is refused"
CALLS_WITH_FIRST_KEY = 60
QUOTE_EVERY = 3

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def error_body(code: int, reason: str, message: str, key: str) -> bytes:
    """An error of the API that quotes the key wherever there is room."""
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "metadata": {"consumer": key}}
    listed = [{"message": message, "domain": "global", "reason": reason, "location": key}]
    error = {"code": code, "message": message, "errors": listed, "status": "STATUS", "details": [info]}
    return json.dumps({"error": error}).encode()


class Gossip(BaseHTTPRequestHandler):
    """Passes calls on to the simulator and quotes keys."""

    protocol_version = "HTTP/1.1"
    server: "GossipServer"

    def do_GET(self) -> None:
        self.close_connection = True
        key = self.headers["X-Goog-Api-Key"]
        address = urlsplit(self.path)
        with self.server.lock:
            self.server.calls[key] = number = self.server.calls.get(key, 0) + 1
        if number > self.server.calls_left[key]:
            self._answer(400, error_body(400, "API_KEY_INVALID", f"API key {key} not valid.", key))
        elif parse_qs(address.query).get("q") == [REFUSED_QUERY]:
            self._answer(400, error_body(400, "invalidValue", f"{key} may not ask for this", key))
        elif number % QUOTE_EVERY == 0:
            quotes = QUOTES[number // QUOTE_EVERY % len(QUOTES)]
            quotes(self, key)
            self.server.quoted.add(quotes.__name__)
        else:
            self._pass_on(key)

    def quote_in_error(self, key: str) -> None:
        self._answer(500, error_body(500, "backendError", f"the key {key} met an error", key))

    def quote_in_burst(self, key: str) -> None:
        message = f"Quota exceeded for limit 'Search Queries per minute' for consumer 'api_key:{key}'."
        self._answer(429, error_body(429, "rateLimitExceeded", message, key))

    def quote_in_long_message(self, key: str) -> None:
        self._answer(503, error_body(503, "backendError", "x" * 290 + key, key))

    def quote_in_page(self, key: str) -> None:
        self._answer(403, f"<html><title>{key}</title>/youtube/v3/search?key={key}</html>".encode(), "text/html")

    def quote_in_nonsense(self, key: str) -> None:
        self._answer(200, f'{{"kind": "{key}'.encode())

    def quote_in_kind(self, key: str) -> None:
        self._answer(200, json.dumps({"kind": key, "items": [key], "nextPageToken": key}).encode())

    def quote_in_redirect(self, key: str) -> None:
        self._answer(302, key.encode(), location=f"http://127.0.0.1:1/?key={key}")

    def quote_in_status_line(self, key: str) -> None:
        self.wfile.write(f"{key} {key}\r\n\r\n".encode())

    def quote_in_length(self, key: str) -> None:
        self.wfile.write(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{key}\r\n{key}\r\n".encode())

    def quote_in_broken_gzip(self, key: str) -> None:
        self._answer(200, key.encode(), content_encoding="gzip")

    def quote_in_missing_list(self, key: str) -> None:
        self._answer(404, error_body(404, "playlistNotFound", f"nothing is here for {key}", key))

    def quote_in_bad_token(self, key: str) -> None:
        self._answer(400, error_body(400, "invalidPageToken", f"the page of {key} is not there", key))

    def _pass_on(self, key: str) -> None:
        url = f"{self.server.simulator}{self.path}"
        request = urllib.request.Request(url, headers={"X-Goog-Api-Key": key})  # noqa: S310 - http on loopback
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - http on loopback
                self._answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                self._answer(error.code, error.read())

    def _answer(self, status: int, body: bytes, content_type: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: what is said here is not the run's."""


QUOTES: tuple[Callable[[Gossip, str], None], ...] = tuple(
    method for name, method in vars(Gossip).items() if name.startswith("quote_")
)


class GossipServer(ThreadingHTTPServer):
    """Counts calls by key; `calls_left` is when each key is refused."""

    daemon_threads = True

    def __init__(self, simulator: str) -> None:
        super().__init__(("127.0.0.1", 0), Gossip)
        self.simulator = simulator
        self.lock = threading.Lock()
        self.calls: dict[str, int] = {}
        self.calls_left = {FIRST_KEY: CALLS_WITH_FIRST_KEY, SECOND_KEY: 10**9}
        self.quoted: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


def traces(content: bytes | str | None) -> list[str]:
    """The keys of which a part stands there."""
    found = content.encode() if isinstance(content, str) else content or b""
    return [
        key for key in KEYS if key[:TRACE_CHARACTERS].encode() in found or key[-TRACE_CHARACTERS:].encode() in found
    ]


def check_files(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".env"]
    for path in files:
        assert not traces(path.read_bytes()), path
    assert {"producer.log", "api.log", "processor.log", "kafka.log", "mongod.log"} <= {path.name for path in files}
    assert any(path.suffix == ".log" and "yousync.producer.state" in str(path) for path in files)
    assert any(path.suffix == ".wt" for path in files)


async def partitions(bootstrap: str) -> dict[str, list[TopicPartition]]:
    """Those of every topic, Kafka's own too."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return {
            described["topic"]: [
                TopicPartition(described["topic"], each["partition"]) for each in described["partitions"]
            ]
            for described in await admin.describe_topics()
        }
    finally:
        await admin.close()


async def check_topics(bootstrap: str) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        topics = await partitions(bootstrap)
        assert {spec.name for spec in topic_specs(1)} <= topics.keys()
        read = 0
        for topic, places in topics.items():
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            for place, end in (await consumer.end_offsets(places)).items():
                while await consumer.position(place) < end:
                    for record in (await consumer.getmany(place, timeout_ms=1000)).get(place, []):
                        read += 1
                        said = (record.key, record.value, *(value for _, value in record.headers), repr(record.headers))
                        assert not any(map(traces, said)), (topic, record.offset)
        assert read > BACKLOG
    finally:
        await consumer.stop()


def check_documents(mongodb_uri: str) -> None:
    read = 0
    with pymongo.MongoClient[dict[str, object]](mongodb_uri) as client:
        for database in client.list_database_names():
            for collection in client[database].list_collection_names():
                for document in client[database][collection].find():
                    read += 1
                    assert not traces(bson.encode(document)), (database, collection)
    assert read >= BACKLOG


def check_processes(up: Up) -> None:
    """Command lines and titles of everything that runs, and the metrics and health of what is ours."""
    pages = set()
    for process in up.family():
        assert not traces(json.dumps(process.as_dict(["cmdline", "name", "exe", "cwd"]))), process
        admin_port = process.environ().get("YOUSYNC_ADMIN_PORT")
        if admin_port is not None:
            for page in ("metrics", "readyz", "livez"):
                with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/{page}", timeout=10) as answer:
                    assert not traces(answer.read()), (process, page)
                    pages.add((admin_port, page))
    assert len(pages) == 3 * len(("producer", "processor", "api"))


def check_commands(up: Up) -> None:
    """What our commands print; none fails."""
    for command in (
        "config",
        "config --json",
        "status",
        "status --json",
        "topics",
        "queries list",
        "queries list --json",
        "quota",
        "quota --explain",
        "quota --explain --json",
        "tail state --from-beginning --limit 50",
        "tail raw --from-beginning --limit 50 --json",
    ):
        done = up.run(*command.split())
        assert done.returncode == 0, done.stderr
        assert not traces(done.stdout + done.stderr), command
    assert "***" in up.run("config").stdout, "the key has to be among the settings"
    assert "***" in up.run("queries", "list").stdout, "YouTube's refusal of a query has to be among what is known"


def test_no_key_is_left_anywhere(tmp_path: Path) -> None:
    simulator_port = free_port()
    settings = {
        "YOUSYNC_SIMULATOR_PORT": str(simulator_port),
        "YOUSYNC_SIMULATOR_BACKLOG": str(BACKLOG),
        "YOUSYNC_SIMULATOR_INDEXING_DELAY_SECONDS": "0",
        "YOUSYNC_SIMULATOR_SEARCH_CALLS_PER_DAY": "1000000",
        "YOUSYNC_SIMULATOR_UNITS_PER_DAY": "1000000",
        "YOUSYNC_LOG_LEVEL": "debug",
    }
    with (
        ServiceProcess("simulator", tmp_path, settings) as simulator,
        served(GossipServer(f"http://127.0.0.1:{simulator_port}")) as youtube,
    ):
        simulator.wait_until_ready()
        (tmp_path / ".env").write_text(
            f"YOUTUBE_API_KEY={FIRST_KEY},{SECOND_KEY}\n"
            f"YOUTUBE_API_ENDPOINT={youtube.url}\n"
            f"YOUSYNC_QUERIES=*;{REFUSED_QUERY}\n"
            "YOUSYNC_SEARCH_CALLS_PER_DAY=1000000\n"
            "YOUSYNC_UNITS_PER_DAY=1000000\n"
            "YOUSYNC_YOUTUBE_TIMEOUT_SECONDS=5\n"
            "YOUSYNC_LOG_LEVEL=debug\n"
        )
        with Up(tmp_path / "home") as up:
            url = up.wait_for_url()
            wait_for(lambda: youtube.quoted == {quotes.__name__ for quotes in QUOTES}, 120, up.said)
            wait_for(lambda: youtube.calls.get(SECOND_KEY, 0) > 2 * QUOTE_EVERY * len(QUOTES), 120, up.said)
            wait_for(lambda: get(url, limit=1)["total"] >= BACKLOG, 120, up.said)
            config = {row["variable"]: row["value"] for row in json.loads(up.run("config", "--json").stdout)}

            check_processes(up)
            check_commands(up)
            asyncio.run(check_topics(config["KAFKA_BOOTSTRAP_SERVERS"]))
            check_documents(config["MONGODB_URI"])

            youtube.calls_left[SECOND_KEY] = 0
            assert up.process.wait(60) == 1, up.said()
        assert simulator.terminate() == 0

    assert youtube.calls[FIRST_KEY] == CALLS_WITH_FIRST_KEY + 1, "a refused key is not used again"
    assert "YouTube refuses it: key 2 of 2 is refused" in up.said()
    assert "***" in up.said(), "the refusal quotes the key, and it is masked"
    check_files(tmp_path)


def test_a_key_that_is_not_accepted_is_not_shown(tmp_path: Path) -> None:
    for variable in ("YOUTUBE_API_KEY", "YOUTUBE_KEY"):
        for command in ("producer", "config", "up"):
            refused = subprocess.run(
                [sys.executable, "-m", "yousync.cli", command],
                env={
                    "PATH": os.environ["PATH"],
                    "YOUSYNC_HOME": str(tmp_path / "home"),
                    "YOUSYNC_QUERIES": "tea",
                    "YOUSYNC_POLL_SECONDS": "soon",
                    variable: f"{FIRST_KEY},{SECOND_KEY} with a space",
                },
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert refused.returncode == 2
            assert "YOUTUBE_API_KEY: key 2 holds a character" in refused.stderr
            assert not traces(refused.stdout + refused.stderr)
