"""How a window is cut."""

import pytest

from producer.windows import Window, split


@pytest.mark.parametrize(
    ("window", "halves"),
    [
        (Window(0, 3_999), (Window(0, 1_999), Window(2_000, 3_999))),
        (Window(0, 2_999), (Window(0, 1_999), Window(2_000, 2_999))),
        (Window(0, 1_000), (Window(0, 999), Window(1_000, 1_000))),
        (Window(700, 1_300), (Window(700, 999), Window(1_000, 1_300))),
        (Window(-1_500, 1_499), (Window(-1_500, -1), Window(0, 1_499))),
        (Window(0, 999), None),
        (Window(5_000, 5_000), None),
    ],
)
def test_a_window_is_cut_between_two_seconds(window: Window, halves: tuple[Window, Window] | None) -> None:
    assert halves == split(window)


def test_both_ends_count() -> None:
    assert Window(0, 999).seconds == 1
    assert Window(5_000, 5_000).seconds == 0.001
