"""Page tokens against those recorded from the real API."""

import pytest

from simulator.page_tokens import next_page_token, page_start, previous_page_token

RECORDED = [
    (5, "CAUQAA"),
    (10, "CAoQAA"),
    (20, "CBQQAA"),
    (25, "CBkQAA"),
    (50, "CDIQAA"),
    (100, "CGQQAA"),
    (150, "CJYBEAA"),
    (450, "CMIDEAA"),
]


@pytest.mark.parametrize(("start", "token"), RECORDED)
def test_next_tokens_are_the_recorded_ones(start: int, token: str) -> None:
    assert next_page_token(start) == token
    assert page_start(token, 50) == start


def test_a_previous_token_is_the_recorded_one_and_leads_a_page_back() -> None:
    assert previous_page_token(10) == "CAoQAQ"
    assert page_start("CAoQAQ", 5) == 5
    assert page_start("CAoQAQ", 50) == 0


@pytest.mark.parametrize("start", [0, 1, 127, 128, 499, 20_000, 2**31 - 1])
def test_every_start_comes_back(start: int) -> None:
    assert page_start(next_page_token(start), 5) == start


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "CDIQA",
        "CDIQAAA",
        "CDIQAA==",
        "CDIQAg",
        "DDIQAA",
        "CDIYAA",
        "EAAQAA",
        "not a token",
        "été",
        "Cv____8HEAA",
        "",
    ],
)
def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match=r"not|token"):
        page_start(token, 50)
