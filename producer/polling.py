"""What the three kinds of call share for one term."""

from collections.abc import Callable
from dataclasses import dataclass

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
