"""How the pipeline is doing, seen from outside: lag, videos stored, dead letters, quota left."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import PyMongoError

from contract.producer_state import SEARCH_BUCKET, UNITS_BUCKET, Ledger, ledger_key, read_ledger
from contract.read_model import (
    EVERY_VIDEO,
    PROJECTION_VERSION,
    READ_MODEL,
    READ_MODEL_ID,
    REPLAY_ID,
    VIDEOS,
    generation_name,
)
from contract.settings import Settings, SettingsError
from contract.times import pacific_date
from contract.topics import DEAD_LETTER, PRODUCER_STATE, PROJECTOR_GROUP, RAW

_ANSWER_SECONDS: Final = 5.0


class QuotaLeft(msgspec.Struct, frozen=True):
    """What is left of today's quota: search calls, and units for all other calls."""

    search: int
    units: int


class Observation(msgspec.Struct, frozen=True):
    """The pipeline at one moment; None where a part does not answer, and then `faults` says so.

    `notices` are sentences about what is well but wants somebody to do something.
    """

    lag: int | None
    videos: int | None
    dead_letters: int | None
    quota_left: QuotaLeft | None
    faults: list[str]
    notices: list[str] = []


def replay_notices(generations: Mapping[str, Any] | None, run: Mapping[str, Any] | None, live: str | None) -> list[str]:
    """What the two documents about the read model ask for; `live` is the generation that readers read."""
    notices = []
    version = (generations or {}).get("versions", {}).get(live)
    if version is not None and version < PROJECTION_VERSION:
        notices.append(
            f"The store has projection version {version}, this is version {PROJECTION_VERSION}: upgrade all "
            "processors, then rebuild it with `yousync replay --execute`"
        )
    if run is not None and run.get("phase") != "done":
        notices.append(
            f"A replay that began at {run.get('started_at')} has not ended ({run.get('phase')}): "
            "`yousync replay` says more"
        )
    return notices


def total_lag(begins: dict[int, int], ends: dict[int, int], committed: dict[int, int]) -> int:
    """Records not yet acknowledged over all partitions; one without a commit lags by all that it holds."""
    return sum(max(0, end - max(committed.get(partition, 0), begins[partition])) for partition, end in ends.items())


def quota_left(ledgers: dict[bytes, Ledger], settings: Settings, date: str) -> QuotaLeft:
    """Today's quota less what the producer has debited."""

    def left(bucket: str, granted: int) -> int:
        ledger = ledgers.get(ledger_key(bucket, date), Ledger(0))
        return max(0, granted - ledger.used)

    return QuotaLeft(left(SEARCH_BUCKET, settings.search_calls_per_day), left(UNITS_BUCKET, settings.units_per_day))


class Observer:
    """Keeps its connections, so that looking again is cheap; made by `observer`."""

    def __init__(
        self, settings: Settings, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, database: Any
    ) -> None:
        self._settings = settings
        self._admin = admin
        self._consumer = consumer
        self._database = database
        self._ledgers: dict[bytes, Ledger] = {}

    async def observe(self, now: datetime) -> Observation:
        """Ask Kafka and MongoDB; a part that does not answer within 5 s leaves its figures None."""
        lag, videos, dead_letters, left = None, None, None, None
        faults: list[str] = []
        notices: list[str] = []
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                lag = await self._lag()
                dead_letters = await self._size(DEAD_LETTER)
                left = await self._quota_left(now)
        except (KafkaError, OSError, TimeoutError, LookupError) as error:
            faults.append(f"Kafka at {self._settings.kafka_bootstrap_servers} does not say: {_said(error)}")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                videos = await self._database[VIDEOS].count_documents(dict(EVERY_VIDEO))
                notices = await self._replay_notices()
        except (PyMongoError, TimeoutError) as error:
            faults.append(f"MongoDB does not say: {_said(error)}")
        return Observation(lag, videos, dead_letters, left, faults, notices)

    async def _replay_notices(self) -> list[str]:
        live = None
        async for found in await self._database.list_collections(filter={"name": VIDEOS}):
            live = generation_name(found["info"]["uuid"])
        said = self._database[READ_MODEL]
        return replay_notices(
            await said.find_one({"_id": READ_MODEL_ID}), await said.find_one({"_id": REPLAY_ID}), live
        )

    async def _lag(self) -> int:
        begins, ends = await self._ranges(RAW)
        try:
            committed = await self._admin.list_consumer_group_offsets(PROJECTOR_GROUP)
        except GroupCoordinatorNotAvailableError:
            committed = {}  # the brokers have never seen a group: nobody has acknowledged anything
        return total_lag(
            begins,
            ends,
            {place.partition: found.offset for place, found in committed.items() if place.topic == RAW},
        )

    async def _size(self, topic: str) -> int:
        begins, ends = await self._ranges(topic)
        return sum(ends.values()) - sum(begins.values())

    async def _quota_left(self, now: datetime) -> QuotaLeft:
        await self._read_ledgers()
        return quota_left(self._ledgers, self._settings, pacific_date(int(now.timestamp() * 1000)))

    async def _ranges(self, topic: str) -> tuple[dict[int, int], dict[int, int]]:
        partitions = await partitions_of(self._admin, topic)
        begins = await self._consumer.beginning_offsets(partitions)
        ends = await self._consumer.end_offsets(partitions)
        return (
            {place.partition: offset for place, offset in begins.items()},
            {place.partition: offset for place, offset in ends.items()},
        )

    async def _read_ledgers(self) -> None:
        """Follow the producer's state to its present end."""
        state = TopicPartition(PRODUCER_STATE, 0)
        if not self._consumer.assignment():
            await partitions_of(self._admin, PRODUCER_STATE)
            self._consumer.assign([state])
            await self._consumer.seek_to_beginning(state)
        end = (await self._consumer.end_offsets([state]))[state]
        while await self._consumer.position(state) < end:
            for record in (await self._consumer.getmany(timeout_ms=200)).get(state, []):
                if record.key and record.value and record.key.startswith(b"ledger/"):
                    self._ledgers[record.key] = read_ledger(record.value)


@asynccontextmanager
async def observer(settings: Settings) -> AsyncIterator[Observer]:
    """An observer with its connections.

    Raises:
        KafkaError: Kafka does not answer.
        SettingsError: MongoDB's driver cannot use the connection string.
    """
    async with AsyncExitStack() as stack:
        bootstrap = settings.kafka_bootstrap_servers
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, request_timeout_ms=5000)
        stack.push_async_callback(consumer.stop)
        await consumer.start()
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
        stack.push_async_callback(admin.close)
        await admin.start()
        client = _mongo_client(settings.mongodb_uri.get_secret_value())
        stack.callback(client.close)
        yield Observer(settings, admin, consumer, client[settings.mongodb_database])


def _mongo_client(uri: str) -> "AsyncIOMotorClient[dict[str, Any]]":
    try:
        return AsyncIOMotorClient(uri, serverSelectionTimeoutMS=2000)
    except (PyMongoError, OSError) as error:
        # Not the driver's words: they may repeat a password.
        raise SettingsError(
            f"MONGODB_URI: the driver cannot use this connection string: {type(error).__name__}"
        ) from None


async def partitions_of(admin: AIOKafkaAdminClient, topic: str) -> list[TopicPartition]:
    """All partitions of a topic.

    Raises:
        LookupError: there is no such topic.
    """
    for described in await admin.describe_topics():
        if described["topic"] == topic:
            return [TopicPartition(topic, number) for number in sorted(p["partition"] for p in described["partitions"])]
    raise LookupError(f"topic {topic} is missing")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
