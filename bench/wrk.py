"""Loads one URL with wrk (Debian's package), which costs the machine far less than a client in Python."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Final, NamedTuple

CONNECTIONS: Final = 32

_UNITS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_RATE: Final = re.compile(r"Requests/sec:\s+([\d.]+)")
_PERCENTILE: Final = re.compile(r"\s+(50|99)%\s+([\d.]+)(us|ms|s)\b")
_FAULTS: Final = re.compile(r"Socket errors: (.*)")


class Load(NamedTuple):
    """What came of a load: answers a second, and the time to each in milliseconds."""

    rate: float
    p50_ms: float
    p99_ms: float


def load(url: str, *, seconds: float, connections: int = CONNECTIONS, headers: Mapping[str, str] | None = None) -> Load:
    """Ask for `url` as fast as it answers.

    Raises:
        SystemExit: wrk is not installed, or a request failed.
    """
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk is missing: install Debian's package wrk")
    said = subprocess.run(
        [
            program,
            "--threads=1",
            f"--connections={connections}",
            f"--duration={max(1, round(seconds))}s",
            "--latency",
            "--timeout=60s",  # a count and a skip may take long
            *(part for name, value in (headers or {}).items() for part in ("--header", f"{name}: {value}")),
            url,
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    faults, rate = _FAULTS.search(said), _RATE.search(said)
    # An answer of 304 is none of those that wrk counts as faults.
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    if faults or refused or rate is None:
        raise SystemExit(f"{url}: {faults[0] if faults else refused[0] if refused else said}")
    times = {percent: float(number) * _UNITS[unit] for percent, number, unit in _PERCENTILE.findall(said)}
    return Load(float(rate[1]), times["50"], times["99"])
