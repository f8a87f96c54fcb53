"""Reads the state topic from its beginning, record after record, however often the brokers go away."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ops.kafka_client import RETRY_BACKOFF_MS, pace_metadata_requests
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import wait_for_kafka
from ops.logging import get_logger
from producer.state_log import StateRecord, read_epoch

_T = TypeVar("_T")

_WAIT_MS: Final = 1000
_PAUSE_SECONDS: Final = 1.0
_QUIET_SECONDS: Final = 60.0

_log = get_logger(__name__)


class StateReader:
    """One reader for one task; it belongs to no group."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection: Final = connection
        self._partition: Final = TopicPartition(topic, 0)
        self._consumer: AIOKafkaConsumer | None = None
        self._heard_at = 0.0
        self.position = 0
        """Offset after the last record that was read."""

    async def read(self) -> list[StateRecord]:
        """The records that follow; none when there were none for a second."""
        # aiokafka's consumer may stop for good after a broker's restart: one that hears nothing is replaced.
        if self._consumer is not None and time.monotonic() - self._heard_at > _QUIET_SECONDS:
            await self.close()
        batch = await self._ask(lambda consumer: consumer.getmany(self._partition, timeout_ms=_WAIT_MS))
        records = batch.get(self._partition, ())
        if records:
            self.position = records[-1].offset + 1
            self._heard_at = time.monotonic()
        return [StateRecord(record.key, record.value, read_epoch(record.headers)) for record in records]

    async def end(self) -> int:
        """Offset after the last record that the brokers have now."""
        ends = await self._ask(lambda consumer: consumer.end_offsets([self._partition]))
        return int(ends[self._partition])

    async def close(self) -> None:
        """Let go of the brokers; a later `read` goes on where this one was."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _ask(self, question: Callable[[AIOKafkaConsumer], Awaitable[_T]]) -> _T:
        while True:
            try:
                return await question(await self._connected())
            except KafkaError as error:
                _log.warning("cannot read the producer's state, trying again", error=repr(error))
                await self.close()
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            await wait_for_kafka(self._connection)
            self._consumer = AIOKafkaConsumer(
                **self._connection.options(),
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                retry_backoff_ms=RETRY_BACKOFF_MS,
            )
            await self._consumer.start()
            pace_metadata_requests(self._consumer._client)  # noqa: SLF001  # no public way: ADR 3
            self._consumer.assign([self._partition])
            if self.position:
                self._consumer.seek(self._partition, self.position)
            self._heard_at = time.monotonic()
        return self._consumer
