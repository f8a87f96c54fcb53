"""Python's cycle collector, for processes that make many short-lived objects and hardly a cycle."""

import gc


def collect_seldom() -> None:
    """Leave the objects of the start alone, and look at the others rarely.

    Python's own thresholds cost a fifth to a third of a worker's processor time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
