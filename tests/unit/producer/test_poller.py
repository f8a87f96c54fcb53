"""The order of effects of a tick, with failures at every step."""

from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from contract.producer_state import SEARCH_BUCKET
from contract.times import format_millis, next_pacific_midnight_ms
from ops.metrics import ProducerMetrics
from producer.error_policy import BadQuery, InvalidCredentials, InvalidPageToken, QuotaExhausted, YouTubeUnavailable
from producer.poller import Poller
from producer.publisher import Publisher
from producer.quota import QuotaLedger
from producer.search_pass import MAX_RESTARTS, SearchRequest
from producer.state import ProducerState
from producer.youtube_client import SearchPage
from tests.fakes.producer_edges import FakeYouTube, Journal, MemoryStateLog, MemoryWriter

NOW_MS = 1_780_000_000_000
GENEROUS = 1_000_000
BURST = YouTubeUnavailable("a burst")


class Bench:
    """A poller on fakes, with a clock that ticks move on."""

    def __init__(self, queries: Sequence[str] = ("tea",), *, calls: int = GENEROUS) -> None:
        self.journal: Journal = []
        self.log = MemoryStateLog(self.journal)
        self.writer = MemoryWriter(self.journal)
        self.youtube = FakeYouTube(journal=self.journal)
        self.now_ms = NOW_MS
        self.stop = False
        self._queries = queries
        self._calls = calls
        self.restart()

    def restart(self) -> None:
        """A new process: only what is durable stays."""
        self.registry = CollectorRegistry()
        metrics = ProducerMetrics(self.registry)
        state = ProducerState(self.log, self.log.values)
        self.poller = Poller(
            queries=self._queries,
            overlap_seconds=60,
            backfill_seconds=86_400,
            client=self.youtube,
            publisher=Publisher(self.writer, metrics),
            state=state,
            ledger=QuotaLedger({SEARCH_BUCKET: self._calls}, state),
            metrics=metrics,
            now_ms=lambda: self.now_ms,
            stopping=lambda: self.stop,
        )

    async def tick(self, times: int = 1, seconds: float = 10.0) -> None:
        for _ in range(times):
            await self.poller.tick(seconds)
            self.now_ms += int(seconds * 1000)

    def watermark(self, query: str = "tea") -> bytes | None:
        return self.log.values.get(f"watermark/{query}".encode())

    def publish_backlog(self, count: int) -> None:
        for number in range(count):
            self.youtube.publish(NOW_MS - 80_000_000 + number * 60_000)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"yousync_{name}", labels)


def watermark_at(ms: int) -> bytes:
    return f'{{"covered_until":"{format_millis(ms)}"}}'.encode()


async def test_a_pass_publishes_every_page_and_then_moves_the_watermark() -> None:
    bench = Bench()
    bench.publish_backlog(120)
    await bench.tick()

    assert bench.writer.raw_ids == bench.youtube.ids
    assert len(bench.youtube.requests) == 3
    assert bench.watermark() == watermark_at(NOW_MS)
    assert bench.metric("search_passes_total", outcome="complete") == 1


async def test_every_call_follows_its_own_debit_and_the_watermark_is_last() -> None:
    bench = Bench()
    bench.publish_backlog(120)
    await bench.tick()

    steps = [step for step in bench.journal if step[0] != "published"]
    debit = ("state", "ledger/search/2026-05-28")
    assert steps == [debit, ("call", "tea"), debit, ("call", "tea"), debit, ("call", "tea"), ("state", "watermark/tea")]
    assert bench.journal[-1] == ("state", "watermark/tea")


async def test_a_window_over_the_cap_is_read_in_parts() -> None:
    bench = Bench()
    for number in range(1300):
        bench.youtube.publish(NOW_MS - 80_000_000 + number * 10_000)
    await bench.tick()

    assert bench.writer.raw_ids == bench.youtube.ids
    assert len({request.window for request in bench.youtube.requests}) > 3
    assert bench.watermark() == watermark_at(NOW_MS)


async def test_the_upper_bound_of_a_pass_is_frozen_over_interruptions() -> None:
    bench = Bench()
    bench.publish_backlog(120)
    bench.youtube.failures = [None, BURST, BURST]
    await bench.tick(3)

    assert {request.window.before_ms for request in bench.youtube.requests} == {NOW_MS}
    assert bench.watermark() == watermark_at(NOW_MS)


@pytest.mark.parametrize("failing_call", [0, 1, 2])
async def test_a_failed_call_leaves_the_watermark_and_is_asked_again_at_the_next_tick(failing_call: int) -> None:
    bench = Bench()
    bench.publish_backlog(120)
    bench.youtube.failures = [*[None] * failing_call, BURST]

    await bench.tick()
    assert bench.watermark() is None
    assert len(bench.youtube.requests) == failing_call + 1, "a failed call was repeated within its tick"

    await bench.tick()
    assert bench.writer.raw_ids == bench.youtube.ids
    assert len(bench.youtube.requests) == 4
    assert bench.youtube.requests[failing_call] == bench.youtube.requests[failing_call + 1]
    assert bench.log.values[b"ledger/search/2026-05-28"] == b'{"used":4}', "failed calls count"


async def test_a_long_pass_gets_through_a_third_of_failing_calls() -> None:
    bench = Bench()
    bench.publish_backlog(340)
    bench.youtube.failures = [BURST, None, None] * 20
    await bench.tick(10)
    assert bench.writer.raw_ids == bench.youtube.ids
    assert bench.watermark() is not None


async def test_a_restart_in_the_middle_of_a_pass_begins_it_again() -> None:
    bench = Bench()
    bench.publish_backlog(120)
    bench.youtube.failures = [None, None, BURST]
    await bench.tick()
    bench.restart()
    await bench.tick()

    assert bench.writer.raw_ids == bench.youtube.ids
    assert bench.youtube.requests[3].page_token is None


async def test_the_next_pass_overlaps_the_last_one_and_finds_what_was_indexed_late() -> None:
    bench = Bench()
    await bench.tick()
    late = bench.youtube.publish(NOW_MS - 59_000)
    await bench.tick()

    assert late in bench.writer.raw_ids
    assert bench.youtube.requests[1].window.after_ms == NOW_MS - 60_000


async def test_an_outage_of_hours_is_caught_up() -> None:
    bench = Bench()
    await bench.tick()
    bench.youtube.failures = [BURST] * 5
    missed = [bench.youtube.publish(NOW_MS + 10_000 + hour * 3_600_000) for hour in range(5)]
    await bench.tick(5, seconds=3600)
    assert not bench.writer.raw_ids & set(missed)

    await bench.tick(2)
    assert bench.writer.raw_ids >= set(missed)


async def test_the_days_calls_are_never_exceeded_and_the_pass_goes_on_the_next_day() -> None:
    bench = Bench(calls=2)
    bench.publish_backlog(120)
    await bench.tick(5)
    assert len(bench.youtube.requests) == 2
    assert bench.watermark() is None

    bench.now_ms = next_pacific_midnight_ms(bench.now_ms)
    await bench.tick()
    assert len(bench.youtube.requests) == 3
    assert bench.writer.raw_ids == bench.youtube.ids
    assert bench.watermark() == watermark_at(NOW_MS)


async def test_the_servers_refusal_ends_the_day_for_every_query() -> None:
    bench = Bench(("tea", "coffee"))
    bench.youtube.failures = [QuotaExhausted(SEARCH_BUCKET, "the day is spent")]
    await bench.tick(3)
    bench.restart()
    await bench.tick(3)
    assert len(bench.youtube.requests) == 1

    bench.now_ms = next_pacific_midnight_ms(bench.now_ms)
    await bench.tick()
    assert {"tea", "coffee"} == {request.query for request in bench.youtube.requests}


async def test_a_broken_page_chain_begins_again_at_its_first_page() -> None:
    bench = Bench()
    bench.publish_backlog(120)
    bench.youtube.failures = [None, InvalidPageToken("expired")]
    await bench.tick()

    assert [request.page_token for request in bench.youtube.requests] == [None, "50", None, "50", "100"]
    assert bench.watermark() == watermark_at(NOW_MS)


async def test_a_chain_that_stays_broken_ends_the_pass_and_a_new_one_begins_at_a_later_tick() -> None:
    bench = Bench()
    bench.publish_backlog(120)
    bench.youtube.failures = [InvalidPageToken("expired")] * (MAX_RESTARTS + 1)
    await bench.tick()
    assert len(bench.youtube.requests) == MAX_RESTARTS + 1
    assert bench.watermark() is None
    assert bench.metric("search_passes_total", outcome="given_up") == 1

    await bench.tick()
    assert bench.watermark() == watermark_at(NOW_MS + 10_000)


async def test_a_token_that_repeats_itself_makes_no_endless_loop() -> None:
    bench = Bench()
    bench.publish_backlog(120)
    bench.youtube.stuck_token = "again"  # noqa: S105 - a page token
    await bench.tick()
    assert len(bench.youtube.requests) == 2 * (MAX_RESTARTS + 1)
    assert bench.watermark() is None


async def test_a_bad_query_is_left_out_until_the_next_start_and_no_other() -> None:
    bench = Bench(("tea", "coffee"))
    bench.youtube.failures = [BadQuery("no such filter")]
    await bench.tick(3)
    assert [request.query for request in bench.youtube.requests] == ["tea", "coffee", "coffee", "coffee"]

    bench.restart()
    await bench.tick()
    assert {"tea", "coffee"} == {request.query for request in bench.youtube.requests[4:]}


async def test_a_refused_key_is_for_the_operator() -> None:
    bench = Bench()
    bench.youtube.failures = [InvalidCredentials("API key not valid")]
    with pytest.raises(InvalidCredentials):
        await bench.tick()


async def test_told_to_stop_it_makes_no_further_call_and_moves_no_watermark() -> None:
    bench = Bench(("tea", "coffee"))
    bench.publish_backlog(120)
    search = bench.youtube.search

    async def stop_after(request: SearchRequest) -> SearchPage:
        bench.stop = True
        return await search(request)

    bench.youtube.search = stop_after  # type: ignore[method-assign]
    await bench.tick()
    assert len(bench.youtube.requests) == 1
    assert len(bench.writer.records) == 50
    assert bench.watermark() is None


async def test_with_a_small_quota_the_query_polled_longest_ago_is_next_at_an_even_pace() -> None:
    bench = Bench(("tea", "coffee", "milk"), calls=100)
    bench.now_ms = next_pacific_midnight_ms(NOW_MS)
    await bench.tick(270)  # 45 minutes, at one call in 14.4
    asked = [request.query for request in bench.youtube.requests]
    assert asked == ["tea", "coffee", "milk", "tea", "coffee", "milk"][: len(asked)]
    assert 3 <= len(asked) <= 5


async def test_with_a_generous_quota_every_tick_polls_every_query() -> None:
    bench = Bench(("tea", "coffee", "milk"))
    await bench.tick(4)
    assert len(bench.youtube.requests) == 12


async def test_after_a_restart_the_query_with_the_oldest_watermark_is_first() -> None:
    bench = Bench(("tea", "coffee"), calls=100)
    await bench.tick()
    bench.restart()
    await bench.tick()
    assert [request.query for request in bench.youtube.requests] == ["tea", "coffee"]


async def test_items_that_are_no_videos_are_counted() -> None:
    bench = Bench()
    bench.publish_backlog(3)
    bench.youtube.extra_items = [{"id": {"kind": "youtube#channel"}}, {"id": {"kind": "youtube#video"}}, 7]
    await bench.tick()
    assert bench.writer.raw_ids == bench.youtube.ids
    assert bench.metric("items_ignored_total", reason="other_kind") == 1
    assert bench.metric("items_ignored_total", reason="no_video_id") == 1
    assert bench.metric("items_ignored_total", reason="no_id") == 1
    assert bench.metric("items_published_total") == 3


async def test_an_item_over_the_size_limit_stops_nothing() -> None:
    bench = Bench()
    bench.publish_backlog(3)
    huge = {"id": {"kind": "youtube#video", "videoId": "huge_______"}, "description": "x" * 1_100_000}
    bench.youtube.extra_items = [huge]
    await bench.tick()
    assert bench.writer.raw_ids == bench.youtube.ids
    assert bench.metric("items_ignored_total", reason="too_large") == 1
    assert bench.watermark() == watermark_at(NOW_MS)


async def test_metrics_tell_what_is_left_and_what_calls_brought() -> None:
    bench = Bench(calls=50)
    bench.youtube.failures = [None, BURST]
    await bench.tick()
    await bench.tick(seconds=3600)
    assert bench.metric("quota_left", bucket="search") == 48
    assert bench.metric("youtube_calls_total", bucket="search", outcome="ok") == 1
    assert bench.metric("youtube_calls_total", bucket="search", outcome="unavailable") == 1
    assert bench.metric("search_passes_total", outcome="interrupted") == 1
    assert bench.metric("last_pass_timestamp_seconds", query="tea") == NOW_MS / 1000
