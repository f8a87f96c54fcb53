"""A member may speak while its heartbeats are answered, and the time of asking counts, not that of the answer."""

import asyncio

import pytest

from ops.kafka_lease import HeartbeatWatch

SESSION_SECONDS = 10


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
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def _do_heartbeat(self) -> bool:
        await self.may_answer.wait()
        return self.answers


class Lost(Exception):
    pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


@pytest.fixture
def watch(clock: Clock, coordinator: Coordinator) -> HeartbeatWatch:
    watch = HeartbeatWatch(SESSION_SECONDS, clock)
    watch.watch(coordinator)
    return watch


def yes() -> bool:
    return True


async def some_looks() -> None:
    """Long enough for a waiting `hold` to have looked again."""
    await asyncio.sleep(0.12)


def test_nobody_is_trusted_before_there_is_a_coordinator(clock: Clock) -> None:
    watch = HeartbeatWatch(SESSION_SECONDS, clock)
    assert not watch.fresh
    assert watch.generation == -1


def test_the_generation_is_the_coordinators(watch: HeartbeatWatch, coordinator: Coordinator) -> None:
    assert watch.generation == 7
    coordinator.generation = -1
    assert watch.generation == -1


async def test_it_is_trusted_for_half_the_session(
    watch: HeartbeatWatch, clock: Clock, coordinator: Coordinator
) -> None:
    trusted = []
    for seconds in (4.9, 0.1):
        clock.now += seconds
        trusted.append(watch.fresh)
    assert await coordinator._do_heartbeat()
    assert [*trusted, watch.fresh] == [True, False, True]
    assert watch.silent_seconds == 0


async def test_a_refused_heartbeat_confirms_nothing(
    watch: HeartbeatWatch, clock: Clock, coordinator: Coordinator
) -> None:
    clock.now += 6
    coordinator.answers = False
    assert not await coordinator._do_heartbeat()
    assert not watch.fresh


async def test_an_answer_that_lay_unread_during_a_pause_confirms_nothing(
    watch: HeartbeatWatch, clock: Clock, coordinator: Coordinator
) -> None:
    coordinator.may_answer.clear()
    heartbeat = asyncio.create_task(coordinator._do_heartbeat())
    await asyncio.sleep(0)
    clock.now += 60
    coordinator.may_answer.set()
    assert await heartbeat
    assert not watch.fresh


async def test_it_follows_a_new_coordinator(watch: HeartbeatWatch, clock: Clock) -> None:
    successor = Coordinator()
    successor.generation = 1
    clock.now += 60
    watch.watch(successor)
    assert watch.fresh
    assert watch.generation == 1
    clock.now += 60
    await successor._do_heartbeat()
    assert watch.fresh


async def test_watching_again_does_not_watch_twice(watch: HeartbeatWatch, coordinator: Coordinator) -> None:
    watched = coordinator._do_heartbeat
    watch.watch(coordinator)
    assert coordinator._do_heartbeat == watched


async def test_hold_returns_at_once_while_fresh(watch: HeartbeatWatch) -> None:
    await watch.hold(yes)


async def test_hold_waits_while_heartbeats_are_not_answered(
    watch: HeartbeatWatch, clock: Clock, coordinator: Coordinator
) -> None:
    clock.now += 6
    holding = asyncio.create_task(watch.hold(yes))
    await some_looks()
    assert not holding.done()
    await coordinator._do_heartbeat()
    await asyncio.wait_for(holding, 30)


async def test_hold_waits_while_it_is_not_ours(watch: HeartbeatWatch) -> None:
    ours = False
    holding = asyncio.create_task(watch.hold(lambda: ours))
    await some_looks()
    assert not holding.done()
    ours = True
    await asyncio.wait_for(holding, 30)


async def test_hold_ends_with_what_is_raised_even_while_it_waits(watch: HeartbeatWatch, clock: Clock) -> None:
    lost = False

    def ours() -> bool:
        if lost:
            raise Lost
        return True

    clock.now += 6
    holding = asyncio.create_task(watch.hold(ours))
    await some_looks()
    lost = True
    with pytest.raises(Lost):
        await asyncio.wait_for(holding, 30)
