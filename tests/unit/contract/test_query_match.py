"""What a followed query means, against a word-by-word reading of the rule."""

from collections.abc import Iterable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.query_match import Clause, Query, Term, has_term, matches, parse_query, wanted_words, words_of

TEXTS = (
    "Don't Panic: C++ & Python_3",
    "Die Straße nach Osten\nline two",
    "machine learning",
    "東京タワー",
    "PyCon US",
)


def test_words_are_whole_and_in_one_case() -> None:
    assert words_of("Don't PANIC: C++ & Python_3") == ["don", "t", "panic", "c", "python", "3"]
    assert words_of("STRASSE Straße") == ["strasse", "strasse"]
    assert words_of("東京 tower") == ["東", "京", "tower"]
    assert words_of("_ - !?") == []


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
        ("us die", False),  # two texts
        ("京タワ", True),
        ("京ワ", False),
        ("python 3", True),
    ],
)
def test_a_term_stands_side_by_side_in_one_text(phrase: str, there: bool) -> None:
    assert has_term(TEXTS, tuple(words_of(phrase))) is there


@pytest.mark.parametrize(
    ("q", "there"),
    [
        (None, True),
        ("", True),
        ("*", False),
        ("panic learning", True),  # each in a text of its own
        ("panic absent", False),
        ('"panic learning"', False),
        ("absent|pycon", True),
        ("absent | nothing", False),
        ("-absent", True),
        ("-absent|pycon", False),
        ("panic -pycon", False),
        ("straSSe", True),
        ("pan", False),
        ("anic", False),
    ],
)
def test_a_query_matches_as_documented(q: str | None, there: bool) -> None:
    assert matches(parse_query(q), TEXTS) is there
    assert matches(parse_query(q), iter(TEXTS)) is there  # also texts that can be read only once


# The same rule again, without regular expressions: words are taken letter by letter and compared one by one.


class Wish(NamedTuple):
    """A part of a query between two spaces: terms of which one is wanted, or none of them."""

    either: list[list[str]]
    excluded: bool
    quoted: bool
    bar: str

    def written(self) -> str:
        term = '"{}"'.format if self.quoted else str
        return "-" * self.excluded + self.bar.join(
            term((" " if self.quoted else "-").join(words)) for words in self.either
        )

    def holds(self, texts: list[str]) -> bool:
        return any(follows(text, words) for text in texts for words in self.either) is not self.excluded


def naive_words(text: str) -> list[str]:
    words = [""]
    for letter in text.casefold():
        if ("\u3040" <= letter <= "\u30ff" or "\u3400" <= letter <= "\u9fff") and letter.isalnum():
            words += [letter, ""]
        elif letter.isalnum():
            words[-1] += letter
        else:
            words.append("")
    return [word for word in words if word]


def follows(text: str, term: Iterable[str]) -> bool:
    wanted = [word for part in term for word in naive_words(part)]
    found = naive_words(text)
    return any(found[place : place + len(wanted)] == wanted for place in range(len(found)))


WORDS = st.sampled_from(["a", "B", "ab", "é", "ß", "SS", "京", "東京", "京a", "1", "i\u0307"])
PIECES = [*"aAbB1éßs京東ア・ー", "ab", "ss", "İ", "\u017f", "🚀", *"\n'-_|", *" " * 4]
TEXT = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
WISH = st.builds(
    Wish,
    either=st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=1, max_size=3),
    excluded=st.booleans(),
    quoted=st.booleans(),
    bar=st.sampled_from(["|", " | ", " |"]),
)


@given(wishes=st.lists(WISH, max_size=3), texts=st.lists(TEXT, max_size=3))
def test_a_match_is_what_a_word_by_word_reading_says(wishes: list[Wish], texts: list[str]) -> None:
    query = parse_query(" ".join(wish.written() for wish in wishes))

    assert matches(query, texts) is all(wish.holds(texts) for wish in wishes)


@given(text=TEXT, term=st.lists(st.sampled_from(["a", "b", "ab", "é", "ss", "京", "東"]), min_size=1, max_size=3))
def test_a_term_is_found_exactly_where_its_words_follow_one_another(text: str, term: list[str]) -> None:
    assert has_term([text], tuple(term)) is follows(text, term)


@given(q=st.text(), texts=st.lists(st.text(), max_size=2))
def test_every_text_is_a_query_of_words_that_texts_can_hold(q: str, texts: list[str]) -> None:
    query = parse_query(q)

    assert (query is None) is (not q.strip())
    terms: list[Term] = [term for clause in query.clauses for term in clause.either] if query else []
    assert all(term and all(word and words_of(word) == [word] for word in term) for term in terms)
    assert isinstance(matches(query, texts), bool)
