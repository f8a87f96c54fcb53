"""Seeded storms: whatever is killed, paused, away or damaged, the history is what the rules give (P1, P2, P3, P7).

`YOUSYNC_STORM_SECONDS` is how long it blows in all (storms of at most 150 s, one after the other; the last failure
names its seed), `YOUSYNC_STORM_SEED` repeats a storm, `YOUSYNC_STORM_LOOP` chooses the processors' loop.
"""

import os
import random
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import MakeServers
from tests.fault.storm import Storm, plan, say

SECONDS: Final = float(os.environ.get("YOUSYNC_STORM_SECONDS", "150"))
STORM_SECONDS: Final = 150.0
LONG_AWAY_SECONDS: Final = 60.0
SHORT_AWAY_SECONDS: Final = 15.0


@pytest.mark.fault
@pytest.mark.timeout(SECONDS * 4 + 600)
def test_a_storm_loses_nothing_and_repeats_nothing(make_servers: MakeServers, tmp_path: Path) -> None:
    seed = int(os.environ.get("YOUSYNC_STORM_SEED") or random.SystemRandom().randrange(1_000_000))
    loop = os.environ.get("YOUSYNC_STORM_LOOP")
    settings = {"YOUSYNC_PROCESSOR_LOOP": loop} if loop else {}
    away_seconds = LONG_AWAY_SECONDS if SECONDS > STORM_SECONDS else SHORT_AWAY_SECONDS
    left = SECONDS
    while left > 0:
        seconds = min(left, STORM_SECONDS)
        say(f"storm {seed}: {seconds:g} s (YOUSYNC_STORM_SEED={seed})")
        servers = make_servers()
        try:
            storm = Storm(
                seed, seconds, servers, tmp_path / f"storm-{seed}", away_seconds=away_seconds, settings=settings
            )
            say(storm.run())
        finally:
            servers.stop()
        left -= seconds
        seed += 1


def test_a_seed_gives_the_same_plan_again() -> None:
    assert plan(7, 60, 15) == plan(7, 60, 15) != plan(8, 60, 15)


@pytest.mark.parametrize("seed", range(50))
def test_what_a_plan_breaks_it_mends(seed: int) -> None:
    mends = {"kill": "start", "terminate": "start", "pause": "resume", "stop": "start", "refuse": "accept"}
    broken: dict[object, str] = {}
    for step in plan(seed, 200, 15):
        verb, *rest = step.what.split()
        subject = (step.worker, step.topic, *rest[: step.worker is None and not step.topic])
        if verb in mends:
            assert subject not in broken, "broken twice"
            broken[subject] = mends[verb]
        elif broken.get(subject) == verb:
            del broken[subject]
    assert not broken
