"""How titles and searches become words: folded the same on both sides, for the index of the read model.

A search finds a title when each of its words begins a word of the title, in any order, whatever the case and the
accents. So a document keeps every beginning of every word of its title (`search_prefixes`, the field `q`), and a word
of a search is one value of that field (`search_words`): an equality, which an index that goes on with the sort key
answers newest first.

Scripts that write words without spaces between them (Chinese, Japanese, Thai, Lao, Khmer, Burmese) are kept as all
single characters and all pairs of neighbours instead, so that any part of a title is found. Accents are what sits on a
letter without being one: vowel signs of Indic scripts and of Thai, and voicing marks of kana, are letters.

What is changed here changes documents: raise `PROJECTION_VERSION` along with it.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, islice
from operator import add
from typing import Final

LONGEST_PREFIX: Final = 20
"""Longer beginnings are not kept; a longer word of a search is cut to this."""

MAX_SEARCH_WORDS: Final = 10
"""A search may have so many words."""

MOST_PREFIXES: Final = 1_000
"""A title has a hundred characters, and so some hundred prefixes; this bounds what nobody writes."""

_LONGEST_TITLE: Final = 1_000

_PAIRED_WHOLLY: Final = 6
"""Of a longer run without spaces, a search takes every other pair: what still matches by chance is next to nothing."""

_TAKEN_APART: Final = {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "þ": "th"}
"""Letters that readers leave something out of which Unicode does not count as an accent."""

_BECOMES: Final = {
    **dict.fromkeys("'`\u2018\u2019\u02bc\uff07", "'"),
    **dict.fromkeys("-\u2010\u2011", "-"),
    **{sign: sign for sign in "+#"},
    **_TAKEN_APART,
    **{letter.upper(): plain for letter, plain in _TAKEN_APART.items()},
    "\u0131": "i",  # the Turkish one without a dot
    "\u200b": " ",  # a space without width
    "\u0640": "",  # the Arabic stroke that stretches a word
}
"""Characters whose category would say something else."""

_NO_SPACES: Final = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u303b\u303c"  # iteration marks and numbers of Han
    "\u3041-\u30ff\u31f0-\u31ff\U0001b000-\U0001b16f"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
_RUN: Final = re.compile(f"[{_NO_SPACES}]+|[^{_NO_SPACES}]+")
_STARTS_WITHOUT_SPACES: Final = re.compile(f"[{_NO_SPACES}]")

_CHUNK: Final = re.compile(r"[^ '+#-]+(?:['-][^ '+#-]+)*(?:\+\+|(?<![^ '+#-][^ '+#-])#)?")
"""What is written as one: with apostrophes and hyphens inside it, and the ends of C++ and C#."""

_ASCII_CHUNK: Final = re.compile(r"[a-z0-9]+(?:['`-][a-z0-9]+)*(?:\+\+|(?<![a-z0-9][a-z0-9])#)?")


class _Folding(dict[int, str]):
    """Per character what it becomes: itself, nothing, or what separates words. Filled as characters are met."""

    def __missing__(self, code: int) -> str:
        folded = _fold_character(chr(code))
        if code < 0x10000:  # all there is would take too much memory
            self[code] = folded
        return folded


def search_words(text: str) -> tuple[str, ...]:
    """The folded words of a search, each once, in order; a word that another begins with goes without saying."""
    words = dict.fromkeys(
        gram
        for chunk in _chunks(text)
        for piece in chunk.replace("'", "").split("-")
        for run in _runs(piece)
        for gram in _asked_for(run)
    )
    return tuple(word for word in words if not any(other != word and other.startswith(word) for other in words))


def search_prefixes(title: str) -> list[str]:
    """Every value that a word of a search may have to find this title, each once."""
    words = [word for chunk in _chunks(title[:_LONGEST_TITLE]) for word in _written(chunk)]
    return list(islice(dict.fromkeys(chain.from_iterable(map(_kept, words))), MOST_PREFIXES))


def _chunks(text: str) -> list[str]:
    if text.isascii():
        found: list[str] = _ASCII_CHUNK.findall(text.lower())
        return [chunk.replace("`", "'") for chunk in found] if "`" in text else found
    return _CHUNK.findall(_folded(text))


def _folded(text: str) -> str:
    bare = unicodedata.normalize("NFKD", text).translate(_FOLDING).casefold()
    # Case folding may bring characters that are made of others.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", bare).translate(_FOLDING))


def _fold_character(character: str) -> str:
    if character in _BECOMES:
        return _BECOMES[character]
    category = unicodedata.category(character)
    if category[0] == "M":
        return "" if _is_accent(character) else character
    if category == "Cf":  # joiners and marks of direction are no part of the spelling
        return ""
    return character if category[0] in "LN" else " "


def _is_accent(mark: str) -> bool:
    """By combining class: overlays, nukta, Hebrew and Arabic points, and whatever sits above or below a letter."""
    place = unicodedata.combining(mark)
    return place in {1, 7} or 10 <= place <= 36 or place >= 200 or _is_variation_selector(mark)


def _is_variation_selector(mark: str) -> bool:
    return "\ufe00" <= mark <= "\ufe0f" or "\U000e0100" <= mark <= "\U000e01ef" or mark == "\u034f"


def _written(chunk: str) -> list[str]:
    """The ways to write what stands in a title as one: wi-fi is also wi, fi and wifi, and l'eau eau, and don't dont."""
    if "'" not in chunk and "-" not in chunk:
        return _runs(chunk)
    pieces = chunk.split("-")
    ways = [*pieces, *chunk.replace("-", "'").split("'"), *(["".join(pieces)] if len(pieces) > 1 else [])]
    return [run for way in ways for run in _runs(way.replace("'", ""))]


def _runs(word: str) -> list[str]:
    """The word, or its parts where scripts with and without spaces meet; each has a letter or a digit."""
    if word.isascii():
        return [word]
    return [run for run in _RUN.findall(word) if any(map(str.isalnum, run))]


def _kept(run: str) -> Iterable[str]:
    if run.isascii() or not _STARTS_WITHOUT_SPACES.match(run):
        return accumulate(run[:LONGEST_PREFIX])
    return chain(run, map(add, run, run[1:]))


def _asked_for(run: str) -> Iterator[str]:
    run = run[:LONGEST_PREFIX]
    if len(run) == 1 or not _STARTS_WITHOUT_SPACES.match(run):
        yield run
        return
    step = 1 if len(run) <= _PAIRED_WHOLLY else 2
    pairs = [*(run[at : at + 2] for at in range(0, len(run) - 1, step)), run[-2:]]
    # Two marks of one letter are no word of their own.
    yield from (pair for pair in pairs if pair[0].isalnum() or pair[1].isalnum())


_FOLDING: Final = _Folding()
