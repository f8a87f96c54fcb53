"""Coverage: a pass lists every video of its window or says where not, and no second is left out between passes."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from contract.topics import DAY_MS
from producer.coverage import (
    MAX_STRETCHES,
    Coverage,
    Stretch,
    complete_fresh,
    complete_stretch,
    decide_fresh_window,
    give_up,
    next_stretch,
)
from producer.error_policy import InvalidPageToken
from producer.raw_item import read_search
from producer.search_pass import PAGE_ITEMS, RESULT_CAP, SearchAnswer, SearchPass, SearchRequest
from producer.windows import Window, split
from producer.youtube_client import Page
from tests.fakes.producer_edges import FakeYouTube, search_item

SPAN_SECONDS: Final = 4 * 86_400

bursts = st.lists(
    st.tuples(
        st.integers(0, SPAN_SECONDS),
        st.sampled_from([1, 10, 50, 351, 499, 500, 501, 1200]),
        st.sampled_from([0, 1, 7, 60]),
    ),
    max_size=6,
)
"""Bursts of videos: from which second, how many, and how many seconds apart; 0 apart are up to 1200 at one moment."""

starts = st.integers(SPAN_SECONDS // 2 * 1000, SPAN_SECONDS // 2 * 1000 + 999)


def moments_of(found: list[tuple[int, int, int]]) -> list[int]:
    """Publish times in ms, whole seconds as YouTube shows them."""
    return [(start + number * apart) * 1000 for start, count, apart in found for number in range(count)]


def read(youtube: FakeYouTube, window: Window, page_limit: int = 20_000) -> tuple[set[str], SearchPass]:
    """Read a window to its end, or to the page limit, as the poller does."""
    place = SearchPass("tea", window)
    found: set[str] = set()
    while (request := place.next_request()) is not None:
        assert place.pages < 20_000, "the pass does not end"
        page = asyncio.run(youtube.search(request))
        videos = read_search(page.items).videos
        found |= {seen.video_id for seen in videos}
        try:
            place.take(SearchAnswer([seen.published_ms for seen in videos], page.next_page_token))
        except InvalidPageToken:
            if not place.restart_chain():
                place.leave_rest()
        if place.pages >= page_limit:
            place.leave_rest()
    return found, place


def listable(youtube: FakeYouTube, window: Window) -> set[str]:
    return {f"vid{number:08d}" for moment, number in youtube._videos if window.after_ms <= moment <= window.before_ms}


@settings(max_examples=40)
@given(bursts=bursts, start_ms=starts)
def test_every_video_of_the_window_is_found(bursts: list[tuple[int, int, int]], start_ms: int) -> None:
    moments = moments_of(bursts)
    window = Window(start_ms, max([SPAN_SECONDS * 1000, *moments]))
    youtube = FakeYouTube(moments)

    found, place = read(youtube, window)

    missed = listable(youtube, window) - found
    inside = [moment for moment in moments if moment >= start_ms]
    crowded = crowds(inside)
    assert place.is_reliable
    assert place.unread == []
    assert {truncated.after_ms // 1000 for truncated in place.truncated} >= set(crowded)
    assert bool(missed) == bool(crowded), "videos are missed only where one second holds more than the cap"
    assert len(missed) <= sum(crowded.values())


def crowds(moments: list[int]) -> dict[int, int]:
    """The seconds that hold more than YouTube lists, and how many more."""
    seconds = Counter(moment // 1000 for moment in moments)
    return {second: count - RESULT_CAP for second, count in seconds.items() if count > RESULT_CAP}


@settings(max_examples=40)
@given(bursts=bursts, page_limit=st.integers(1, 12))
def test_what_a_cut_pass_did_not_list_is_in_what_it_calls_unread(
    bursts: list[tuple[int, int, int]], page_limit: int
) -> None:
    moments = moments_of(bursts)
    assume(not crowds(moments))
    window = Window(0, max([SPAN_SECONDS * 1000, *moments]))
    youtube = FakeYouTube(moments)

    found, place = read(youtube, window, page_limit)

    assert place.pages <= page_limit
    unread = set().union(*(listable(youtube, part) for part in place.unread))
    assert listable(youtube, window) <= found | unread


class OddYouTube(FakeYouTube):
    """As the real one at its worst; which faults there are is up to the test."""

    def __init__(self, moments: list[int], faults: set[str]) -> None:
        super().__init__(moments)
        self._faults = faults
        self.ignores_dates = "dates ignored" in faults
        self.stuck_token = "again" if "stuck token" in faults else None
        self._calls = 0

    async def search(self, request: SearchRequest) -> Page:
        self._calls += 1
        page = await super().search(request)
        items, token = page.items, page.next_page_token
        if "blank token" in self._faults and self._calls % 3 == 0:
            token = None
        if "token cycle" in self._faults and token is not None:
            token = str(int(token) % (2 * PAGE_ITEMS))
        if "neighbours" in self._faults:
            items = [
                items[position ^ 1] if position ^ 1 < len(items) else items[position] for position in range(len(items))
            ]
        if "strays" in self._faults:
            items = [search_item(90_000_000 + stray, -10_000_000) for stray in range(3)] + items[: PAGE_ITEMS - 3]
            token = token if len(page.items) < PAGE_ITEMS - 2 else str(int(request.page_token or 0) + PAGE_ITEMS - 3)
        return Page(items, token)


@pytest.mark.parametrize(
    "faults",
    [
        {"dates ignored"},
        {"stuck token"},
        {"blank token"},
        {"token cycle"},
        {"neighbours"},
        {"strays"},
        {"neighbours", "blank token"},
    ],
    ids=lambda faults: " and ".join(sorted(faults)),
)
@settings(max_examples=15)
@given(
    bursts=st.lists(
        st.tuples(st.integers(0, SPAN_SECONDS), st.sampled_from([1, 10, 60, 351, 700]), st.sampled_from([3, 60])),
        max_size=4,
    ),
    start_ms=starts,
)
def test_whatever_youtube_does_a_pass_ends_and_says_what_it_may_lack(
    faults: set[str], bursts: list[tuple[int, int, int]], start_ms: int
) -> None:
    moments = moments_of(bursts)
    window = Window(start_ms, max([SPAN_SECONDS * 1000, *moments]))
    youtube = OddYouTube(moments, faults)

    found, place = read(youtube, window, page_limit=500)

    unread = set().union(*(listable(youtube, part) for part in (*place.unread, *place.truncated)))
    assert not place.is_reliable or listable(youtube, window) <= found | unread
    assert len(youtube.requests) <= 510


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


# From pass to pass.


@dataclass
class Ledger:
    """What was really read, second by second, beside what the coverage says."""

    coverage: Coverage | None = None
    read: list[Window] = field(default_factory=list)
    lost: list[Window] = field(default_factory=list)
    first_ms: int = 0

    def fresh(self, now_ms: int, reach_seconds: float, unread_share: float) -> None:
        """A pass over the newest stretch that left the older `unread_share` of its window unread."""
        fresh = decide_fresh_window(
            self.coverage, now_ms, overlap_seconds=3600, backfill_seconds=3 * 86_400, reach_seconds=reach_seconds
        )
        if self.coverage is None:
            self.first_ms = (fresh.missed or fresh.window).after_ms
        done, unread = cut(fresh.window, unread_share)
        self.read += done
        missed = [*([fresh.missed] if fresh.missed else []), *unread]
        after = complete_fresh(
            self.coverage, fresh.window, missed, now_ms, items=10, overlap_seconds=3600, sweep_seconds=2 * 86_400
        )
        self._keep(after, now_ms)

    def stretch(self, now_ms: int, unread_share: float) -> None:
        """A pass over what is read besides."""
        stretch = next_stretch(self.coverage) if self.coverage else None
        if stretch is None or self.coverage is None:
            return
        done, unread = cut(stretch.window, unread_share)
        self.read += done
        self._keep(complete_stretch(self.coverage, stretch, unread), now_ms)

    def _keep(self, coverage: Coverage, now_ms: int) -> None:
        self.coverage, lost = give_up(coverage, now_ms, 3 * 86_400)
        self.lost += [stretch.window for stretch in lost]


def cut(window: Window, unread_share: float) -> tuple[list[Window], list[Window]]:
    """The newer part, which is read, and the older one."""
    edge_ms = window.after_ms + int((window.before_ms - window.after_ms) * unread_share) // 1000 * 1000
    if edge_ms <= window.after_ms:
        return [window], []
    return [Window(edge_ms, window.before_ms)], [Window(window.after_ms, edge_ms - 1)]


def merged(windows: list[Window]) -> list[Window]:
    """The same moments in as few windows as possible."""
    result: list[Window] = []
    for window in sorted(windows, key=lambda each: each.after_ms):
        if result and window.after_ms <= result[-1].before_ms + 1:
            result[-1] = Window(result[-1].after_ms, max(result[-1].before_ms, window.before_ms))
        else:
            result.append(window)
    return result


def without(windows: list[Window], taken: list[Window]) -> list[Window]:
    """What of `windows` is in none of `taken`."""
    rest = merged(windows)
    for hole in merged(taken):
        parts = []
        for window in rest:
            left = Window(window.after_ms, min(window.before_ms, hole.after_ms - 1))
            right = Window(max(window.after_ms, hole.before_ms + 1), window.before_ms)
            parts += [part for part in (left, right) if part.after_ms <= part.before_ms]
        rest = parts
    return rest


steps = st.lists(
    st.tuples(
        st.sampled_from(["fresh", "stretch"]),
        st.one_of(st.integers(1, 20_000_000), st.integers(0, 4 * DAY_MS), st.just(-3_600_000)),
        st.sampled_from([0.0, 0.0, 0.3, 1.0]),
        st.sampled_from([3600.0, 20_000.5, 86_400.0]),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=200)
@given(start_ms=st.integers(1_780_000_000_000, 1_780_000_001_999), steps=steps)
def test_up_to_the_watermark_all_is_read_or_known_to_be_missing(
    start_ms: int, steps: list[tuple[str, int, float, float]]
) -> None:
    """For any passes, outages, cuts and jumps of an hour back."""
    ledger, now_ms = Ledger(), start_ms
    for what, elapsed_ms, unread_share, reach_seconds in steps:
        now_ms += elapsed_ms
        if what == "fresh":
            ledger.fresh(now_ms, reach_seconds, unread_share)
        else:
            ledger.stretch(now_ms, unread_share)
        if ledger.coverage is None:
            continue
        missed = [stretch.window for stretch in ledger.coverage.missed]
        span = [Window(ledger.first_ms, ledger.coverage.covered_until_ms)]
        assert without(span, [*ledger.read, *missed, *ledger.lost]) == []


@settings(max_examples=100)
@given(start_ms=st.integers(1_780_000_000_000, 1_780_000_001_999), steps=steps)
def test_stretches_are_in_order_few_and_come_to_an_end(
    start_ms: int, steps: list[tuple[str, int, float, float]]
) -> None:
    ledger, now_ms = Ledger(), start_ms
    for what, elapsed_ms, unread_share, reach_seconds in steps:
        now_ms += elapsed_ms
        if what == "fresh":
            ledger.fresh(now_ms, reach_seconds, unread_share)
        else:
            ledger.stretch(now_ms, unread_share)
    if ledger.coverage is None:
        return
    assert len(ledger.coverage.stretches) <= MAX_STRETCHES
    for older, newer in pairwise(ledger.coverage.stretches):
        assert older.window.before_ms <= newer.window.before_ms
    for _ in range(2 * MAX_STRETCHES):
        ledger.stretch(now_ms, 0.0)
    assert ledger.coverage.stretches == ()


@given(after=st.integers(0, 10**13), length=st.integers(0, 40 * DAY_MS))
def test_a_gap_is_cut_into_parts_without_a_hole(after: int, length: int) -> None:
    gap = Window(after, after + length)
    coverage = complete_stretch(Coverage(after), Stretch(gap), [gap])
    assert merged([part.window for part in coverage.missed]) == [gap]
    assert sum(part.window.seconds for part in coverage.missed) == pytest.approx(gap.seconds)


def test_the_ledger_of_this_test_can_fail() -> None:
    ledger = Ledger()
    ledger.fresh(1_780_000_000_000, 86_400.0, 0.0)
    assert ledger.coverage is not None
    forgotten = msgspec.structs.replace(ledger.coverage, stretches=())
    span = [Window(ledger.first_ms, forgotten.covered_until_ms)]
    assert without(span, ledger.read) != []
