"""The model of YouTube that the benchmark of a month runs over, and how its outcome is measured."""

import asyncio
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.month_strategies import Clock
from bench.producer_month import due_ms, least_mean_delay_seconds
from bench.youtube_model import (
    DAY_MS,
    HOUR_MS,
    NO_FAULTS,
    Faults,
    IndexingDelay,
    ModelVideo,
    Publications,
    Traffic,
    YouTubeModel,
    publish,
)
from contract.producer_state import SEARCH_BUCKET, UNITS_BUCKET
from contract.times import next_pacific_midnight_ms, pacific_day_start_ms
from producer.error_policy import DelegationRefused, QuotaExhausted, YouTubeUnavailable
from producer.following import QueryMatcher
from producer.raw_item import read_search, read_uploads, read_videos
from producer.search_pass import SearchRequest
from producer.windows import Window
from producer.youtube_client import Page, UploadsRequest

BEGIN_MS = pacific_day_start_ms(1_792_500_000_000)
WEEK = Window(BEGIN_MS, BEGIN_MS + 7 * DAY_MS)
TRAFFIC = Traffic(queries=("tea ceremony", "chess opening"), videos_per_day=300, channels=50)
ALL = Window(0, BEGIN_MS + 99 * DAY_MS)


def a_video(number: int, published_ms: int, indexed_ms: int | None = 0) -> ModelVideo:
    return ModelVideo(f"v{number:010d}", "UC1", published_ms, indexed_ms, ("tea",), f"tea {number}")


def a_model(
    count: int = 0,
    faults: Faults = NO_FAULTS,
    *,
    now_ms: int = BEGIN_MS,
    videos: list[ModelVideo] | None = None,
) -> tuple[YouTubeModel, Clock]:
    """A model with `count` videos of one channel, a second apart up to now."""
    clock = Clock(now_ms)
    made = [a_video(number, now_ms - (count - 1 - number) * 1000) for number in range(count)]
    return YouTubeModel(Publications(videos or made, {}), faults, seed=1, now_ms=clock), clock


def search(model: YouTubeModel, window: Window = ALL, token: str | None = None) -> Page:
    return asyncio.run(model.search(SearchRequest("tea", window, token)))


def ids(page: Page) -> list[str]:
    return [seen.video_id for seen in read_search(page.items).videos]


def all_pages(ask: Callable[[str | None], Page]) -> list[Page]:
    pages = [ask(None)]
    while (token := pages[-1].next_page_token) is not None:
        pages.append(ask(token))
    return pages


def test_the_seed_decides_everything() -> None:
    once, again, other = (publish(TRAFFIC, WEEK, IndexingDelay(), seed) for seed in (1, 1, 2))
    assert once == again
    assert once != other


def test_as_much_is_published_as_was_asked_for() -> None:
    published = publish(TRAFFIC, WEEK, IndexingDelay(), 1)
    matching = [video for video in published.videos if video.queries]
    once = [video for video in matching if video.channel_id not in published.rates]
    days = TRAFFIC.history_days + 7
    assert len(matching) / days == pytest.approx(300, rel=0.05)
    assert len(once) / len(matching) == pytest.approx(TRAFFIC.one_off, rel=0.1)
    assert len({video.channel_id for video in once}) == len(once)
    assert 1 - len(matching) / len(published.videos) == pytest.approx(
        TRAFFIC.off_topic * 0.8 / (1 - TRAFFIC.off_topic * 0.2), rel=0.1
    )
    assert sum(published.rates.values()) == pytest.approx(240)
    assert [video.published_ms for video in published.videos] == sorted(
        video.published_ms for video in published.videos
    )


def test_indexing_takes_its_time() -> None:
    published = publish(TRAFFIC, WEEK, IndexingDelay(600, 21_600), 1)
    delays = sorted(((video.indexed_ms or 0) - video.published_ms) / 1000 for video in published.videos)
    assert delays[len(delays) // 2] == pytest.approx(600, rel=0.1)
    assert delays[len(delays) * 99 // 100] == pytest.approx(21_600, rel=0.2)


def test_texts_hold_the_words_of_the_queries_but_for_those_untold() -> None:
    published = publish(TRAFFIC, WEEK, IndexingDelay(), 1)
    matcher = QueryMatcher(TRAFFIC.queries)
    told = [set(matcher.matching((video.text,))) == set(video.queries) for video in published.videos if video.queries]
    assert 1 - sum(told) / len(told) == pytest.approx(TRAFFIC.untold, rel=0.2)
    assert not any(matcher.matching((video.text,)) for video in published.videos if not video.queries)


def test_a_search_lists_the_window_newest_first_page_by_page() -> None:
    model, clock = a_model(120)
    pages = all_pages(lambda token: search(model, Window(clock.now_ms - 109_000, clock.now_ms - 10_000), token))
    assert [len(page.items) for page in pages] == [50, 50]
    found = [video_id for page in pages for video_id in ids(page)]
    assert found == [f"v{number:010d}" for number in range(109, 9, -1)]


def test_a_search_ends_at_the_cap() -> None:
    model, _ = a_model(700)
    pages = all_pages(lambda token: search(model, token=token))
    assert sum(len(page.items) for page in pages) == 500


def test_a_video_is_found_once_it_is_indexed_and_listed_at_once() -> None:
    late, never = a_video(1, BEGIN_MS, BEGIN_MS + 5000), a_video(2, BEGIN_MS, None)
    model, clock = a_model(videos=[late, never])
    assert ids(search(model)) == []
    assert len(asyncio.run(model.uploads(UploadsRequest("UC1"))).items) == 2
    clock.now_ms += 5000
    assert ids(search(model)) == [late.video_id]


def test_a_call_leaves_out_each_video_by_chance() -> None:
    model, _ = a_model(50, Faults(omitted=0.1, repeated=0.0, refused=0.0))
    answers = [set(ids(search(model))) for _ in range(100)]
    assert sum(map(len, answers)) / 100 == pytest.approx(45, abs=1)
    assert len(set().union(*answers)) == 50


def test_a_later_page_may_repeat_an_item_and_loses_none() -> None:
    model, _ = a_model(120, Faults(omitted=0.0, repeated=1.0, refused=0.0))
    pages = all_pages(lambda token: search(model, token=token))
    found = [video_id for page in pages for video_id in ids(page)]
    assert (len(found), len(set(found))) == (121, 120)
    assert found[100] == found[99]


def test_ignored_dates_bring_the_newest_whatever_the_window() -> None:
    model, clock = a_model(120, Faults(omitted=0.0, refused=0.0, dates_ignored=Window(BEGIN_MS, BEGIN_MS + 1000)))
    old = Window(clock.now_ms - 119_000, clock.now_ms - 119_000)
    assert ids(search(model, old))[0] == "v0000000119"
    clock.now_ms += 1001
    assert ids(search(model, old)) == ["v0000000000"]


def test_in_an_outage_every_call_fails() -> None:
    model, clock = a_model(1, Faults(omitted=0.0, refused=0.0, outage=Window(BEGIN_MS, BEGIN_MS + 1000)))
    with pytest.raises(YouTubeUnavailable):
        search(model)
    with pytest.raises(YouTubeUnavailable):
        asyncio.run(model.uploads(UploadsRequest("UC1")))
    clock.now_ms += 1001
    assert len(search(model).items) == 1
    assert (model.calls, model.failed) == ({SEARCH_BUCKET: 2, UNITS_BUCKET: 1}, {SEARCH_BUCKET: 1, UNITS_BUCKET: 1})


def test_two_hours_a_day_searches_are_refused_and_other_calls_are_not() -> None:
    model, clock = a_model(1, Faults(refused=1.0, refused_from_hour=18))
    midnight_ms = BEGIN_MS // DAY_MS * DAY_MS
    refused = []
    for hour in range(24):
        clock.now_ms = midnight_ms + hour * HOUR_MS
        asyncio.run(model.uploads(UploadsRequest("UC1")))
        try:
            search(model)
        except DelegationRefused:
            refused.append(hour)
    assert refused == [18, 19]


def test_the_server_counts_failed_calls_and_starts_anew_at_midnight_pacific() -> None:
    model, clock = a_model(1, Faults(refused=1.0, refused_from_hour=BEGIN_MS // HOUR_MS % 24))
    for _ in range(100):
        with pytest.raises(DelegationRefused):
            search(model)
    clock.now_ms = next_pacific_midnight_ms(BEGIN_MS) - 1
    with pytest.raises(QuotaExhausted):
        search(model)
    assert model.overspent == {SEARCH_BUCKET: 1}
    clock.now_ms += 3 * HOUR_MS
    search(model)


def test_uploads_come_newest_first_and_page_by_page() -> None:
    model, _ = a_model(120)
    pages = all_pages(lambda token: asyncio.run(model.uploads(UploadsRequest("UC1", token))))
    found = [seen.video_id for page in pages for seen in read_uploads(page.items).videos]
    assert found == [f"v{number:010d}" for number in range(119, -1, -1)]


def test_items_are_readable_as_the_api_s() -> None:
    model, clock = a_model(1)
    seen = [
        *read_search(search(model).items).videos,
        *read_uploads(asyncio.run(model.uploads(UploadsRequest("UC1"))).items).videos,
        *read_videos(asyncio.run(model.videos(["v0000000000"])).items).videos,
    ]
    assert [(each.video_id, each.published_ms) for each in seen] == [("v0000000000", clock.now_ms)] * 3
    assert all("tea 0" in each.texts for each in seen)


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=50), st.floats(1, 10_000))
def test_no_simple_allocation_of_looks_is_better_than_the_limit(rates: list[float], looks: float) -> None:
    def mean_delay_seconds(weights: list[float]) -> float:
        shares = [looks * weight / sum(weights) for weight in weights]
        return DAY_MS / 1000 * sum(rate / (2 * share) for rate, share in zip(rates, shares, strict=True)) / sum(rates)

    least = least_mean_delay_seconds(rates, looks)
    assert least == pytest.approx(mean_delay_seconds([math.sqrt(rate) for rate in rates]))
    assert least <= mean_delay_seconds([1.0] * len(rates)) * 1.000001
    assert least <= mean_delay_seconds(rates) * 1.000001


@pytest.mark.parametrize(
    ("indexed_hour", "due_hour"),
    [
        pytest.param(0, 24, id="due before the outage"),
        pytest.param(90, 162, id="half of its day before the outage"),
        pytest.param(120, 172, id="indexed in the outage"),
        pytest.param(200, 224, id="indexed after the outage"),
    ],
)
def test_hours_in_which_nobody_gets_an_answer_do_not_count(indexed_hour: int, due_hour: int) -> None:
    outage = Window(100 * HOUR_MS, 148 * HOUR_MS)
    assert due_ms(a_video(1, 0, indexed_hour * HOUR_MS), outage) == due_hour * HOUR_MS
