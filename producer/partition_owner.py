"""Who owns the state topic's one partition: membership in the producers' consumer group.

Nothing is read here. The group is used for what it is good at: it gives the partition to one member, and takes it
away from one that has been silent for the session timeout.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError

from ops.kafka_client import RETRY_BACKOFF_MS, pace_metadata_requests
from ops.kafka_connection import KafkaConnection, KafkaRefusal, refusal
from ops.kafka_lease import HeartbeatWatch
from ops.kafka_topics import wait_for_kafka
from ops.logging import get_logger

_HEARTBEATS_PER_SESSION: Final = 10
_HEARTBEAT_MS: Final = 1000
"""At least so often: a member hears of a rebalance, so of its turn, with a heartbeat's answer."""

_SILENT_SESSIONS: Final = 3
_LOOK_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 5.0
_NEVER_MS: Final = 10**15

_log = get_logger(__name__)


class Deposed(Exception):
    """Another producer polls, or may poll, from here on: make no call and write nothing more."""


class Tenure:
    """One member's unbroken ownership of the partition, over rebalances that left it where it was."""

    def __init__(self, member: "PartitionOwner") -> None:
        self._member: Final = member
        self.is_over = False

    async def hold(self) -> None:
        """Return when it is certain that the partition is still ours; wait while that is not known.

        Raises:
            Deposed: the partition has, or may have, another owner.
        """
        await self._member.watch.hold(self._is_ours)

    def check(self) -> None:
        """As `hold`, by what is known now.

        Raises:
            Deposed: the partition has, or may have, another owner.
        """
        self._is_ours()

    def _is_ours(self) -> bool:
        if self._member.watch.generation == -1:
            self._member.end_tenure()
        if self.is_over:
            raise Deposed("the state topic's partition has, or may have, another owner")
        return not self._member.is_rebalancing


class PartitionOwner(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """A member of the group for as long as it is open; it leaves at once when it is closed."""

    def __init__(self, connection: KafkaConnection, topic: str, group: str, session_timeout_seconds: float) -> None:
        self._connection: Final = connection
        self._partition: Final = TopicPartition(topic, 0)
        self._group: Final = group
        self._session_seconds: Final = session_timeout_seconds
        self.watch: Final = HeartbeatWatch(session_timeout_seconds)
        self.is_rebalancing = True
        self._consumer: Any = None
        self._tenure: Tenure | None = None
        self._generation = -1
        self._has_joined = False
        self._owning: Final = asyncio.Event()
        self._staying: asyncio.Task[None]

    def open(self) -> None:
        """Join the group, in the background and for as long as it takes."""
        self._staying = asyncio.create_task(self._stay_joined())

    async def close(self) -> None:
        """Leave the group."""
        self._staying.cancel()
        await asyncio.wait({self._staying})

    @property
    def is_standby(self) -> bool:
        """In the group, and the partition is another member's."""
        return not self.is_rebalancing and self._tenure is None

    async def owned(self) -> Tenure:
        """Return once the partition is ours, however long that takes.

        Raises:
            KafkaRefusal: the brokers have refused the group from the start.
        """
        while self._tenure is None:
            owning = asyncio.create_task(self._owning.wait())
            await asyncio.wait({owning, self._staying}, return_when=asyncio.FIRST_COMPLETED)
            owning.cancel()
            if self._staying.done():
                self._staying.result()  # a fault of ours or a refusal: brokers that go away do not end it
        return self._tenure

    def end_tenure(self) -> None:
        """The partition is not ours any more."""
        if self._tenure is not None:
            self._tenure.is_over = True
            self._tenure = None
            self._owning.clear()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002
        """A rebalance begins: say nothing until it is known who owns the partition now."""
        self.is_rebalancing = True

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """A rebalance has ended."""
        generation = self.watch.generation
        owned = self._partition in assigned
        # In a generation that this member missed another may have owned the partition.
        if not owned or generation != self._generation + 1:
            self.end_tenure()
        self._generation, self.is_rebalancing, self._has_joined = generation, False, True
        if owned:
            self._consumer.pause(self._partition)  # owning it is enough
        if owned and self._tenure is None:
            self._tenure = Tenure(self)
            self._owning.set()
        _log.info("joined the group", group=self._group, generation=generation, owns_partition=owned)

    async def _stay_joined(self) -> None:
        while True:
            await wait_for_kafka(self._connection)
            try:
                await self._be_member()
            except (KafkaError, OSError) as error:
                refused = refusal(error, self._connection)
                if refused is not None and not self._has_joined:
                    raise KafkaRefusal(refused) from error
                _log.warning("cannot stay in the group, joining again", group=self._group, error=refused or repr(error))
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _be_member(self) -> None:
        """Join and stay; returns when the brokers have been silent for long, which a new connection may mend."""
        self._consumer = consumer = self._new_consumer()
        try:
            await consumer.start()
            pace_metadata_requests(consumer._client)  # noqa: SLF001  # no public way: ADR 3
            coordinator = consumer._coordinator  # noqa: SLF001  # as above
            self.watch.watch(coordinator)
            consumer.subscribe([self._partition.topic], listener=self)
            while self.watch.silent_seconds < _SILENT_SESSIONS * self._session_seconds:
                await asyncio.sleep(_LOOK_SECONDS)
                coordinator.check_errors()
            _log.warning("the group's coordinator is silent, joining again", group=self._group)
        finally:
            self.end_tenure()
            self.is_rebalancing = True
            await self._leave(consumer)

    async def _leave(self, consumer: AIOKafkaConsumer) -> None:
        try:
            await asyncio.wait_for(consumer.stop(), _STOP_SECONDS)
        except (TimeoutError, KafkaError) as error:
            _log.warning("left the group without an answer", group=self._group, error=repr(error))

    def _new_consumer(self) -> AIOKafkaConsumer:
        session_ms = int(self._session_seconds * 1000)
        return AIOKafkaConsumer(
            **self._connection.options(),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            retry_backoff_ms=RETRY_BACKOFF_MS,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=min(session_ms // _HEARTBEATS_PER_SESSION, _HEARTBEAT_MS),
            max_poll_interval_ms=_NEVER_MS,  # nothing is ever polled
            partition_assignment_strategy=[_OwnerStays(self._partition, self._claims)],
        )

    def _claims(self) -> bool:
        return self._tenure is not None and self.watch.generation != -1


_OWNER: Final = b"owner"


class _OwnerStays(AbstractPartitionAssignor):  # type: ignore[misc]  # aiokafka ships no types
    """Leaves the one partition where it is: a standby that joins, or a deposed leader that wakes up, moves nothing.

    aiokafka's sticky assignor keeps its memory in the class, for all consumers of a process, and never learns of
    generations, so it cannot tell the owner from who once was.
    """

    name = "yousync-owner-stays"

    def __init__(self, partition: TopicPartition, claims: Callable[[], bool]) -> None:
        self._partition: Final = partition
        self._claims: Final = claims

    def metadata(self, topics: Iterable[str]) -> Any:
        """What this member tells the one that assigns."""
        return ConsumerProtocolMemberMetadata(0, list(topics), _OWNER if self._claims() else b"")

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Everything to the owner, or to the first by id if there is none."""
        owner = min(members, key=lambda member: (members[member].user_data != _OWNER, member))
        all_of_it = [(self._partition.topic, [self._partition.partition])]
        return {
            member: ConsumerProtocolMemberAssignment(0, all_of_it if member == owner else [], b"") for member in members
        }

    def on_assignment(self, assignment: Any) -> None:
        """Nothing to remember."""
