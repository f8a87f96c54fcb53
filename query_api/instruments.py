"""What one process of the API shows its operators."""

from typing import NamedTuple

from prometheus_client import CollectorRegistry

from ops.health import Health
from ops.metrics import ApiMetrics, process_registry, registry_of_all_processes


class Instruments(NamedTuple):
    """`registry` is what `/metrics` shows."""

    registry: CollectorRegistry
    metrics: ApiMetrics
    health: Health


def instruments_of_process(*, several: bool) -> Instruments:
    """Those of the process that calls; `several` share a port, and each shows the figures of all."""
    if several:
        return Instruments(registry_of_all_processes(), ApiMetrics(CollectorRegistry()), Health())
    registry = process_registry()
    return Instruments(registry, ApiMetrics(registry), Health())
