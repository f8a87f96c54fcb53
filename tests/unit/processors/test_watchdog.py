"""When a worker stands still for good, and when it only waits, idles, recovers, or is not looked at."""

from collections.abc import Iterable
from typing import Any

import pytest

from processors.watchdog import BLIND_SECONDS, REMEDY, Look, Place, Watchdog

LIMIT = 60.0
BEHIND = Place(committed=100, log_start=0, log_end=140)


def look(*places: Place, **said: Any) -> Look:
    return Look(dict(enumerate(places)), **said)


def after(looks: Iterable[Look], *, every: float = 1.0, limit: float = LIMIT) -> tuple[Watchdog, float]:
    """A watchdog that took these looks, and when it took the last one."""
    watchdog, now = Watchdog(limit), 1_000.0
    for one in looks:
        now += every
        watchdog.look(one, now)
    return watchdog, now


def fault(looks: Iterable[Look], *, every: float = 1.0) -> str | None:
    watchdog, now = after(looks, every=every)
    return watchdog.fault(now)


def test_commits_that_stand_while_messages_wait_are_a_fault_at_the_limit() -> None:
    assert fault([look(BEHIND)] * 60) is None
    assert fault([look(BEHIND)] * 61) == (
        "youtube.videos.raw, partition 0: for 60 s nothing has been committed while messages wait (40 now), and the "
        f"worker waits for nothing. {REMEDY}"
    )


def test_all_partitions_that_stand_are_named_with_their_messages() -> None:
    said = fault([look(BEHIND, Place(0, 0, 0), BEHIND)] * 61)

    assert said is not None
    assert said.startswith("youtube.videos.raw, partitions 0, 2: for 60 s nothing")
    assert "(80 now)" in said


def test_one_partition_that_stands_beside_one_that_gets_on_is_a_fault() -> None:
    said = fault(look(Place(number, 0, 1_000), BEHIND) for number in range(61))

    assert said is not None
    assert "partition 1: " in said


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(Place(140, 0, 140), id="all committed"),
        pytest.param(Place(0, 0, 0), id="nothing was ever there"),
        pytest.param(Place(100, 140, 140), id="retention ate what was not committed"),
        pytest.param(Place(0, 140, 140), id="retention ate all before the first commit"),
        pytest.param(Place(150, 0, 140), id="committed after the end was read"),
    ],
)
def test_no_message_waits(place: Place) -> None:
    assert place.waiting == 0
    assert fault([look(place)] * 500) is None


def test_messages_wait_from_the_beginning_of_the_log_on() -> None:
    assert Place(100, 130, 140).waiting == 10


def test_the_clock_starts_with_the_first_message_that_waits() -> None:
    idle = look(Place(100, 0, 100))

    assert fault([*[idle] * 500, *[look(BEHIND)] * 60]) is None
    assert fault([*[idle] * 500, *[look(BEHIND)] * 61]) is not None


@pytest.mark.parametrize("committed", [101, 50], ids=["commit", "seek back"])
def test_a_commit_starts_the_clock_anew(committed: int) -> None:
    moved = look(Place(committed, 0, 140))

    assert fault([*[look(BEHIND)] * 50, *[moved] * 60]) is None
    assert fault([*[look(BEHIND)] * 50, *[moved] * 61]) is not None


@pytest.mark.parametrize("sign", ["failed_tries", "seam_records", "generation"])
def test_a_sign_of_life_now_and_then_is_no_fault_and_its_end_is_one(sign: str) -> None:
    alive = [look(BEHIND, waiting_for=["MongoDB"], **{sign: number // 40}) for number in range(400)]

    assert fault(alive) is None
    assert fault([*alive, *[alive[-1]] * 19]) is None
    assert fault([*alive, *[alive[-1]] * 21]) is not None


def test_a_waiting_without_a_try_is_not_believed() -> None:
    said = fault([look(BEHIND, waiting_for=["MongoDB", "Kafka"], failed_tries=7)] * 61)

    assert said is not None
    assert "; the worker says that it waits for Kafka, MongoDB, but does not ask again. " in said


def test_a_recovery_that_gets_on_is_no_fault_and_one_that_does_not_is() -> None:
    recovering = [look(BEHIND, rebalancing=True, recovering={0: 1_000_000 - number // 40}) for number in range(400)]

    assert fault(recovering) is None
    said = fault([*recovering, *[recovering[-1]] * 60])
    assert said is not None
    assert "; the recovery of the table does not get on, 999991 records are left. " in said


def test_a_rebalance_that_never_ends_is_a_fault_whoever_took_the_messages() -> None:
    rebalancing = look(Place(140, 0, 140), rebalancing=True)

    assert fault([rebalancing] * 60) is None
    assert fault([rebalancing] * 61) == (
        f"Nothing has come of a rebalance for 60 s; the worker does not end the rebalance. {REMEDY}"
    )
    assert fault([*[rebalancing] * 50, look(Place(140, 0, 140)), *[rebalancing] * 50]) is None


def test_messages_that_wait_for_a_rebalance_without_end_name_it() -> None:
    said = fault([look(BEHIND, rebalancing=True)] * 61)

    assert said is not None
    assert "(40 now); the worker does not end the rebalance. " in said


def test_a_worker_without_partitions_is_no_fault() -> None:
    assert fault([look()] * 500) is None


def test_a_partition_that_left_is_forgotten_and_begins_anew_when_it_comes_back() -> None:
    assert fault([*[look(BEHIND)] * 50, look(), *[look(BEHIND)] * 50]) is None


def test_there_is_no_verdict_before_the_first_look_nor_from_old_figures() -> None:
    watchdog, now = after([look(BEHIND)] * 61)

    assert Watchdog(LIMIT).fault(now) is None
    assert watchdog.fault(now + BLIND_SECONDS) is not None
    assert watchdog.fault(now + BLIND_SECONDS + 0.1) is None


def test_time_in_which_nobody_looked_does_not_count() -> None:
    assert fault([look(BEHIND)] * 100, every=BLIND_SECONDS + 1) is None


def test_looks_that_fail_now_and_then_do_not_hide_a_stall() -> None:
    watchdog, now = Watchdog(LIMIT), 0.0
    for number in range(100):
        now += BLIND_SECONDS + 1 if number % 10 == 0 else 1.0
        watchdog.look(look(BEHIND), now)

    assert watchdog.fault(now) is not None


def test_how_long_messages_wait_is_told_whatever_the_reason() -> None:
    watchdog, _ = after(look(BEHIND, Place(7, 0, 7), failed_tries=number) for number in range(101))

    assert watchdog.standing_seconds() == {0: 100.0, 1: 0.0}
