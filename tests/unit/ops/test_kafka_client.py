"""Metadata is asked for with pauses, and the caller's wait ends as the client's does."""

import asyncio

import pytest

from ops import kafka_client
from ops.kafka_client import pace_metadata_requests


class Client:
    """The part of aiokafka's client that is paced; its answers are there at once, or never."""

    def __init__(self, *, answers: bool = True) -> None:
        self.asked = 0
        self.pending: list[asyncio.Future[bool]] = []
        self._answers = answers

    def force_metadata_update(self) -> "asyncio.Future[bool]":
        self.asked += 1
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._answers:
            future.set_result(True)
        else:
            self.pending.append(future)
        return future


async def test_a_caller_that_asks_again_at_once_is_slowed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_client, "_METADATA_PAUSE_SECONDS", 0.05)
    client = Client()
    pace_metadata_requests(client)

    async def ask_without_a_pause() -> None:
        while True:
            assert await client.force_metadata_update()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask_without_a_pause(), 0.3)
    assert 2 <= client.asked <= 7


async def test_a_request_that_is_given_up_is_given_up_for_its_caller() -> None:
    client = Client(answers=False)
    pace_metadata_requests(client)
    waiting = client.force_metadata_update()

    client.pending[0].cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 30)
