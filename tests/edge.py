"""The edge for real: nginx with the configuration that is deployed, in front of real processes of the API."""

import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Self
from urllib.request import urlopen

from tests.api_process import ApiProcess, api_process, becomes
from tests.programs import required_program
from tests.published_videos import PublishedVideos
from yousync.local.server import free_ports

CONFIGURATION = Path(__file__).parents[1] / "deploy/nginx/nginx.conf"
ALLOWED_ORIGIN = "https://reader.example"
NOBODY = 65534
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """An answer as it came: nothing of it decoded."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def cache(self) -> str:
        """What nginx says of its cache: HIT, MISS, EXPIRED, STALE, UPDATING; or nothing."""
        return str(self.headers["X-Cache-Status"] or "")


class Client:
    """One client and its connection; `address`, one of this machine's own (127.x.x.x), is what nginx counts by."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", port, timeout=PATIENCE_SECONDS, source_address=(address, 0)
        )

    def ask(
        self, target: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", body: bytes | None = None
    ) -> Answer:
        with self.open(target, headers, method=method, body=body) as response:
            return Answer(response.status, response.headers, response.read())

    def open(
        self, target: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", body: bytes | None = None
    ) -> http.client.HTTPResponse:
        """The answer's beginning; the rest of it may still come."""
        self._connection.request(method, target, body, dict(headers or {}))
        return self._connection.getresponse()

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def configuration(folder: Path, port: int, health_port: int, api_ports: Sequence[int]) -> str:
    """The deployed file with this machine's ports, paths and servers in the places of the containers'."""
    text = CONFIGURATION.read_text()
    servers = "".join(f"server 127.0.0.1:{api} max_fails=1 fail_timeout=2s; " for api in api_ports)
    for deployed, here in (
        ("server api:8080 resolve max_fails=1 fail_timeout=2s;", servers),
        ("listen 8080 ", f"listen 127.0.0.1:{port} "),
        ("listen 127.0.0.1:8081;", f"listen 127.0.0.1:{health_port};"),
    ):
        assert text.count(deployed) == 1, deployed
        text = text.replace(deployed, here)
    return re.sub(r" /tmp/", f" {folder}/", text)


@contextmanager
def nginx(api_ports: Sequence[int]) -> Iterator[tuple[int, Path]]:
    """Running as a user that may write only where a container's may; yields its port and its log."""
    program = required_program("nginx", "nginx")
    folder = Path(tempfile.mkdtemp(prefix="yousync-nginx-"))
    port, health_port = free_ports(2)
    file, log = folder / "nginx.conf", folder / "nginx.log"
    file.write_text(configuration(folder, port, health_port, api_ports))
    log.touch()
    for path, mode in ((folder, 0o777), (log, 0o666), (file, 0o644)):
        path.chmod(mode)
    user = NOBODY if os.geteuid() == 0 else None
    with log.open("ab") as output:
        process = subprocess.Popen(
            [program, "-e", "stderr", "-g", "daemon off;", "-c", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )
    try:
        becomes(lambda: process.poll() is not None or _is_healthy(health_port))
        assert process.poll() is None, log.read_text()
        yield port, log
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()
            shutil.rmtree(folder, ignore_errors=True)


def _is_healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bool(answer.status == 204)
    except OSError:
        return False


class Edge:
    """nginx and two replicas, which tests may kill and start again where they were."""

    def __init__(self, videos: PublishedVideos, folder: Path) -> None:
        self.videos = videos
        self.folder = folder
        self.api_ports = free_ports(2)
        self._replicas: dict[int, ApiProcess] = {}
        self._lives = [ExitStack(), ExitStack()]
        self._starts = count(1)
        self.port = 0
        self.log = folder

    def start_replica(self, number: int) -> None:
        """In the place of the one before, which is gone."""
        folder = self.folder / f"api-{next(self._starts)}"
        folder.mkdir()
        variables = {
            "KAFKA_BOOTSTRAP_SERVERS": self.videos.servers.kafka_bootstrap,
            "MONGODB_URI": self.videos.servers.mongodb_uri,
            "YOUSYNC_MONGODB_DATABASE": self.videos.database,
            "YOUSYNC_API_PORT": str(self.api_ports[number]),
            "YOUSYNC_API_ALLOWED_ORIGINS": ALLOWED_ORIGIN,
        }
        command = (str(Path(sys.executable).with_name("yousync")), "api")
        api = self._lives[number].enter_context(api_process(folder, command=command, variables=variables))
        self._replicas[number] = api
        becomes(lambda: _is_ready(api), PATIENCE_SECONDS)

    def start_replicas(self) -> None:
        """Both at once; returns when they are ready."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(self.start_replica, range(2)))

    def process(self, number: int) -> subprocess.Popen[bytes]:
        return self._replicas[number].process

    def kill_replica(self, number: int) -> None:
        """As a power failure would."""
        self._replicas[number].end()

    def client(self, address: str = "127.0.0.1") -> Client:
        return Client(self.port, address)

    def answered(self, number: int) -> int:
        """How many pages of videos this replica has answered."""
        with urlopen(f"{self._replicas[number].admin_url}/metrics", timeout=5) as answer:  # noqa: S310  # our own
            lines = answer.read().decode().splitlines()
        pages = [line for line in lines if line.startswith('yousync_http_requests_total{method="GET",route="/v1/vid')]
        return int(sum(float(line.rpartition(" ")[2]) for line in pages))

    def end(self) -> None:
        for life in self._lives:
            life.close()


@contextmanager
def edge(videos: PublishedVideos, folder: Path) -> Iterator[Edge]:
    """Everything up, and gone at the end."""
    whole = Edge(videos, folder)
    try:
        whole.start_replicas()
        with nginx(whole.api_ports) as (whole.port, whole.log):
            yield whole
    finally:
        whole.end()


def _is_ready(api: ApiProcess) -> bool:
    try:
        with urlopen(f"{api.admin_url}/readyz", timeout=5):  # noqa: S310  # our own
            return True
    except OSError:
        return False
