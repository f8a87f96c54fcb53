"""A tenure lasts over rebalances that leave the partition where it is, and over nothing else."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition

from ops.kafka_connection import KafkaConnection
from producer.partition_owner import Deposed, PartitionOwner, Tenure, _OwnerStays

PARTITION = TopicPartition("state", 0)


class Coordinator:
    """As much of aiokafka's group coordinator as is watched."""

    generation = -1

    async def _do_heartbeat(self) -> bool:
        return True


class Member:
    """A member whose group does as it is told."""

    def __init__(self) -> None:
        self.coordinator = Coordinator()
        self.paused: list[TopicPartition] = []
        self.owner = PartitionOwner(KafkaConnection("nowhere:1"), PARTITION.topic, "group", 10)
        self.owner._consumer = SimpleNamespace(pause=self.paused.append)
        self.owner.watch.watch(self.coordinator)

    def assign(self, generation: int, *partitions: TopicPartition) -> None:
        self.coordinator.generation = generation
        self.owner.on_partitions_assigned(set(partitions))

    def rebalance(self, generation: int, *partitions: TopicPartition) -> None:
        self.owner.on_partitions_revoked(set())
        self.assign(generation, *partitions)

    @property
    def tenure(self) -> Tenure:
        assert self.owner._tenure is not None
        return self.owner._tenure


@pytest.fixture
async def member() -> Member:
    return Member()


async def test_before_it_has_joined_it_is_neither_owner_nor_standby(member: Member) -> None:
    assert not member.owner.is_standby
    assert not member.owner._claims()


async def test_an_owner_may_speak_and_fetches_nothing(member: Member) -> None:
    member.rebalance(1, PARTITION)
    await member.tenure.hold()
    assert await member.owner.owned() is member.tenure
    assert member.paused == [PARTITION]
    assert member.owner._claims()
    assert not member.owner.is_standby


async def test_a_member_without_the_partition_stands_by(member: Member) -> None:
    member.rebalance(1)
    assert member.owner.is_standby
    assert not member.owner._claims()


async def test_a_rebalance_that_leaves_the_partition_is_waited_for(member: Member) -> None:
    member.rebalance(1, PARTITION)
    tenure = member.tenure
    member.owner.on_partitions_revoked({PARTITION})
    assert member.owner._claims()
    holding = asyncio.create_task(tenure.hold())
    await asyncio.sleep(0.12)
    assert not holding.done()
    member.assign(2, PARTITION)
    await asyncio.wait_for(holding, 30)
    assert member.tenure is tenure


async def test_a_rebalance_that_takes_the_partition_away_deposes(member: Member) -> None:
    member.rebalance(1, PARTITION)
    tenure = member.tenure
    member.rebalance(2)
    assert member.owner.is_standby
    with pytest.raises(Deposed):
        await tenure.hold()
    member.rebalance(3, PARTITION)
    assert member.tenure is not tenure
    with pytest.raises(Deposed):
        tenure.check()
    await member.tenure.hold()


async def test_a_generation_that_was_missed_deposes(member: Member) -> None:
    member.rebalance(1, PARTITION)
    tenure = member.tenure
    member.rebalance(3, PARTITION)
    with pytest.raises(Deposed):
        await tenure.hold()
    await member.tenure.hold()


async def test_a_disowned_member_is_deposed_and_claims_nothing(member: Member) -> None:
    member.rebalance(1, PARTITION)
    tenure = member.tenure
    member.coordinator.generation = -1
    assert not member.owner._claims()
    with pytest.raises(Deposed):
        await tenure.hold()
    assert member.owner._tenure is None
    # The number of the next generation does not bring it back.
    member.rebalance(2, PARTITION)
    with pytest.raises(Deposed):
        tenure.check()


def assigned(**claims: bool) -> dict[str, bool]:
    """Who is given the partition, by member."""
    members = {
        name: _OwnerStays(PARTITION, claim.__bool__).metadata([PARTITION.topic]) for name, claim in claims.items()
    }
    given = _OwnerStays(PARTITION, bool).assign(None, members)
    assert all(each.partitions() in ([], [PARTITION]) for each in given.values())
    return {name: bool(each.partitions()) for name, each in given.items()}


def test_the_owner_keeps_the_partition_whoever_joins() -> None:
    assert assigned(a=False, b=True, c=False) == {"a": False, "b": True, "c": False}


def test_without_an_owner_one_member_gets_it() -> None:
    assert assigned(b=False, a=False) == {"a": True, "b": False}


def test_two_owners_at_once_are_settled() -> None:
    assert assigned(c=True, b=True, a=False) == {"a": False, "b": True, "c": False}
