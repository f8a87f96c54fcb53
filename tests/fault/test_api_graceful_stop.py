"""Whatever happens to its processes, the API answers every request that was sent to it."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.api_process import PATIENCE_SECONDS, ApiProcess, api_process, becomes

pytestmark = pytest.mark.fault

CLIENTS = 24
NEW_CLIENTS = 8


@dataclass
class Load:
    """Clients that keep their connections, and clients that make one for each request; none asks twice."""

    port: int
    answered: int = 0
    last_answers: int = 0
    unanswered: list[str] = field(default_factory=list)
    over: bool = False

    async def keep_asking(self, *, keep: bool) -> None:
        """Until it is over, or nobody listens any more."""
        while not self.over:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except ConnectionRefusedError:
                return
            try:
                while await self._ask(reader, writer, keep=keep) and keep and not self.over:
                    await asyncio.sleep(random.uniform(0, 0.05))
                    if reader.at_eof():
                        break
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keep: bool) -> bool:
        """Whether the connection may be asked on again."""
        path = random.choice(["/quick", "/quick", "/slow?seconds=0.2"])
        connection = "keep-alive" if keep else "close"
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
            await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.unanswered.append(f"{path} {connection}: {error!r}")
            return False
        assert head.startswith(b"HTTP/1.1 200 "), head
        self.answered += 1
        last = b"Connection: close" in head
        self.last_answers += keep and last
        return not last


async def _under_load(api: ApiProcess, events: Callable[[Load], Awaitable[None]]) -> Load:
    load = Load(api.port)
    clients = [
        asyncio.create_task(load.keep_asking(keep=number >= NEW_CLIENTS)) for number in range(CLIENTS + NEW_CLIENTS)
    ]
    await _answers(load, 200)
    await events(load)
    load.over = True
    await asyncio.gather(*clients)
    return load


async def _answers(load: Load, more: int) -> None:
    wanted, deadline = load.answered + more, time.monotonic() + PATIENCE_SECONDS
    while load.answered < wanted:
        assert time.monotonic() < deadline, "the load is not answered"
        await asyncio.sleep(0.01)


async def test_workers_are_replaced_one_by_one_without_an_unanswered_request(tmp_path: Path) -> None:
    with api_process(tmp_path, API_PROCESSES="2") as api:
        becomes(lambda: len(api.worker_pids()) == 2)

        async def replace_twice(load: Load) -> None:
            for _ in range(2):
                before = api.worker_pids()
                api.process.send_signal(signal.SIGHUP)
                fewest = 2
                while (now := api.worker_pids()) & before or len(now) != 2:
                    fewest = min(fewest, len(now))
                    await asyncio.sleep(0.01)
                assert fewest == 2
                await _answers(load, 100)

        load = await _under_load(api, replace_twice)

    assert load.unanswered == []
    assert load.last_answers > 0


async def test_a_worker_that_is_told_to_end_answers_all_it_was_asked_and_is_replaced(tmp_path: Path) -> None:
    with api_process(tmp_path, API_PROCESSES="2") as api:
        becomes(lambda: len(api.worker_pids()) == 2)

        def replaced(worker: int) -> bool:
            workers = api.worker_pids()
            return worker not in workers and len(workers) == 2

        async def end_each(load: Load) -> None:
            for worker in api.worker_pids():
                os.kill(worker, signal.SIGTERM)
                await asyncio.to_thread(becomes, partial(replaced, worker))
                await _answers(load, 100)

        load = await _under_load(api, end_each)

    assert load.unanswered == []
    assert load.last_answers > 0


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_end_of_all_leaves_no_request_unanswered(
    tmp_path: Path, number: signal.Signals, processes: str
) -> None:
    with api_process(tmp_path, API_PROCESSES=processes) as api:

        async def end(_load: Load) -> None:
            api.process.send_signal(number)
            assert await asyncio.to_thread(api.process.wait, 20) == 0

        load = await _under_load(api, end)

        assert load.unanswered == []
        assert [line["event"] for line in api.events()] == ["listening", "stopping", "stopped"]


async def test_live_streams_end_first_and_hold_up_nothing(tmp_path: Path) -> None:
    with api_process(tmp_path) as api:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(b"GET /stream HTTP/1.1\r\nHost: test\r\n\r\n")
        await reader.readuntil(b"begun")

        api.process.terminate()

        assert (await reader.read()).endswith(b"5\r\nended\r\n0\r\n\r\n")
        assert await asyncio.to_thread(api.process.wait, 20) == 0
        writer.close()


async def test_an_idle_connection_is_answered_once_more_before_it_is_closed(tmp_path: Path) -> None:
    with api_process(tmp_path) as api:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        request = b"GET /quick HTTP/1.1\r\nHost: test\r\n\r\n"
        writer.write(request)
        assert b"Connection" not in await reader.readuntil(b"}")
        api.process.terminate()
        becomes(lambda: api.events()[-1]["event"] == "stopping")
        await asyncio.sleep(0.5)

        writer.write(request)
        last = await reader.read()

        assert last.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in last
        writer.close()


async def test_who_has_connected_is_answered_and_nobody_else_gets_in(tmp_path: Path) -> None:
    with api_process(tmp_path) as api:
        connections = [await asyncio.open_connection("127.0.0.1", api.port)]
        connections[0][1].write(b"GET /block?seconds=2 HTTP/1.1\r\nHost: test\r\n\r\n")
        await asyncio.sleep(0.5)
        for _ in range(40):
            connections.append(await asyncio.open_connection("127.0.0.1", api.port))
            connections[-1][1].write(b"GET /quick HTTP/1.1\r\nHost: test\r\n\r\n")
        api.process.terminate()
        becomes(lambda: api.events()[-1]["event"] == "stopping")
        await asyncio.sleep(0.2)

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.open_connection("127.0.0.1", api.port), 0.3)
        for reader, writer in connections:
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()
