"""How far the worker is: what the group has committed, the size of the table, and what is left of its recovery.

What is committed is asked of Kafka itself, through a client of its own. Faust's figures will not do, for it is Faust
that is being watched: it counts a commit that failed, and its consumer's thread may be the part that hangs.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from contract.topics import CHANGELOG, PROJECTOR_GROUP, RAW
from ops.kafka_client import running_consumer
from ops.kafka_connection import KafkaConnection
from processors.watchdog import Place

_ANSWER_SECONDS: Final = 5.0


class GroupProgress:
    """Asks Kafka where the raw topic's partitions stand."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def places(self, partitions: Collection[int]) -> dict[int, Place]:
        """Of each partition what is committed and where its log begins and ends.

        Raises:
            KafkaError, TimeoutError: Kafka does not say.
        """
        # Without partitions Kafka is asked all the same: whoever looks must know whether it is there.
        wanted = [TopicPartition(RAW, partition) for partition in partitions or {0}]
        async with asyncio.timeout(_ANSWER_SECONDS):
            starts = await self._consumer.beginning_offsets(wanted)
            ends = await self._consumer.end_offsets(wanted)
            committed = {one: await self._consumer.committed(one) for one in wanted}
        return {one.partition: Place(committed[one] or 0, starts[one], ends[one]) for one in wanted if partitions}


@asynccontextmanager
async def group_progress(connection: KafkaConnection) -> AsyncIterator[GroupProgress]:
    """A client of the group's coordinator that is no member of the group.

    Raises:
        KafkaError: the brokers cannot be reached.
    """
    client_id = "yousync-processor-progress"
    async with running_consumer(connection, client_id=client_id, group_id=PROJECTOR_GROUP) as consumer:
        yield GroupProgress(consumer)


class TableSize(msgspec.Struct, frozen=True):
    """One partition of the table; both are RocksDB's estimates, and cost it nothing."""

    entries: int
    size_bytes: int


def table_sizes(table: Any) -> dict[int, TableSize]:
    """Of each partition of a Faust table with a RocksDB store that is open now."""
    return {partition: _table_size(store) for partition, store in table.data._dbs.items()}  # noqa: SLF001  # opens none: ADR 3


def _table_size(store: Any) -> TableSize:
    figure = store.property_int_value
    return TableSize(
        entries=figure("rocksdb.estimate-num-keys") or 0,
        size_bytes=(figure("rocksdb.total-sst-files-size") or 0) + (figure("rocksdb.cur-size-all-mem-tables") or 0),
    )


def recovery_remaining(app: Any) -> dict[int, int]:
    """Changelog records that a Faust app has still to read before it goes on, by partition; empty when it can."""
    recovery = app.tables.recovery
    left = recovery.active_remaining() if recovery.in_recovery else {}
    return {place.partition: count for place, count in left.items() if place.topic == CHANGELOG and count > 0}
