"""A pass: pages, splits, broken chains, ends, and answers that break the rules."""

import random
from collections.abc import Sequence

import pytest

from producer.error_policy import InvalidPageToken
from producer.search_pass import (
    CAP_PAGES,
    MAX_PAGES,
    MAX_RESTARTS,
    PAGE_ITEMS,
    TOLERATED_STRAYS,
    SearchAnswer,
    SearchPass,
    SearchRequest,
)
from producer.windows import Window

HOUR = Window(7_200_000, 10_800_000)
"""The third hour after 1970: there is time on both sides of it."""

SECOND = Window(7_200_000, 7_200_999)
BEFORE_MS = 3_600_000
AFTER_MS = 12_000_000


def page(place: SearchPass, count: int, token: str | None, published_ms: Sequence[int | None] | None = None) -> None:
    """Answer the next request: `count` videos of its first second, if not said otherwise."""
    request = place.next_request()
    assert request is not None
    first_ms = -(-request.window.after_ms // 1000) * 1000
    place.take(SearchAnswer([first_ms] * count if published_ms is None else published_ms, token))


def full_pages(place: SearchPass, count: int, published_ms: int | None = None) -> None:
    """Full pages of the next window's first second, or of another moment."""
    for number in range(count):
        page(place, PAGE_ITEMS, f"page-{number}", None if published_ms is None else [published_ms] * PAGE_ITEMS)


def falling(newest_ms: int, count: int, apart_ms: int = 1000) -> list[int]:
    """Publish times in the order of a search."""
    return [newest_ms - number * apart_ms for number in range(count)]


def test_pages_are_read_to_the_last_one() -> None:
    place = SearchPass("tea", HOUR)
    assert SearchRequest("tea", HOUR, None) == place.next_request()
    page(place, 50, "second")
    assert SearchRequest("tea", HOUR, "second") == place.next_request()
    page(place, 7, None)
    assert place.next_request() is None
    assert (place.pages, place.items, place.windows, place.outside) == (2, 57, 1, 0)
    assert (place.is_reliable, place.truncated, place.unread) == (True, [], [])


@pytest.mark.parametrize("count", [0, 1, 49])
@pytest.mark.parametrize("blank", [None, ""])
def test_a_blank_token_after_a_page_with_room_is_the_end(blank: str | None, count: int) -> None:
    place = SearchPass("tea", HOUR)
    page(place, count, blank)
    assert place.next_request() is None


def test_videos_without_a_readable_publish_time_count_as_inside() -> None:
    place = SearchPass("tea", HOUR)
    page(place, 0, None, [None] * 50)
    assert (place.items, place.outside, place.next_request()) == (50, 0, None)


# The cap.


def test_in_date_order_what_is_below_the_cap_is_read_in_halves_the_newer_one_first() -> None:
    place = SearchPass("tea", HOUR)
    for number in range(CAP_PAGES):
        page(place, 0, f"page-{number}", falling(HOUR.before_ms - number * 50_000, 50))
    bottom_ms = HOUR.before_ms - (CAP_PAGES * 50 - 1 - TOLERATED_STRAYS) * 1000
    newer = place.next_request()
    assert newer is not None
    assert newer.window.before_ms == bottom_ms + 999
    assert newer.page_token is None
    page(place, 1, None)
    assert place.next_request() == SearchRequest("tea", Window(HOUR.after_ms, newer.window.after_ms - 1), None)
    page(place, 1, None)
    assert place.next_request() is None
    assert (place.truncated, place.windows) == ([], 2)


def test_without_order_a_window_that_meets_the_cap_is_read_again_in_halves() -> None:
    place = SearchPass("tea", HOUR)
    for number in range(CAP_PAGES):
        page(place, 0, f"page-{number}", [HOUR.after_ms + number * 1000] * 50)
    assert place.next_request() == SearchRequest("tea", Window(9_001_000, 10_800_000), None)
    page(place, 1, None)
    assert place.next_request() == SearchRequest("tea", Window(7_200_000, 9_000_999), None)


def test_a_crowd_in_the_last_second_does_not_hide_what_is_older() -> None:
    place = SearchPass("tea", HOUR)
    full_pages(place, CAP_PAGES, HOUR.before_ms)
    assert place.next_request() == SearchRequest("tea", Window(9_001_000, 10_800_000), None)
    page(place, 1, None)
    assert place.next_request() == SearchRequest("tea", Window(7_200_000, 9_000_999), None)


def test_short_pages_tell_of_the_cap_as_well() -> None:
    place = SearchPass("tea", HOUR)
    for number in range(CAP_PAGES):
        page(place, 0, f"page-{number}", falling(HOUR.before_ms - number * 50_000, 21))
    assert place.windows == 2


def test_one_second_over_the_cap_is_read_to_its_end_and_noted_as_truncated() -> None:
    place = SearchPass("tea", SECOND)
    full_pages(place, CAP_PAGES + 1)
    assert place.next_request() == SearchRequest("tea", SECOND, f"page-{CAP_PAGES}")
    page(place, 20, None)
    assert place.next_request() is None
    assert place.truncated == [SECOND]


def test_a_chain_without_end_ends() -> None:
    place = SearchPass("tea", SECOND)
    full_pages(place, MAX_PAGES)
    assert place.next_request() is None
    assert place.truncated == [SECOND]


# A blank token after a full page.


def test_after_a_full_page_without_a_next_one_what_is_older_is_asked_for() -> None:
    place = SearchPass("tea", HOUR)
    page(place, 0, None, falling(HOUR.before_ms, 50))
    request = place.next_request()
    assert request is not None
    lowest_ms = HOUR.before_ms - 49_000
    assert (request.window.after_ms, request.page_token) == (HOUR.after_ms, None)
    assert lowest_ms <= request.window.before_ms <= lowest_ms + (TOLERATED_STRAYS + 1) * 1000
    page(place, 3, None)
    assert place.next_request() is None


def test_a_stray_does_not_make_a_page_end_too_early() -> None:
    """One old video on top of a page says nothing of what lies between it and the others."""
    place = SearchPass("tea", HOUR)
    moments = falling(HOUR.before_ms, 50)
    for position in (0, 25, 48, 49):
        moments[position] = HOUR.after_ms
    page(place, 0, None, moments)
    request = place.next_request()
    assert request is not None
    assert request.window.before_ms >= min(moment for moment in moments if moment != HOUR.after_ms)


def test_a_full_page_that_ends_in_the_first_second_is_the_end() -> None:
    place = SearchPass("tea", HOUR)
    page(place, 0, None, [HOUR.after_ms] * 50)
    page(place, 0, None, [HOUR.after_ms] * 50)
    assert place.next_request() is None


def test_full_pages_of_one_second_without_a_next_one_make_no_endless_loop() -> None:
    place = SearchPass("tea", SECOND)
    page(place, PAGE_ITEMS, None)
    assert place.next_request() is None


# Broken chains.


def test_a_page_that_points_to_itself_or_back_is_an_error() -> None:
    for back in (1, 2):
        place = SearchPass("tea", HOUR)
        full_pages(place, 2)
        with pytest.raises(InvalidPageToken):
            page(place, 50, f"page-{2 - back}")


def test_a_broken_chain_begins_again_in_the_same_window_a_few_times() -> None:
    place = SearchPass("tea", HOUR)
    for _ in range(MAX_RESTARTS):
        page(place, 50, "second")
        assert place.restart_chain()
        assert place.next_request() == SearchRequest("tea", HOUR, None)
    assert not place.restart_chain()


def test_a_restarted_chain_may_have_the_tokens_of_the_first_one() -> None:
    place = SearchPass("tea", HOUR)
    full_pages(place, 2)
    place.restart_chain()
    full_pages(place, 2)
    assert place.next_request() == SearchRequest("tea", HOUR, "page-1")


def test_what_is_left_out_is_said() -> None:
    place = SearchPass("tea", HOUR)
    full_pages(place, CAP_PAGES, HOUR.before_ms)  # two halves
    page(place, 0, "second", falling(10_700_000, 50))
    place.leave_rest()
    assert place.next_request() is None
    older, newer = place.unread
    assert older == Window(7_200_000, 9_000_999)
    assert newer.after_ms == 9_001_000
    assert 10_700_000 - 49_000 <= newer.before_ms < 10_700_000, "what has been read is not unread"


def test_a_pass_has_got_on_once_less_than_its_window_is_left() -> None:
    place = SearchPass("tea", HOUR)
    assert not place.has_got_on
    for number in range(3):
        page(place, 0, f"page-{number}", [HOUR.before_ms] * 50)
        assert not place.has_got_on, "all of it is of the window's last second"
    page(place, 0, "page-3", falling(HOUR.before_ms - 1000, 50))
    assert place.has_got_on


def test_a_pass_that_read_nothing_leaves_all_and_one_that_read_all_leaves_nothing() -> None:
    place = SearchPass("tea", HOUR)
    place.leave_rest()
    assert place.unread == [HOUR]

    place = SearchPass("tea", HOUR)
    page(place, 5, None)
    place.leave_rest()
    assert place.unread == []


# Ignored dates.


def test_a_few_strays_are_counted_and_change_nothing() -> None:
    place = SearchPass("tea", HOUR)
    page(place, 0, "second", [*[AFTER_MS] * 4, *falling(HOUR.before_ms, 40), *[BEFORE_MS] * TOLERATED_STRAYS])
    assert (place.items, place.outside) == (40, 4 + TOLERATED_STRAYS)
    assert place.next_request() == SearchRequest("tea", HOUR, "second")


def test_in_date_order_a_page_that_ends_below_the_window_is_its_last() -> None:
    place = SearchPass("tea", HOUR)
    page(place, 0, "second", [*falling(HOUR.before_ms, 30), *falling(BEFORE_MS, 20)])
    assert place.next_request() is None
    assert place.is_reliable
    assert (place.items, place.outside) == (30, 20)


def test_neighbours_that_changed_places_are_in_order() -> None:
    place = SearchPass("tea", HOUR)
    moments = [*falling(HOUR.before_ms, 30), *falling(BEFORE_MS, 20)]
    swapped = [moments[position ^ 1] for position in range(50)]
    page(place, 0, "second", swapped)
    assert place.next_request() is None
    assert place.is_reliable


def test_a_flood_of_older_videos_alone_shows_that_there_is_nothing() -> None:
    place = SearchPass("tea", HOUR)
    page(place, 0, "second", falling(BEFORE_MS, 50))
    assert place.next_request() is None
    assert place.is_reliable


@pytest.mark.parametrize("inside", [0, 1, 20])
def test_a_flood_without_any_order_shows_nothing(inside: int) -> None:
    """In March 2019 both the dates and the order were off for a fortnight: what is not on the page may be anywhere."""
    place = SearchPass("tea", HOUR)
    moments = [*falling(HOUR.before_ms, inside), *falling(BEFORE_MS, 50 - inside, 60_000)]
    random.Random(1).shuffle(moments)
    page(place, 0, "second", moments)
    assert place.next_request() is None
    assert not place.is_reliable


def test_inside_after_outside_shows_nothing() -> None:
    place = SearchPass("tea", HOUR)
    page(place, 0, None, [*falling(BEFORE_MS, 25), *falling(HOUR.before_ms, 25)])
    assert not place.is_reliable


def test_above_the_window_a_flood_is_read_on_until_it_comes_to_it() -> None:
    place = SearchPass("tea", HOUR)
    page(place, 0, "second", falling(AFTER_MS, 50))
    assert place.next_request() == SearchRequest("tea", HOUR, "second")
    page(place, 0, "third", [*falling(AFTER_MS - 50_000, 25), *falling(HOUR.before_ms, 25)])
    assert place.next_request() == SearchRequest("tea", HOUR, "third")
    page(place, 0, "fourth", [*falling(HOUR.before_ms - 25_000, 25), *falling(BEFORE_MS, 25)])
    assert place.next_request() is None
    assert place.is_reliable
    assert place.items == 50


@pytest.mark.parametrize("token", [None, ""])
def test_a_flood_that_ends_above_the_window_shows_nothing_of_it(token: str | None) -> None:
    place = SearchPass("tea", HOUR)
    page(place, 0, "second", falling(AFTER_MS, 50))
    page(place, 0, token, falling(AFTER_MS - 50_000, 50))
    assert place.next_request() is None
    assert not place.is_reliable


def test_a_flood_above_the_window_without_end_ends() -> None:
    place = SearchPass("tea", HOUR)
    for number in range(MAX_PAGES):
        page(place, 0, f"page-{number}", falling(AFTER_MS, 50))
    assert place.next_request() is None
    assert not place.is_reliable


def test_a_few_new_videos_are_no_flood() -> None:
    """They were published while the pass ran; a page of them alone is the last one of an empty window."""
    place = SearchPass("tea", HOUR)
    page(place, 0, None, falling(AFTER_MS, TOLERATED_STRAYS))
    assert place.next_request() is None
    assert place.is_reliable


def test_many_new_videos_above_those_of_the_window_are_no_flood() -> None:
    place = SearchPass("tea", HOUR)
    page(place, 0, None, [*falling(AFTER_MS, 10), *falling(HOUR.before_ms, 10)])
    assert place.next_request() is None
    assert place.is_reliable


def test_a_chain_that_begins_again_is_judged_anew() -> None:
    place = SearchPass("tea", HOUR)
    page(place, 0, "second", falling(AFTER_MS, 50))
    place.restart_chain()
    page(place, 5, None)
    assert place.next_request() is None
    assert place.is_reliable

    place = SearchPass("tea", HOUR)
    for number in range(CAP_PAGES):
        page(place, 0, f"page-{number}", [HOUR.after_ms + number * 1000] * 50)
    for number in range(CAP_PAGES):
        page(place, 0, f"page-{number}", falling(HOUR.before_ms - number * 50_000, 50))
    request = place.next_request()
    assert request is not None
    assert request.window.before_ms < HOUR.before_ms - 300_000, "what the ordered chain has shown is read again"


def test_below_newer_videos_the_chain_goes_on() -> None:
    place = SearchPass("tea", HOUR)
    page(place, 0, "second", [*falling(AFTER_MS, 25), *falling(HOUR.before_ms, 25)])
    assert place.next_request() == SearchRequest("tea", HOUR, "second")
    assert place.is_reliable


def test_publish_times_are_whole_seconds_so_the_windows_first_second_is_inside() -> None:
    place = SearchPass("tea", Window(7_200_700, 10_800_000))
    page(place, 0, None, [7_200_000] * 20)
    assert (place.items, place.outside) == (20, 0)
