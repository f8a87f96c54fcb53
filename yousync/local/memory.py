"""How much memory a process of the stack takes."""

import psutil


def memory_bytes(pid: int | None) -> int | None:
    """Resident memory; None when the process is gone."""
    if pid is None:
        return None
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None
