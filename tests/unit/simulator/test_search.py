"""What a search looks at."""

import pytest

from contract.query_match import words_of
from simulator.search import has_phrase, words_of_video
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


@pytest.mark.parametrize(
    ("phrase", "there"),
    [
        ("Don't panic", True),
        ("osten line", True),
        ("machine learning", True),
        ("京タワ", True),
        ("pycon us", True),
        ("learning machine", False),
        ("us die", False),  # two fields
    ],
)
def test_a_phrase_stands_side_by_side_in_one_field(phrase: str, there: bool) -> None:
    assert has_phrase(TALK, tuple(words_of(phrase))) is there
