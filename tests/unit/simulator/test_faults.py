"""Faults on request: their names, their dice, their settings."""

from collections import Counter

import pytest

from contract.settings import SettingsError
from simulator.faults import ENDPOINTS, FAULTS, Faults, Setting, decode_faults, parse_faults


def test_the_setting_names_faults_and_probabilities() -> None:
    assert parse_faults(" delegation403=0.33, burst429 = 1 ,") == {
        "delegation403": Setting(0.33),
        "burst429": Setting(1.0),
    }
    assert parse_faults("") == {}


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        parse_faults("nonsense=1,burst429=2,omission,disorder=nan,error500_json=0.1")

    lines = str(raised.value).splitlines()
    assert len(lines) == 4
    assert all(line.startswith("YOUSYNC_SIMULATOR_FAULTS: ") for line in lines)
    assert "'nonsense'" in lines[0]
    assert all(name in lines[0] for name in FAULTS)
    assert ["burst429=2" in lines[1], "omission" in lines[2], "disorder=nan" in lines[3]] == [True] * 3


def test_a_put_names_faults_as_numbers_or_objects() -> None:
    body = b'{"burst429": 0.5, "omission": {"probability": 0.1, "times": 3}, "disorder": {}}'

    assert decode_faults(body) == {"burst429": Setting(0.5), "omission": Setting(0.1, 3), "disorder": Setting(1.0)}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"nonsense": 1}', b'{"burst429": 2}', b'{"burst429": {"times": -1}}', b'{"burst429": "x"}']
)
def test_a_wrong_put_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_faults(body)


def test_a_fault_strikes_about_as_often_as_set_and_the_same_with_the_same_seed() -> None:
    def strikes(seed: int, *others: str) -> list[bool]:
        faults = Faults(seed, {"burst429": Setting(0.3), **{name: Setting(0.5) for name in others}})
        return [faults.strikes("burst429", "search") for _ in range(1000)]

    assert 250 < Counter(strikes(1))[True] < 350
    assert strikes(1) == strikes(1)
    assert strikes(1) == strikes(1, "omission")
    assert strikes(1) != strikes(2)


def test_times_are_counted_down_to_none() -> None:
    faults = Faults(1, {"burst429": Setting(1.0, 2)})

    assert [faults.strikes("burst429", "search") for _ in range(4)] == [True, True, False, False]


def test_a_fault_keeps_to_its_endpoints() -> None:
    faults = Faults(1, {name: Setting() for name in FAULTS})

    def struck(name: str) -> set[str]:
        return {endpoint for endpoint in ENDPOINTS if faults.strikes(name, endpoint)}

    for name in ("delegation403", "burst429", "stuck_page_token", "filters_ignored"):
        assert struck(name) == {"search"}, name
    assert struck("units_exhausted") == set(ENDPOINTS) - {"search"}
    assert struck("missing_videos") == {"videos"}
    assert struck("private_uploads") == struck("uploads_not_found") == {"playlistItems"}
    assert struck("error500_json") == set(ENDPOINTS)


def test_replacing_faults_turns_the_others_off() -> None:
    faults = Faults(1, {"burst429": Setting()})

    faults.replace({"omission": Setting()})

    assert not faults.strikes("burst429", "search")
    assert faults.strikes("omission", "search")
