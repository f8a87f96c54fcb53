"""What the processor asks of its table (`KnownVideos` of `processors.projection`), of the fake and of RocksDB with its
changelog in Kafka.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faust.types import TP

from contract.topics import CHANGELOG
from ops.kafka_connection import KafkaConnection
from processors.dedup import encode_known
from processors.kafka_output import kafka_output
from processors.known_videos import FaustKnownVideos
from processors.projection import KnownVideos
from tests.conftest import Servers
from tests.fakes.processor_edges import FakeKnownVideos
from tests.raw_items import PARTITIONS, video_id
from tests.suites.processor_edges import FAKE_AND_REAL, Reader, known_entry, new_records, opened_table


@dataclass
class Table:
    """The edge, and a way to put bytes of any kind where it reads."""

    edge: KnownVideos
    plant: Callable[[int, str, bytes], None]


@dataclass
class RealTable:
    """The table's store, and the changelog since."""

    edge: FaustKnownVideos
    table: Any
    changelog: Reader


@asynccontextmanager
async def real_table(bootstrap: str, folder: Path) -> AsyncIterator[RealTable]:
    async with (
        new_records(bootstrap, CHANGELOG) as read,
        kafka_output(KafkaConnection(bootstrap)) as output,
        opened_table(folder) as table,
    ):
        yield RealTable(FaustKnownVideos(table, output), table, read)


@pytest.fixture(params=FAKE_AND_REAL)
async def table(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Table]:
    if request.param == "fake":
        fake = FakeKnownVideos()
        yield Table(fake, lambda partition, one, value: fake.entries.update({(partition, one): value}))
        return
    async with real_table(request.getfixturevalue("servers").kafka_bootstrap, tmp_path) as real:
        yield Table(
            real.edge,
            lambda partition, one, value: real.table.data._db_for_partition(partition).put(one.encode(), value),
        )


async def test_an_entry_is_read_as_it_was_set_in_its_partition(table: Table) -> None:
    await table.edge.write(1, {video_id(1): known_entry(1), video_id(2): known_entry(2)})
    await table.edge.write(2, {video_id(3): known_entry(3)})

    wanted = [video_id(number) for number in (3, 2, 99, 1)]
    assert table.edge.read(1, wanted) == {video_id(1): known_entry(1), video_id(2): known_entry(2)}
    assert table.edge.read(2, wanted) == {video_id(3): known_entry(3)}
    assert table.edge.read(0, wanted) == table.edge.read(1, []) == {}


async def test_the_later_of_two_writes_is_read(table: Table) -> None:
    await table.edge.write(1, {video_id(1): known_entry(1, 10)})
    await table.edge.write(1, {video_id(1): known_entry(1, 11)})

    assert known_entry(1, 10) != known_entry(1, 11)
    assert table.edge.read(1, [video_id(1)]) == {video_id(1): known_entry(1, 11)}


async def test_a_deleted_entry_is_unknown_until_it_is_set_again(table: Table) -> None:
    await table.edge.write(1, {video_id(1): known_entry(1), video_id(2): known_entry(2)})
    await table.edge.write(1, {video_id(1): None, video_id(99): None})
    assert table.edge.read(1, [video_id(1), video_id(2)]) == {video_id(2): known_entry(2)}

    await table.edge.write(1, {video_id(1): known_entry(1, 12)})
    assert table.edge.read(1, [video_id(1)]) == {video_id(1): known_entry(1, 12)}


@pytest.mark.parametrize("value", [b"", b"\x80\x04pickle", b"null", b'{"registers":{}}', b"[{},[],1]"])
async def test_an_entry_that_another_version_wrote_is_unknown_and_can_be_replaced(table: Table, value: bytes) -> None:
    await table.edge.write(1, {video_id(2): known_entry(2)})
    table.plant(1, video_id(1), value)
    assert table.edge.read(1, [video_id(1), video_id(2)]) == {video_id(2): known_entry(2)}

    await table.edge.write(1, {video_id(1): known_entry(1)})
    assert table.edge.read(1, [video_id(1)]) == {video_id(1): known_entry(1)}


async def test_a_write_of_nothing_changes_nothing(table: Table) -> None:
    await table.edge.write(1, {})

    assert table.edge.read(1, [video_id(1)]) == {}


# The table, in RocksDB with its changelog in Kafka only.


@pytest.fixture
async def faust_table(servers: Servers, tmp_path: Path) -> AsyncIterator[RealTable]:
    async with real_table(servers.kafka_bootstrap, tmp_path / "first") as real:
        yield real


async def fill(edge: KnownVideos) -> None:
    await edge.write(1, {video_id(1): known_entry(1), video_id(2): known_entry(2), video_id(3): known_entry(3)})
    await edge.write(2, {video_id(4): known_entry(4)})
    await edge.write(1, {video_id(1): None, video_id(2): known_entry(2, 20)})


@pytest.mark.integration
async def test_the_changelog_holds_exactly_what_was_written(faust_table: RealTable) -> None:
    await fill(faust_table.edge)

    changes = await faust_table.changelog()
    assert [(one.partition, one.key.decode(), one.value) for one in changes] == [
        (1, video_id(1), encode_known(known_entry(1))),
        (1, video_id(2), encode_known(known_entry(2))),
        (1, video_id(3), encode_known(known_entry(3))),
        (1, video_id(1), None),
        (1, video_id(2), encode_known(known_entry(2, 20))),
        (2, video_id(4), encode_known(known_entry(4))),
    ]
    ends = {one.partition: one.offset for one in changes}
    for partition, last in ends.items():
        assert faust_table.table.data.persisted_offset(TP(CHANGELOG, partition)) == last


@dataclass(frozen=True)
class ChangelogMessage:
    """As much of Faust's message as recovery hands to the store."""

    tp: TP
    partition: int
    offset: int
    key: bytes
    value: bytes | None


@dataclass(frozen=True)
class ChangelogEvent:
    """The same of its event."""

    message: ChangelogMessage


@pytest.mark.integration
async def test_an_empty_folder_recovers_the_same_entries_from_the_changelog(
    faust_table: RealTable, tmp_path: Path
) -> None:
    await fill(faust_table.edge)
    changes = [
        ChangelogEvent(ChangelogMessage(TP(CHANGELOG, one.partition), one.partition, one.offset, one.key, one.value))
        for one in await faust_table.changelog()
    ]
    wanted = [video_id(number) for number in range(6)]
    async with opened_table(tmp_path / "second") as second:
        recovered = FaustKnownVideos(second, faust_table.edge._output)
        assert recovered.read(1, wanted) == {}

        second.apply_changelog_batch(changes)

        for partition in range(PARTITIONS):
            assert recovered.read(partition, wanted) == faust_table.edge.read(partition, wanted)
        assert recovered.read(1, wanted) == {video_id(2): known_entry(2, 20), video_id(3): known_entry(3)}
        for partition in (1, 2):
            mark = TP(CHANGELOG, partition)
            assert second.data.persisted_offset(mark) == faust_table.table.data.persisted_offset(mark)


@pytest.mark.integration
async def test_entries_are_there_when_the_folder_is_opened_again(servers: Servers, tmp_path: Path) -> None:
    async with real_table(servers.kafka_bootstrap, tmp_path) as first:
        await fill(first.edge)
    async with opened_table(tmp_path) as again:
        known = FaustKnownVideos(again, first.edge._output).read(1, [video_id(2), video_id(3)])

    assert known == {video_id(2): known_entry(2, 20), video_id(3): known_entry(3)}
