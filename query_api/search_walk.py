"""How far a search looks at a time: first everything, then slices of the order. No I/O.

The server stops at a full page by itself, and nearly every search is done in one quick read. The slices are for words
that are frequent and hardly ever meet: what was looked through so far is known whenever time runs out, and the next
page goes on from there.
"""

from typing import Final

ALL_ROWS: Final = 2**63
"""Rows of the first slice: more than there are."""

_FIRST_ROWS: Final = 4_000
"""Rows of the first real slice: a fraction of the time there is, even if every one of them had to be fetched."""

_WIDENING: Final = 8

_AIMED_SHARE: Final = 1 / 4
_ALLOWED_SHARE: Final = 1 / 2
_ALLOWED_SHARE_FOR_ALL: Final = 1 / 10

_LEAST_SECONDS: Final = 0.005
"""With less time left nothing more is begun."""


def allowed_seconds(rows: int, left_seconds: float) -> float | None:
    """How long a slice of so many rows may take; None: stop here.

    Never all of the time: after one that is given up a narrower one is to follow.
    """
    share = _ALLOWED_SHARE_FOR_ALL if rows >= ALL_ROWS else _ALLOWED_SHARE
    return None if left_seconds < _LEAST_SECONDS else left_seconds * share


def rows_after(rows: int, took_seconds: float, left_seconds: float) -> int:
    """The next slice's rows after one that took so long: more of them, but not more than can be expected to be done."""
    affordable = rows * left_seconds * _AIMED_SHARE / max(took_seconds, 1e-6)
    return max(1, min(rows * _WIDENING, int(affordable)))


def rows_after_slow(rows: int) -> int:
    """The next slice's rows after one that was given up."""
    return max(1, min(rows // _WIDENING, _FIRST_ROWS))
