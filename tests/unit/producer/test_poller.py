"""The order of effects of a tick, with failures at every step."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from contract.producer_state import (
    SEARCH_BUCKET,
    UNITS_BUCKET,
    FollowedChannel,
    FollowedQuery,
    FollowedVideo,
    PurgeRequest,
    Watermark,
    channel_key,
    purge_key,
    query_key,
    video_key,
)
from contract.times import format_millis, next_pacific_midnight_ms
from ops.metrics import ProducerMetrics
from producer.calls import Calls
from producer.error_policy import BadQuery, InvalidCredentials, InvalidPageToken, QuotaExhausted, YouTubeUnavailable
from producer.following import Following
from producer.poller import Poller
from producer.publisher import Publisher
from producer.quota import QuotaLedger
from producer.search_pass import MAX_RESTARTS, SearchRequest
from producer.state import Entry, ProducerState
from producer.youtube_client import Page
from tests.fakes.producer_edges import (
    CHANNEL,
    FakeYouTube,
    Journal,
    MemoryStateLog,
    MemoryWriter,
    OwnLease,
    private_item,
    upload_item,
    video_id,
    video_item,
)

NOW_MS = 1_780_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
GENEROUS = 1_000_000
BURST = YouTubeUnavailable("a burst")


class Bench:
    """A poller on fakes, with a clock that ticks move on; units are only spent where a test grants some."""

    def __init__(self, queries: Sequence[str] = ("tea",), *, calls: int = GENEROUS, units: int = 0) -> None:
        self.journal: Journal = []
        self.log = MemoryStateLog(self.journal)
        self.writer = MemoryWriter(self.journal)
        self.youtube = FakeYouTube(journal=self.journal)
        self.lease = OwnLease()
        self.changes: list[Entry] = []
        self.now_ms = NOW_MS
        self.stop = False
        self.queries = tuple(queries)
        self.keep_all = False
        self._limits = {SEARCH_BUCKET: calls, UNITS_BUCKET: units}
        self._poller: Poller | None = None
        self.registry = CollectorRegistry()

    def restart(self) -> None:
        """A new process: only what is durable stays."""
        self._poller = None

    async def poller(self) -> Poller:
        if self._poller is None:
            self.registry = CollectorRegistry()
            metrics = ProducerMetrics(self.registry)
            state = ProducerState(self.log, dict(self.log.values))
            calls = Calls(
                lease=self.lease,
                ledger=QuotaLedger(self._limits, state),
                metrics=metrics,
                now_ms=lambda: self.now_ms,
                jitter=lambda: 0.0,
            )
            self._poller = Poller(
                following=Following(
                    queries=self.queries,
                    poll_seconds=10.0,
                    overlap_seconds=60,
                    sweep_seconds=0,
                    backfill_seconds=86_400,
                    search_calls_per_day=self._limits[SEARCH_BUCKET],
                    keep_all_uploads=self.keep_all,
                ),
                client=self.youtube,
                calls=calls,
                lease=self.lease,
                publisher=Publisher(self.writer, metrics),
                state=state,
                operator_changes=self._take_changes,
                metrics=metrics,
                now_ms=lambda: self.now_ms,
                stopping=lambda: self.stop,
            )
            await self._poller.begin()
            self.journal.clear()
        return self._poller

    def _take_changes(self) -> list[Entry]:
        taken, self.changes = self.changes, []
        return taken

    async def tick(self, times: int = 1, seconds: float = 10.0) -> None:
        for _ in range(times):
            await (await self.poller()).tick(seconds)
            self.now_ms += int(seconds * 1000)

    def watermark(self, query: str = "tea") -> str | None:
        value = self.log.values.get(f"watermark/{query}".encode())
        return None if value is None else msgspec.json.decode(value, type=Watermark).covered_until

    def video(self, number: int) -> FollowedVideo | None:
        value = self.log.values.get(video_key(video_id(number)))
        return None if value is None else msgspec.json.decode(value, type=FollowedVideo)

    def know_channel(self, uploads: list[Any] | None, channel_id: str = CHANNEL, looked_ms: int | None = None) -> None:
        looked_at = None if looked_ms is None else format_millis(looked_ms)
        channel = FollowedChannel(format_millis(NOW_MS - DAY_MS), looked_at)
        self.log.values[channel_key(channel_id)] = msgspec.json.encode(channel)
        if uploads is not None:
            self.youtube.uploads_of[channel_id] = uploads

    def know_video(self, number: int, *, fetched_ms: int, queries: tuple[str, ...] = ("tea",), **more: Any) -> None:
        at = format_millis(fetched_ms)
        video = FollowedVideo(at, at, queries, **{"completed": True, **more})
        self.log.values[video_key(video_id(number))] = msgspec.json.encode(video)
        self.youtube.details.setdefault(video_id(number), video_item(number, fetched_ms))

    def publish_backlog(self, count: int) -> None:
        for number in range(count):
            self.youtube.publish(NOW_MS - 80_000_000 + number * 60_000)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"yousync_{name}", labels)


def watermark_at(ms: int) -> str:
    return format_millis(ms)


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

    kinds = [(step, key.partition("/")[0]) for step, key in bench.journal]
    page = [("state", "ledger"), ("call", "tea"), *[("published", "")] * 50, *[("state", "video")] * 50]
    expected = [*page, ("state", "channel"), *page, *page[:2], *[("published", "")] * 20, *[("state", "video")] * 20]
    found = [(step, "" if step == "published" else name) for step, name in kinds]
    assert found == [*expected, ("state", "watermark")]


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

    assert {request.window.before_ms for request in bench.youtube.requests[:5]} == {NOW_MS}
    assert bench.writer.raw_ids == bench.youtube.ids


@pytest.mark.parametrize("failing_call", [0, 1, 2])
async def test_a_failed_call_leaves_the_watermark_and_is_asked_again_at_the_next_tick(failing_call: int) -> None:
    bench = Bench()
    bench.publish_backlog(120)
    bench.youtube.failures = [*[None] * failing_call, BURST]

    await bench.tick()
    assert bench.watermark() is None
    assert len(bench.youtube.requests) == failing_call + 1, "a failed call was repeated at once"

    await bench.tick()
    assert bench.writer.raw_ids == bench.youtube.ids
    assert bench.youtube.requests[failing_call] == bench.youtube.requests[failing_call + 1]
    assert len({request.window for request in bench.youtube.requests[:4]}) == 1, "the pass began again"
    debited = bench.log.values[b"ledger/search/2026-05-28"]
    assert debited == b'{"used":%d}' % len(bench.youtube.requests), "failed calls count"


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


async def test_the_days_calls_are_never_exceeded_and_what_is_left_is_read_the_next_days() -> None:
    bench = Bench(calls=2)
    bench.publish_backlog(120)
    await bench.tick(5)
    assert len(bench.youtube.requests) == 2
    assert bench.metric("missed_seconds", query="tea"), "nobody knows that the pass was cut"

    bench.now_ms = next_pacific_midnight_ms(bench.now_ms)
    await bench.tick(49, seconds=3600)
    assert bench.writer.raw_ids == bench.youtube.ids
    assert len(bench.youtube.requests) <= 2 + 3 * 2, "two days and a bit"


async def test_the_servers_refusal_ends_the_day_for_every_query() -> None:
    bench = Bench(("tea", "coffee"))
    bench.youtube.failures = [QuotaExhausted(SEARCH_BUCKET, "the day is spent")]
    await bench.tick(3)
    bench.restart()
    await bench.tick(3)
    assert len(bench.youtube.requests) == 1

    bench.now_ms = next_pacific_midnight_ms(bench.now_ms)
    await bench.tick(2)
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
    assert bench.metric("search_passes_total", outcome="cut") == 1
    assert bench.metric("missed_seconds", query="tea") == pytest.approx(86_400, abs=1)
    assert not bench.writer.raw_ids

    await bench.tick(3, seconds=1800)
    assert bench.writer.raw_ids == bench.youtube.ids, "what was left out was not read later"
    assert bench.metric("missed_seconds", query="tea") == 0


async def test_a_token_that_repeats_itself_makes_no_endless_loop() -> None:
    bench = Bench()
    bench.publish_backlog(120)
    bench.youtube.stuck_token = "again"  # noqa: S105 - a page token
    await bench.tick()
    assert len(bench.youtube.requests) == 2 * (MAX_RESTARTS + 1)
    assert bench.metric("missed_seconds", query="tea")


async def test_a_bad_query_is_left_out_until_it_is_added_again_and_no_other() -> None:
    bench = Bench(("tea", "coffee"))
    bench.youtube.failures = [BadQuery("no such filter")]
    await bench.tick(3)
    bench.restart()
    await bench.tick()
    assert [request.query for request in bench.youtube.requests] == ["tea", *["coffee"] * 4]

    bench.changes = [(query_key("tea"), msgspec.json.encode(FollowedQuery(format_millis(NOW_MS), origin="command")))]
    await bench.tick()
    assert {"tea", "coffee"} == {request.query for request in bench.youtube.requests[5:]}


async def test_a_refused_key_is_for_the_operator() -> None:
    bench = Bench()
    bench.youtube.failures = [InvalidCredentials("API key not valid")]
    with pytest.raises(InvalidCredentials):
        await bench.tick()


async def test_told_to_stop_it_makes_no_further_call_and_moves_no_watermark() -> None:
    bench = Bench(("tea", "coffee"))
    bench.publish_backlog(120)
    search = bench.youtube.search

    async def stop_after(request: SearchRequest) -> Page:
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
    assert bench.metric("youtube_calls_total", call="search", outcome="ok") == 1
    assert bench.metric("youtube_calls_total", call="search", outcome="unavailable") == 1
    assert bench.metric("last_pass_timestamp_seconds", query="tea") == NOW_MS / 1000


# Channels.


def uploads(*titles: str) -> list[Any]:
    """Uploads of the last hours, newest first."""
    return [upload_item(1000 + n, NOW_MS - (n + 1) * HOUR_MS, title) for n, title in enumerate(titles)]


async def test_a_search_finds_channels_whose_uploads_are_then_looked_at() -> None:
    bench = Bench(units=GENEROUS)
    bench.youtube.publish(NOW_MS - HOUR_MS)
    bench.youtube.uploads_of[CHANNEL] = uploads("Green tea", "Football")
    await bench.tick()

    assert [look.channel_id for look in bench.youtube.looks] == [CHANNEL]
    assert bench.writer.raw_ids == {video_id(0), video_id(1000)}, "only what matches a query is kept"
    headers = dict(bench.writer.records[-1].headers)
    assert headers["ce_queries"] == b'["tea"]'
    assert headers["ce_source"] == b"/youtube/v3/playlistItems"


async def test_every_upload_is_kept_if_that_is_asked_for() -> None:
    bench = Bench(units=GENEROUS)
    bench.keep_all = True
    bench.know_channel(uploads("Green tea", "Football"))
    await bench.tick()
    assert bench.writer.raw_ids == {video_id(1000), video_id(1001)}


async def test_an_upload_is_published_again_only_when_it_has_changed() -> None:
    bench = Bench(units=GENEROUS)
    bench.know_channel(uploads("Green tea"))
    await bench.tick(3, seconds=120)
    assert len([it for it in bench.writer.records if it.key == video_id(1000).encode()]) == 1
    bench.youtube.uploads_of[CHANNEL] = uploads("White tea")
    await bench.tick(seconds=120)
    assert b"White tea" in (bench.writer.records[-1].value or b"")


async def test_a_private_upload_is_asked_for_and_kept_once_it_is_public() -> None:
    bench = Bench(units=GENEROUS)
    bench.know_channel([private_item(7)])
    await bench.tick(2)
    assert bench.youtube.asked == [(video_id(7),)]
    assert not bench.writer.raw_ids

    bench.youtube.details[video_id(7)] = video_item(7, NOW_MS, "tea time")
    await bench.tick(3, seconds=12 * 3600)
    assert video_id(7) in bench.writer.raw_ids


async def test_a_channel_without_uploads_is_left_alone() -> None:
    bench = Bench(units=GENEROUS)
    bench.know_channel(None)
    await bench.tick(20, seconds=3600)
    assert len(bench.youtube.looks) == 1


async def test_a_second_page_is_read_when_all_of_the_first_is_newer_than_the_last_look() -> None:
    bench = Bench(units=GENEROUS)
    many = [upload_item(1000 + n, NOW_MS - n * 60_000, f"tea {n}") for n in range(60)]
    bench.know_channel(many, looked_ms=NOW_MS - HOUR_MS)
    await bench.tick()
    assert [look.page_token for look in bench.youtube.looks] == [None, "50"]
    assert len(bench.writer.raw_ids) == 60


async def test_a_channel_that_was_said_to_have_no_uploads_is_followed_again_when_a_search_lists_it() -> None:
    bench = Bench(units=GENEROUS)
    bench.know_channel(None)
    await bench.tick(2)
    bench.youtube.uploads_of[CHANNEL] = uploads("Green tea")
    bench.youtube.publish(NOW_MS + 25 * HOUR_MS)
    await bench.tick(27, seconds=3600)
    assert len(bench.youtube.looks) > 1
    assert video_id(1000) in bench.writer.raw_ids


async def test_a_known_video_that_turns_private_is_asked_for_and_then_gone() -> None:
    bench = Bench(units=GENEROUS)
    for number in range(60):
        bench.know_video(number, fetched_ms=NOW_MS - 2 * HOUR_MS)
    bench.know_channel([private_item(7)])
    bench.youtube.gone = {video_id(7)}
    await bench.tick(3, seconds=3700)
    assert bench.writer.removed_ids == [video_id(7)]
    assert len([ids for ids in bench.youtube.asked if video_id(7) in ids]) == 2


# Videos.


async def test_new_videos_are_completed_by_one_call() -> None:
    bench = Bench(units=GENEROUS)
    bench.publish_backlog(30)
    await bench.tick(14)
    assert len(bench.youtube.asked) == 1
    assert set(bench.youtube.asked[0]) == bench.youtube.ids
    assert (bench.video(3) or FollowedVideo("", "")).completed


async def test_a_video_is_gone_after_two_answers_an_hour_apart_and_its_removal_is_repeated_a_day_later() -> None:
    bench = Bench(units=GENEROUS)
    for number in range(100):
        bench.know_video(number, fetched_ms=NOW_MS - 24 * DAY_MS - 1 if number < 50 else NOW_MS)
    bench.youtube.gone = {video_id(3)}
    await bench.tick(3)
    assert (bench.video(3) or FollowedVideo("", "")).missing_since is not None
    assert bench.writer.removed_ids == []

    await bench.tick(2, seconds=3600)
    assert bench.writer.removed_ids == [video_id(3)]
    assert (bench.video(3) or FollowedVideo("", "")).gone_at is not None

    await bench.tick(26, seconds=3600)
    assert bench.writer.removed_ids == [video_id(3), video_id(3)]
    assert bench.video(3) is None
    await bench.tick(30, seconds=3600)
    assert bench.writer.removed_ids == [video_id(3), video_id(3)]


async def test_a_removed_video_that_is_back_is_not_removed_again() -> None:
    bench = Bench(units=GENEROUS)
    for number in range(60):
        bench.know_video(number, fetched_ms=NOW_MS)
    bench.know_video(3, fetched_ms=NOW_MS - DAY_MS, gone_at=format_millis(NOW_MS - DAY_MS))
    await bench.tick(2)
    assert bench.writer.removed_ids == []
    assert bench.writer.raw_ids >= {video_id(3)}
    assert (bench.video(3) or FollowedVideo("", "")).gone_at is None


async def test_a_search_that_lags_does_not_bring_a_removed_video_back() -> None:
    bench = Bench(units=GENEROUS)
    for number in range(60):
        bench.know_video(number, fetched_ms=NOW_MS)
    bench.youtube.publish(NOW_MS - HOUR_MS)
    bench.know_video(0, fetched_ms=NOW_MS - DAY_MS, gone_at=format_millis(NOW_MS - HOUR_MS))
    search_alone = bench.youtube.details.pop(video_id(0))
    await bench.tick(2)
    assert video_id(0) not in bench.writer.raw_ids
    assert any(video_id(0) in ids for ids in bench.youtube.asked), "nobody asked whether it is back"

    bench.youtube.details[video_id(0)] = search_alone
    await bench.tick(26, seconds=3600)
    assert video_id(0) in bench.writer.raw_ids


async def test_an_answer_that_lacks_more_than_half_is_a_failure() -> None:
    bench = Bench(units=GENEROUS)
    for number in range(50):
        bench.know_video(number, fetched_ms=NOW_MS - 24 * DAY_MS - 1)
    bench.youtube.gone = {video_id(number) for number in range(26)}
    await bench.tick(1)
    assert bench.metric("failed_refreshes_total") == 1
    assert all((bench.video(number) or FollowedVideo("", "")).missing_since is None for number in range(26))


async def test_a_live_video_is_refreshed_within_half_an_hour_until_it_ends() -> None:
    bench = Bench(units=GENEROUS)
    bench.know_video(0, fetched_ms=NOW_MS, live="live")
    bench.youtube.details[video_id(0)] = video_item(0, NOW_MS, live="live")
    await bench.tick(180)
    assert len(bench.youtube.asked) == 1
    bench.youtube.details[video_id(0)] = video_item(0, NOW_MS)
    await bench.tick(540)
    assert len(bench.youtube.asked) == 2


# Operators, leases, queries.


async def test_a_query_is_added_and_removed_at_the_next_tick_and_stays_so_after_a_restart() -> None:
    bench = Bench(("tea",))
    await bench.tick()
    now = format_millis(NOW_MS)
    added, removed = FollowedQuery(now, origin="command"), FollowedQuery(now, enabled=False, origin="command")
    bench.changes = [
        (query_key("coffee"), msgspec.json.encode(added)),
        (query_key("tea"), msgspec.json.encode(removed)),
    ]
    for key, value in bench.changes:
        bench.log.values[key] = value or b""
    await bench.tick()
    assert [request.query for request in bench.youtube.requests] == ["tea", "coffee"]
    bench.restart()
    await bench.tick()
    assert [request.query for request in bench.youtube.requests] == ["tea", "coffee", "coffee"]


async def test_a_query_that_the_settings_no_longer_name_is_not_followed() -> None:
    bench = Bench(("tea", "coffee"))
    await bench.tick()
    bench.queries = ("coffee",)
    bench.restart()
    await bench.tick()
    assert [request.query for request in bench.youtube.requests] == ["tea", "coffee", "coffee"]


async def test_a_purge_removes_what_no_other_query_matched() -> None:
    bench = Bench(("coffee",))
    bench.know_video(0, fetched_ms=NOW_MS, queries=("tea",))
    bench.know_video(1, fetched_ms=NOW_MS, queries=("coffee", "tea"))
    bench.changes = [(purge_key("x"), msgspec.json.encode(PurgeRequest(format_millis(NOW_MS), query="tea")))]
    bench.log.values[purge_key("x")] = bench.changes[0][1] or b""
    await bench.tick()
    assert bench.writer.removed_ids == [video_id(0)]
    assert purge_key("x") not in bench.log.values
    assert bench.video(0) is None
    assert bench.video(1) is not None


async def test_a_purge_goes_on_after_a_kill_in_the_middle() -> None:
    bench = Bench(("coffee",))
    for number in range(2500):
        bench.know_video(number, fetched_ms=NOW_MS - 31 * DAY_MS)
    limit = format_millis(NOW_MS - 30 * DAY_MS)
    request = PurgeRequest(format_millis(NOW_MS), not_fetched_since=limit)
    bench.log.values[purge_key("x")] = msgspec.json.encode(request)
    bench.stop = True
    await bench.tick()
    bench.restart()
    bench.stop = False
    await bench.tick(3)
    assert sorted(set(bench.writer.removed_ids)) == [video_id(number) for number in range(2500)]


async def test_without_its_lease_it_neither_debits_nor_calls_nor_removes() -> None:
    bench = Bench(units=GENEROUS)
    await bench.poller()
    bench.lease.lost = RuntimeError("deposed")
    with pytest.raises(RuntimeError, match="deposed"):
        await bench.tick()
    assert bench.journal == []


async def test_a_lease_that_is_lost_during_the_debit_makes_no_call() -> None:
    bench = Bench()
    await bench.poller()
    append = bench.log.append

    async def slow_append(entries: Sequence[Entry]) -> None:
        await append(entries)
        bench.lease.lost = RuntimeError("deposed")

    bench.log.append = slow_append  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="deposed"):
        await bench.tick()
    assert [step for step, _ in bench.journal] == ["state"]


# Guards.


async def test_ignored_dates_end_the_chain_and_cost_no_call_more() -> None:
    bench = Bench()
    bench.publish_backlog(120)
    for number in range(300):
        bench.youtube.publish(NOW_MS - 30 * DAY_MS + number)
    bench.youtube.ignores_dates = True
    await bench.tick()
    assert len(bench.youtube.requests) == 3
    assert bench.watermark() == watermark_at(NOW_MS)
    assert bench.metric("items_outside_window_total") == 30


async def test_what_a_search_could_not_reach_is_read_beside_the_newest() -> None:
    bench = Bench(calls=200)
    bench.now_ms = next_pacific_midnight_ms(NOW_MS)
    start = bench.now_ms
    old = [bench.youtube.publish(start - 80_000_000 + n * 100_000) for n in range(700)]
    await bench.tick()
    for _ in range(8640):
        await bench.tick()
    assert bench.writer.raw_ids >= set(old)
    assert bench.metric("missed_seconds", query="tea") == 0


async def test_many_videos_of_one_second_do_not_keep_a_pass_from_getting_on() -> None:
    bench = Bench(calls=4)
    for _ in range(190):
        bench.youtube.publish(NOW_MS - 5_000)
    await bench.tick(40, seconds=3 * 3600)
    assert bench.writer.raw_ids == bench.youtube.ids


async def test_more_than_the_quota_carries_is_told() -> None:
    bench = Bench(calls=4)
    bench.publish_backlog(400)
    await bench.tick(3, seconds=DAY_MS / 1000)
    assert (bench.metric("search_load") or 0) > 1
