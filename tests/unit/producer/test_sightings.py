"""Which items are published, and what is then known."""

from typing import Any

import pytest

from producer.following import QueryMatcher
from producer.known import KnownVideo
from producer.raw_item import Sighting, read_search, read_uploads, read_videos
from producer.sightings import Sorted, sort_found, sort_refreshed, sort_uploads
from tests.fakes.producer_edges import search_item, upload_item, video_id, video_item

NOW_MS = 1_780_000_000_000
THEN_MS = NOW_MS - 86_400_000
BOTH = QueryMatcher(("tea", "coffee"))
ONE = video_id(1)


def found(item: Any) -> list[Sighting]:
    return read_search([item]).videos


def uploaded(title: str, number: int = 1) -> list[Sighting]:
    return read_uploads([upload_item(number, THEN_MS, title)]).videos


def listed(title: str = "tea", live: str = "none") -> list[Sighting]:
    return read_videos([video_item(1, THEN_MS, title, live)]).videos


def ids(result: Sorted) -> list[str]:
    return [kept.seen.video_id for kept in result.kept]


# Searches.


def test_what_a_search_finds_is_kept_for_its_query_and_those_that_it_matches() -> None:
    item = search_item(1)
    item["snippet"]["title"] = "Coffee"
    (kept,) = sort_found(found(item), "tea", {}, BOTH, NOW_MS).kept
    assert kept.is_new
    assert kept.video == KnownVideo(NOW_MS, NOW_MS, ("coffee", "tea"))


def test_a_repeat_is_published_too_and_only_adds_queries() -> None:
    before = KnownVideo(THEN_MS, THEN_MS, ("coffee",), completed=True, live="live", missing_ms=THEN_MS)
    bare = {"id": {"kind": "youtube#video", "videoId": ONE}}
    (kept,) = sort_found(found(bare), "tea", {ONE: before}, BOTH, NOW_MS).kept
    assert not kept.is_new
    assert kept.video == KnownVideo(
        THEN_MS, THEN_MS, ("coffee", "tea"), completed=True, live="live", missing_ms=THEN_MS
    )


def test_a_search_says_whether_a_video_is_live() -> None:
    item = search_item(1)
    item["snippet"]["liveBroadcastContent"] = "upcoming"
    (kept,) = sort_found(found(item), "tea", {ONE: KnownVideo(THEN_MS, THEN_MS)}, BOTH, NOW_MS).kept
    assert kept.video.live == "upcoming"


def test_what_was_removed_is_asked_for_and_not_published() -> None:
    gone = {ONE: KnownVideo(THEN_MS, THEN_MS, ("tea",), gone_ms=THEN_MS)}
    assert sort_found(found(search_item(1)), "tea", gone, BOTH, NOW_MS) == Sorted([], [ONE], 0)
    assert sort_uploads(uploaded("tea"), gone, BOTH, NOW_MS, keep_all=True) == Sorted([], [ONE], 0)


# Uploads.


def test_of_the_uploads_what_matches_is_kept() -> None:
    seen = [*uploaded("Green tea", 1), *uploaded("Football", 2), *uploaded("coffee & tea", 3)]
    result = sort_uploads(seen, {}, BOTH, NOW_MS, keep_all=False)
    assert ids(result) == [video_id(1), video_id(3)]
    assert result.unmatched == 1
    assert [kept.video.queries for kept in result.kept] == [("tea",), ("coffee", "tea")]
    assert ids(sort_uploads(seen, {}, BOTH, NOW_MS, keep_all=True)) == [video_id(1), video_id(2), video_id(3)]


def test_an_upload_that_is_known_is_kept_though_it_matches_nothing_now() -> None:
    for queries in ((), ("milk",)):
        known = {ONE: KnownVideo(THEN_MS, THEN_MS, queries)}
        (kept,) = sort_uploads(uploaded("Football"), known, BOTH, NOW_MS, keep_all=False).kept
        assert kept.video.queries == queries
        assert not kept.is_new


# Refreshes.


def test_a_refresh_says_that_a_video_is_alive_and_complete() -> None:
    before = KnownVideo(THEN_MS, THEN_MS, ("milk",), live="upcoming", missing_ms=THEN_MS)
    (kept,) = sort_refreshed(listed(live="live"), {ONE: before}, BOTH, NOW_MS, keep_all=False).kept
    assert kept.video == KnownVideo(THEN_MS, NOW_MS, ("milk", "tea"), completed=True, live="live")


def test_a_refresh_without_a_live_state_is_of_one_that_is_over() -> None:
    bare = read_videos([{"id": ONE}]).videos
    known = {ONE: KnownVideo(THEN_MS, THEN_MS, ("tea",), live="live")}
    (kept,) = sort_refreshed(bare, known, BOTH, NOW_MS, keep_all=False).kept
    assert kept.video.live == "none"


@pytest.mark.parametrize(
    ("before", "title", "keep_all", "is_kept"),
    [
        (None, "tea", False, True),
        (None, "Football", False, False),
        (None, "Football", True, True),
        (KnownVideo(THEN_MS, THEN_MS, ("milk",)), "Football", False, True),
        (KnownVideo(THEN_MS, THEN_MS, ("milk",), gone_ms=THEN_MS), "Football", False, False),
        (KnownVideo(THEN_MS, THEN_MS, ("tea",), gone_ms=THEN_MS), "Football", False, True),
        (KnownVideo(THEN_MS, THEN_MS, ("milk",), gone_ms=THEN_MS), "coffee", False, True),
        (KnownVideo(THEN_MS, THEN_MS, ("milk",), gone_ms=THEN_MS), "Football", True, True),
    ],
)
def test_what_is_back_or_new_must_be_wanted(
    before: KnownVideo | None, title: str, keep_all: bool, is_kept: bool
) -> None:
    known = {} if before is None else {ONE: before}
    result = sort_refreshed(listed(title), known, BOTH, NOW_MS, keep_all=keep_all)
    assert (ids(result), result.unmatched) == (([ONE], 0) if is_kept else ([], 1))
    for kept in result.kept:
        assert kept.video.gone_ms is None
        assert kept.is_new is (before is None)
