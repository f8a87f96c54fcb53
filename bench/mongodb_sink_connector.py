"""MongoDB's own Kafka sink connector in Kafka Connect, one standalone worker: what the processors are compared with.

`_id` is the record's key, each record replaces the document, bulks are unordered, four tasks. It keeps no state and
knows no duplicates: every record is a write. Jars come by exact coordinate as those of the local Kafka do
(`connector_jars.txt`), and it runs on the same Java.
"""

import json
import os
import sys
import urllib.request
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient

from yousync.local.kafka import KafkaServer, find_java, kafka_jars
from yousync.local.kafka_jars import ensure_jars, parse_jars
from yousync.local.mongod import MongodServer
from yousync.local.server import LocalServer, cache_folder, free_port

HEAP_MIB: Final = 1024
TASKS: Final = 4
DATABASE: Final = "connector"
COLLECTION: Final = "videos"
_JARS: Final = Path(__file__).with_name("connector_jars.txt")


class MongodbSinkConnector(LocalServer):
    """A worker that writes one topic of JSON objects into `connector.videos`; ready when all its tasks run."""

    def __init__(self, folder: Path, topic: str, kafka: KafkaServer, mongod: MongodServer) -> None:
        super().__init__(
            f"sink connector of {topic}",
            free_port(),
            folder / "connector.log",
            start_seconds=120,
            stop_seconds=30,
        )
        self._folder = folder
        self._topic = topic
        self._kafka = kafka
        self._mongod = mongod
        self._class_path = ""
        self._java = Path("java")

    def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._java = find_java()
        self._class_path = os.pathsep.join(map(str, connector_jars()))
        write_properties(self._folder / "worker.properties", self._worker())
        write_properties(self._folder / "connector.properties", self._connector())

    def command(self) -> list[str]:
        logging = files("yousync.local") / "kafka_log4j2.properties"
        return [
            *(str(self._java), f"-Xmx{HEAP_MIB}m", f"-Dlog4j2.configurationFile={logging}", "-cp", self._class_path),
            "org.apache.kafka.connect.cli.ConnectStandalone",
            str(self._folder / "worker.properties"),
            str(self._folder / "connector.properties"),
        ]

    def answers(self) -> bool:
        try:
            url = f"http://{self.address}/connectors/{self._folder.name}/status"
            with urllib.request.urlopen(url, timeout=5) as answer:
                tasks = json.load(answer)["tasks"]
        except OSError:
            return False
        if failed := [task for task in tasks if task["state"] == "FAILED"]:
            raise SystemExit(f"a task of the connector failed: {failed[0]['trace'][:2000]}")
        return len(tasks) == TASKS and all(task["state"] == "RUNNING" for task in tasks)

    def _worker(self) -> dict[str, object]:
        return {
            "bootstrap.servers": self._kafka.address,
            "listeners": f"http://{self.address}",
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "false",
            "offset.storage.file.filename": self._folder / "offsets",
            "offset.flush.interval.ms": 1000,
            "plugin.discovery": "only_scan",
            "consumer.auto.offset.reset": "earliest",
            "consumer.max.poll.records": 2000,
        }

    def _connector(self) -> dict[str, object]:
        strategies = "com.mongodb.kafka.connect.sink"
        return {
            "name": self._folder.name,
            "connector.class": "com.mongodb.kafka.connect.MongoSinkConnector",
            "tasks.max": TASKS,
            "topics": self._topic,
            "connection.uri": self._mongod.uri,
            "database": DATABASE,
            "collection": COLLECTION,
            "transforms": "key",
            "transforms.key.type": "org.apache.kafka.connect.transforms.HoistField$Key",
            "transforms.key.field": "_id",
            "document.id.strategy": f"{strategies}.processor.id.strategy.ProvidedInKeyStrategy",
            "writemodel.strategy": f"{strategies}.writemodel.strategy.ReplaceOneDefaultStrategy",
            "max.batch.size": 1000,
            "bulk.write.ordered": "false",
        }


def written(client: MongoClient[dict[str, Any]]) -> int:
    """Replaced and upserted documents since the server started: the connector's records, one by one."""
    return int(client.admin.command("serverStatus")["opcounters"]["update"])


def connector_jars() -> list[Path]:
    """The class path: Kafka's jars and the connector's.

    Raises:
        LocalStackError: a jar cannot be had, or what came is not what was recorded.
    """
    folder = cache_folder() / "mongo-kafka-connect-2.0.1"
    return [*kafka_jars(_tell), *ensure_jars(parse_jars(_JARS.read_text()), folder, _tell)]


def write_properties(path: Path, settings: dict[str, object]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))


def _tell(done: int, wanted: int, downloaded: int) -> None:
    print(f"jars: {done} of {wanted}, {downloaded >> 20} MiB downloaded", file=sys.stderr)
