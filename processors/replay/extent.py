"""How much a replay reads: from where to where in each partition, and what is no longer there. Rules only."""

from collections.abc import Mapping

import msgspec


class Extent(msgspec.Struct, frozen=True):
    """One partition: records from `start` up to, not including, `end`; `end` of the log and the group's offset."""

    partition: int
    start: int
    end: int

    @property
    def records(self) -> int:
        return max(0, self.end - self.start)


def raw_extents(
    begins: Mapping[int, int], ends: Mapping[int, int], committed: Mapping[int, int], *, group_is_empty: bool
) -> list[Extent]:
    """Each partition from its beginning to what the live group has acknowledged, and never further.

    A group that has acknowledged nothing and has no members (its offsets expire after a week without any) goes over
    all of it again when it starts, so all of it can be read.
    """
    nobody = group_is_empty and not committed
    return [
        Extent(partition, begin, ends[partition] if nobody else min(ends[partition], committed.get(partition, begin)))
        for partition, begin in sorted(begins.items())
    ]


def eaten(begins: Mapping[int, int]) -> int:
    """Records that retention has removed, over all partitions."""
    return sum(begins.values())


def shares(extents: list[Extent], workers: int) -> list[list[Extent]]:
    """The extents over at most `workers` processes, the largest first to whoever has least; nobody without any."""
    parts: list[list[Extent]] = [[] for _ in range(min(workers, len(extents)))]
    for extent in sorted(extents, key=lambda one: -one.records):
        min(parts, key=lambda part: (sum(one.records for one in part), len(part))).append(extent)
    return [sorted(part, key=lambda one: one.partition) for part in parts if part]
