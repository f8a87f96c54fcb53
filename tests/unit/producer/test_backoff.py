"""Pauses after failures."""

import pytest

from producer.backoff import FIRST_PAUSE_MS, LONGEST_PAUSE_MS, Backoff, after_failure, is_waiting

NOW_MS = 1_780_000_000_000


def pauses(failures: int, jitter: float = 0.0) -> list[int]:
    """Each pause of so many failures in a row, in ms."""
    backoff, lengths = Backoff(), []
    for _ in range(failures):
        backoff = after_failure(backoff, NOW_MS, jitter)
        lengths.append(backoff.until_ms - NOW_MS)
    return lengths


def test_each_pause_is_twice_the_last_up_to_the_longest() -> None:
    assert pauses(4) == [FIRST_PAUSE_MS, 2 * FIRST_PAUSE_MS, 4 * FIRST_PAUSE_MS, 8 * FIRST_PAUSE_MS]
    assert pauses(100)[-1] == LONGEST_PAUSE_MS
    assert max(pauses(100)) == LONGEST_PAUSE_MS


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 1.0), (0.5, 0.75), (1.0, 0.5)])
def test_jitter_takes_up_to_half_of_a_pause_away(jitter: float, share: float) -> None:
    assert pauses(3, jitter)[-1] == 4 * FIRST_PAUSE_MS * share


def test_a_pause_lasts_until_its_end() -> None:
    backoff = after_failure(Backoff(), NOW_MS, 0.0)
    assert is_waiting(backoff, NOW_MS)
    assert is_waiting(backoff, NOW_MS + FIRST_PAUSE_MS - 1)
    assert not is_waiting(backoff, NOW_MS + FIRST_PAUSE_MS)
    assert not is_waiting(Backoff(), NOW_MS)


def test_a_pause_that_a_wrong_clock_set_is_over() -> None:
    """The clock was a day ahead: to wait for a day would be to wait for nothing."""
    ahead = after_failure(Backoff(), NOW_MS + 86_400_000, 0.0)
    assert not is_waiting(ahead, NOW_MS)
    longest = Backoff(99, NOW_MS + LONGEST_PAUSE_MS)
    assert is_waiting(longest, NOW_MS)
