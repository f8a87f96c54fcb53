"""The table's store while Kafka is slow."""

import asyncio
from collections.abc import Collection

import pytest
from faust.types import TP

from contract.topics import CHANGELOG
from ops.kafka_connection import KafkaConnection
from processors import table_store
from processors.table_store import _Changelog, _changelogs

KAFKA = KafkaConnection("nowhere:9092")
FOUND = _Changelog(7, None)
PLACES = {TP(CHANGELOG, 0), TP(CHANGELOG, 1)}


class Slow:
    """An answer that takes its time; counts how often it was begun."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.begun = 0

    async def read(self, _connection: object, places: Collection[TP]) -> dict[TP, _Changelog]:
        self.begun += 1
        await asyncio.sleep(self._seconds)
        return dict.fromkeys(places, FOUND)


async def test_a_changelog_that_takes_longer_than_a_first_try_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(0.25)
    monkeypatch.setattr(table_store, "_read_changelogs", slow.read)
    monkeypatch.setattr(table_store, "_ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(table_store, "_RETRY_SECONDS", 0)

    async with asyncio.timeout(30):
        assert await _changelogs(KAFKA, PLACES) == dict.fromkeys(PLACES, FOUND)
    assert slow.begun > 1


async def test_nothing_is_asked_for_no_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(0)
    monkeypatch.setattr(table_store, "_read_changelogs", slow.read)

    assert await _changelogs(KAFKA, ()) == {}
    assert slow.begun == 0
