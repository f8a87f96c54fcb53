"""Producers between the simulator and a real Kafka, as processes, and what was found and written in the end.

The simulator's oracle says what there was to find, and how many calls there were on the wire.
"""

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from contract.topics import PRODUCER_STATE, RAW, topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from producer.state_log import StateFold, StateRecord, read_epoch
from tests.conftest import Servers
from tests.service_process import ServiceProcess, wait_for
from yousync.local.server import free_port

KEY = "AIzaSyNoRealKeyButOfTheRightShape_-0123"
GENEROUS = "1000000"

_PARTITIONS = 4


@dataclass
class Stage:
    """A Kafka with its topics, a running simulator, and the settings of producers."""

    servers: Servers
    simulator: ServiceProcess
    simulator_port: int
    folder: Path

    def producer(self, **settings: str) -> ServiceProcess:
        return ServiceProcess(
            "producer",
            self.folder,
            {
                "YOUTUBE_API_KEY": KEY,
                "YOUTUBE_API_ENDPOINT": f"http://127.0.0.1:{self.simulator_port}",
                "KAFKA_BOOTSTRAP_SERVERS": self.servers.kafka_bootstrap,
                "YOUSYNC_QUERIES": "*",
                "YOUSYNC_POLL_SECONDS": "0.2",
                "YOUSYNC_OVERLAP_SECONDS": "30",
                "YOUSYNC_SEARCH_CALLS_PER_DAY": GENEROUS,
                "YOUSYNC_YOUTUBE_TIMEOUT_SECONDS": "2",
                "YOUSYNC_LOG_LEVEL": "debug",
                **settings,
            },
        )

    def oracle(self, path: str, method: str = "GET", body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.simulator_port}/_simulator/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - http on loopback
            return json.load(answer)

    def expected(self) -> set[str]:
        return set(self.oracle("expected")["ids"])

    def wire_requests(self) -> int:
        return int(self.oracle("calls")["wire_requests"])

    def set_faults(self, **probabilities: float) -> None:
        self.oracle("faults", "PUT", probabilities)

    def raw(self) -> list[ConsumerRecord]:
        return asyncio.run(read_topic(self.servers.kafka_bootstrap, RAW, _PARTITIONS))

    def raw_ids(self) -> set[str]:
        return {record.key.decode() for record in self.raw()}

    def state_log(self) -> list[StateRecord]:
        """The state topic's records in log order."""
        records = asyncio.run(read_topic(self.servers.kafka_bootstrap, PRODUCER_STATE, 1))
        return [StateRecord(record.key, record.value, read_epoch(record.headers)) for record in records]

    def state(self) -> dict[str, Any]:
        """The state as a new leader would find it."""
        fold = StateFold()
        for record in self.state_log():
            fold.take(record)
        return {key.decode(): json.loads(value) for key, value in fold.values.items()}

    def debits(self) -> int:
        return sum(value["used"] for key, value in self.state().items() if key.startswith("ledger/"))

    def wait_until_complete(self, producer: ServiceProcess, seconds: float = 60) -> None:
        def missing() -> set[str]:
            return self.expected() - self.raw_ids()

        wait_for(lambda: not missing(), seconds, lambda: f"{len(missing())} videos are missing:\n{producer.tail()}")


@contextmanager
def producer_stage(servers: Servers, folder: Path, *, backlog: int, **settings: str) -> Iterator[Stage]:
    """A stage on this Kafka, which must be fresh, with `backlog` videos to find and five more a second."""
    asyncio.run(create_missing_topics(KafkaConnection(servers.kafka_bootstrap), topic_specs(_PARTITIONS), 1))
    port = free_port()
    of_simulator = {
        "YOUSYNC_SIMULATOR_PORT": str(port),
        "YOUSYNC_SIMULATOR_BACKLOG": str(backlog),
        "YOUSYNC_SIMULATOR_RATE": "5",
        "YOUSYNC_SIMULATOR_INDEXING_DELAY_SECONDS": "0",
        "YOUSYNC_SIMULATOR_SEARCH_CALLS_PER_DAY": GENEROUS,
        **settings,
    }
    with ServiceProcess("simulator", folder, of_simulator) as simulator:
        simulator.wait_until_ready()
        yield Stage(servers, simulator, port, folder)


async def read_topic(bootstrap: str, topic: str, partitions: int) -> list[ConsumerRecord]:
    """Every record up to the end at the time of asking."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        all_partitions = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(all_partitions)
        await consumer.seek_to_beginning(*all_partitions)
        ends = await consumer.end_offsets(all_partitions)
        records: list[ConsumerRecord] = []
        for partition, end in ends.items():
            while await consumer.position(partition) < end:
                records += (await consumer.getmany(partition, timeout_ms=1000)).get(partition, [])
        return records
    finally:
        await consumer.stop()


def log_lines(process: ServiceProcess) -> list[dict[str, Any]]:
    """What a process has logged; the last line may be under way, and is left out then."""
    lines = process.log.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines if line.startswith("{")]
