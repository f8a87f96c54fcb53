"""How many rows lie where in the order: rows per bucket of sort keys, and which buckets must be counted again. No I/O.

The buckets tile the whole order: each begins where the older one ends, the oldest begins at the empty key and the
newest has no end. So no key is ever without a bucket, whatever day it is of, and wherever the keys crowd: a bucket is
cut at keys that were found in it, not at round numbers.

    ""  ◄── oldest ──┤ 1731…A ├── 1,000 rows ──┤ 1738…Q ├── 1,740 rows ──┤ 1740…x ├── newest ──►

Events come twice, late and out of order between partitions. They never add or subtract: a `mark` only says that a
bucket's count is no longer to be trusted.
"""

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import Final

import msgspec

BUCKET_ROWS: Final = 1_000
"""Rows of a bucket that is cut off one with more than twice as many; neighbours with no more together are one again."""


class Bucket(msgspec.Struct, frozen=True):
    """The sort keys from `at_least` to just under `below`, as somebody begins to count them.

    `marks` were made by then: a later one may speak of a row that the count misses.
    """

    at_least: str
    below: str | None
    marks: int


class Place(msgspec.Struct, frozen=True):
    """Where a row is: after the first `skip` of those under the sort key `below` (None is the newest row of all)."""

    below: str | None
    skip: int


class Stretch(msgspec.Struct, frozen=True):
    """Rows between two keys as the counts have them: `rows` of whole buckets, and `parts` of buckets at the ends."""

    rows: int
    parts: tuple[tuple[str, str | None], ...]


class Rank:
    """The buckets, of which there are never more than about two for each `bucket_rows` rows."""

    def __init__(self, bucket_rows: int = BUCKET_ROWS) -> None:
        self._bucket_rows = bucket_rows
        # Three columns of one table, the oldest bucket first.
        self._floors = [""]
        self._rows = [0]
        self._marked = [0]
        self._marks = 0
        self._dirty = {""}
        self._sums: list[int] | None = None

    @property
    def crowded_rows(self) -> int:
        """A bucket with more rows is cut."""
        return 2 * self._bucket_rows

    @property
    def bucket_rows(self) -> int:
        return self._bucket_rows

    @property
    def buckets(self) -> int:
        return len(self._floors)

    @property
    def dirty(self) -> bool:
        """Whether any bucket must be counted before its count is used."""
        return bool(self._dirty)

    @property
    def total(self) -> int:
        """All rows, by the last counts."""
        return self._rows_under()[-1]

    def mark(self, sort_key: str) -> None:
        """Something happened at this key."""
        place = self._holding(sort_key)
        self._marks += 1
        self._marked[place] = self._marks
        self._dirty.add(self._floors[place])

    def dirty_buckets(self) -> list[str]:
        """Keys in the buckets to count, one in each, the newest first."""
        return sorted(self._dirty, reverse=True)

    def bucket_of(self, sort_key: str) -> Bucket:
        """The bucket that holds a key, about to be counted."""
        return self._bucket(self._holding(sort_key))

    def bucket_under(self, below: str | None) -> Bucket:
        """The bucket that holds the keys just under `below`, about to be counted."""
        return self._bucket(self._under(below))

    def counted(self, bucket: Bucket, rows: int) -> None:
        """So many rows were found in a bucket; a mark that came meanwhile keeps it dirty."""
        place = self._holding(bucket.at_least)
        if self._floors[place] != bucket.at_least or self._end(place) != bucket.below:
            return  # no longer one of the buckets
        self._rows[place] = rows
        self._sums = None
        if self._marked[place] <= bucket.marks:
            self._dirty.discard(bucket.at_least)
        self._join(place + 1)
        self._join(place)

    def cut(self, bucket: Bucket, sort_key: str) -> Bucket:
        """A bucket's newest `bucket_rows` rows, of which this key is the oldest, become one; what is left is given.

        What is left must be counted.
        """
        place = self._holding(bucket.at_least)
        marked = self._marked[place]
        self._floors.insert(place + 1, sort_key)
        self._rows.insert(place + 1, self._bucket_rows)
        self._marked.insert(place + 1, marked)
        self._sums = None
        self._dirty.add(bucket.at_least)
        if marked > bucket.marks:
            self._dirty.add(sort_key)
        return self._bucket(place)

    def place_of(self, row: int) -> Place:
        """Where the row of this number is, the newest being row 0; less than a bucket is to be skipped.

        Past the end it is so far down in the oldest bucket that nothing is found.
        """
        under = self._rows_under()
        place = 0 if row >= under[-1] else bisect_right(under, under[-1] - 1 - row) - 1
        return Place(self._end(place), row - (under[-1] - under[place + 1]))

    def rows_from(self, sort_key: str) -> int:
        """Rows of the bucket that holds this key, and of all newer ones."""
        under = self._rows_under()
        return under[-1] - under[self._holding(sort_key)]

    def between(self, at_least: str, below: str | None) -> Stretch:
        """What the counts say about the keys from `at_least` to just under `below`."""
        if below is not None and below <= at_least:
            return Stretch(0, ())
        oldest, newest = self._holding(at_least), self._under(below)
        cut_below, cut_above = at_least != self._floors[oldest], below != self._end(newest)
        if oldest == newest and (cut_below or cut_above):
            return Stretch(0, ((at_least, below),))
        parts: list[tuple[str, str | None]] = []
        if cut_below:
            parts.append((at_least, self._end(oldest)))
            oldest += 1
        if cut_above:
            parts.append((self._floors[newest], below))
            newest -= 1
        under = self._rows_under()
        return Stretch(under[newest + 1] - under[oldest], tuple(parts))

    def slice_below(self, below: str | None, rows: int) -> str:
        """A key with about so many rows from it to just under `below`: where a bucket begins; "" when there are fewer.

        It is always lower than `below`, unless that is "" itself.
        """
        under = self._rows_under()
        newest = self._under(below)
        oldest = min(newest, bisect_right(under, under[newest + 1] - rows) - 1) if rows < under[newest + 1] else 0
        return self._floors[oldest]

    def _bucket(self, place: int) -> Bucket:
        return Bucket(self._floors[place], self._end(place), self._marks)

    def _holding(self, sort_key: str) -> int:
        return bisect_right(self._floors, sort_key) - 1

    def _under(self, below: str | None) -> int:
        return len(self._floors) - 1 if below is None else max(0, bisect_left(self._floors, below) - 1)

    def _end(self, place: int) -> str | None:
        return self._floors[place + 1] if place + 1 < len(self._floors) else None

    def _rows_under(self) -> list[int]:
        """Rows older than each bucket, and at the end all rows."""
        if self._sums is None:
            self._sums = list(accumulate(self._rows, initial=0))
        return self._sums

    def _join(self, place: int) -> None:
        """Make this bucket and the older one one, if both counts are to be trusted and come to little."""
        if not 0 < place < len(self._floors) or not self._dirty.isdisjoint(self._floors[place - 1 : place + 1]):
            return
        if self._rows[place - 1] + self._rows[place] > self._bucket_rows:
            return
        self._rows[place - 1] += self._rows.pop(place)
        # Both are counted since, so when they were marked no longer matters.
        del self._marked[place], self._floors[place]
        self._sums = None
