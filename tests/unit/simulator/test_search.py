"""What a search matches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.catalogue import CatalogueVideo
from simulator.search import Clause, Query, has_phrase, parse_query, wanted_words, words_of, words_of_video
from tests.unit.simulator.simulations import video

TALK = video(
    1,
    "Don't Panic: C++ & Python_3",
    description="Die Straße nach Osten\nline two",
    tags=("machine learning", "東京タワー"),
    channel_title="PyCon US",
)


def test_words_come_from_title_description_tags_and_channel_in_one_case() -> None:
    assert {"panic", "python", "3", "strasse", "machine", "東", "pycon"} <= words_of_video(TALK)
    assert words_of("STRASSE Straße") == ["strasse", "strasse"]


@pytest.mark.parametrize(
    ("q", "clauses"),
    [
        ("Tea COFFEE", [Clause((("tea",),)), Clause((("coffee",),))]),
        ('"latte art" tea', [Clause((("latte", "art"),)), Clause((("tea",),))]),
        ("boating|sailing -fishing", [Clause((("boating",), ("sailing",))), Clause((("fishing",),), excluded=True)]),
        ("-boating|sailing", [Clause((("boating",), ("sailing",)), excluded=True)]),
        ("boating | sailing", [Clause((("boating",), ("sailing",)))]),
        ('-"flat white"', [Clause((("flat", "white"),), excluded=True)]),
        ("state-of-the-art", [Clause((("state", "of", "the", "art"),))]),
        ('"never closed', [Clause((("never", "closed"),))]),
        ("| tea", [Clause((("tea",),))]),
        ("東京", [Clause((("東", "京"),))]),
        ("*", []),
        ("!? -", []),
    ],
)
def test_operators_are_understood(q: str, clauses: list[Clause]) -> None:
    assert parse_query(q) == Query(tuple(clauses))


@pytest.mark.parametrize("q", [None, "", "  \n"])
def test_no_words_are_no_query(q: str | None) -> None:
    assert parse_query(q) is None


def test_wanted_words_leave_the_excluded_out() -> None:
    assert list(wanted_words(parse_query('tea|"latte art" -milk'))) == ["tea", "latte", "art"]
    assert list(wanted_words(None)) == []


@pytest.mark.parametrize(
    ("phrase", "there"),
    [
        ("machine learning", True),
        ("Don't panic", True),
        ("osten line", True),
        ("learning machine", False),
        ("machine learn", False),
        ("us die", False),  # two fields
        ("京タワ", True),
        ("京ワ", False),
        ("python 3", True),
    ],
)
def test_a_phrase_stands_side_by_side_in_one_field(phrase: str, there: bool) -> None:
    assert has_phrase(TALK, tuple(words_of(phrase))) is there


@given(
    title=st.text(alphabet="ab_ -京東'é\n", max_size=12),
    phrase=st.lists(st.sampled_from(["a", "b", "ab", "é", "京", "東"]), min_size=1, max_size=3),
)
def test_a_phrase_is_found_exactly_where_its_words_follow_one_another(title: str, phrase: list[str]) -> None:
    words = words_of(title)
    there = any(words[place : place + len(phrase)] == phrase for place in range(len(words)))

    assert has_phrase(CatalogueVideo(video_id="video000001", title=title), tuple(phrase)) is there
