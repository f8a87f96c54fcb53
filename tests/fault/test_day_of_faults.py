"""A virtual day of faults at high speed, half a day without, and then the list of the simulator's oracle.

Every video that any answer contained is in the raw topic, each call was debited once, and nothing was removed that was
there. Real are the client (Google's, over HTTP to the simulator), the poller, the leadership and Kafka. Only the clock
is not: it stands still during a tick and then moves by ten seconds. The quota of searches is YouTube's. Units are 500 a
day and not 10,000, so that it takes no more than a minute or two.

All faults that the simulator knows strike, dealt to the hours by a seed. In between the process dies at each place
where order matters: right before and right after the record of a debit, of the items, of what is known of them, and of
a watermark. All that it leaves is what Kafka has.
"""

import heapq
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count, pairwise, product
from pathlib import Path
from typing import Final

import msgspec
import pytest
import structlog
from aiohttp.test_utils import TestServer
from aiokafka import ConsumerRecord
from prometheus_client import CollectorRegistry

from contract.events import read_raw_headers
from contract.producer_state import LEDGER_PREFIX, SEARCH_BUCKET, UNITS_BUCKET, VIDEO_PREFIX, Ledger
from contract.query_match import matches, parse_query
from contract.times import pacific_date
from contract.topics import PRODUCER_STATE, RAW, topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from ops.metrics import ProducerMetrics
from producer.calls import Calls
from producer.following import Following
from producer.kafka_record import KafkaRecord
from producer.kafka_writer import KafkaWriter
from producer.leadership import Leadership
from producer.poller import Poller
from producer.publisher import Publisher
from producer.quota import QuotaLedger
from producer.state import ProducerState
from producer.youtube_client import YouTubeClient
from simulator.app import create_app
from simulator.catalogue import CatalogueVideo
from simulator.faults import FAULTS, Endpoint, Faults, Setting
from simulator.generated import generated_videos
from simulator.indexing_delay import IndexingDelay
from simulator.quota import Bucket, Quota
from simulator.video_index import PublishedVideo, Window
from tests.conftest import MakeServers
from tests.producer_stage import read_topic
from tests.unit.simulator.simulations import MovedClock, make_simulation

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]

SEED = 5
PARTITIONS = 4
KEYS = tuple(f"AIzaSyNoKeyOfAnybody{number:019d}" for number in range(4))
QUERIES = ("python", "coffee -latte", "chess|sailing", "rarity")
LIMITS: Final[dict[Bucket, int]] = {"search": 100, "units": 500}

TICK_SECONDS = 10
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_790_391_600_000
"""2026-09-26T03:00:00Z, eight in the evening at YouTube: the quotas' day ends after four hours, and again after 28."""

HOURS_OF_FAULTS = 24
HOURS_AFTER = 12
END_MS = START_MS + (HOURS_OF_FAULTS + HOURS_AFTER) * HOUR_MS
BACKFILL_MS = 7 * DAY_MS
OVERLAP_SECONDS = 6 * 3600
MAX_INDEXING_DELAY_SECONDS = 4 * 3600
MEAN_GAP_SECONDS = 90
LIVE_SHARE = 0.1
ONCE_SHARE = 0.3
"""Videos of channels that publish nothing else, so that only a search can find them."""

RARITIES = 40
"""Videos that are too old for any window: only an answer that ignores the dates shows them."""

PROBABILITIES: Final = {
    "delegation403": 0.33,
    "burst429": 0.1,
    "error500_json": 0.1,
    "error502_html": 0.1,
    "truncated_body": 0.1,
    "bad_json_200": 0.1,
    "connection_close": 0.1,
    "invalid_page_token": 0.3,
    "blank_next_page_token": 0.3,
    "stuck_page_token": 0.3,
    "duplicates_across_pages": 0.5,
    "published_after_ignored": 0.3,
    "filters_ignored": 0.3,
    "disorder": 0.5,
    "omission": 0.15,
    "foreign_kinds": 0.1,
    "missing_video_id": 0.1,
    "missing_snippet": 0.1,
    "missing_thumbnails": 0.1,
    "private_uploads": 0.1,
    "uploads_not_found": 0.03,
}
"""Faults of any hour."""

HOURS_EACH = 6
HOUR_TO_INSIST = 10
"""From then on, what has never struck strikes for certain."""

AT_HOUR: Final[dict[int, dict[str, Setting]]] = {
    0: {
        name: Setting(1.0, times=1)
        for name in ("invalid_page_token", "stuck_page_token", "blank_next_page_token", "duplicates_across_pages")
    },
    3: {"daily_limit_exceeded": Setting(1.0, times=2)},
    5: {"slow_trickle": Setting(0.2, times=3)},
    # What an answer lacks by mistake must be seen again before it is asked for again, or it would count as gone.
    7: {"missing_videos": Setting(0.3)},
    9: {"key_invalid": Setting(1.0, times=1)},
    12: {"access_not_configured": Setting(1.0, times=1)},
    15: {"key_restricted": Setting(1.0, times=1), "slow_trickle": Setting(0.2, times=3)},
    # An answer that lacks nearly everything is not believed, however often.
    **{hour: {"missing_videos": Setting(1.0)} for hour in (18, 19, 20)},
    **{hour: {name: Setting(1.0, times=1) for name in ("units_exhausted", "quota_exhausted")} for hour in (21, 22, 23)},
}
"""Faults that have to strike in any case, and those that end a bucket's day or a key's use, take long in earnest, or
look like a removal: in hours of their own."""

HOURS_OF_CHANGES = (4.5, 11.5)
"""When videos vanish: with no `missing_videos` near, so that each must have been away for an hour when it is gone."""

DEATHS: Final = tuple(product(("ledger", "raw", "video", "watermark"), ("before", "after")))
DEATH_EVERY_MS = int(2.5 * HOUR_MS)


def deal_faults(dice: random.Random) -> list[dict[str, Setting]]:
    """The faults of each hour."""
    hours: list[dict[str, Setting]] = [{} for _ in range(HOURS_OF_FAULTS)]
    for name, probability in PROBABILITIES.items():
        for faults in dice.sample(hours, HOURS_EACH):
            faults[name] = Setting(probability)
    return [{**faults, **AT_HOUR.get(hour, {})} for hour, faults in enumerate(hours)]


class CountedFaults(Faults):
    """Faults that remember which of them struck."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.struck: Counter[str] = Counter()

    def strikes(self, name: str, endpoint: Endpoint) -> bool:
        strikes = super().strikes(name, endpoint)
        self.struck[name] += strikes
        return strikes


class Died(Exception):
    """The process is gone."""


class MortalWriter:
    """Kafka's writer, and the place where the process dies: right before or right after a record of one kind.

    It also watches that no video is known before Kafka has its item: `acknowledged` are those that it has.
    """

    def __init__(self, writer: KafkaWriter, acknowledged: set[str]) -> None:
        self._writer = writer
        self._acknowledged = acknowledged
        self.death: tuple[str, str] | None = None

    async def write(self, records: Sequence[KafkaRecord]) -> list[KafkaRecord]:
        kinds = {_kind(record) for record in records}
        self._die(kinds, "before")
        too_large = await self._writer.write(records)
        for record in records:
            if _kind(record) == "raw":
                self._acknowledged.add(record.key.decode())
            elif _kind(record) == "video":
                assert record.key.removeprefix(VIDEO_PREFIX).decode() in self._acknowledged, "known too early"
        self._die(kinds, "after")
        return too_large

    def _die(self, kinds: set[str], moment: str) -> None:
        if self.death is not None and self.death[0] in kinds and self.death[1] == moment:
            raise Died


def _kind(record: KafkaRecord) -> str:
    return "raw" if record.topic == RAW else record.key.partition(b"/")[0].decode()


class World:
    """The simulated YouTube and its day: what is published, what vanishes and which faults are on, each at its time."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.clock = MovedClock(START_MS - 30 * DAY_MS)
        self.faults = CountedFaults(seed)
        self.simulation = make_simulation(
            folder,
            clock=self.clock,
            faults=self.faults,
            # More than the producer may ask for, so that it shows if it does.
            quota=Quota(search_calls_per_day=10**6, units_per_day=10**6),
            indexing_delay=IndexingDelay(seed, 600, MAX_INDEXING_DELAY_SECONDS),
        ).simulation
        self.acknowledged: set[str] = set()
        self.rarities: set[str] = set()
        self.absences: dict[str, tuple[int, float]] = {}
        self.used: dict[tuple[Bucket, str], int] = {}
        self._videos = generated_videos(seed)
        self._numbers = count()
        self._to_come: list[tuple[int, int, Callable[[], object]]] = []
        self._plan()

    def _plan(self) -> None:
        for number in range(RARITIES):
            self._at(self.clock() + number * HOUR_MS, partial(self._publish, rarity=True))
        for number in range(1, 400):  # over the last five days, ever more of them, so that the first search has pages
            self._at(START_MS - round(5 * DAY_MS * (1 - number / 400) ** 2), self._publish)
        publish_ms = START_MS
        while publish_ms < START_MS + HOURS_OF_FAULTS * HOUR_MS:
            self._at(publish_ms, self._publish)
            publish_ms += round(self.dice.expovariate(1 / MEAN_GAP_SECONDS) * 1000)
        for hour, faults in enumerate(deal_faults(self.dice)):
            self._at(START_MS + hour * HOUR_MS, partial(self._set_faults, faults, insist=hour >= HOUR_TO_INSIST))
        self._at(START_MS + HOURS_OF_FAULTS * HOUR_MS, partial(self.faults.replace, {}))
        for hour_of_changes in HOURS_OF_CHANGES:
            self._at(START_MS + round(hour_of_changes * HOUR_MS), self._change)

    def _at(self, at_ms: int, happens: Callable[[], object]) -> None:
        heapq.heappush(self._to_come, (at_ms, next(self._numbers), happens))

    def begin(self) -> None:
        """Live through the time before the day."""
        while self._to_come[0][0] < START_MS:
            self.clock.now_ms = self._to_come[0][0]
            self.turn()
        self.clock.now_ms = START_MS

    def turn(self) -> None:
        """Let happen what is due."""
        while self._to_come and self._to_come[0][0] <= self.clock():
            heapq.heappop(self._to_come)[2]()

    def note_calls(self) -> None:
        """Remember what was called on this Pacific day so far."""
        for bucket in LIMITS:
            used = self.simulation.quota.used(bucket, self.clock())
            self.used[bucket, pacific_date(self.clock())] = used

    def all_videos(self) -> dict[str, PublishedVideo]:
        return {each.video.video_id: each for each in self.simulation.index.newest_first()}

    def shown(self) -> set[str]:
        """The videos in all answers, without the uploads and private videos that no followed query matches."""
        videos = self.all_videos()
        answered = self.simulation.answered.ids()
        return {
            *answered["search"],
            *(found for found in answered["playlistItems"] if is_asked_for(videos[found].video, with_tags=False)),
            *(found for found in answered["videos"] if is_asked_for(videos[found].video, with_tags=True)),
        }

    def to_be_found(self) -> set[str]:
        """What searches for the followed queries should find now, of all that was listed to them more than once.

        Older videos are read once at first, and are not found when YouTube leaves them out just then.
        """
        window = Window(START_MS - OVERLAP_SECONDS * 1000)
        searches = (self.simulation.index.search(parse_query(query), window, self.clock()) for query in QUERIES)
        return {each.video.video_id for found in searches for each in found}

    def _set_faults(self, faults: dict[str, Setting], *, insist: bool) -> None:
        due = {name: Setting(1.0, times=1) for name in PROBABILITIES if insist and not self.faults.struck[name]}
        self.faults.replace({**faults, **due})

    def _publish(self, *, rarity: bool = False) -> None:
        video = next(self._videos)
        if rarity:
            video = msgspec.structs.replace(video, title="A rarity")
            self.rarities.add(video.video_id)
        if rarity or self.dice.random() < ONCE_SHARE:
            video = msgspec.structs.replace(video, channel_id=f"UConce{next(self._numbers):018d}")
        if not rarity and self.dice.random() < LIVE_SHARE:
            video = msgspec.structs.replace(video, live="live")
        self.simulation.publish([video])

    def _change(self) -> None:
        """Known videos vanish: for good, for hours and for half an hour. Live ones, for those are looked at often."""
        there = [video_id for video_id in sorted(self.acknowledged) if video_id not in self.absences]
        videos = self.all_videos()
        live = [video_id for video_id in there if videos[video_id].video.live == "live"]
        removed, away_for_hours, away_shortly, ended = self.dice.sample(live, 4)
        not_live = self.dice.choice([video_id for video_id in there if video_id not in live])
        for video_id in (removed, not_live):
            self.simulation.remove(video_id)
            self.absences[video_id] = (self.clock(), math.inf)
        for video_id, hours in ((away_for_hours, 5.0), (away_shortly, 0.5)):
            back_ms = self.clock() + round(hours * HOUR_MS)
            self.simulation.hide(video_id)
            self.absences[video_id] = (self.clock(), back_ms)
            self._at(back_ms, partial(self.simulation.hide, video_id, hidden=False))
        self.simulation.set_live(ended, "none")


def is_asked_for(video: CatalogueVideo, *, with_tags: bool) -> bool:
    """Whether one of the followed queries matches what an answer says of a video."""
    texts = (video.title, video.channel_title, video.description, *(video.tags if with_tags else ()))
    return any(matches(parse_query(query), texts) for query in QUERIES)


class Producer:
    """Processes of the producer, one after another, in the world's time."""

    def __init__(self, world: World, endpoint: str, bootstrap: str) -> None:
        self._world = world
        self._endpoint = endpoint
        self._bootstrap = bootstrap
        self._deaths = list(DEATHS)
        self._dies_ms = START_MS + DEATH_EVERY_MS
        self._answered_before: dict[Endpoint, int] = {}
        self.died: list[tuple[str, str]] = []
        self.lost_with_process: set[str] = set()

    async def run(self) -> None:
        """Tick until the end."""
        while self._world.clock() < END_MS:
            async with self._process() as (poller, writer):
                try:
                    await self._tick(poller, writer)
                except Died:
                    self._note_death()

    async def _tick(self, poller: Poller, writer: MortalWriter) -> None:
        clock = self._world.clock
        while clock() < END_MS:
            self._world.turn()
            if self._deaths and clock() >= self._dies_ms:
                writer.death = self._deaths[0]
            answered = self._world.simulation.answered.ids()
            self._answered_before = {endpoint: len(shown) for endpoint, shown in answered.items()}
            await poller.tick(TICK_SECONDS)
            self._world.note_calls()
            clock.forward(TICK_SECONDS)

    def _note_death(self) -> None:
        """The last answer is lost: what is too old for any window need not be found again."""
        self.died.append(self._deaths.pop(0))
        self._dies_ms += DEATH_EVERY_MS
        videos = self._world.all_videos()
        self.lost_with_process |= {
            video_id
            for endpoint, shown in self._world.simulation.answered.ids().items()
            for video_id in shown[self._answered_before[endpoint] :]
            if video_id not in self._world.acknowledged and videos[video_id].published_ms < START_MS - BACKFILL_MS
        }

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[tuple[Poller, MortalWriter]]:
        """A process that has taken over, as `producer.service` makes one."""
        clock = self._world.clock
        async with AsyncExitStack() as stack:
            kafka = KafkaWriter(KafkaConnection(self._bootstrap))
            stack.push_async_callback(kafka.close)
            writer = MortalWriter(kafka, self._world.acknowledged)
            leadership = await stack.enter_async_context(Leadership(KafkaConnection(self._bootstrap), writer, 60))
            term = await leadership.lead()
            state = ProducerState(term, term.values)
            metrics = ProducerMetrics(CollectorRegistry())
            poller = Poller(
                following=Following(
                    queries=QUERIES,
                    poll_seconds=TICK_SECONDS,
                    overlap_seconds=OVERLAP_SECONDS,
                    sweep_seconds=48 * 3600,
                    backfill_seconds=BACKFILL_MS // 1000,
                    search_calls_per_day=LIMITS["search"],
                ),
                client=YouTubeClient(KEYS, self._endpoint, timeout_seconds=3),
                calls=Calls(
                    lease=term,
                    ledger=QuotaLedger({SEARCH_BUCKET: LIMITS["search"], UNITS_BUCKET: LIMITS["units"]}, state),
                    metrics=metrics,
                    now_ms=clock,
                    jitter=self._world.dice.random,
                ),
                lease=term,
                publisher=Publisher(writer, metrics),
                state=state,
                operator_changes=term.operator_changes,
                metrics=metrics,
                now_ms=clock,
                stopping=lambda: False,
            )
            await poller.begin()
            yield poller, writer


def check_removals(world: World, raw: Sequence[ConsumerRecord]) -> None:
    """Only what has been away for an hour is removed, live videos are soon, and what is back is there again."""
    removed_ms: dict[str, list[int]] = {}
    last: dict[str, bytes | None] = {}
    for record in raw:
        video_id = record.key.decode()
        last[video_id] = record.value
        if record.value is None:
            at_ms = read_raw_headers(record.headers, gone=True, timestamp_ms=0).time_ms
            since_ms, until_ms = world.absences.get(video_id, (math.inf, math.inf))
            assert since_ms + HOUR_MS <= at_ms < until_ms, f"{video_id} was removed, but was there"
            removed_ms.setdefault(video_id, []).append(at_ms)
    videos = world.all_videos()
    for video_id, (since_ms, until_ms) in world.absences.items():
        if until_ms < math.inf:
            assert last[video_id] is not None, f"{video_id} is back, but is still removed"
        if videos[video_id].video.live == "live" and until_ms - since_ms > 4 * HOUR_MS:
            first_ms, *repeated_ms = removed_ms[video_id]
            assert first_ms < since_ms + 4 * HOUR_MS
            is_repeated = first_ms + DAY_MS < min(END_MS - HOUR_MS, until_ms)
            assert len(repeated_ms) == is_repeated, "a removal is sent once, and once more a day later"
            assert all(again_ms >= first_ms + DAY_MS for again_ms in repeated_ms)


def count_debits(state: Sequence[ConsumerRecord]) -> int:
    """How many debits the ledgers' records are; other steps go to the day's limit, because YouTube said so."""
    used: dict[bytes, list[int]] = {}
    for record in state:
        if record.key.startswith(LEDGER_PREFIX):
            used.setdefault(record.key, [0]).append(msgspec.json.decode(record.value, type=Ledger).used)
    debits = 0
    for key, counts in used.items():
        bucket = key.decode().split("/")[1]
        for before, after in pairwise(counts):
            assert before < after <= LIMITS["search" if bucket == SEARCH_BUCKET else "units"]
            assert after == before + 1 or after == LIMITS["search" if bucket == SEARCH_BUCKET else "units"]
            debits += after == before + 1
    return debits


async def test_every_video_of_any_answer_is_in_the_raw_topic(make_servers: MakeServers, tmp_path: Path) -> None:
    bootstrap = make_servers().kafka_bootstrap
    await create_missing_topics(KafkaConnection(bootstrap), topic_specs(PARTITIONS), 1)
    world = World(tmp_path, SEED)
    world.begin()
    server = TestServer(create_app(world.simulation, trickle_seconds=8))
    await server.start_server()
    try:
        producer = Producer(world, str(server.make_url("/")), bootstrap)
        with structlog.testing.capture_logs():  # a day's lines would hide what a failure says
            await producer.run()
    finally:
        await server.close()

    debits = count_debits(await read_topic(bootstrap, PRODUCER_STATE, 1))
    died_between_debit_and_call = producer.died.count(("ledger", "after"))
    assert debits == world.simulation.calls.wire_requests + died_between_debit_and_call
    for (bucket, date), used in world.used.items():
        assert used <= LIMITS[bucket], f"{bucket} of {date}"

    raw = await read_topic(bootstrap, RAW, PARTITIONS)
    kept = {record.key.decode() for record in raw if record.value is not None}
    last = {record.key.decode(): record.value for record in raw}
    there = {video_id for video_id, value in last.items() if value is not None}
    assert world.shown() - kept - producer.lost_with_process == set(), "shown, and not in the raw topic"
    assert world.to_be_found() - there == set(), "not found"
    check_removals(world, raw)

    assert not [name for name in FAULTS if not world.faults.struck[name]], "a day without these proves little"
    assert world.rarities & world.shown(), "a day without old videos proves little"
    assert producer.died == list(DEATHS)
