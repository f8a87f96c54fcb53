"""What `yousync quota` makes of the state."""

import json
from pathlib import Path

import msgspec
import pytest

from contract.producer_state import FollowedChannel, FollowedQuery, FollowedVideo, Ledger, Stretch, Watermark
from contract.settings import Settings, load_settings
from contract.times import parse_rfc3339_ms
from producer.state import ProducerState
from tests.fakes.producer_edges import MemoryStateLog
from yousync.quota import quota_json, quota_of, quota_text

NOW = "2026-01-15T20:00:00.000Z"  # noon Pacific
NOW_MS = parse_rfc3339_ms(NOW)
BEFORE = "2026-01-15T19:00:00.000Z"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return load_settings(search_calls_per_day=100, units_per_day=10_000)


def state_of(**values: msgspec.Struct | bytes) -> ProducerState:
    encoded = {
        key.encode(): value if isinstance(value, bytes) else msgspec.json.encode(value) for key, value in values.items()
    }
    return ProducerState(MemoryStateLog(), encoded)


def test_the_day_and_the_pace_are_those_of_the_pacific(settings: Settings) -> None:
    state = state_of(**{"ledger/search/2026-01-15": Ledger(40), "ledger/units/2026-01-14": Ledger(9_999)})

    quota = quota_of(state, settings, NOW_MS, explained=False)

    assert (quota.pacific_date, quota.ends_at, quota.seconds_left) == ("2026-01-15", "2026-01-16T08:00:00Z", 43_200)
    searches, units = quota.buckets
    assert (searches.granted, searches.used, searches.left, searches.even_used) == (100, 40, 60, 50)
    assert searches.seconds_per_call == 720
    assert (units.used, units.left) == (0, 10_000)
    assert json.loads(quota_json(quota))["explanation"] is None
    day, search_line, unit_line = quota_text(quota)
    assert day.startswith("Pacific day 2026-01-15 ends in 12 h: 2026-01-16T08:00:00Z, here ")
    assert search_line.split()[:8] == ["search", "calls", "100", "granted", "40", "used", "60", "left"]
    assert "one every 12 min until the day ends; an even pace would have used 50" in search_line
    assert unit_line.startswith("units")


@pytest.mark.parametrize(("ledger", "used"), [(Ledger(100), "100"), (Ledger(250), "250"), (b"broken", "?")])
def test_a_day_that_is_spent_says_so(ledger: Ledger | bytes, used: str, settings: Settings) -> None:
    quota = quota_of(state_of(**{"ledger/search/2026-01-15": ledger}), settings, NOW_MS, explained=True)

    lines = quota_text(quota)
    assert f"{used} used" in lines[1]
    assert "0 left  none before the day ends" in lines[1]
    assert ("the ledger cannot be read" in lines[2]) == (used == "?")
    assert "  search      none: no search calls are left today" in lines


def test_a_generous_quota_is_so_many_a_second(settings: Settings, tmp_path: Path) -> None:
    generous = load_settings(search_calls_per_day=1_000_000)

    assert "23.1 a second" in quota_text(quota_of(state_of(), generous, NOW_MS, explained=False))[1]


def test_an_explanation_shows_what_the_next_calls_rest_on(settings: Settings) -> None:
    state = state_of(
        **{
            "query/tea": FollowedQuery(BEFORE),
            "query/coffee": FollowedQuery(BEFORE, origin="command"),
            "query/milk": FollowedQuery(BEFORE, enabled=False),
            "watermark/tea": Watermark(BEFORE, BEFORE, stretches=(Stretch(BEFORE, NOW),), videos_per_day=12.5),
            "watermark/coffee": Watermark(BEFORE, "2026-01-15T18:00:00Z", videos_per_day=2.0),
            "channel/UCone": FollowedChannel("2026-01-01T00:00:00Z", BEFORE, uploads=30.0, days=15.0),
            "channel/UCtwo": FollowedChannel("2026-01-01T00:00:00Z", BEFORE),
            "video/oldvideo001": FollowedVideo(BEFORE, "2026-01-10T20:00:00Z", ("tea",), completed=True),
            "video/livevideo01": FollowedVideo(BEFORE, NOW, ("tea",), completed=True, live="live"),
        }
    )

    lines = quota_text(quota_of(state, settings, NOW_MS, explained=True))

    text = "\n".join(lines)
    assert "  search      search: 'coffee' has waited longest: last searched 7200 s ago" in lines
    assert "  catching up search: 'tea' still has a stretch that was missed to read, from the reserve" in lines
    assert "  other calls playlistItems: Channel UCone" in text
    assert "Queries: 2, which find 14 videos a day; searches can carry " in text
    assert "waiting since 2026-01-15T19:00:00.000Z (1 h ago), videos a day: 12.5, missed stretches: 1 (1 h)" in text
    assert "milk" not in text
    one, two = (line for line in lines if line.startswith("  UC"))
    assert one.startswith("  UCone  ")
    assert two.startswith("  UCtwo  ")
    assert "last look 1 h ago" in one
    assert (
        "Videos: 2 known, 0 to complete, 1 live or upcoming, 0 missing once, 0 gone; "
        "refreshed longest ago: 2026-01-10T20:00:00.000Z (5 d ago)"
    ) in lines
    assert "memory" in lines[-1]
