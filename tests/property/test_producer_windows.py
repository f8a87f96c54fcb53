"""Coverage: whatever the arrival pattern, a pass returns every video of its window, or says in which second not."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from producer.search_pass import RESULT_CAP, SearchPass
from producer.windows import Window, split
from tests.fakes.producer_edges import FakeYouTube

SPAN_SECONDS = 4 * 86_400

bursts = st.lists(
    st.tuples(
        st.integers(0, SPAN_SECONDS * 1000),
        st.sampled_from([1, 10, 50, 351, 499, 500, 501, 1200]),
        st.sampled_from([0, 1, 7, 1000, 60_000]),
    ),
    max_size=6,
)
"""Bursts of videos: from when, how many, and how many ms apart; 0 ms apart are up to 1200 at one moment."""


def read(youtube: FakeYouTube, window: Window) -> tuple[set[str], SearchPass]:
    place = SearchPass("tea", window)
    found: set[str] = set()
    for _ in range(20_000):
        request = place.next_request()
        if request is None:
            return found, place
        page = asyncio.run(youtube.search(request))
        found |= {item["id"]["videoId"] for item in page.items}
        place.take(len(page.items), page.next_page_token)
    raise AssertionError("the pass does not end")


@settings(max_examples=40, deadline=None)
@given(bursts=bursts, whole_seconds=st.booleans())
def test_every_video_of_the_window_is_found(bursts: list[tuple[int, int, int]], whole_seconds: bool) -> None:
    moments = [start + number * apart for start, count, apart in bursts for number in range(count)]
    if whole_seconds:
        moments = [moment // 1000 * 1000 for moment in moments]
    window = Window(0, max([SPAN_SECONDS * 1000, *moments]))
    youtube = FakeYouTube(moments)

    found, place = read(youtube, window)

    missed = youtube.ids - found
    crowded = {second for second in {m // 1000 for m in moments} if crowd(moments, second) > RESULT_CAP}
    assert {window.after_ms // 1000 for window in place.truncated} >= crowded
    assert bool(missed) == bool(crowded), "videos are missed only where one second holds more than the cap"
    assert len(missed) <= sum(crowd(moments, second) - RESULT_CAP for second in crowded)


def crowd(moments: list[int], second: int) -> int:
    return sum(moment // 1000 == second for moment in moments)


@given(after=st.integers(0, 10**13), length=st.integers(0, 10**10))
def test_halves_touch_and_cover(after: int, length: int) -> None:
    window = Window(after, after + length)
    halves = split(window)
    if halves is None:
        assert window.after_ms // 1000 == window.before_ms // 1000
        return
    older, newer = halves
    assert (window.after_ms, window.before_ms) == (older.after_ms, newer.before_ms)
    assert older.before_ms + 1 == newer.after_ms
    assert newer.after_ms % 1000 == 0
    assert older.after_ms <= older.before_ms
    assert newer.after_ms <= newer.before_ms
