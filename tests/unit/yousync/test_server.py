"""Ports, logs and the end of processes."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from yousync.local.server import LocalStackError, free_ports, last_line, port_is_free, require_free_port, spawn


def test_free_ports_are_free_different_and_below_the_outgoing_range() -> None:
    ports = free_ports(20)

    assert len(set(ports)) == 20
    assert all(15_000 <= port < 32_000 and port_is_free(port) for port in ports)


def test_a_port_in_use_is_named_with_who_wants_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        assert not port_is_free(port)
        with pytest.raises(
            LocalStackError, match=rf"^The API cannot listen on port {port} of 127\.0\.0\.1.*: do this$"
        ):
            require_free_port(port, "The API", remedy="do this")


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (b"one\ntwo\n\n", "two"),
        (b"WARN x\n2026 ERROR broken\n\tat Java.line\n", "2026 ERROR broken"),
        (b'{"s":"E","msg":"first"}\n{"s":"I","msg":"exiting"}\n', '{"s":"E","msg":"first"}'),
        (b"\xff\xfe bad bytes\n", "\ufffd\ufffd bad bytes"),
    ],
)
def test_the_last_line_says_what_went_wrong(tmp_path: Path, log: bytes, line: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(log)

    assert last_line(path) == line


def test_a_log_that_is_empty_or_missing_is_named(tmp_path: Path) -> None:
    assert last_line(tmp_path / "none.log") == f"it said nothing in {tmp_path / 'none.log'}"


def test_a_program_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match=r"^Cannot run /no/such/program: No such file or directory$"):
        spawn(["/no/such/program"], tmp_path / "log")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    child = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    code = (
        "import pathlib, time; from yousync.local.server import spawn;"
        f"print(spawn({child!r}, pathlib.Path({str(tmp_path / 'log')!r})).pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        orphan = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + 30
    while orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_last_error_is_told_with_the_root_of_its_stack_trace(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    log.write_text(
        "[1] INFO starting\n"
        "[2] ERROR Encountered fatal fault: caught exception\n"
        "org.apache.kafka.common.KafkaException: Socket server failed to bind\n"
        "\tat kafka.network.Acceptor.open(SocketServer.scala:1)\n"
        "Caused by: java.net.BindException: Address already in use\n"
        "\tat java.base/sun.nio.ch.Net.bind0(Native Method)\n"
        "[3] INFO shutting down\n"
    )

    said = last_line(log)

    assert said.startswith("[2] ERROR Encountered fatal fault")
    assert said.endswith("Caused by: java.net.BindException: Address already in use")
