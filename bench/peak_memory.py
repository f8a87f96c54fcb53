"""The most memory that processes of ours took together, looked at while they run."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import psutil

LOOK_SECONDS: Final = 0.1
MIB: Final = 1 << 20


class PeakMemory:
    """`mib`: the largest sum of resident sizes so far; pages that processes share are counted in each."""

    def __init__(self) -> None:
        self.mib = 0.0

    def look(self, pids: Sequence[int]) -> None:
        self.mib = max(self.mib, sum(map(_tree_bytes, pids)) / MIB)


@contextmanager
def watching_memory(pids: Sequence[int]) -> Iterator[PeakMemory]:
    """Look at these processes and all that they start until the end of the block."""
    peak, done = PeakMemory(), threading.Event()

    def watch() -> None:
        while not done.wait(LOOK_SECONDS):
            peak.look(pids)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _tree_bytes(pid: int) -> int:
    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += one.memory_info().rss
    return total
