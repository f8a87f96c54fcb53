"""Kafka and MongoDB of a benchmark's own, in a folder that goes when it ends."""

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.topics import TopicSpec, topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from yousync.local.kafka import KafkaServer, kafka_jars
from yousync.local.mongod import MongodServer, find_mongod
from yousync.local.server import LocalServer, free_ports

PARTITIONS = 4


@contextmanager
def bench_folder() -> Iterator[Path]:
    """A temporary folder as the working directory, and no setting of YouSync from outside: defaults are measured."""
    for name in [name for name in os.environ if re.match("YOUSYNC_|YOUTUBE_|KAFKA_|MONGODB_", name)]:
        del os.environ[name]
    # So that every `finally` runs: what was started is stopped, and the folder removed.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="yousync-bench-") as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def new_servers(folder: Path) -> tuple[KafkaServer, MongodServer]:
    """A pair that keeps everything under `folder`; not started."""
    kafka_port, controller_port, mongod_port = free_ports(3)
    return (
        KafkaServer(folder / "kafka", folder / "kafka.log", kafka_port, controller_port, kafka_jars(_tell)),
        MongodServer(folder / "mongod", folder / "mongod.log", mongod_port, find_mongod(None)),
    )


@contextmanager
def running(*servers: LocalServer) -> Iterator[None]:
    """Start all, side by side, and stop them at the end of the block in reverse."""
    try:
        for server in servers:
            server.prepare()
        for server in servers:
            server.launch()
        for server in servers:
            server.wait_until_ready()
        yield
    finally:
        for server in reversed(servers):
            server.stop()


def create_topics(kafka: KafkaServer, *more: TopicSpec) -> None:
    asyncio.run(create_missing_topics(KafkaConnection(kafka.address), [*topic_specs(PARTITIONS), *more], 1))


def service_settings(kafka: KafkaServer, mongod: MongodServer, home: Path) -> dict[str, str]:
    """Environment of a service that uses the pair; all else is default."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.address,
        "MONGODB_URI": mongod.uri,
        "YOUSYNC_TOPIC_PARTITIONS": str(PARTITIONS),
        "YOUSYNC_HOME": str(home),
        "YOUSYNC_LOG_FORMAT": "json",
    }


def _tell(done: int, wanted: int, downloaded: int) -> None:
    print(f"Kafka's jars: {done} of {wanted}, {downloaded >> 20} MiB downloaded", file=sys.stderr)
