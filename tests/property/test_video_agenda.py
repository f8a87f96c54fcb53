"""A world in which videos die and return and answers fail: the living are refreshed, the dead are removed, no other."""

import random
from collections import Counter
from typing import Final

import msgspec
import pytest

from contract.topics import DAY_MS
from contract.video import Live
from producer.known import KnownVideo
from producer.video_agenda import (
    BATCH_IDS,
    CONFIRM_MS,
    HOUR_MS,
    MINUTE_MS,
    REPEAT_MS,
    RETRY_PAUSE_MS,
    Verdict,
    VideoAgenda,
    VideosBatch,
    judge,
)

START: Final = 20_000 * DAY_MS


class World:
    """YouTube with its videos, and a producer that follows the agenda."""

    def __init__(self, seed: int, videos: int, dying: float, failing: float) -> None:
        self.generator: Final = random.Random(seed)
        self.failing: Final = failing
        self.now = START
        self.known: Final[dict[str, KnownVideo]] = {}
        self.agenda: Final = VideoAgenda({})
        self.lifetimes: Final = {f"video {number}": self._lifetime(dying) for number in range(videos)}
        self.to_find: Final = sorted(
            ((self.generator.randrange(START, START + 10 * DAY_MS), video_id) for video_id in self.lifetimes),
            reverse=True,
        )
        self.absent_ms: Final[dict[str, list[int]]] = {}
        self.repeats: Final[Counter[str]] = Counter()
        self.failures = 0

    def _lifetime(self, dying: float) -> tuple[int, int]:
        """When a video leaves, and when it is back; both may be never."""
        leaves = START + 15 * DAY_MS + self.generator.randrange(20 * DAY_MS)
        away = self.generator.choice([HOUR_MS, 30 * HOUR_MS, 10**15])
        return (leaves, leaves + away) if self.generator.random() < dying else (10**15, 10**15)

    def lives(self, video_id: str) -> bool:
        leaves, returns = self.lifetimes[video_id]
        return not leaves <= self.now < returns

    def run(self, length_ms: int, step_ms: int) -> None:
        """Let so much time pass, with at most one call a step."""
        for _ in range(length_ms // step_ms):
            self.now += step_ms
            self.step()

    def step(self) -> None:
        while self.to_find and self.to_find[-1][0] <= self.now:
            _, video_id = self.to_find.pop()
            self.note(video_id, KnownVideo(first_seen_ms=self.now, fetched_ms=self.now))
        batch = self.agenda.next_batch(self.now) or self.agenda.refresh_batch(self.now)
        if batch is not None:
            self.call(batch)

    def call(self, batch: VideosBatch) -> None:
        assert len(set(batch.ids)) == len(batch.ids) <= BATCH_IDS
        self.agenda.note_asked(batch.ids, self.now)
        omitted = self.failing / 4
        alive = [video_id for video_id in batch.ids if self.lives(video_id)]
        present = {video_id for video_id in alive if self.generator.random() >= omitted}
        if self.generator.random() < self.failing:
            present = set(sorted(present)[: len(batch.ids) // 3])
        verdict = judge(batch.ids, present, self.known, self.now)
        for video_id in verdict.seen:
            self.absent_ms.pop(video_id, None)
        if verdict.failed:
            self.failures += 1
            self.agenda.note_failed(verdict.lacking, self.now)
        else:
            self.check_removals(verdict)
            for video_id in verdict.newly_missing:
                self.change(video_id, missing_ms=self.now)
            for video_id in verdict.gone:
                self.change(video_id, gone_ms=self.now)
            for video_id in verdict.repeated:
                self.note(video_id, None)
        for video_id in verdict.seen:
            self.change(video_id, fetched_ms=self.now, completed=True, missing_ms=None, gone_ms=None)

    def check_removals(self, verdict: Verdict) -> None:
        for video_id in verdict.lacking:
            self.absent_ms.setdefault(video_id, []).append(self.now)
        for video_id in verdict.gone:
            first, *_, last = self.absent_ms[video_id]
            assert last - first >= CONFIRM_MS
            assert self.known[video_id].gone_ms is None, "a removal is sent once"
        for video_id in verdict.repeated:
            self.repeats[video_id] += 1
            gone_ms = self.known[video_id].gone_ms
            assert gone_ms is not None
            assert self.now - gone_ms >= REPEAT_MS

    def change(self, video_id: str, **changes: int | bool | None) -> None:
        self.note(video_id, msgspec.structs.replace(self.known[video_id], **changes))

    def note(self, video_id: str, video: KnownVideo | None) -> None:
        self.known.pop(video_id, None)
        if video is not None:
            self.known[video_id] = video
        self.agenda.note(video_id, video)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("videos", "dying"), [(5, 0.3), (40, 0.3), (250, 0.7)])
@pytest.mark.parametrize("failing", [0.0, 0.1])
def test_the_living_are_refreshed_and_the_dead_are_removed(
    seed: int, videos: int, dying: float, failing: float
) -> None:
    world = World(seed, videos, dying, failing)
    for _ in range(62 * 6):
        world.run(4 * HOUR_MS, step_ms=10 * MINUTE_MS)
        alive = [video for video_id, video in world.known.items() if world.lives(video_id) and video.gone_ms is None]
        alive_ms = [video.fetched_ms for video in alive]
        assert world.now - min(alive_ms, default=world.now) <= 25 * DAY_MS
        oldest_ms = world.agenda.oldest_fetched_ms()
        assert oldest_ms is None or oldest_ms <= min(alive_ms, default=oldest_ms)

    dead = {video_id for video_id in world.lifetimes if not world.lives(video_id)}
    assert {video_id: world.repeats[video_id] for video_id in dead} == dict.fromkeys(dead, 1)
    assert not dead & world.known.keys()
    removed = world.lifetimes.keys() - dead - world.known.keys()
    assert all(world.lifetimes[video_id][1] < world.now and world.repeats[video_id] == 1 for video_id in removed), (
        "only a video that came back after its removal was repeated is not known any more"
    )
    if videos == 250:
        assert bool(world.failures) == bool(failing)


@pytest.mark.parametrize("videos", [1, 5, 300])
def test_answers_that_all_fail_cost_little_and_change_nothing(videos: int) -> None:
    world = World(0, videos, dying=0.0, failing=1.0)
    world.run(26 * DAY_MS, step_ms=30 * MINUTE_MS)
    before = world.failures
    world.run(HOUR_MS, step_ms=10_000)

    assert not any(video.missing_ms or video.gone_ms for video in world.known.values())
    assert 0 < world.failures - before <= HOUR_MS // (RETRY_PAUSE_MS if videos < 10 else MINUTE_MS) + 1


@pytest.mark.parametrize(("failing", "most_ms"), [(0.0, 30 * MINUTE_MS), (0.05, 2 * HOUR_MS)])
def test_live_videos_are_refreshed_within_half_an_hour(failing: float, most_ms: int) -> None:
    """Answers that lack living videos make suspects of them: they are late by the pause, or the hour to confirm."""
    world = World(7, 200, dying=0.1, failing=failing)
    world.to_find.clear()
    for number, video_id in enumerate(world.lifetimes):
        fetched_ms = world.now - world.generator.randrange(20 * MINUTE_MS)
        live: Live = "live" if number < 120 else "none"
        world.note(video_id, KnownVideo(fetched_ms, fetched_ms, live=live, completed=True))
    for _ in range(12 * 60):
        world.run(MINUTE_MS, step_ms=10_000)
        assert world.now - min(video.fetched_ms for video in world.known.values() if video.live == "live") <= most_ms
