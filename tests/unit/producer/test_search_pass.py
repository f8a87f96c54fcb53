"""A pass: pages, splits, broken chains, ends."""

import pytest

from producer.error_policy import InvalidPageToken
from producer.search_pass import CAP_PAGES, MAX_PAGES, MAX_RESTARTS, SearchPass, SearchRequest
from producer.windows import Window

HOUR = Window(0, 3_600_000)
SECOND = Window(0, 999)


def read_full_pages(place: SearchPass, count: int) -> None:
    for page in range(count):
        place.take(50, f"page-{page}")


def test_pages_are_read_to_the_last_one() -> None:
    place = SearchPass("tea", HOUR)
    assert SearchRequest("tea", HOUR, None) == place.next_request()

    place.take(50, "second")
    assert SearchRequest("tea", HOUR, "second") == place.next_request()

    place.take(7, None)
    assert place.next_request() is None
    assert (place.pages, place.items, place.windows) == (2, 57, 1)


@pytest.mark.parametrize("blank", [None, ""])
def test_a_blank_token_is_the_end(blank: str | None) -> None:
    place = SearchPass("tea", HOUR)
    place.take(50, blank)
    assert place.next_request() is None


def test_a_window_that_meets_the_cap_is_read_again_in_halves_the_newer_one_first() -> None:
    place = SearchPass("tea", HOUR)
    read_full_pages(place, CAP_PAGES)

    newer = place.next_request()
    assert newer == SearchRequest("tea", Window(1_801_000, 3_600_000), None)
    place.take(1, None)

    assert place.next_request() == SearchRequest("tea", Window(0, 1_800_999), None)
    place.take(1, None)

    assert place.next_request() is None
    assert place.truncated == []


def test_short_pages_tell_of_the_cap_as_well() -> None:
    place = SearchPass("tea", HOUR)
    for page in range(CAP_PAGES):
        place.take(21, f"page-{page}")
    assert place.windows == 2


def test_one_second_over_the_cap_is_read_to_its_end_and_noted_as_truncated() -> None:
    place = SearchPass("tea", SECOND)
    read_full_pages(place, CAP_PAGES + 1)
    assert place.next_request() == SearchRequest("tea", SECOND, f"page-{CAP_PAGES}")

    place.take(50, None)
    assert place.next_request() is None
    assert place.truncated == [SECOND]


def test_a_chain_without_end_ends() -> None:
    place = SearchPass("tea", SECOND)
    read_full_pages(place, MAX_PAGES)
    assert place.next_request() is None
    assert place.truncated == [SECOND]


def test_a_page_that_points_to_itself_is_an_error() -> None:
    place = SearchPass("tea", HOUR)
    place.take(50, "again")
    with pytest.raises(InvalidPageToken):
        place.take(50, "again")


def test_a_broken_chain_begins_again_in_the_same_window_a_few_times() -> None:
    place = SearchPass("tea", HOUR)
    for _ in range(MAX_RESTARTS):
        place.take(50, "second")
        assert place.restart_chain()
        assert place.next_request() == SearchRequest("tea", HOUR, None)
    assert not place.restart_chain()
