"""Records of recent keys, held back so that nearly every video is written once. Rules only.

Most videos have two raw records close together: the search item and its completion. An insert into an empty
collection costs the server a sixth of an upsert, so the records of a key wait here until the buffer is full; then the
keys that have waited longest leave, each to be folded and inserted whole.
"""

from typing import Generic, TypeVar

Held = TypeVar("Held")


class FoldBuffer(Generic[Held]):
    """One partition's records by key, in offset order, of at most about `max_bytes` of values."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: dict[str, list[Held]] = {}
        self._first_offsets: dict[str, int] = {}
        self._bytes: dict[str, int] = {}
        self._total_bytes = 0

    def add(self, key: str, held: Held, *, offset: int, size: int) -> None:
        """Hold a record of `size` bytes behind those of its key."""
        there = self._held.get(key)
        if there is None:
            self._held[key] = [held]
            self._first_offsets[key] = offset
            self._bytes[key] = size
        else:
            there.append(held)
            self._bytes[key] += size
        self._total_bytes += size

    @property
    def is_full(self) -> bool:
        return self._total_bytes > self._max_bytes

    def __len__(self) -> int:
        """How many keys wait."""
        return len(self._held)

    @property
    def first_offset(self) -> int | None:
        """No record below it waits here; None when nothing waits."""
        return next(iter(self._first_offsets.values()), None)

    def take(self, count: int) -> dict[str, list[Held]]:
        """Remove up to `count` keys, those that have waited longest, with their records."""
        taken = {}
        for key in list(self._held)[:count]:
            taken[key] = self._held.pop(key)
            del self._first_offsets[key]
            self._total_bytes -= self._bytes.pop(key)
        return taken
