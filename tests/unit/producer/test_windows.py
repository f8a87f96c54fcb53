"""Windows: where a pass begins and ends, and how a window is cut."""

import pytest

from producer.windows import Window, decide_window, split

NOW_MS = 1_780_000_000_123


def decide(covered_until_ms: int | None) -> Window:
    return decide_window(covered_until_ms, NOW_MS, overlap_seconds=60, backfill_seconds=3600)


def test_a_new_query_reaches_back_by_the_backfill() -> None:
    assert Window(NOW_MS - 3_600_000, NOW_MS) == decide(None)


def test_a_followed_query_reaches_back_by_the_overlap_before_its_watermark() -> None:
    assert Window(NOW_MS - 500_000 - 60_000, NOW_MS) == decide(NOW_MS - 500_000)


def test_after_an_outage_the_window_has_grown_by_it() -> None:
    assert decide(NOW_MS - 86_400_000).after_ms == NOW_MS - 86_400_000 - 60_000


def test_a_watermark_of_a_clock_that_was_ahead_counts_as_now() -> None:
    assert Window(NOW_MS - 60_000, NOW_MS) == decide(NOW_MS + 10_000_000)


@pytest.mark.parametrize(
    ("window", "halves"),
    [
        (Window(0, 3_999), (Window(0, 1_999), Window(2_000, 3_999))),
        (Window(0, 2_999), (Window(0, 1_999), Window(2_000, 2_999))),
        (Window(0, 1_000), (Window(0, 999), Window(1_000, 1_000))),
        (Window(700, 1_300), (Window(700, 999), Window(1_000, 1_300))),
        (Window(0, 999), None),
        (Window(5_000, 5_000), None),
    ],
)
def test_a_window_is_cut_between_two_seconds(window: Window, halves: tuple[Window, Window] | None) -> None:
    assert halves == split(window)
