"""The API's processes: on one port, replaced when they die, gone with their master, bounded in what they take."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.api_process import PATIENCE_SECONDS, ApiProcess, api_process, becomes
from yousync.local.server import port_is_free

pytestmark = pytest.mark.integration

HEAD = b"GET /quick HTTP/1.1\r\nHost: test\r\n"


async def _json(url: str) -> Any:
    """Over a connection of its own, for any worker to take."""
    async with aiohttp.ClientSession() as session, session.get(url, headers={"Connection": "close"}) as answer:
        return json.loads(await answer.read())


async def _metric(api: ApiProcess, name: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"{api.admin_url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + " ", name + "{")))


async def _metric_becomes(api: ApiProcess, name: str, value: float) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := await _metric(api, name)) != value:
        assert time.monotonic() < deadline, f"{name} is still {found}"
        await asyncio.sleep(0.05)


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def _exchange(api: ApiProcess, request: bytes) -> tuple[int, dict[str, Any]]:
    """Status and problem; the connection must end with the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(request)
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nContent-Type: application/problem+json" in head
    assert b"\r\nConnection: close" in head
    assert b"\r\nX-Content-Type-Options: nosniff" in head
    return int(head[9:12]), json.loads(body)


async def test_processes_share_the_port_and_any_shows_the_figures_of_all(tmp_path: Path) -> None:
    with api_process(tmp_path, API_PROCESSES="3") as api:
        seen: set[int] = set()
        asked = 0
        while len(seen) < 3:
            asked += 30
            answers = await asyncio.gather(*(_json(f"{api.url}/slow?seconds=0.05") for _ in range(30)))
            seen |= {answer["pid"] for answer in answers}

        assert seen == api.worker_pids()
        await _metric_becomes(api, "yousync_http_requests_total", asked)
        assert await _metric(api, "yousync_http_request_seconds_count") == asked
        assert await _json(f"{api.admin_url}/readyz") == {"ok": True, "faults": {}}

        last = (await _json(f"{api.url}/quick"))["pid"]
        os.kill(last, signal.SIGTERM)
        becomes(lambda: last not in api.worker_pids() and len(api.worker_pids()) == 3)
        os.kill((seen - {last}).pop(), signal.SIGKILL)
        becomes(lambda: len(api.worker_pids() - seen) == 2)
        assert await _metric(api, "yousync_http_requests_total") == asked + 1


async def test_connections_are_counted_while_they_are_open_also_those_of_a_process_that_dies(tmp_path: Path) -> None:
    with api_process(tmp_path, API_PROCESSES="2") as api:
        becomes(lambda: len(api.worker_pids()) == 2)
        clients = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(20)]
        await _metric_becomes(api, "yousync_http_connections", 20)
        for _, writer in clients[:5]:
            writer.close()
        await _metric_becomes(api, "yousync_http_connections", 15)

        for worker in api.worker_pids():
            os.kill(worker, signal.SIGKILL)

        await _metric_becomes(api, "yousync_http_connections", 0)
        for _, writer in clients:
            writer.close()


async def test_a_worker_that_dies_is_named_and_replaced(tmp_path: Path) -> None:
    with api_process(tmp_path) as api:
        worker = (await _json(f"{api.url}/quick"))["pid"]
        assert worker != api.process.pid

        os.kill(worker, signal.SIGKILL)
        successor = (await _json(f"{api.url}/quick"))["pid"]

        assert {successor} == api.worker_pids()
        assert successor != worker
        becomes(lambda: [line for line in api.events() if line.get("worker") == worker])
        assert any(f"(pid:{worker}) was sent SIGKILL" in line["event"] for line in api.events())


async def test_no_worker_outlives_its_master(tmp_path: Path) -> None:
    with api_process(tmp_path, API_PROCESSES="2") as api:
        becomes(lambda: len(api.worker_pids()) == 2)
        workers = api.worker_pids()
        # A worker that is busy sees nothing of its master's end.
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(b"GET /block?seconds=60 HTTP/1.1\r\nHost: test\r\n\r\n")
        await asyncio.sleep(0.5)

        api.process.kill()
        api.process.wait()

        becomes(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
        assert port_is_free(api.port)
        assert port_is_free(api.admin_port)
        assert await reader.read() == b""
        writer.close()


async def test_a_worker_is_replaced_once_another_serves(tmp_path: Path) -> None:
    with api_process(tmp_path) as api:
        first = (await _json(f"{api.url}/quick"))["pid"]
        hold = tmp_path / "hold"
        hold.touch()

        api.process.send_signal(signal.SIGHUP)
        becomes(lambda: len(api.worker_pids()) == 2)
        await asyncio.sleep(2.5)
        assert first in api.worker_pids()
        assert (await _json(f"{api.url}/quick"))["pid"] == first

        hold.unlink()
        becomes(lambda: first not in api.worker_pids())
        assert (await _json(f"{api.url}/quick"))["pid"] in api.worker_pids()


async def test_it_writes_nothing_but_its_log(tmp_path: Path) -> None:
    with api_process(tmp_path) as api:
        await _json(f"{api.url}/quick")
        api.process.terminate()
        assert api.process.wait(20) == 0

    assert _names_in(tmp_path) == {"api.log", "figures"}


async def test_the_service_itself_adds_up_its_processes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = (sys.executable, "-m", "yousync.cli", "api")
    with api_process(
        tmp_path,
        command=command,
        variables={"TMPDIR": str(temporary), "MONGODB_URI": "mongodb://127.0.0.1:1"},
        API_PROCESSES="2",
    ) as api:
        becomes(lambda: len(api.worker_pids()) == 2)
        problems = [await _json(f"{api.url}/nothing/{number}") for number in range(20)]
        assert {problem["status"] for problem in problems} == {404}
        await _metric_becomes(api, 'yousync_http_requests_total{method="GET",route="unmatched",status="404"}', 20)
        workers = api.worker_pids()
        os.kill(min(workers), signal.SIGTERM)
        becomes(lambda: min(workers) not in api.worker_pids() and len(api.worker_pids()) == 2)
        assert await _metric(api, "yousync_http_requests_total") == 20
        assert len(_names_in(temporary)) == 1

        api.process.terminate()

        assert api.process.wait(20) == 0
        assert not _names_in(temporary)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /quick?" + b"x" * 9000 + b" HTTP/1.1\r\nHost: test\r\n\r\n", 414),
        (HEAD + b"X-Long: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (HEAD + b"".join(b"X-%d: x\r\n" % number for number in range(80)) + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /quick HTTP/1.1\r\nHost: test\r\nHost: other\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1025\r\n\r\n" + b"x" * 1025, 413),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 413),
    ],
)
async def test_what_is_too_large_or_no_request_is_a_problem_and_the_end(
    api: ApiProcess, request_: bytes, status: int
) -> None:
    answered, problem = await _exchange(api, request_)

    assert (answered, problem["status"]) == (status, status)
    assert problem["detail"]
    assert set(problem) == {"type", "title", "status", "detail", "instance"}
    assert {line["event"] for line in api.events()} == {"listening"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with api_process(tmp_path_factory.mktemp("api")) as api:
        yield api


async def test_what_is_just_small_enough_is_answered(api: ApiProcess) -> None:
    for request in (
        b"GET /quick?" + b"x" * 8000 + b" HTTP/1.1\r\nHost: test\r\n",
        HEAD + b"X-Long: " + b"x" * 8000 + b"\r\n",
        HEAD + b"".join(b"X-%d: x\r\n" % number for number in range(60)),
        HEAD + b"Content-Length: 1024\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(request + b"\r\n" + b"x" * (1024 * (b"Content-Length" in request)))
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 "), request[:60]
        writer.close()


async def test_one_connection_too_many_is_closed_at_once_and_counted(tmp_path: Path) -> None:
    with api_process(tmp_path, API_CONNECTIONS="3") as api:
        kept = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(3)]
        await _metric_becomes(api, "yousync_http_connections", 3)

        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        assert await reader.read() == b""
        writer.close()
        assert await _metric(api, 'yousync_http_connections_refused_total{reason="full"}') == 1

        kept.pop()[1].close()
        await _metric_becomes(api, "yousync_http_connections", 2)
        assert "pid" in await _json(f"{api.url}/quick")
        for _, writer in kept:
            writer.close()


@pytest.mark.parametrize("sent", [b"", HEAD, b"GET /quick HTTP/1.1\r\nHost: test\r\n\r\n" + HEAD])
async def test_a_request_that_does_not_arrive_ends_its_connection(tmp_path: Path, sent: bytes) -> None:
    with api_process(tmp_path, "0.5") as api:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        if sent.count(b"GET") == 2:
            first, second = sent[: -len(HEAD)], sent[-len(HEAD) :]
            writer.write(first)
            await reader.readuntil(b"}")
            await asyncio.sleep(0.1)
            writer.write(second)
        else:
            writer.write(sent)

        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()
        assert await _metric(api, 'yousync_http_connections_refused_total{reason="slow_request"}') == 1


async def test_a_connection_may_be_idle_or_wait_longer_than_its_client_may_take(tmp_path: Path) -> None:
    with api_process(tmp_path, "0.5") as api:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(20_000_000)
        await asyncio.sleep(2.5)
        writer.write(b"GET /slow?seconds=2.5 HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n")
        for _ in range(2):
            await asyncio.sleep(0.1)
            writer.write(b"x")
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_an_answer_that_is_not_taken_ends_its_connection(tmp_path: Path) -> None:
    with api_process(tmp_path, "0.5") as api, socket.create_connection(("127.0.0.1", api.port)) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n")

        await _metric_becomes(api, 'yousync_http_connections_refused_total{reason="slow_reader"}', 1)
        await _metric_becomes(api, "yousync_http_connections", 0)


async def test_times_are_told_to_the_curious_and_streams_are_not_timed(tmp_path: Path) -> None:
    with api_process(tmp_path) as api:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{api.url}/slow?seconds=0.1") as answer:
                parts = dict(part.split(";dur=") for part in answer.headers["Server-Timing"].split(", "))
            async with session.get(f"{api.url}/quick") as answer:
                assert "Server-Timing" not in answer.headers
            async with session.get(f"{api.url}/stream") as answer:
                await answer.content.readexactly(5)
            await _metric_becomes(api, 'yousync_http_requests_total{method="GET",route="/slow",status="200"}', 1)

        assert 100 <= float(parts["db"]) <= float(parts["total"])
        assert await _metric(api, "yousync_http_request_seconds_count") == 2
