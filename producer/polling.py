"""What the three kinds of call share for one term."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ops.metrics import ProducerMetrics
from producer.calls import Calls
from producer.following import Following
from producer.keeper import Keeper
from producer.planner import Known
from producer.state import ProducerState


@dataclass(frozen=True)
class Polling:
    """Settings, budgets, memory and clock (`now_ms`: the wall clock)."""

    following: Following
    calls: Calls
    keeper: Keeper
    state: ProducerState
    known: Known
    metrics: ProducerMetrics
    now_ms: Callable[[], int]


class PollingStep:
    """One of the three kinds of call, with what it shares with the others at hand."""

    def __init__(self, polling: Polling) -> None:
        self._following: Final = polling.following
        self._calls: Final = polling.calls
        self._keeper: Final = polling.keeper
        self._state: Final = polling.state
        self._known: Final = polling.known
        self._metrics: Final = polling.metrics
        self._now_ms: Final = polling.now_ms
