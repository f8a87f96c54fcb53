"""What a replay asks Kafka: how far the topics reach, what the live group has acknowledged, and who is in it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from contract.topics import PROJECTOR_GROUP, RAW, VIDEOS, read_projector_client_id
from ops.kafka_client import running_admin, running_consumer
from ops.kafka_connection import KafkaConnection
from processors.waiting import Unavailable

T = TypeVar("T")

_TRIES: Final = 6
_PAUSE_SECONDS: Final = 1.0
"""Six seconds: brokers that come back know their groups again after one or two."""


class LogEnds(msgspec.Struct, frozen=True):
    """Per partition of a topic the first offset that is still there, and the one after the last."""

    begins: dict[int, int]
    ends: dict[int, int]


class Group:
    """The live group and the topics; its methods raise `Unavailable` when Kafka is away."""

    def __init__(self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, partitions: int) -> None:
        self._admin = admin
        self._consumer = consumer
        self._partitions = partitions

    async def raw_ends(self) -> LogEnds:
        return await self._ends(RAW)

    async def video_ends(self) -> LogEnds:
        return await self._ends(VIDEOS)

    async def _ends(self, topic: str) -> LogEnds:
        places = [TopicPartition(topic, number) for number in range(self._partitions)]
        try:
            begins = await self._consumer.beginning_offsets(places)
            ends = await self._consumer.end_offsets(places)
        except (KafkaError, OSError) as error:
            raise Unavailable("Kafka", repr(error)) from error
        return LogEnds(
            {place.partition: offset for place, offset in begins.items()},
            {place.partition: offset for place, offset in ends.items()},
        )

    async def committed(self) -> dict[int, int]:
        """Per partition of the raw topic the offset below which all is acknowledged; none for one that has none."""
        found: dict[TopicPartition, OffsetAndMetadata] = await _asked(
            lambda: self._admin.list_consumer_group_offsets(PROJECTOR_GROUP), {}
        )
        return {
            place.partition: said.offset for place, said in found.items() if place.topic == RAW and said.offset >= 0
        }

    async def versions(self) -> list[int | None]:
        """Projection version of each live worker; None for one that does not say."""
        answers: list[Any] = await _asked(lambda: self._admin.describe_consumer_groups([PROJECTOR_GROUP]), [])
        return [
            read_projector_client_id(member[1])
            for answer in answers
            for described in answer.groups
            for member in described[5]
        ]


async def _asked(call: Callable[[], Awaitable[T]], nothing: T) -> T:
    """The coordinator's answer; `nothing` from brokers that have never seen a group, which say as those that start."""
    for _ in range(_TRIES):
        try:
            return await call()
        except GroupCoordinatorNotAvailableError:
            await asyncio.sleep(_PAUSE_SECONDS)
        except (KafkaError, OSError) as error:
            raise Unavailable("Kafka", repr(error)) from error
    return nothing


@asynccontextmanager
async def live_group(connection: KafkaConnection, partitions: int) -> AsyncIterator[Group]:
    """Connections to ask with.

    Raises:
        KafkaError: Kafka does not answer.
    """
    async with running_consumer(connection) as consumer, running_admin(connection) as admin:
        yield Group(admin, consumer, partitions)
