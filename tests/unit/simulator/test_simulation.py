"""Publication: its rate, its clock, and how it goes on after a restart."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from contract.settings import Settings, SettingsError, load_settings
from simulator.publication_log import PublicationLog
from simulator.simulation import Simulation, open_simulation
from tests.unit.simulator.simulations import START_MS, Made, MovedClock, make_simulation, video


def run_for(made: Made, seconds: float, tick_seconds: float = 0.05) -> int:
    total = 0
    for _ in range(round(seconds / tick_seconds)):
        made.clock.forward(tick_seconds)
        total += made.simulation.advance()
    return total


def shown(simulation: Simulation) -> list[tuple[str, int]]:
    return [(one.video.video_id, one.published_ms) for one in simulation.index.newest_first()]


@pytest.mark.parametrize(("rate", "seconds", "count"), [(5, 4, 20), (0.5, 10, 5), (100, 2, 200), (0.3, 10, 3)])
def test_videos_come_at_the_rate(tmp_path: Path, rate: float, seconds: float, count: int) -> None:
    made = make_simulation(tmp_path, map(video, range(500)), rate=rate)

    assert abs(run_for(made, seconds) - count) <= 1


def test_each_is_published_at_its_moment(tmp_path: Path) -> None:
    made = make_simulation(tmp_path, map(video, range(10)), rate=1)
    run_for(made, 3.01)

    times = [at for _, at in shown(made.simulation)]

    assert [round((at - START_MS) / 1000) for at in times] == [3, 2, 1]


def test_the_catalogue_is_played_once_and_then_finished(tmp_path: Path) -> None:
    made = make_simulation(tmp_path, map(video, range(3)), rate=10)
    run_for(made, 0.2)
    early = made.simulation.finished

    run_for(made, 1)

    assert (early, made.simulation.finished) == (False, True)
    assert len(made.simulation.index) == 3


def test_what_a_pause_swallowed_is_not_made_up_for(tmp_path: Path) -> None:
    made = make_simulation(tmp_path, map(video, range(1000)), rate=5)
    made.clock.forward(3600)

    assert made.simulation.advance() == 5


def test_publish_times_never_go_back(tmp_path: Path) -> None:
    made = make_simulation(tmp_path)
    made.simulation.publish([video(1)])
    made.clock.forward(-3600)
    made.simulation.publish([video(2)])

    assert shown(made.simulation) == [("video000002", START_MS), ("video000001", START_MS)]
    assert made.simulation.advance() == 0


def test_a_known_id_is_not_published_again(tmp_path: Path) -> None:
    made = make_simulation(tmp_path, [video(1), video(2)], rate=10)

    assert made.simulation.publish([video(1, "First"), video(1, "Again"), video(3)]) == 2
    run_for(made, 1)

    titles = {one.video.video_id: one.video.title for one in made.simulation.index.newest_first()}
    assert titles == {"video000001": "First", "video000002": "Some talk", "video000003": "Some talk"}


def test_nobody_sees_a_video_that_the_log_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_simulation(tmp_path)

    def full(_self: PublicationLog, _entries: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(PublicationLog, "append", full)
    with pytest.raises(OSError, match="disk full"):
        made.simulation.publish([video(1)])

    assert shown(made.simulation) == []


def test_removing_what_is_not_there_says_so(tmp_path: Path) -> None:
    made = make_simulation(tmp_path)
    made.simulation.publish([video(1)])

    assert made.simulation.remove("video000001")
    assert not made.simulation.remove("video000001")
    assert not made.simulation.remove("video000002")
    for gone in ("video000001", "video000002"):
        assert not made.simulation.hide(gone)
        assert not made.simulation.set_live(gone, "live")


def test_keys_are_all_accepted_but_one_or_only_those_given(tmp_path: Path) -> None:
    anybody = make_simulation(tmp_path / "a").simulation
    some = make_simulation(tmp_path / "b", keys=frozenset({"good"})).simulation

    assert [anybody.accepts(key) for key in ("good", "other", "invalid")] == [True, True, False]
    assert [some.accepts(key) for key in ("good", "other", "invalid")] == [True, False, False]


def settings(folder: Path, **changed: Any) -> Settings:
    return load_settings(home=folder, simulator_indexing_delay_seconds=0, simulator_backlog=20, **changed)


def test_a_restart_goes_on_where_it_stopped_and_backdates_nothing(tmp_path: Path) -> None:
    clock = MovedClock()
    first = open_simulation(settings(tmp_path), clock)
    run_for(Made(first, clock), 2)
    first.remove(shown(first)[0][0])
    before, removed = shown(first), [one.removed for one in first.index.newest_first()]
    first.close()

    clock.forward(86_400)
    second = open_simulation(settings(tmp_path), clock)
    assert shown(second) == before
    assert [one.removed for one in second.index.newest_first()] == removed

    restarted_ms = clock()
    assert run_for(Made(second, clock), 2) == 10
    fresh = shown(second)[:10]
    assert all(at > restarted_ms for _, at in fresh)
    assert not {id_ for id_, _ in fresh} & {id_ for id_, _ in before}
    second.close()


def test_what_was_changed_is_so_after_a_restart(tmp_path: Path) -> None:
    first = open_simulation(settings(tmp_path), MovedClock())
    ids = [id_ for id_, _ in shown(first)]
    first.hide(ids[0])
    first.hide(ids[1])
    first.hide(ids[1], hidden=False)
    first.set_live(ids[2], "upcoming")
    first.set_live(ids[2], "live")
    first.close()

    second = open_simulation(settings(tmp_path), MovedClock())
    assert [one.hidden for one in second.index.newest_first()][:3] == [True, False, False]
    again = second.index.get(ids[2])
    assert again is not None
    assert again.video.live == "live"
    second.close()


def test_a_restart_in_the_middle_gives_the_same_videos_as_none(tmp_path: Path) -> None:
    def videos_after(folder: Path, *seconds: float) -> set[str]:
        clock = MovedClock()
        for some in seconds:
            simulation = open_simulation(settings(folder), clock)
            run_for(Made(simulation, clock), some)
            published = {id_ for id_, _ in shown(simulation)}
            simulation.close()
        return published

    assert videos_after(tmp_path / "a", 2, 3) == videos_after(tmp_path / "b", 5)


def test_a_catalogue_goes_on_after_a_restart_and_a_torn_line(tmp_path: Path) -> None:
    catalogue = tmp_path / "talks.jsonl.gz"
    lines = [json.dumps({"video_id": f"video{number:06d}", "title": f"Talk {number}"}) for number in range(10)]
    catalogue.write_bytes(gzip.compress("\n".join(lines).encode()))
    clock = MovedClock()
    first = open_simulation(settings(tmp_path, simulator_catalogue=catalogue), clock)
    assert run_for(Made(first, clock), 1) == 5
    first.close()
    log = tmp_path / "simulator" / "published.jsonl"
    log.write_bytes(log.read_bytes()[:-7])

    second = open_simulation(settings(tmp_path, simulator_catalogue=catalogue), clock)
    assert len(second.index) == 4
    run_for(Made(second, clock), 2)

    assert second.finished
    assert [id_ for id_, _ in reversed(shown(second))] == [f"video{number:06d}" for number in range(10)]
    second.close()


def test_the_backlog_is_there_before_the_start(tmp_path: Path) -> None:
    simulation = open_simulation(settings(tmp_path), MovedClock())

    assert len(simulation.index) == 20
    assert all(at < START_MS for _, at in shown(simulation))
    simulation.close()


def test_wrong_settings_leave_the_log_free(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nonsense"):
        open_simulation(settings(tmp_path, simulator_faults="nonsense=1"), MovedClock())
    with pytest.raises(SettingsError, match="absent"):
        open_simulation(settings(tmp_path, simulator_catalogue=tmp_path / "absent.jsonl"), MovedClock())
    log = tmp_path / "simulator" / "published.jsonl"
    log.parent.mkdir()
    log.write_text("nonsense\n")
    with pytest.raises(SettingsError, match="damaged"):
        open_simulation(settings(tmp_path), MovedClock())
    log.write_text("")  # the same file, so a lock that was kept would be in the way

    open_simulation(settings(tmp_path), MovedClock()).close()
