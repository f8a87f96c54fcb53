"""A worker speaks only while the group's generation is the one in which its batch began."""

import asyncio

import pytest

from ops.kafka_lease import HeartbeatWatch
from processors.fencing import Fenced, GroupLease


class Coordinator:
    """As much of aiokafka's group coordinator as is watched."""

    def __init__(self) -> None:
        self.generation = 7

    async def _do_heartbeat(self) -> bool:
        return True


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def watch(coordinator: Coordinator, now: list[float]) -> HeartbeatWatch:
    watch = HeartbeatWatch(10, lambda: now[0])
    watch.watch(coordinator)
    return watch


async def test_it_speaks_right_after_joining(watch: HeartbeatWatch) -> None:
    await GroupLease(watch).hold()


async def test_it_waits_for_a_heartbeats_answer(
    watch: HeartbeatWatch, coordinator: Coordinator, now: list[float]
) -> None:
    now[0] += 6
    holding = asyncio.create_task(GroupLease(watch).hold())
    await asyncio.sleep(0.12)
    assert not holding.done()
    await coordinator._do_heartbeat()
    await asyncio.wait_for(holding, 30)


async def test_a_new_generation_fences_the_old_lease(watch: HeartbeatWatch, coordinator: Coordinator) -> None:
    lease = GroupLease(watch)
    coordinator.generation = 8

    with pytest.raises(Fenced):
        await lease.hold()
    await GroupLease(watch).hold()


async def test_a_disowned_member_is_fenced(watch: HeartbeatWatch, coordinator: Coordinator) -> None:
    coordinator.generation = -1

    with pytest.raises(Fenced):
        await GroupLease(watch).hold()


async def test_it_never_speaks_before_it_has_joined() -> None:
    with pytest.raises(Fenced):
        await GroupLease(HeartbeatWatch(10)).hold()
