"""Which queries are followed, and which of them a video matches."""

import pytest

from contract.producer_state import FollowedQuery
from contract.times import format_millis
from producer.following import QueryMatcher, decide_changes, followed_queries

NOW_MS = 1_780_000_000_000
NOW = format_millis(NOW_MS)
THEN = format_millis(NOW_MS - 86_400_000)


def test_a_query_of_the_settings_is_followed_once() -> None:
    assert decide_changes(("tea", "tea", "coffee"), {}, NOW_MS) == {
        "tea": FollowedQuery(NOW),
        "coffee": FollowedQuery(NOW),
    }
    assert decide_changes(("tea",), {"tea": FollowedQuery(THEN)}, NOW_MS) == {}


def test_a_query_that_the_settings_name_no_longer_is_not_followed_until_they_name_it_again() -> None:
    changes = decide_changes((), {"tea": FollowedQuery(THEN)}, NOW_MS)
    assert changes == {"tea": FollowedQuery(THEN, enabled=False)}
    assert decide_changes((), changes, NOW_MS) == {}
    assert decide_changes(("tea",), changes, NOW_MS) == {"tea": FollowedQuery(NOW)}


@pytest.mark.parametrize("named", [(), ("tea",)])
@pytest.mark.parametrize("enabled", [True, False])
def test_what_an_operator_said_goes_before_the_settings(named: tuple[str, ...], enabled: bool) -> None:
    known = {"tea": FollowedQuery(THEN, enabled=enabled, origin="command")}
    assert decide_changes(named, known, NOW_MS) == {}


def test_a_refused_query_stays_refused_over_a_restart() -> None:
    known = {"tea": FollowedQuery(THEN, refused="HTTP 400")}
    assert decide_changes(("tea",), known, NOW_MS) == {}


def test_queries_that_are_off_or_refused_are_not_searched() -> None:
    known = {
        "tea": FollowedQuery(THEN),
        "off": FollowedQuery(THEN, enabled=False),
        "bad": FollowedQuery(THEN, refused="HTTP 400"),
        "added": FollowedQuery(THEN, origin="command"),
    }
    assert followed_queries(known) == ("tea", "added")


def test_texts_match_those_queries_whose_words_they_hold() -> None:
    matcher = QueryMatcher(("tea", "green tea", "coffee", "*", "tea -green"))
    assert matcher.matching(("Green TEA!", "A channel")) == ("tea", "green tea", "*")
    assert matcher.matching(("nothing",)) == ("*",)
    assert matcher.matching(()) == ("*",)


def test_a_query_without_letters_matches_nothing() -> None:
    assert QueryMatcher(("…",)).matching(("…", "tea")) == ()
