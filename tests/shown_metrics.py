"""What the services show Prometheus, by name, and Prometheus's own tool to look at what is asked of it."""

import re
import subprocess
from pathlib import Path

from prometheus_client import CollectorRegistry

from ops.metrics import ApiMetrics, ProcessorMetrics, ProducerMetrics
from tests.programs import required_program

METRIC = re.compile(r"\byousync_\w+")
_SERIES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def shown_series() -> dict[str, set[str]]:
    """Every series by name, with its labels."""
    series = {}
    for metrics in (ProducerMetrics, ProcessorMetrics, ApiMetrics):
        for declared in vars(metrics(CollectorRegistry())).values():
            [family] = declared.describe()
            for suffix in _SERIES[family.type]:
                series[family.name + suffix] = set(declared._labelnames)
    return series


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What the tool says; its exit code is the verdict."""
    program = required_program("promtool", "prometheus")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)
