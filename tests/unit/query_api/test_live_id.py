"""Ids of live events: what they say, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query_api.live_id import format_id, furthest, parse_id, reaches

OFFSETS = st.lists(st.integers(0, 10**18), min_size=1, max_size=64).map(tuple)


def test_an_id_names_the_next_offset_of_each_partition() -> None:
    assert format_id((12, 0, 7, 99)) == "s1.12-0-7-99"
    assert parse_id("s1.12-0-7-99") == (12, 0, 7, 99)


@given(OFFSETS)
def test_what_is_written_is_read(offsets: tuple[int, ...]) -> None:
    assert parse_id(format_id(offsets)) == offsets


@pytest.mark.parametrize(
    "text",
    ["", "s1.", "s1", "s2.1", "1-2", "s1.1-", "s1.-1", "s1.1--2", "s1.01", "s1.1 ", " s1.1", "s1.1\n", "S1.1"],
)
def test_anything_else_is_no_id(text: str) -> None:
    assert parse_id(text) is None


@pytest.mark.parametrize("text", ["s1.٣", "s1.1e3", "s1.+1", f"s1.{10**19}", "s1." + "-".join("1" * 5000)])
def test_nor_is_a_number_that_kafka_has_not(text: str) -> None:
    assert parse_id(text) is None


@given(st.text())
def test_only_what_would_be_written_is_read(text: str) -> None:
    offsets = parse_id(text)

    assert offsets is None or format_id(offsets) == text


def test_one_id_reaches_another_only_in_every_partition() -> None:
    assert reaches((2, 3), (2, 3))
    assert reaches((3, 3), (2, 3))
    assert not reaches((9, 2), (2, 3))
    assert furthest((9, 2), (2, 3)) == (9, 3)
