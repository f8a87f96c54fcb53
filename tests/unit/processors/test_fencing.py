"""A worker speaks only while its heartbeats are answered and its generation is the one it began with."""

import asyncio

import pytest

from processors.fencing import Fenced, HeartbeatWatch


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Coordinator:
    """As much of aiokafka's group coordinator as is watched."""

    def __init__(self) -> None:
        self.generation = 7
        self.answers = True

    async def _do_heartbeat(self) -> bool:
        return self.answers


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


@pytest.fixture
def watch(clock: Clock, coordinator: Coordinator) -> HeartbeatWatch:
    watch = HeartbeatWatch(10, clock)
    watch.watch(coordinator)
    return watch


async def test_it_speaks_right_after_joining(watch: HeartbeatWatch) -> None:
    await watch.lease().hold()


async def test_it_waits_while_heartbeats_are_not_answered_and_goes_on_when_they_are(
    watch: HeartbeatWatch, clock: Clock, coordinator: Coordinator
) -> None:
    lease = watch.lease()
    clock.now += 5.1
    coordinator.answers = False
    holding = asyncio.create_task(lease.hold())
    await coordinator._do_heartbeat()
    await asyncio.sleep(0.12)

    assert not holding.done()
    coordinator.answers = True
    await coordinator._do_heartbeat()
    await asyncio.wait_for(holding, 1)


async def test_a_new_generation_fences_the_old_lease(watch: HeartbeatWatch, coordinator: Coordinator) -> None:
    lease = watch.lease()
    coordinator.generation = 8

    with pytest.raises(Fenced):
        await lease.hold()
    await watch.lease().hold()


async def test_a_disowned_member_is_fenced(watch: HeartbeatWatch, coordinator: Coordinator) -> None:
    coordinator.generation = -1

    with pytest.raises(Fenced):
        await watch.lease().hold()


async def test_it_never_speaks_before_it_has_joined(clock: Clock) -> None:
    with pytest.raises(Fenced):
        await HeartbeatWatch(10, clock).lease().hold()
