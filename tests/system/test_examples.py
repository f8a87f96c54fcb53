"""The example consumers, each as its README starts it, on the real Kafka: all at once, for a killed one is waited for.

Each scenario has videos and a group of its own on the one topic, and looks at its own lines only.
"""

import asyncio
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contract.events import VIDEO_DISCOVERED, VIDEO_REMOVED, VideoEnvelope, video_headers
from contract.topics import VIDEOS, topic_specs
from contract.video import encode
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from ops.partitioner import partitioner
from tests.programs import required_program
from tests.published_videos import make_video
from tests.service_process import wait_for
from yousync.local.kafka import KafkaServer, kafka_jars
from yousync.local.server import free_ports

pytestmark = pytest.mark.system

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
PARTITIONS: Final = 4
PATIENCE_SECONDS: Final = 90.0
OLDEST_NODE: Final = (22, 22)
SECRET: Final = "between us"  # noqa: S105


@dataclass(frozen=True)
class Event:
    """One record of `youtube.videos`; without a title it is a removal."""

    video: str
    sequence: int
    title: str | None

    @property
    def id(self) -> str:
        return f"{self.video:-<11}"

    @property
    def line(self) -> str:
        """What an example prints of it."""
        shown = "".join(character for character in self.title or "" if character.isprintable())
        return f"{make_video(self.sequence).published_at}  {shown}  https://www.youtube.com/watch?v={self.id}"


class Topic:
    """The topic of videos, as the processors write it: keyed, with envelopes, compressed with zstd."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap: Final = bootstrap

    def publish(self, *events: Event) -> None:
        async def send() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self.bootstrap, compression_type="zstd") as producer:
                for event in events:
                    await producer.send_and_wait(
                        VIDEOS,
                        self._value(event),
                        event.id.encode(),
                        partition=partitioner(PARTITIONS)(event.id.encode()),
                        headers=self._headers(event),
                    )

        asyncio.run(send())

    def spoil(self) -> None:
        """A record that nobody can read."""

        async def send() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
                for headers in ([], [("ce_sequence", b"00000000000000000001"), ("ce_id", b"0-1")]):
                    await producer.send_and_wait(VIDEOS, b"{no JSON", b"spoilt", partition=0, headers=headers)

        asyncio.run(send())

    def wait_until_committed(self, group: str, otherwise: Callable[[], str]) -> None:
        """All that is on the topic now."""
        ends = asyncio.run(self._ends())

        def committed() -> bool:
            found = asyncio.run(self._committed(group))
            return all(found.get(place, 0) >= end for place, end in ends.items())

        wait_for(committed, PATIENCE_SECONDS, otherwise)

    async def _ends(self) -> dict[TopicPartition, int]:
        async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap) as consumer:
            return dict(await consumer.end_offsets([TopicPartition(VIDEOS, number) for number in range(PARTITIONS)]))

    async def _committed(self, group: str) -> dict[TopicPartition, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(group)
        finally:
            await admin.close()
        return {place: said.offset for place, said in found.items()}

    @staticmethod
    def _value(event: Event) -> bytes | None:
        if event.title is None:
            return None
        url = f"https://www.youtube.com/watch?v={event.id}"
        return encode(make_video(event.sequence, id=event.id, title=event.title, url=url))

    @staticmethod
    def _headers(event: Event) -> list[tuple[str, bytes]]:
        return video_headers(
            VideoEnvelope(
                type=VIDEO_REMOVED if event.title is None else VIDEO_DISCOVERED,
                partition=0,
                sequence=event.sequence,
                subject=event.id,
                sort_key="0",
            )
        )


class Example:
    """One example as a process; each start writes to a file of its own."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, topic: Topic, **variables: str) -> None:
        self.name: Final = name
        self.group: Final = f"ext.example.{name}"
        self._command = command
        self._folder = folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "KAFKA_BOOTSTRAP_SERVERS": topic.bootstrap,
            **variables,
        }
        self._runs = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._runs += 1
        with self._output.open("wb") as output, self._complaints.open("wb") as complaints:
            self._process = subprocess.Popen(
                self._command, env=self._environment, cwd=self._folder, stdout=output, stderr=complaints
            )

    def lines(self) -> list[str]:
        """What this run has printed of its own videos."""
        return [line for line in self._output.read_text().splitlines() if f"?v={self.name}" in line]

    def prints(self, *events: Event) -> None:
        """Wait for the last of them, and see these, in whatever order the partitions give, and no others."""
        wait_for(lambda: events[-1].line in self.lines(), PATIENCE_SECONDS, self.said)
        wait_for(lambda: len(self.lines()) >= len(events), PATIENCE_SECONDS, self.said)
        assert Counter(self.lines()) == Counter(event.line for event in events), self.said()

    def said(self) -> str:
        return f"{self.name}: {self._output.read_text()}\n{self.complaints()}"

    def complaints(self) -> str:
        return self._complaints.read_text()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def terminate(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(30)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def _output(self) -> Path:
        return self._folder / f"output-{self._runs}"

    @property
    def _complaints(self) -> Path:
        return self._folder / f"complaints-{self._runs}"


def printing_scenario(example: Example, topic: Topic) -> None:
    """Prints what is new and only that, comes back after a kill where it was, and ends when told to."""

    def event(video: str, sequence: int, title: str | None) -> Event:
        return Event(f"{example.name}-{video}", sequence, title)

    tea = event("tea", 20, "How to make \x1b[31mtea\u202e ☕")
    swan, swan_back = event("swan", 21, "Latte art: the swan"), event("swan", 23, "The swan is back")
    first = event("first", 24, "The first end")
    topic.publish(
        tea,
        event("tea", 7, "Of long ago, told late"),
        event("tea", 25, "The same video with another title"),
        swan,
        event("swan", 22, None),
        swan,
        swan_back,
        event("swan", 22, None),
    )
    topic.spoil()
    topic.publish(first)
    try:
        example.start()
        example.prints(tea, swan, swan_back, first)

        second = event("second", 30, "The second end")
        topic.publish(event("tea", 25, "The same video with another title"), swan_back, second)
        example.prints(tea, swan, swan_back, first, second)
        topic.wait_until_committed(example.group, example.said)
        example.kill()

        third, fourth = event("third", 31, "While it was dead"), event("fourth", 32, "While it was dead, too")
        topic.publish(third, fourth)
        example.start()
        example.prints(third, fourth)
        assert example.terminate() == 0, example.said()
        assert "Traceback" not in example.complaints()
    finally:
        example.end()


def python_scenario(topic: Topic, folder: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "python" / "consumer.py")]
    printing_scenario(Example("python", command, folder, topic), topic)


def kcat_scenario(topic: Topic, folder: Path) -> None:
    required_program("kcat", "Debian's kcat")
    required_program("jq", "Debian's jq")
    printing_scenario(Example("kcat", [str(EXAMPLES / "kcat" / "consumer.sh")], folder, topic), topic)


def go_scenario(topic: Topic, folder: Path) -> None:
    go = required_program("go", "Go 1.26 or newer")
    run([go, "build", "-o", str(folder / "consumer"), "."], EXAMPLES / "go")
    printing_scenario(Example("go", [str(folder / "consumer")], folder, topic), topic)


def node_scenario(topic: Topic, folder: Path) -> None:
    node = new_enough_node()
    for name in ("package.json", "package-lock.json", ".npmrc", "consumer.mjs"):
        shutil.copy(EXAMPLES / "node" / name, folder)
    run([required_program("npm", "npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts"], folder)
    printing_scenario(Example("node", [node, "consumer.mjs"], folder, topic), topic)


def new_enough_node() -> str:
    """The client reads zstd by what Node has of it since 22.15, and asks for a newer one itself."""
    node = required_program("node", "Node 22.22 or newer")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_NODE:
        required = os.environ.get("YOUSYNC_REQUIRE_TOOLS") == "1"
        (pytest.fail if required else pytest.skip)(f"Node {version.strip()} is too old: install 22.22 or newer")
    return node


def run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class Receiver:
    """An HTTP server that answers the tellings of a title by a list of statuses, and 200 when that is used up."""

    answers: dict[str, list[int]]
    told: list[tuple[str, int, Mapping[str, str], bytes]] = field(default_factory=list)

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        try:
            title = json.loads(body)["title"]
        except ValueError:
            return 400
        left = self.answers.get(title, [])
        status = left.pop(0) if left else 200
        self.told.append((title, status, headers, body))
        return status

    def titles(self, status: int = 200) -> list[str]:
        return [title for title, answered, _, _ in self.told if answered == status]

    def serve(self) -> ThreadingHTTPServer:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.send_response(receiver.take(headers, body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def webhook_scenario(topic: Topic, folder: Path) -> None:
    """Tells of each new video once it can, waits for a receiver that is away, passes over what it refuses for good."""
    refused, busy = Event("webhook-1", 40, "Refused for good"), Event("webhook-2", 41, "Busy, then broken")
    back = Event("webhook-2", 43, "There again")
    stuck, after = Event("webhook-3", 50, "Broken until killed"), Event("webhook-3", 52, "After it")
    receiver = Receiver({refused.title or "": [404], busy.title or "": [429, 503], stuck.title or "": [500] * 1000})
    server = receiver.serve()
    Thread(target=server.serve_forever, args=(0.05,)).start()
    url = f"http://127.0.0.1:{server.server_port}/new"
    command = [sys.executable, str(EXAMPLES / "webhook" / "notifier.py")]
    example = Example("webhook", command, folder, topic, WEBHOOK_URL=url, WEBHOOK_SECRET=SECRET)
    ours = {event.title for event in (refused, busy, back, stuck, after)}

    def taken() -> list[str]:
        return [title for title in receiver.titles() if title in ours]

    try:
        topic.publish(refused, busy, Event(busy.video, 42, None), busy, back)
        topic.spoil()
        example.start()
        wait_for(lambda: back.title in taken(), PATIENCE_SECONDS, example.said)
        topic.wait_until_committed(example.group, example.said)
        assert taken() == [busy.title, back.title]  # of one video: in order
        assert receiver.titles(404) == [refused.title]  # once, and never again
        assert "refused with HTTP 404: event 0-40" in example.complaints()
        assert receiver.titles(429) == receiver.titles(503) == [busy.title]

        topic.publish(stuck, Event(stuck.video, 51, None), after)
        wait_for(lambda: len(receiver.titles(500)) >= 2, PATIENCE_SECONDS, example.said)
        example.kill()
        assert after.title not in taken()  # what follows a video waits for it
        receiver.answers.clear()
        example.start()
        wait_for(lambda: after.title in taken(), PATIENCE_SECONDS, example.said)
        assert taken() == [busy.title, back.title, stuck.title, after.title]
        assert example.terminate() == 0, example.said()
        assert "Traceback" not in example.complaints()
    finally:
        example.end()
        server.shutdown()
        server.server_close()
    keys = {headers["idempotency-key"] for title, _, headers, _ in receiver.told if title == stuck.title}
    assert keys == {"0-50"}  # the same at each attempt, by each process
    for _, _, headers, body in receiver.told:
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert headers["x-signature-256"] == f"sha256={digest}"
        assert headers["ce-type"] == VIDEO_DISCOVERED
        assert headers["content-type"] == "application/json"


SCENARIOS: Final[dict[str, Callable[[Topic, Path], None]]] = {
    "python": python_scenario,
    "kcat": kcat_scenario,
    "go": go_scenario,
    "node": node_scenario,
    "webhook": webhook_scenario,
}


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, "Future[None]"]]:
    """All of them, under way at once."""
    folder = tmp_path_factory.mktemp("examples")
    kafka_port, controller_port = free_ports(2)
    kafka = KafkaServer(
        folder / "kafka", folder / "kafka.log", kafka_port, controller_port, kafka_jars(lambda *_: None)
    )
    kafka.start()
    try:
        asyncio.run(create_missing_topics(KafkaConnection(kafka.address), topic_specs(PARTITIONS), 1))
        topic = Topic(kafka.address)
        with ThreadPoolExecutor(len(SCENARIOS)) as pool:
            yield {
                name: pool.submit(scenario, topic, tmp_path_factory.mktemp(name))
                for name, scenario in SCENARIOS.items()
            }
    finally:
        kafka.stop()


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_example_does_what_its_readme_says(scenarios: dict[str, "Future[None]"], name: str) -> None:
    scenarios[name].result()


def test_every_example_has_a_readme_and_is_tried_here() -> None:
    assert {folder.name for folder in EXAMPLES.iterdir() if folder.is_dir()} == set(SCENARIOS)
    assert all((EXAMPLES / name / "README.md").is_file() for name in SCENARIOS)
