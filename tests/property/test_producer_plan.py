"""The whole poller over any history: faults, kills at each step, clocks that jump, ledgers of any content.

Three things hold whatever happens: no call is made beyond its budget or before its debit, every query has its turn, and
once the faults stop everything that was published is in the raw topic.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from contract.producer_state import (
    SEARCH_BUCKET,
    UNITS_BUCKET,
    VIDEO_PREFIX,
    FollowedChannel,
    FollowedVideo,
    Watermark,
    channel_key,
    ledger_key,
    video_key,
    watermark_key,
)
from contract.times import format_millis, next_pacific_midnight_ms, pacific_date, parse_rfc3339_ms
from ops.metrics import ProducerMetrics
from producer.calls import Calls
from producer.error_policy import (
    BadQuery,
    DelegationRefused,
    InvalidPageToken,
    KeyRefused,
    NotFound,
    QuotaExhausted,
    RateLimited,
    YouTubeError,
    YouTubeUnavailable,
)
from producer.following import Following
from producer.kafka_record import KafkaRecord
from producer.poller import Poller
from producer.publisher import Publisher
from producer.quota import QuotaLedger
from producer.search_pass import SearchRequest
from producer.state import Entry, ProducerState
from producer.youtube_client import Page, UploadsRequest
from tests.fakes.producer_edges import (
    CHANNEL,
    FakeYouTube,
    Journal,
    MemoryStateLog,
    MemoryWriter,
    OwnLease,
    upload_item,
    video_id,
    video_item,
)

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
START_MS: Final = next_pacific_midnight_ms(1_780_000_000_000)
OVERLAP_SECONDS: Final = 6 * 3600
BACKFILL_SECONDS: Final = 4 * 86_400
"""Longer than any of these histories: who has never read anything cannot know what is older."""


def examples(count: int) -> settings:
    return settings(max_examples=count)


class Killed(BaseException):
    """The process died here."""


class World:
    """A poller on fakes. Kafka can kill it before or after the next effects; only what is durable outlives that."""

    def __init__(self, queries: Sequence[str] = ("tea",), *, calls: int = 20, units: int = 50) -> None:
        self.journal: Journal = []
        self.log = _MortalLog(self)
        self.writer = _MortalWriter(self)
        self.youtube = _CountedYouTube(self)
        self.now_ms = START_MS
        self.queries = tuple(queries)
        self.limits = {SEARCH_BUCKET: calls, UNITS_BUCKET: units}
        self.made: Counter[tuple[str, str]] = Counter()
        self.searched: list[str] = []
        self.registries: list[CollectorRegistry] = []
        self.kill_in: int | None = None
        self.kill_after = False
        self._poller: Poller | None = None

    def restart(self) -> None:
        self._poller = None

    async def tick(self, seconds: float = 600.0) -> None:
        """One tick; a kill is followed by a restart at the next."""
        try:
            if self._poller is None:
                self._poller = await self._start()
            await self._poller.tick(seconds)
        except Killed:
            self._poller = None
        self.now_ms += int(seconds * 1000)

    async def _start(self) -> Poller:
        registry = CollectorRegistry()
        self.registries.append(registry)
        metrics = ProducerMetrics(registry)
        state = ProducerState(self.log, dict(self.log.values))
        lease = OwnLease()
        poller = Poller(
            following=Following(
                queries=self.queries,
                poll_seconds=10.0,
                overlap_seconds=OVERLAP_SECONDS,
                sweep_seconds=2 * 86_400,
                backfill_seconds=BACKFILL_SECONDS,
                search_calls_per_day=self.limits[SEARCH_BUCKET],
            ),
            client=self.youtube,
            calls=Calls(
                lease=lease,
                ledger=QuotaLedger(self.limits, state),
                metrics=metrics,
                now_ms=lambda: self.now_ms,
                jitter=lambda: 0.0,
            ),
            lease=lease,
            publisher=Publisher(self.writer, metrics),
            state=state,
            operator_changes=tuple,
            metrics=metrics,
            now_ms=lambda: self.now_ms,
            stopping=lambda: False,
        )
        await poller.begin()
        return poller

    def effect(self, kind: str) -> bool:
        """Whether the effect is still made; raises when the process dies before it."""
        if self.kill_in is None:
            return True
        self.kill_in -= 1
        if self.kill_in > 0:
            return True
        if not self.kill_after:
            self.kill_in = None
            raise Killed(kind)
        return True

    def after_effect(self, kind: str) -> None:
        """Dies after the effect, whose acknowledgement is thus lost."""
        if self.kill_in == 0:
            self.kill_in = None
            raise Killed(kind)

    def note_call(self, bucket: str) -> None:
        """A call is made now: its debit is the last thing that happened, and within the limit."""
        date = pacific_date(self.now_ms)
        self.made[bucket, date] += 1
        assert self.journal[-1] == ("state", ledger_key(bucket, date).decode()), "a call without its debit"
        used = msgspec.json.decode(self.log.values[ledger_key(bucket, date)])["used"]
        assert self.made[bucket, date] <= used <= self.limits[bucket]

    def check_remembered(self, key: bytes, value: bytes | None) -> None:
        """What is remembered of a video is in the raw topic before."""
        if not key.startswith(VIDEO_PREFIX):
            return
        name = key.removeprefix(VIDEO_PREFIX)
        records = [record for record in self.writer.records if record.key == name]
        video = None if value is None else msgspec.json.decode(value, type=FollowedVideo)
        if video is None or video.gone_at is not None:
            assert records, "a removal that was not sent"
            assert records[-1].value is None, "a removal that is not the last word"
        else:
            assert key in self.log.values or records, "a video that was not published"

    def know(self, number: int, fetched_ms: int, **more: Any) -> None:
        """Video `number` is known from before, and YouTube has it."""
        at = format_millis(fetched_ms)
        video = FollowedVideo(at, at, **{"queries": ("tea",), "completed": True, **more})
        self.log.values[video_key(video_id(number))] = msgspec.json.encode(video)
        self.youtube.details[video_id(number)] = video_item(number, fetched_ms)

    def watermark(self, query: str) -> Watermark | None:
        value = self.log.values.get(watermark_key(query))
        return None if value is None else msgspec.json.decode(value, type=Watermark)

    @property
    def lost_seconds(self) -> float:
        samples = (
            registry.get_sample_value("yousync_lost_seconds_total", {"query": query})
            for registry in self.registries
            for query in self.queries
        )
        return sum(sample or 0.0 for sample in samples)


class _MortalLog(MemoryStateLog):
    def __init__(self, world: World) -> None:
        super().__init__(world.journal)
        self._world = world

    async def append(self, entries: Sequence[Entry]) -> None:
        self._world.effect("state")
        for key, value in entries:
            self._world.check_remembered(key, value)
        await super().append(entries)
        self._world.after_effect("state")


class _MortalWriter(MemoryWriter):
    def __init__(self, world: World) -> None:
        super().__init__(world.journal)
        self._world = world

    async def write(self, records: Sequence[KafkaRecord]) -> list[KafkaRecord]:
        self._world.effect("publish")
        too_large = await super().write(records)
        self._world.after_effect("publish")
        return too_large


class _CountedYouTube(FakeYouTube):
    """Counts calls by bucket and day; fails for some queries for ever, and lists nothing from the future."""

    def __init__(self, world: World) -> None:
        super().__init__(journal=world.journal)
        self._world = world
        self.stubborn: dict[str, YouTubeError] = {}

    async def search(self, request: SearchRequest) -> Page:
        self._world.note_call(SEARCH_BUCKET)
        self._world.searched.append(request.query)
        if request.query in self.stubborn:
            self.journal.append(("call", request.query))
            raise self.stubborn[request.query]
        return await super().search(request)

    async def uploads(self, request: UploadsRequest) -> Page:
        self._world.note_call(UNITS_BUCKET)
        return await super().uploads(request)

    async def videos(self, ids: Sequence[str]) -> Page:
        self._world.note_call(UNITS_BUCKET)
        return await super().videos(ids)


search_failures = st.sampled_from(
    [
        None,
        YouTubeUnavailable("HTTP 503"),
        RateLimited("a burst"),
        DelegationRefused("not on behalf"),
        KeyRefused("key 1 of 2"),
        InvalidPageToken("expired"),
        NotFound("HTTP 404"),
        QuotaExhausted(SEARCH_BUCKET, "spent"),
    ]
)
"""All but those that stop a query or the producer: an operator ends these."""

unit_failures = st.sampled_from(
    [
        None,
        YouTubeUnavailable("HTTP 503"),
        RateLimited("a burst"),
        InvalidPageToken("expired"),
        NotFound("HTTP 404"),
        BadQuery("HTTP 400"),
        QuotaExhausted(UNITS_BUCKET, "spent"),
    ]
)

small_steps = st.one_of(
    st.tuples(st.just("tick"), st.sampled_from([10, 600, 3600])),
    st.tuples(st.just("publish"), st.sampled_from([1, 3, 60])),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("kill before"), st.integers(1, 12)),
    st.tuples(st.just("kill after"), st.integers(1, 12)),
)
jumps = st.tuples(
    st.just("jump"), st.sampled_from([-HOUR_MS, -MINUTE_MS, HOUR_MS, 3 * DAY_MS, -3 * DAY_MS, 40 * DAY_MS])
)

ledgers = st.dictionaries(
    st.tuples(st.sampled_from([SEARCH_BUCKET, UNITS_BUCKET]), st.integers(-1, 3)),
    st.one_of(
        st.integers(0, 60).map(lambda used: b'{"used":%d}' % used),
        st.sampled_from([b"", b"\xff", b"[]", b'{"used":-1}', b'{"used":"many"}', b'{"used":99999999999999999999}']),
    ),
    max_size=3,
)


async def do(world: World, step: tuple[str, int]) -> None:
    what, amount = step
    if what == "tick":
        await world.tick(amount)
    elif what == "publish":
        for number in range(amount):
            world.youtube.publish((world.now_ms - number * 2_000) // 1000 * 1000)
    elif what == "restart":
        world.restart()
    elif what == "jump":
        world.now_ms += amount
    else:
        world.kill_in, world.kill_after = amount, what == "kill after"


def run(history: object) -> None:
    """Run a coroutine with the logs off: they would only cost time."""
    with structlog.testing.capture_logs():
        asyncio.run(history)  # type: ignore[arg-type]


@examples(60)
@given(
    steps=st.lists(st.one_of(small_steps, jumps), max_size=30),
    searches=st.lists(search_failures, max_size=12),
    units=st.lists(unit_failures, max_size=12),
    ledger=ledgers,
    calls=st.sampled_from([1, 2, 5, 20]),
)
def test_no_call_is_beyond_its_budget_or_before_its_debit(
    steps: list[tuple[str, int]],
    searches: list[YouTubeError | None],
    units: list[YouTubeError | None],
    ledger: dict[tuple[str, int], bytes],
    calls: int,
) -> None:
    """`World.note_call` checks each call; here is what there was before."""

    async def history() -> None:
        world = World(("tea", "coffee"), calls=calls, units=calls)
        for (bucket, day), value in ledger.items():
            world.log.values[ledger_key(bucket, pacific_date(START_MS + day * DAY_MS))] = value
        world.youtube.failures, world.youtube.unit_failures = list(searches), list(units)
        for step in steps:
            await do(world, step)
            await world.tick()

    run(history())


@examples(50)
@given(
    steps=st.lists(st.one_of(small_steps, st.tuples(st.just("jump"), st.just(-HOUR_MS))), max_size=25),
    searches=st.lists(search_failures, max_size=12),
    units=st.lists(unit_failures, max_size=12),
)
def test_once_the_faults_stop_all_that_was_published_is_found(
    steps: list[tuple[str, int]], searches: list[YouTubeError | None], units: list[YouTubeError | None]
) -> None:
    async def history() -> None:
        world = World(("tea", "coffee"), calls=40)
        world.youtube.failures, world.youtube.unit_failures = list(searches), list(units)
        for step in steps:
            await do(world, step)
            await world.tick()
        world.kill_in = None
        world.youtube.failures, world.youtube.unit_failures = [], []
        stopped_ms = world.now_ms
        for _ in range(2 * 48):
            await world.tick(1800.0)

        assert world.lost_seconds == 0
        assert world.writer.raw_ids == world.youtube.ids
        for query in world.queries:
            watermark = world.watermark(query)
            assert watermark is not None
            assert parse_rfc3339_ms(watermark.covered_until) > stopped_ms
            assert not any(part.kind == "missed" for part in watermark.stretches)

    run(history())


@examples(40)
@given(
    steps=st.lists(st.one_of(small_steps, jumps), max_size=15),
    stubborn=st.lists(
        search_failures.filter(lambda error: error is not None and not isinstance(error, QuotaExhausted)), max_size=2
    ),
    calls=st.sampled_from([20, 100, 5_000]),
)
def test_every_query_has_its_turn_again_though_others_fail_for_ever(
    steps: list[tuple[str, int]], stubborn: list[YouTubeError], calls: int
) -> None:
    async def history() -> None:
        world = World(("tea", "coffee", "milk", "bread"), calls=calls)
        world.youtube.stubborn = dict(zip(world.queries, stubborn, strict=False))
        for step in steps:
            await do(world, step)
            await world.tick()
        world.kill_in = None
        world.now_ms = next_pacific_midnight_ms(world.now_ms)
        world.searched.clear()
        ticks, seconds = (30, 300) if calls == 5_000 else (5 * 48, 1800)
        for _ in range(ticks):
            await world.tick(seconds)

        turns: dict[str, list[int]] = defaultdict(list)
        for position, query in enumerate(world.searched):
            turns[query].append(position)
        assert set(turns) == set(world.queries)
        for query, positions in turns.items():
            # A turn may be a pass of several pages and restarts, and stretches have their turns too.
            gaps = [later - earlier for earlier, later in pairwise([-1, *positions, len(world.searched)])]
            assert max(gaps) <= 60, (query, max(gaps))

    run(history())


@examples(40)
@given(number=st.integers(1, 25), after=st.booleans(), videos=st.sampled_from([3, 120]))
def test_a_kill_at_any_step_of_a_search_loses_nothing(number: int, after: bool, videos: int) -> None:
    async def history() -> None:
        world = World(calls=5_000, units=1)
        for position in range(videos):
            world.youtube.publish(START_MS - 80_000_000 + position * 100_000)
        world.kill_in, world.kill_after = number, after
        for _ in range(3):
            await world.tick()
            check_watermark(world)
        world.kill_in = None
        for _ in range(3):
            await world.tick()
            check_watermark(world)
        assert world.writer.raw_ids == world.youtube.ids

    run(history())


def check_watermark(world: World) -> None:
    """All that the watermark says is covered is in the raw topic."""
    watermark = world.watermark("tea")
    if watermark is None:
        return
    missed = [(parse_rfc3339_ms(part.after), parse_rfc3339_ms(part.before)) for part in watermark.stretches]
    covered_until_ms = parse_rfc3339_ms(watermark.covered_until)
    for moment, number in world.youtube._videos:
        if moment <= covered_until_ms and not any(after <= moment <= before for after, before in missed):
            assert video_id(number) in world.writer.raw_ids


# Kills at each step of what is not a search.


@examples(40)
@given(number=st.integers(1, 12), after=st.booleans())
def test_a_kill_at_any_step_of_a_look_at_uploads_loses_nothing(number: int, after: bool) -> None:
    async def history() -> None:
        world = World(calls=1, units=5_000)
        channel = FollowedChannel(format_millis(START_MS - DAY_MS), format_millis(START_MS - HOUR_MS))
        world.log.values[channel_key(CHANNEL)] = msgspec.json.encode(channel)
        world.youtube.uploads_of[CHANNEL] = [
            upload_item(position, START_MS - position * MINUTE_MS, "Green tea") for position in range(50)
        ]
        world.kill_in, world.kill_after = number, after
        for _ in range(6):
            await world.tick()
        assert world.writer.raw_ids == {video_id(position) for position in range(50)}

    run(history())


@examples(30)
@given(kills=st.lists(st.tuples(st.integers(0, 70), st.integers(1, 5), st.booleans()), min_size=1, max_size=4))
def test_a_kill_at_any_step_of_a_removal_forgets_none_and_removes_nothing_else(
    kills: list[tuple[int, int, bool]],
) -> None:
    """Between null and state, publish and state, and where it is repeated: the null comes again."""

    async def history() -> None:
        world = World(calls=1, units=5_000)
        for position in range(60):
            world.know(position, START_MS - 25 * DAY_MS if position < 30 else START_MS)
        world.youtube.gone = {video_id(3)}
        at = {tick: (number, after) for tick, number, after in kills}
        for tick in range(2 * 48):
            if tick in at:
                world.kill_in, world.kill_after = at[tick]
            await world.tick(1800.0)
        removed = world.writer.removed_ids
        assert set(removed) == {video_id(3)}
        assert len(removed) >= 2
        assert video_key(video_id(3)) not in world.log.values
        moments = [
            parse_rfc3339_ms(dict(it.headers)["ce_time"].decode()) for it in world.writer.records if not it.value
        ]
        assert moments[0] >= START_MS + HOUR_MS, "two answers an hour apart"
        assert moments[-1] >= moments[0] + DAY_MS - HOUR_MS, "repeated a day later"

    run(history())


# A clock that was wrong.


@pytest.mark.parametrize("days", [1, 5, 40])
def test_a_clock_that_was_days_ahead_for_hours_loses_nothing(days: int) -> None:
    async def history() -> None:
        world = World(("tea", "coffee"), calls=100)
        for hour in range(96):
            ahead_ms = days * DAY_MS if 10 <= hour < 20 else 0
            world.youtube.publish(world.now_ms // 1000 * 1000)
            world.now_ms += ahead_ms
            if hour in {12, 22}:
                world.restart()
            for _ in range(6):
                await world.tick(600)
            world.now_ms -= ahead_ms
        assert world.writer.raw_ids >= {video_id(number) for number in range(92)}
        for query in world.queries:
            watermark = world.watermark(query)
            assert watermark is not None
            assert world.now_ms - 2 * HOUR_MS <= parse_rfc3339_ms(watermark.covered_until) <= world.now_ms

    run(history())
