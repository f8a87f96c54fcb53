"""The ranking finds the best channel, forgets none, and comes close to the least mean delay that looks can reach."""

import bisect
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.topics import DAY_MS
from producer.channel_ranking import (
    HEAD_START_MS,
    MISSING_RATE,
    MISSING_REST_MS,
    NEW_RATE,
    STEPS_PER_OCTAVE,
    ChannelRanking,
    learn,
    rate_per_day,
)
from producer.known import KnownChannel

START = 20_000 * DAY_MS

times = st.integers(START - 90 * DAY_MS, START)
channels = st.builds(
    KnownChannel,
    found_ms=times,
    looked_ms=st.none() | times,
    uploads=st.floats(0, 1000),
    days=st.floats(0, 43),
    missing=st.booleans(),
)
names = st.sampled_from([f"channel {number}" for number in range(12)])


def score(channel: KnownChannel, now_ms: int) -> float:
    """By the definition, with the rate rounded as the ranking does."""
    since_ms = channel.found_ms - HEAD_START_MS if channel.looked_ms is None else channel.looked_ms
    age_ms = now_ms - since_ms
    if channel.missing:
        rate = MISSING_RATE if age_ms > MISSING_REST_MS else 0.0
    elif channel.looked_ms is None:
        rate = NEW_RATE
    else:
        rate = 2 ** (round(math.log2(rate_per_day(channel)) * STEPS_PER_OCTAVE) / STEPS_PER_OCTAVE)
    return rate * (age_ms / DAY_MS) ** 2


@given(
    known=st.dictionaries(names, channels),
    notes=st.lists(st.tuples(names, st.none() | channels)),
    count=st.integers(1, 13),
    later_ms=st.integers(0, 40 * DAY_MS),
)
def test_the_best_are_those_with_the_highest_scores(
    known: dict[str, KnownChannel], notes: list[tuple[str, KnownChannel | None]], count: int, later_ms: int
) -> None:
    ranking, now = ChannelRanking(known), START + later_ms
    for name, channel in notes:
        ranking.note(name, channel)
        known = {kept: value for kept, value in {**known, name: channel}.items() if value is not None}
    scores = {name: score(channel, now) for name, channel in known.items() if score(channel, now) > 0}

    picks = ranking.top(now, count)

    assert len(ranking) == len(known)
    assert [pick.score for pick in picks] == pytest.approx(sorted(scores.values(), reverse=True)[:count])
    assert all(pick.score == pytest.approx(scores[pick.channel_id]) for pick in picks)
    assert ranking.best(now) == (picks[0] if picks else None)


@settings(max_examples=50)
@given(known=st.dictionaries(names, channels, min_size=1), jumps=st.lists(st.integers(-20 * DAY_MS, 20 * DAY_MS)))
def test_no_channel_starves_whatever_the_clock_does(known: dict[str, KnownChannel], jumps: list[int]) -> None:
    ranking, now = ChannelRanking(known), START
    for jump in jumps:
        now += jump
        look(ranking, known, now)
    reached = set()
    for _ in range(400):
        now += DAY_MS // 8
        reached |= look(ranking, known, now)
    assert reached == set(known)


def look(ranking: ChannelRanking, known: dict[str, KnownChannel], now_ms: int) -> set[str]:
    """Look at the best channel, and find nothing."""
    pick = ranking.best(now_ms)
    if pick is None:
        return set()
    known[pick.channel_id] = learn(known[pick.channel_id], now_ms, [], None, page_is_full=False)
    ranking.note(pick.channel_id, known[pick.channel_id])
    return {pick.channel_id}


@pytest.mark.parametrize(
    ("count", "looks_per_day", "days", "most"), [(20, 600, 30, 1.15), (200, 1200, 12, 1.15), (1000, 3000, 6, 1.2)]
)
def test_the_mean_delay_with_learned_rates_is_near_the_limit(
    count: int, looks_per_day: int, days: int, most: float
) -> None:
    generator = random.Random(count)
    rates = [min(30.0, 0.05 * generator.paretovariate(0.8)) for _ in range(count)]

    delay_days = mean_delay_days(rates, looks_per_day, days, generator)

    limit_days = sum(map(math.sqrt, rates)) ** 2 / (2 * looks_per_day * sum(rates))
    even_days = count / (2 * looks_per_day)
    assert delay_days <= most * limit_days
    assert limit_days < 0.8 * even_days, "looking at all alike would do as well, so nothing is shown"


def mean_delay_days(rates: list[float], looks_per_day: int, days: int, generator: random.Random) -> float:
    """Follow channels with these rates, unknown at first, and average the delay of all that they publish."""
    end = START + days * DAY_MS
    uploads = [publish(rate, START - 60 * DAY_MS, end, generator) for rate in rates]
    channels = {str(number): KnownChannel(found_ms=START) for number in range(len(rates))}
    ranking = ChannelRanking(channels)
    seen = [START] * len(rates)
    delays = []
    for now in range(START, end, DAY_MS // looks_per_day):
        pick = ranking.best(now)
        if pick is None:
            continue
        number = int(pick.channel_id)
        listed = bisect.bisect_right(uploads[number], now)
        page = uploads[number][max(0, listed - 50) : listed]
        delays += [now - moment for moment in page if moment > seen[number]]
        seen[number] = now
        full = len(page) == 50
        channel = learn(channels[pick.channel_id], now, page, min(page, default=None), page_is_full=full)
        channels[pick.channel_id] = channel
        ranking.note(pick.channel_id, channel)
    return sum(delays) / len(delays) / DAY_MS


def publish(rate: float, since_ms: int, until_ms: int, generator: random.Random) -> list[int]:
    moments, at = [], since_ms + generator.expovariate(rate) * DAY_MS
    while at < until_ms:
        moments.append(int(at))
        at += generator.expovariate(rate) * DAY_MS
    return moments
