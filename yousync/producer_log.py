"""The producer's state as operators' commands use it: read to its end without a group, and written to without an epoch.

Records without an epoch are an operator's: they count whoever leads, and the leader takes them in at its next tick.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from contract.producer_state import PRODUCER_GROUP, FollowedQuery, PurgeRequest, purge_key, query_key
from contract.topics import PRODUCER_STATE, topic_specs
from ops.kafka_client import running_admin
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import require_topics
from producer.state import Entry, ProducerState
from producer.state_log import StateFold
from producer.state_reader import StateReader

_STATE_SPECS: Final = [spec for spec in topic_specs(1) if spec.name == PRODUCER_STATE]


class ProducerLog:
    """Made by `producer_log`."""

    def __init__(self, connection: KafkaConnection, reader: StateReader, admin: AIOKafkaAdminClient) -> None:
        self._connection: Final = connection
        self._reader: Final = reader
        self._admin: Final = admin
        self._fold: Final = StateFold()

    async def read(self) -> None:
        """Follow the log to its present end."""
        end = await self._reader.end()
        while self._reader.position < end:
            for record in await self._reader.read():
                self._fold.take(record)

    def state(self, *prefixes: bytes) -> ProducerState:
        """What the log said when it was last read: all of it, or the keys with these prefixes."""
        values = self._fold.values
        return ProducerState(
            _ReadOnly(),
            {key: value for key, value in values.items() if key.startswith(prefixes)} if prefixes else values,
        )

    def has(self, key: bytes) -> bool:
        """Whether the key had a value when the log was last read."""
        return key in self._fold.values

    async def append(self, entries: Sequence[Entry]) -> None:
        """Write as an operator, in this order; returns when all is durable and was read back.

        Raises:
            KafkaError: Kafka does not take it; part of it may be written.
        """
        producer = AIOKafkaProducer(**self._connection.options(), enable_idempotence=True, acks="all")
        try:
            await producer.start()
            for key, value in entries:
                await producer.send_and_wait(PRODUCER_STATE, key=key, value=value)
        finally:
            await producer.stop()
        await self.read()

    async def has_producer(self) -> bool:
        """Whether a producer, leader or standby, is in the group; one that was killed counts until its session ends."""
        try:
            answers = await self._admin.describe_consumer_groups([PRODUCER_GROUP])
        except GroupCoordinatorNotAvailableError:
            return False  # the brokers have never seen a group
        return any(group["members"] for answer in answers for group in answer.to_object()["groups"])


class _ReadOnly:
    async def append(self, entries: Sequence[Entry]) -> None:
        raise PermissionError(f"only the leader writes {len(entries)} values of its own")


def query_entry(query: str, followed: FollowedQuery) -> Entry:
    """A query as an operator sets it."""
    return query_key(query), msgspec.json.encode(followed)


def purge_entry(request: PurgeRequest) -> Entry:
    """A new request to purge; its key is taken away when it has been carried out."""
    return purge_key(uuid.uuid4().hex), msgspec.json.encode(request)


@asynccontextmanager
async def producer_log(connection: KafkaConnection) -> AsyncIterator[ProducerLog]:
    """The log, read to its end.

    Raises:
        KafkaError: Kafka does not answer.
        TopicsError: the topic is missing, or has more than one partition.
    """
    async with AsyncExitStack() as stack:
        await require_topics(connection, _STATE_SPECS)
        admin = await stack.enter_async_context(running_admin(connection))
        reader = StateReader(connection, PRODUCER_STATE)
        stack.push_async_callback(reader.close)
        log = ProducerLog(connection, reader, admin)
        await log.read()
        yield log
