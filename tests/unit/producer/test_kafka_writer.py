"""A client that gives records up: a new one writes what is missing, and nothing is left out.

The real client does this when its sequence numbers are lost, which cannot be brought about from outside; what it does
with a real Kafka, there and away, is in the suites and the integration tests.
"""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, OutOfOrderSequenceNumber, ProducerClosed

from ops.kafka_connection import KafkaConnection
from producer import kafka_writer
from producer.kafka_record import KafkaRecord
from producer.kafka_writer import KafkaWriter


class FailingClient:
    """Stands in for AIOKafkaProducer: settles each record as `faults` says, None being an acknowledgement."""

    def __init__(self, faults: list[Exception | None], taken: list[bytes]) -> None:
        self.faults = faults
        self.taken = taken
        self.client = self
        self.stopped = False

    def force_metadata_update(self) -> "asyncio.Future[bool]":
        raise NotImplementedError

    async def start(self) -> None:
        assert not self.stopped

    async def stop(self) -> None:
        self.stopped = True

    async def send(self, topic: str, *, value: bytes, key: bytes, headers: Any) -> "asyncio.Future[None]":
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, KafkaTimeoutError | ProducerClosed):
            raise fault
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if fault is None:
            self.taken.append(key)
            future.set_result(None)
        else:
            asyncio.get_running_loop().call_later(0.01, future.set_exception, fault)
        return future


class Stage:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, *clients: list[Exception | None]) -> None:
        self.taken: list[bytes] = []
        self.clients = [FailingClient(faults, self.taken) for faults in clients]
        unused = list(self.clients)
        self.records = [KafkaRecord("t", b"%d" % number, b"") for number in range(4)]
        monkeypatch.setattr(kafka_writer, "_new_producer", lambda _connection: unused.pop(0))
        monkeypatch.setattr(kafka_writer, "wait_for_kafka", self._there)
        monkeypatch.setattr(kafka_writer, "_PAUSE_SECONDS", 0.0)

    async def _there(self, _connection: KafkaConnection) -> None:
        return

    async def write(self) -> list[KafkaRecord]:
        return await KafkaWriter(KafkaConnection("nowhere:1")).write(self.records)


async def test_records_that_a_client_lost_are_written_by_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, [None, OutOfOrderSequenceNumber(), OutOfOrderSequenceNumber(), None], [])
    assert await stage.write() == []
    assert stage.taken == [b"0", b"3", b"1", b"2"]
    assert [client.stopped for client in stage.clients] == [True, False]


async def test_a_client_that_takes_no_more_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, [None, ProducerClosed()], [OutOfOrderSequenceNumber()], [])
    assert await stage.write() == []
    assert sorted(stage.taken) == [b"0", b"1", b"2", b"3"]
    assert [client.stopped for client in stage.clients] == [True, True, False]


async def test_callers_at_the_same_time_share_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, [None, OutOfOrderSequenceNumber()], [])
    writer = KafkaWriter(KafkaConnection("nowhere:1"))
    await asyncio.gather(*(writer.write([record]) for record in stage.records))
    assert stage.taken == [b"0", b"1", b"2", b"3"]
    assert [client.stopped for client in stage.clients] == [True, False]


async def test_a_full_buffer_is_waited_for_with_the_same_client(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, [None, KafkaTimeoutError(), KafkaTimeoutError()])
    assert await stage.write() == []
    assert stage.taken == [b"0", b"1", b"2", b"3"]
