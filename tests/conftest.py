"""The real Kafka and MongoDB for tests: one pair for the whole run, and fresh pairs for tests that break theirs.

When Java or mongod is not to be had these tests fail: a skipped integration test proves nothing.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
import structlog

from yousync.local.kafka import KafkaServer, kafka_jars
from yousync.local.mongod import MongodServer, find_mongod
from yousync.local.server import free_ports

# A machine that stands still for a moment is no fault of an example.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


@dataclass(frozen=True)
class Servers:
    """A running pair; topics are not created. `kafka` and `mongod` can be stopped, killed, paused and started again."""

    kafka: KafkaServer
    mongod: MongodServer

    @property
    def kafka_bootstrap(self) -> str:
        return self.kafka.address

    @property
    def mongodb_uri(self) -> str:
        return self.mongod.uri

    def stop(self) -> None:
        self.mongod.stop()
        self.kafka.stop()


MakeServers = Callable[[], Servers]


def start_servers(folder: Path) -> Servers:
    jars = kafka_jars(_print_progress)
    kafka_port, controller_port, mongod_port = free_ports(3)
    servers = Servers(
        KafkaServer(folder / "kafka", folder / "kafka.log", kafka_port, controller_port, jars),
        MongodServer(folder / "mongod", folder / "mongod.log", mongod_port, find_mongod(None)),
    )
    try:
        servers.mongod.start()
        servers.kafka.start()
    except BaseException:
        servers.stop()
        raise
    return servers


def _print_progress(done: int, wanted: int, downloaded: int) -> None:
    print(f"Kafka's jars: {done} of {wanted}, {downloaded >> 20} MiB downloaded", file=sys.stderr)  # noqa: T201


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """This process's logging belongs to pytest: a command run within it would leave a handler on its closed stderr."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Kafka and MongoDB for the whole run: use topics and databases of your own names."""
    running = start_servers(tmp_path_factory.mktemp("servers"))
    yield running
    running.stop()


@pytest.fixture
def make_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeServers]:
    """Makes fresh pairs, each in a folder of its own; all are stopped at the end of the test."""
    made: list[Servers] = []

    def make() -> Servers:
        made.append(start_servers(tmp_path_factory.mktemp("servers")))
        return made[-1]

    yield make
    for pair in made:
        pair.stop()
