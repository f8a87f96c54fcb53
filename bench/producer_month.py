"""A month of following YouTube in virtual time: the real producer, two usual ways, and the least delay there can be.

Everything follows from the seed. First each way follows the same queries, through the same faults, with the same
quotas; then ours has three times what its quota can carry; then its looks at channels are held against the limit.
"""

import argparse
import math
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from bench.figures import percentile, spread
from bench.month_strategies import Clock, EvenSearch, FirstPage, Ours, Sightings, Strategy, following, run
from bench.youtube_model import (
    DAY_MS,
    NO_FAULTS,
    QUOTAS,
    Faults,
    IndexingDelay,
    ModelVideo,
    Publications,
    Traffic,
    YouTubeModel,
    publish,
)
from contract.producer_state import SEARCH_BUCKET, UNITS_BUCKET
from contract.times import format_seconds, pacific_day_start_ms
from producer.coverage import capacity_per_day
from producer.windows import Window

BEGIN_MS: Final = pacific_day_start_ms(1_792_500_000_000)
"""Midnight Pacific in October 2026: daylight saving time ends within the month."""

QUERIES: Final = ("tea ceremony", "chess opening", "sourdough bread", "night train", "violin concerto")
CHANNELS: Final = 400
LOAD: Final = 0.8
"""Of what the quota can carry, in the first comparison."""

FAULTS: Final = Faults(
    outage=Window(BEGIN_MS + 5 * DAY_MS, BEGIN_MS + 7 * DAY_MS - 1),
    dates_ignored=Window(BEGIN_MS + 14 * DAY_MS, BEGIN_MS + 28 * DAY_MS - 1),
)

OVERLOAD: Final = 3.0
OVERLOAD_DAYS: Final = 12
OURS: Final = "YouSync"
FIRST_PAGE: Final = "every 10 s, first page"
EVEN: Final = "evenly, all pages"

LIMIT_CHANNELS: Final = (20, 200, 2_000)
LIMIT_VIDEOS_PER_DAY: Final = 800.0
LIMIT_DAYS: Final = 4
LEARNING_DAYS: Final = 2
"""What is published in the first days is left out of the comparison with the limit: nothing was known then."""


class Scenario(msgspec.Struct, frozen=True):
    """A way to follow queries through a world that the seed and these figures make."""

    way: str
    days: int
    seed: int
    load: float


class Outcome(msgspec.Struct, frozen=True):
    """What came of a scenario; delays in seconds, `lost` by query as a share."""

    published: int
    returnable: int
    in_time: int
    found: int
    delays: list[float]
    lost: dict[str, float]
    days_without: int
    calls: dict[str, int]
    failed: dict[str, int]
    overspent: dict[str, int]
    logged: dict[str, int]
    cpu_seconds: float


class LimitScenario(msgspec.Struct, frozen=True):
    """Looks at so many channels, all known, without faults and searches that find anything."""

    channels: int
    days: int
    seed: int


class LimitOutcome(msgspec.Struct, frozen=True):
    """The mean delay and the least possible one for the same looks, in seconds."""

    channels: int
    mean: float
    least: float
    looks_per_day: float
    cpu_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30, help="virtual days (default 30)")
    parser.add_argument("--seed", type=int, default=1, help="everything follows from it (default 1)")
    parser.add_argument("--quick", action="store_true", help="10 virtual days, and one seed for the limit")
    options = parser.parse_args()
    days, limit_seeds = (10, 1) if options.quick else (options.days, 3)
    if days < 8:
        parser.error("8 virtual days are the least: the outage ends with the seventh")
    began = time.perf_counter()
    scenarios = [
        Scenario(OURS, days, options.seed, LOAD),
        Scenario(OURS, min(days, OVERLOAD_DAYS), options.seed, OVERLOAD),
        Scenario(EVEN, days, options.seed, LOAD),
        Scenario(FIRST_PAGE, days, options.seed, LOAD),
    ]
    limits = [
        LimitScenario(channels, LEARNING_DAYS + LIMIT_DAYS, options.seed + number)
        for channels in LIMIT_CHANNELS
        for number in range(limit_seeds)
    ]
    with multiprocessing.get_context("spawn").Pool(min(2, os.cpu_count() or 1)) as pool:
        pending = pool.map_async(play, scenarios, chunksize=1)
        pending_limits = pool.map_async(play_limit, limits, chunksize=1)
        ours, overload, *others = pending.get()
        against_limit = pending_limits.get()
    compared = [ours, *others]
    report([scenario for scenario in scenarios if scenario.load == LOAD], compared)
    report_overload(scenarios[1], overload)
    report_limit(against_limit)
    cpu = sum(each.cpu_seconds for each in (overload, *compared)) + sum(each.cpu_seconds for each in against_limit)
    print(
        f"\n{time.perf_counter() - began:.0f} s, {cpu:.0f} s of processor time ({ours.cpu_seconds:.0f} s for "
        f"the month of {OURS}), {os.cpu_count()} cores. The same seed gives the same figures, on any machine."
    )


def capacity() -> float:
    """Videos a day that the search quota can carry, by the producer's own account."""
    settings = following(QUERIES)
    return capacity_per_day(
        calls_per_day=settings.search_calls_per_day,
        queries=len(QUERIES),
        overlap_seconds=settings.overlap_seconds,
        sweep_seconds=settings.sweep_seconds,
    )


def play(scenario: Scenario) -> Outcome:
    """Follow the queries for the scenario's days."""
    began = time.process_time()
    month = Window(BEGIN_MS, BEGIN_MS + scenario.days * DAY_MS)
    traffic = Traffic(queries=QUERIES, videos_per_day=scenario.load * capacity(), channels=CHANNELS)
    published = publish(traffic, month, IndexingDelay(), scenario.seed)
    clock = Clock(BEGIN_MS)
    model = YouTubeModel(published, FAULTS, seed=scenario.seed, now_ms=clock)
    sightings = Sightings(clock)
    ways: dict[str, Callable[[], Strategy]] = {
        OURS: lambda: Ours(QUERIES, model, clock, sightings, seed=scenario.seed),
        FIRST_PAGE: lambda: FirstPage(QUERIES, model, clock, sightings),
        EVEN: lambda: EvenSearch(QUERIES, model, clock, sightings),
    }
    logged = run(ways[scenario.way](), clock, month.before_ms)
    return measure(
        published,
        sightings.found_ms,
        month,
        model=model,
        logged=logged,
        cpu_seconds=time.process_time() - began,
    )


def measure(
    published: Publications,
    found_ms: dict[str, int],
    month: Window,
    *,
    model: YouTubeModel,
    logged: Counter[str],
    cpu_seconds: float,
) -> Outcome:
    """Hold what was found against what YouTube could return.

    That is each matching video which is published in the month, and which searches could find for 24 h of it at least;
    the outage is no part of these.
    """
    wanted = [video for video in published.videos if video.queries and video.published_ms >= month.after_ms]
    returnable = [(video, due) for video in wanted if (due := due_ms(video, FAULTS.outage)) <= month.before_ms]
    found = [video for video, _ in returnable if video.video_id in found_ms]
    return Outcome(
        published=len(wanted),
        returnable=len(returnable),
        in_time=sum(found_ms.get(video.video_id, due + 1) <= due for video, due in returnable),
        found=len(found),
        delays=[(found_ms[video.video_id] - video.published_ms) / 1000 for video in found],
        lost={query: lost_share(query, (video for video, _ in returnable), found_ms) for query in QUERIES},
        days_without=count_days_without(wanted, found_ms, month),
        calls=dict(model.calls),
        failed=dict(model.failed),
        overspent=dict(model.overspent),
        logged=dict(logged),
        cpu_seconds=cpu_seconds,
    )


def due_ms(video: ModelVideo, outage: Window | None) -> int:
    """When searches have been able to find the video for 24 h; hours in which YouTube answers nobody do not count."""
    assert video.indexed_ms is not None
    due = video.indexed_ms + DAY_MS
    if outage is None or video.indexed_ms > outage.before_ms or due < outage.after_ms:
        return due
    return due + outage.before_ms - max(outage.after_ms, video.indexed_ms)


def lost_share(query: str, returnable: Iterable[ModelVideo], found_ms: dict[str, int]) -> float:
    found = [video.video_id in found_ms for video in returnable if query in video.queries]
    return 1 - sum(found) / max(1, len(found))


def count_days_without(wanted: Sequence[ModelVideo], found_ms: dict[str, int], month: Window) -> int:
    """Virtual days in which nothing new was found, though something was published."""
    finds = {(found_ms[video.video_id] - month.after_ms) // DAY_MS for video in wanted if video.video_id in found_ms}
    return len({(video.published_ms - month.after_ms) // DAY_MS for video in wanted} - finds)


def play_limit(scenario: LimitScenario) -> LimitOutcome:
    """Look at known channels only, and hold the mean delay against the limit for as many looks."""
    began = time.process_time()
    query = QUERIES[0]
    period = Window(BEGIN_MS, BEGIN_MS + scenario.days * DAY_MS)
    traffic = Traffic(
        queries=(query,),
        videos_per_day=LIMIT_VIDEOS_PER_DAY,
        channels=scenario.channels,
        off_topic=0.0,
        one_off=0.0,
        untold=0.0,
        rhythm=0.0,
    )
    published = publish(traffic, period, None, scenario.seed)
    clock = Clock(BEGIN_MS)
    model = YouTubeModel(published, NO_FAULTS, seed=scenario.seed, now_ms=clock)
    sightings = Sightings(clock)
    ours = Ours((query,), model, clock, sightings, seed=scenario.seed, channels=tuple(published.rates))
    learned_ms = BEGIN_MS + LEARNING_DAYS * DAY_MS
    run(ours, clock, learned_ms)
    looks = model.looks
    run(ours, clock, period.before_ms)
    looks_per_day = (model.looks - looks) * DAY_MS / (period.before_ms - learned_ms)
    # What is not found by the end has waited so long at least.
    delays = [
        (sightings.found_ms.get(video.video_id, period.before_ms) - video.published_ms) / 1000
        for video in published.videos
        if video.published_ms >= learned_ms
    ]
    return LimitOutcome(
        channels=scenario.channels,
        mean=sum(delays) / len(delays),
        least=least_mean_delay_seconds(published.rates.values(), looks_per_day),
        looks_per_day=looks_per_day,
        cpu_seconds=time.process_time() - began,
    )


def least_mean_delay_seconds(rates_per_day: Iterable[float], looks_per_day: float) -> float:
    """The least mean delay that any allocation of the looks over channels with these rates can reach.

    A channel looked at every d days finds its uploads d/2 days late on average. With the sum of the looks given, the
    mean over all uploads is least when each channel's looks are in proportion to the square root of its rate.
    """
    rates = tuple(rates_per_day)
    days = sum(map(math.sqrt, rates)) ** 2 / (2 * looks_per_day * sum(rates))
    return days * DAY_MS / 1000


def report(scenarios: Sequence[Scenario], outcomes: Sequence[Outcome]) -> None:
    """The comparison, a column a way."""
    traffic = Traffic(queries=QUERIES, videos_per_day=0, channels=CHANNELS)
    first, days = outcomes[0], scenarios[0].days
    print(
        f"{days} virtual days from {format_seconds(BEGIN_MS)}, seed {scenarios[0].seed}, {len(QUERIES)} queries, "
        f"{CHANNELS} channels with heavy-tailed rates; {first.published:,} matching videos, "
        f"{traffic.one_off:.0%} of them by channels that publish once;\n"
        f"{first.published / days:.0f} videos a day, where {QUOTAS[SEARCH_BUCKET]} searches a day can carry "
        f"{capacity():.0f}. No answer from {_day(FAULTS.outage)}, dates ignored from {_day(FAULTS.dates_ignored)}."
    )
    rows: list[tuple[str, Callable[[Outcome], str]]] = [
        ("found within 24 h of indexing", lambda it: f"{it.in_time / it.returnable:.3%}"),
        ("found by the end", lambda it: f"{it.found / it.returnable:.3%}"),
        ("delay of what was found, p50", lambda it: _time(percentile(it.delays, 50))),
        ("delay of what was found, p95", lambda it: _time(percentile(it.delays, 95))),
        ("delay of all, p50", lambda it: _time_of_all(it, 50)),
        ("delay of all, p95", lambda it: _time_of_all(it, 95)),
        ("searches made", lambda it: f"{it.calls.get(SEARCH_BUCKET, 0):,}"),
        ("  wasted: an error came back", lambda it: _share(it.failed, it.calls, SEARCH_BUCKET)),
        ("units spent", lambda it: f"{it.calls.get(UNITS_BUCKET, 0):,}"),
        ("  wasted: an error came back", lambda it: _share(it.failed, it.calls, UNITS_BUCKET)),
        ("calls beyond the quota", lambda it: f"{sum(it.overspent.values()):,}"),
        ("days without data", lambda it: f"{it.days_without}"),
    ]
    print(f"\n{'':32}" + "".join(f"{scenario.way:>24}" for scenario in scenarios))
    for name, show in rows:
        print(f"{name:32}" + "".join(f"{show(outcome):>24}" for outcome in outcomes))
    _print_logged(first)


def report_overload(scenario: Scenario, outcome: Outcome) -> None:
    """How evenly the loss falls, and what was said of it."""
    in_time, found = outcome.in_time / outcome.returnable, outcome.found / outcome.returnable
    print(
        f"\n{OVERLOAD:g} times what searches can carry, {scenario.days} days, {outcome.published:,} videos: "
        f"found within 24 h of indexing {in_time:.3%}, by the end {found:.3%}; "
        f"calls beyond the quota {sum(outcome.overspent.values())}"
    )
    for query, lost in outcome.lost.items():
        print(f"  lost of {query!r:24} {lost:.3%}")
    _print_logged(outcome)


def report_limit(outcomes: Sequence[LimitOutcome]) -> None:
    """Mean delay against the limit by the number of channels."""
    print(
        f"\nMean delay on followed channels, {LIMIT_VIDEOS_PER_DAY:.0f} videos a day, no faults, by number of channels"
    )
    for channels in LIMIT_CHANNELS:
        rounds = [outcome for outcome in outcomes if outcome.channels == channels]
        print(
            f"  {channels:>5,}: {spread([each.mean for each in rounds], '.0f')} s, least possible for "
            f"{rounds[0].looks_per_day:,.0f} looks a day {spread([each.least for each in rounds], '.0f')} s, "
            f"ratio {spread([each.mean / each.least for each in rounds], '.3f')}"
        )


def _print_logged(outcome: Outcome) -> None:
    print(f"  warnings and errors that {OURS} logged:")
    for event, count in sorted(outcome.logged.items()):
        print(f"  {count:>8,} x {event}")


def _share(failed: dict[str, int], calls: dict[str, int], bucket: str) -> str:
    return f"{failed.get(bucket, 0):,} ({failed.get(bucket, 0) / max(1, calls.get(bucket, 0)):.2%})"


def _time_of_all(outcome: Outcome, percent: float) -> str:
    """The delay that so many of all videos do not exceed, those that were not found included."""
    missing = [math.inf] * (outcome.returnable - outcome.found)
    return _time(percentile([*outcome.delays, *missing], percent))


def _time(seconds: float) -> str:
    if math.isinf(seconds):
        return "never"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _day(window: Window | None) -> str:
    if window is None:
        return "never"
    return " to ".join(f"day {(moment - BEGIN_MS) / DAY_MS:.1f}" for moment in (window.after_ms, window.before_ms))


if __name__ == "__main__":
    main()
