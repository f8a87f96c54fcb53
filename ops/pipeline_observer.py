"""How the pipeline is doing by what Kafka says: lag, dead letters, and the producer's quota, leader and queries.

Joins no group and writes nothing. Of the state topic only the last values of a few keys are kept, however large it is.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError

from contract.producer_state import (
    EPOCH_HEADER,
    LEADER_KEY,
    LEDGER_PREFIX,
    QUERY_PREFIX,
    SEARCH_BUCKET,
    UNITS_BUCKET,
    FollowedQuery,
    Leader,
    Ledger,
    ledger_key,
    read_ledger,
)
from contract.settings import Settings
from contract.times import pacific_date
from contract.topics import DEAD_LETTER, PRODUCER_STATE, PROJECTOR_GROUP, RAW
from ops.kafka_client import running_admin, running_consumer
from ops.kafka_connection import kafka_connection

_ANSWER_SECONDS: Final = 5.0
_ANSWER_MS: Final = 5000
_FETCH_MS: Final = 200


class QuotaLeft(msgspec.Struct, frozen=True):
    """What is left of today's quota: search calls, and units for all other calls."""

    search: int
    units: int


class PipelineFigures(msgspec.Struct, frozen=True):
    """What Kafka says at one moment; None for what it does not say, and then `fault` is why.

    `leader` is also None when nobody has ever led. `queries` are all that ever were followed, and whether they are now.
    """

    lag: int | None = None
    dead_letters: int | None = None
    quota_left: QuotaLeft | None = None
    leader: Leader | None = None
    queries: Mapping[str, bool] | None = None
    fault: str | None = None


def total_lag(begins: dict[int, int], ends: dict[int, int], committed: dict[int, int]) -> int:
    """Records not yet acknowledged over all partitions; one without a commit lags by all that it holds."""
    return sum(max(0, end - max(committed.get(partition, 0), begins[partition])) for partition, end in ends.items())


def quota_left(ledgers: Mapping[bytes, Ledger], settings: Settings, date: str) -> QuotaLeft:
    """Today's quota less what the producer has debited."""

    def left(bucket: str, granted: int) -> int:
        ledger = ledgers.get(ledger_key(bucket, date), Ledger(0))
        return max(0, granted - ledger.used)

    return QuotaLeft(left(SEARCH_BUCKET, settings.search_calls_per_day), left(UNITS_BUCKET, settings.units_per_day))


class ObservedState:
    """What is worth knowing of the producer's state; takes its records in log order.

    A record of a smaller epoch than the leader's is void, and of two leaders with one epoch the first counts.
    """

    def __init__(self) -> None:
        self.leader: Leader | None = None
        self.ledgers: Final[dict[bytes, Ledger]] = {}
        self.queries: Final[dict[str, bool]] = {}

    def take(self, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> None:
        """Apply one record, if it counts and is about any of these."""
        if key == LEADER_KEY:
            self._take_leader(value)
        elif key is not None and key.startswith((LEDGER_PREFIX, QUERY_PREFIX)) and not self._void(headers):
            if key.startswith(LEDGER_PREFIX):
                self._take_ledger(key, value)
            else:
                self._take_query(key.removeprefix(QUERY_PREFIX), value)

    def _void(self, headers: Iterable[tuple[str, bytes]]) -> bool:
        said = next((value for name, value in headers if name == EPOCH_HEADER), None)
        if said is None:
            return False  # an operator's: it counts whoever leads
        return not said.isdigit() or (self.leader is not None and int(said) < self.leader.epoch)

    def _take_leader(self, value: bytes | None) -> None:
        try:
            leader = msgspec.json.decode(value or b"", type=Leader)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        if leader.epoch > (0 if self.leader is None else self.leader.epoch):
            self.leader = leader

    def _take_ledger(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.ledgers.pop(key, None)
        else:
            self.ledgers[key] = read_ledger(value)

    def _take_query(self, name: bytes, value: bytes | None) -> None:
        try:
            query = name.decode()
            followed = None if value is None else msgspec.json.decode(value, type=FollowedQuery)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        if followed is None:
            self.queries.pop(query, None)
        else:
            self.queries[query] = followed.enabled and followed.refused is None


class PipelineObserver:
    """Keeps its connections, so that looking again is cheap, and makes them anew after a look that failed."""

    def __init__(self, settings: Settings) -> None:
        self._settings: Final = settings
        self._connections: AsyncExitStack | None = None
        self._admin: AIOKafkaAdminClient
        self._consumer: AIOKafkaConsumer
        self._state = ObservedState()
        self._read_to = 0

    async def connect(self) -> None:
        """Connect, if that was not done yet.

        Raises:
            KafkaError: Kafka does not answer.
        """
        if self._connections is not None:
            return
        kafka = kafka_connection(self._settings)
        async with AsyncExitStack() as stack:
            consumer = running_consumer(kafka, auto_offset_reset="earliest", request_timeout_ms=_ANSWER_MS)
            self._consumer = await stack.enter_async_context(consumer)
            self._admin = await stack.enter_async_context(running_admin(kafka, request_timeout_ms=_ANSWER_MS))
            self._connections = stack.pop_all()

    async def close(self) -> None:
        connections, self._connections = self._connections, None
        if connections is not None:
            await connections.aclose()

    async def observe(self, now: datetime) -> PipelineFigures:
        """Ask Kafka, for 5 s at most; what is known of the state stays known."""
        figures = PipelineFigures()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self.connect()
                figures = msgspec.structs.replace(figures, lag=await self._lag())
                figures = msgspec.structs.replace(figures, dead_letters=await self._size(DEAD_LETTER))
                await self._read_state()
        except (KafkaError, OSError, TimeoutError, LookupError) as error:
            await self.close()
            return msgspec.structs.replace(figures, fault=str(error) or type(error).__name__)
        date = pacific_date(int(now.timestamp() * 1000))
        return msgspec.structs.replace(
            figures,
            quota_left=quota_left(self._state.ledgers, self._settings, date),
            leader=self._state.leader,
            queries=dict(self._state.queries),
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

    async def _ranges(self, topic: str) -> tuple[dict[int, int], dict[int, int]]:
        partitions = await partitions_of(self._admin, topic)
        begins = await self._consumer.beginning_offsets(partitions)
        ends = await self._consumer.end_offsets(partitions)
        return (
            {place.partition: offset for place, offset in begins.items()},
            {place.partition: offset for place, offset in ends.items()},
        )

    async def _read_state(self) -> None:
        """Follow the producer's state to its present end; a look that times out on the way is gone on from there."""
        state = TopicPartition(PRODUCER_STATE, 0)
        if not self._consumer.assignment():
            await partitions_of(self._admin, PRODUCER_STATE)
            self._consumer.assign([state])
            self._consumer.seek(state, self._read_to)
        end = (await self._consumer.end_offsets([state]))[state]
        if end < self._read_to:  # the topic was made again
            self._state, self._read_to = ObservedState(), 0
            self._consumer.seek(state, 0)
        while self._read_to < end:
            for record in (await self._consumer.getmany(state, timeout_ms=_FETCH_MS)).get(state, ()):
                self._state.take(record.key, record.value, record.headers)
            self._read_to = await self._consumer.position(state)


async def partitions_of(admin: AIOKafkaAdminClient, topic: str) -> list[TopicPartition]:
    """All partitions of a topic.

    Raises:
        LookupError: there is no such topic.
    """
    for described in await admin.describe_topics():
        if described["topic"] == topic:
            return [TopicPartition(topic, number) for number in sorted(p["partition"] for p in described["partitions"])]
    raise LookupError(f"topic {topic} is missing")
