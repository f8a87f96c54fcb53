"""Generated videos: the same every time, believable, and awkward enough."""

import re
from itertools import islice

from contract.query_match import parse_query
from simulator.generated import DEFAULT_QUERIES, backlog, generated_video, generated_videos
from simulator.search import words_of_video
from tests.unit.simulator.simulations import START_MS

MANY = [generated_video(1, number) for number in range(400)]


def test_the_same_seed_and_number_give_the_same_video_in_any_order() -> None:
    assert [generated_video(1, number) for number in (399, 0, 7)] == [MANY[399], MANY[0], MANY[7]]
    assert generated_video(2, 7) != MANY[7]


def test_ids_are_unique_and_of_youtubes_shape() -> None:
    assert len({video.video_id for video in MANY}) == len(MANY)
    assert all(re.fullmatch(r"[\w-]{11}", video.video_id) for video in MANY)
    assert all(re.fullmatch(r"UC[\w-]{22}", video.channel_id) for video in MANY)


def test_each_default_query_matches_a_good_part() -> None:
    for query in DEFAULT_QUERIES:
        assert parse_query(query) is not None
        assert 80 < sum(query in words_of_video(video) for video in MANY) < 280


def test_they_are_as_various_and_awkward_as_real_ones() -> None:
    titles = "".join(video.title for video in MANY)
    assert all(character in titles for character in "\"'&<>🚀入с")
    assert len({video.language for video in MANY}) >= 6
    assert {video.live for video in MANY} == {"none", "live", "upcoming"}
    assert any(video.description == "" for video in MANY)
    assert any(len(video.description) > 171 for video in MANY)
    assert any("\n" in video.description for video in MANY)
    assert any(video.tags == () for video in MANY)
    assert 10 < len({video.channel_id for video in MANY}) <= 60
    assert all(0 < len(video.title) <= 100 for video in MANY)
    assert len({video.title for video in MANY}) > 300


def test_known_ones_are_passed_over() -> None:
    known = {video.video_id for video in MANY[:10]}

    assert list(islice(generated_videos(1, known), 2)) == MANY[10:12]


def test_the_backlog_is_spread_over_the_last_days() -> None:
    entries = list(backlog(1, 100, START_MS))

    times = [entry.published_ms for entry in entries]
    assert [entry.video for entry in entries] == MANY[:100]
    assert times == sorted(times)
    assert times[0] == START_MS - 5 * 86_400_000
    assert START_MS - 2 * 3_600_000 < times[-1] < START_MS
    assert list(backlog(1, 0, START_MS)) == []
