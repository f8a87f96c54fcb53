"""The index against a plain look at every video."""

import random

import pytest

from contract.query_match import matches, parse_query
from simulator.search import words_of_video
from simulator.video_index import PublishedVideo, VideoIndex, Window
from tests.unit.simulator.simulations import CHANNEL, OTHER_CHANNEL, START_MS, video

WORDS = ("tea", "coffee", "python", "chess", "milk")


def an_index(size: int, seed: int = 1) -> tuple[VideoIndex, list[PublishedVideo]]:
    dice = random.Random(seed)
    index, everything, at_ms = VideoIndex(), [], START_MS
    for number in dice.sample(range(100_000), size):
        at_ms += dice.choice([0, 0, 10, 400, 3000])
        published = PublishedVideo(
            video=video(
                number,
                " ".join(dice.sample(WORDS, dice.randint(0, 3))),
                channel_id=dice.choice([CHANNEL, OTHER_CHANNEL]),
                channel_title="",
            ),
            published_ms=at_ms,
            searchable_ms=at_ms + dice.choice([0, 0, 60_000]),
            removed=dice.random() < 0.05,
            hidden=dice.random() < 0.05,
        )
        index.add(published)
        everything.append(published)
    return index, everything


def ids(videos: list[PublishedVideo]) -> list[str]:
    return [published.video.video_id for published in videos]


def newest_first(videos: list[PublishedVideo]) -> list[str]:
    ordered = sorted(videos, key=lambda one: (one.published_ms // 1000, one.video.video_id), reverse=True)
    return ids(ordered)


@pytest.mark.parametrize(
    ("q", "wanted"),
    [
        (None, lambda _: True),
        ("tea", lambda words: "tea" in words),
        ("tea coffee", lambda words: {"tea", "coffee"} <= words),
        ("tea|coffee -milk", lambda words: words & {"tea", "coffee"} and "milk" not in words),
        ("-milk", lambda words: "milk" not in words),
        ("absent", lambda _: False),
        ("*", lambda _: False),
    ],
)
def test_search_finds_what_a_look_at_every_video_finds(q: str | None, wanted: object) -> None:
    index, everything = an_index(6000)
    now_ms = index.newest_ms - 5000
    assert callable(wanted)

    found = ids(index.search(parse_query(q), Window(), now_ms))

    assert found == newest_first(
        [one for one in everything if wanted(words_of_video(one.video)) and one.searchable(now_ms)]
    )


def test_a_video_is_searchable_once_indexed_unless_removed_or_hidden() -> None:
    def searchable(now_ms: int = START_MS, **changed: bool) -> bool:
        return PublishedVideo(video=video(1), published_ms=0, searchable_ms=START_MS, **changed).searchable(now_ms)

    assert searchable()
    assert not searchable(START_MS - 1)
    assert not searchable(removed=True)
    assert not searchable(hidden=True)


@pytest.mark.parametrize(
    "q", ["tea coffee", "tea|coffee -milk", '"tea coffee"', '"tea milk"|chess -"milk python"', "*"]
)
def test_search_goes_by_the_same_rule_as_the_contract(q: str) -> None:
    index, everything = an_index(3000)
    now_ms = index.newest_ms + 60_000
    query = parse_query(q)

    found = ids(index.search(query, Window(), now_ms))

    assert found == newest_first(
        [one for one in everything if matches(query, [one.video.title]) and one.searchable(now_ms)]
    )


@pytest.mark.parametrize("limit", [1, 50, 500, 2000])
def test_a_limited_search_gives_the_newest_in_full_order(limit: int) -> None:
    index, _ = an_index(6000)
    whole = ids(index.search(parse_query("python"), Window(), index.newest_ms + 60_000))

    found = ids(index.search(parse_query("python"), Window(), index.newest_ms + 60_000, limit=limit))

    assert len(found) >= min(limit, len(whole))
    assert found == whole[: len(found)]


def test_a_second_fuller_than_a_step_is_ordered_as_a_whole() -> None:
    index = VideoIndex()
    for number in random.Random(1).sample(range(3000), 3000):
        index.add(PublishedVideo(video=video(number), published_ms=START_MS, searchable_ms=START_MS))

    found = ids(index.search(None, Window(), START_MS, limit=500))

    assert found == [f"video{number:06d}" for number in range(2999, -1, -1)]


def test_both_ends_of_a_window_are_inside_it() -> None:
    index = VideoIndex()
    for number in range(5):
        at_ms = START_MS + 1000 * number + 700
        index.add(PublishedVideo(video=video(number), published_ms=at_ms, searchable_ms=at_ms))

    def found(after_ms: int | None, before_ms: int | None) -> list[str]:
        return [id_[-1:] for id_ in ids(index.search(None, Window(after_ms, before_ms), START_MS + 60_000))]

    assert found(START_MS + 1000, START_MS + 3000) == ["3", "2", "1"]
    assert found(START_MS + 1001, START_MS + 2999) == ["2"]
    assert found(START_MS + 2000, START_MS + 2000) == ["2"]
    assert found(START_MS + 4001, None) == []
    assert found(None, START_MS - 1) == []
    assert found(START_MS + 3000, START_MS + 1000) == []


def test_a_channel_narrows_a_search() -> None:
    index, everything = an_index(500)
    now_ms = index.newest_ms + 60_000

    found = ids(index.search(parse_query("tea"), Window(), now_ms, channel_id=OTHER_CHANNEL))

    assert found
    assert found == [
        id_
        for id_ in ids(index.search(parse_query("tea"), Window(), now_ms))
        if id_ in {one.video.video_id for one in everything if one.video.channel_id == OTHER_CHANNEL}
    ]


def test_uploads_are_the_last_uploaded_first_without_the_removed() -> None:
    index, everything = an_index(200)

    found = index.uploads(CHANNEL)

    assert found == [one for one in reversed(everything) if one.video.channel_id == CHANNEL and not one.removed]
    assert index.uploads("UCzzzzzzzzzzzzzzzzzzzzzz") is None


def test_the_estimate_is_near_what_there_is() -> None:
    index, everything = an_index(3000)
    truth = sum("tea" in one.video.title for one in everything)

    assert index.estimate(parse_query("tea"), Window()) == truth
    assert index.estimate(None, Window()) == 3000
    assert index.estimate(parse_query("tea absent"), Window()) == 0
