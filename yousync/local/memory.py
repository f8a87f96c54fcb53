"""How much memory a process of the stack takes."""

import psutil


def memory_bytes(pid: int | None) -> int | None:
    """Resident memory of the process and of those that it started; None when it is gone."""
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
        return sum(int(one.memory_info().rss) for one in (process, *process.children(recursive=True)))
    except psutil.Error:
        return None
