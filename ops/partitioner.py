"""Which partition a key belongs to: Java's murmur2, as every topic of ours is written."""

from collections.abc import Callable
from functools import lru_cache

from aiokafka.partitioner import murmur2

_REMEMBERED = 1 << 14


def partitioner(partitions: int) -> Callable[[bytes], int]:
    """The partitioner of a topic with so many partitions. Keys come again soon, and the hash is pure Python."""

    @lru_cache(_REMEMBERED)
    def partition_of(key: bytes) -> int:
        return int((murmur2(key) & 0x7FFFFFFF) % partitions)

    return partition_of
