"""A search finds a title when each of its words begins a word of the title."""

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.search_text import LONGEST_PREFIX, MAX_SEARCH_WORDS, MOST_PREFIXES, search_prefixes, search_words


def found(search: str, title: str) -> bool:
    words = search_words(search)
    return bool(words) and set(words) <= set(search_prefixes(title))


@pytest.mark.parametrize(
    ("search", "title"),
    [
        ("tea how", "How to make tea?"),
        ("HOW te", "How to make tea?"),
        ("cafe", "Café Müller"),
        ("CAFÉ muller", "cafe mu\u0308ller"),
        ("strasse", "Die Straße"),
        ("lodz", "Łódź"),
        ("Aether", "ÆTHER"),
        ("istanbul", "İSTANBUL"),
        ("kapi", "kap\u0131"),
        ("ΑΙΣΧΥΛΟΣ", "Αἰσχύλος"),
        ("еж", "Ёж"),
        ("\uff34\uff25\uff21 \uff12", "tea 2026"),
        ("don't", "Don\u2019t stop"),
        ("dont", "Don't stop"),
        ("don't", "Dont stop"),
        ("eau", "l\u2019eau"),
        ("l'eau", "De L'Eau"),
        ("rocknroll", "Rock'n'Roll"),
        ("wi fi", "Wi-Fi at home"),
        ("wi-fi", "Wi-Fi at home"),
        ("wifi", "Wi-Fi at home"),
        ("spider-man", "Spider Man"),
        ("retour", "L'aller-retour"),
        ("laller retour", "L'aller-retour"),
        ("c++", "Modern C++20"),
        ("c", "C++ and C#"),
        ("c#", "Learn C# today"),
        ("net", "ASP.NET"),
        ("tag", "Tea#tag"),
        ("tea", "\u201ctea\u201d"),
        ("snake case", "snake_case"),
        ("x" * 30, "x" * 30),
        # Vowel signs and nasals are letters, a nukta and points are not.
        ("हिन्दी", "हिन्दी समाचार"),
        ("फिल्म", "फ़िल्म"),
        ("اهلا", "أهلاً"),
        ("محمد", "محـــمد"),
        ("שלום", "שָׁלוֹם"),
        # Without spaces between words, any part is found.
        ("東京", "夜の東京タワー"),
        ("タワー", "夜の東京タワー"),
        ("京", "夜の東京タワー"),
        ("ｶﾞｷ", "すごいガキ"),
        ("東京 iphone", "iPhone15東京発売"),
        ("發售", "iPhone15發售"),
        ("กิน", "ไปกินข้าว"),
        ("น้ำ", "ดื่มน้ำ"),
        ("여행", "한국 여행"),
        ("여", "한국 여행"),
    ],
)
def test_what_is_found(search: str, title: str) -> None:
    assert found(search, title)


@pytest.mark.parametrize(
    ("search", "title"),
    [
        ("ea", "How to make tea?"),
        ("tea milk", "How to make tea?"),
        ("c#", "C++"),
        ("京東", "夜の東京タワー"),
        ("かき", "がき"),
        ("कि", "की"),
        ("กี", "กิน"),
        ("🦆", "🦆 duck"),
        ("", "anything"),
        ("?! -- ''", "anything"),
    ],
)
def test_what_is_not_found(search: str, title: str) -> None:
    assert not found(search, title)


def test_words_are_folded_each_once_and_in_order() -> None:
    assert search_words("Tea, TEA  how? tëa") == ("tea", "how")


def test_a_word_that_another_begins_with_goes_without_saying() -> None:
    assert search_words("te tea how ho") == ("tea", "how")
    assert search_words("東 東京") == ("東京",)


def test_a_long_word_is_cut_where_its_prefixes_end() -> None:
    assert search_words("a" * 21) == ("a" * LONGEST_PREFIX,)
    assert search_prefixes("ab" * 11)[-1] == "ab" * 10


def test_a_run_without_spaces_is_asked_for_by_pairs_and_a_long_one_by_every_other() -> None:
    assert search_words("東京タワ") == ("東京", "京タ", "タワ")
    assert search_words("一二三四五六七") == ("一二", "三四", "五六", "六七")
    assert len(search_words("".join(chr(0x4E00 + number) for number in range(50)))) == MAX_SEARCH_WORDS


def test_prefixes_are_those_of_each_word_once() -> None:
    assert search_prefixes("Tea, te to") == ["t", "te", "tea", "to"]
    assert search_prefixes("") == []
    assert search_prefixes("東京") == ["東", "京", "東京"]


def test_letters_that_are_made_of_parts_stay_whole() -> None:
    assert search_prefixes("한국") == ["한", "한국"]
    assert search_prefixes("がギ") == ["が", "ギ", "がギ"]


scripts = st.sampled_from(
    [
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
        "àéîõüçñåøłßæœÀÉÎÕÜÇÑÅØŁẞÆŒőűčšž",
        "αβγδάέήςσΑΒΓΣ",
        "абвгдеёжзийкАБВЁЙ",
        "اأإآبتثجحخدذ",
        "אבגדהוזחט",
        "한국여행서울맛집",
    ]
)
words = scripts.flatmap(lambda letters: st.text(letters, min_size=1, max_size=24))
runs = st.text("東京大学日本語夜景桜茶道ガギバパーひらがなกินข้าวน้ำ", min_size=1, max_size=24)
titles = st.lists(words | runs, min_size=1, max_size=8)
spellings: st.SearchStrategy[Callable[[str], str]] = st.sampled_from(
    [
        lambda text: text,
        str.upper,
        str.lower,
        str.title,
        lambda text: unicodedata.normalize("NFD", text),
        lambda text: unicodedata.normalize("NFKC", text),
    ]
)


@given(titles, st.data())
def test_any_prefixes_of_words_in_any_order_case_and_normal_form_find_the_title(
    title: list[str], data: st.DataObject
) -> None:
    spelled = data.draw(spellings)
    chosen = data.draw(st.lists(st.sampled_from(title), min_size=1, max_size=4))
    search = [word[: data.draw(st.integers(1, len(word)))] for word in chosen]

    assert set(search_words(spelled(" ".join(search)))) <= set(search_prefixes(" ".join(title)))


@given(runs, st.data())
def test_any_two_neighbours_of_a_run_without_spaces_find_it(run: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(run) - 1))
    part = run[start : data.draw(st.integers(start + 1, len(run)))]

    assert set(search_words(part)) <= set(search_prefixes("x" + run))


@given(titles.map(" ".join))
def test_accents_make_no_difference(title: str) -> None:
    bare = "".join(mark for mark in unicodedata.normalize("NFD", title) if not "\u0300" <= mark <= "\u036f")

    assert search_words(bare) == search_words(title)
    assert search_prefixes(bare) == search_prefixes(title)


@given(st.text(max_size=200))
@example("\ufdfa" * 100)
@example("".join(chr(code) for code in range(0x3300, 0x3358)))
@example("\ud800 lone \udfff")
@example("นี้")
def test_anything_is_folded_to_the_same_on_both_sides_and_stays_so(text: str) -> None:
    words, prefixes = search_words(text), search_prefixes(text)

    assert set(words) <= set(prefixes)
    assert search_words(" ".join(words)) == words
    assert len(set(prefixes)) == len(prefixes)
    assert all(1 <= len(word) <= LONGEST_PREFIX for word in words)


@given(st.text(min_size=1_500, max_size=3_000))
@example("".join(chr(0x4E00 + number) for number in range(2_000)))
def test_prefixes_are_bounded_whatever_the_title(title: str) -> None:
    assert len(search_prefixes(title)) <= MOST_PREFIXES
    assert search_prefixes(title + " tail") == search_prefixes(title)


@given(st.text(max_size=100))
@example("".join(chr(0x4E00 + number) for number in range(100)))
@example(" ".join(chr(0x4E00 + number) * 2 for number in range(33)))
@example("a-b'c-d'e" * 11)
def test_a_title_of_usual_length_is_never_cut(title: str) -> None:
    assert len(search_prefixes(title)) < MOST_PREFIXES


@given(st.text(st.characters(max_codepoint=127), max_size=40))
def test_the_short_way_for_ascii_folds_as_the_long_one_does(text: str) -> None:
    unseen = "\u200d"  # is no part of any word, and not ASCII

    assert search_words(text + unseen) == search_words(text)
    assert search_prefixes(text + unseen) == search_prefixes(text)
