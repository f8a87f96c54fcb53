"""Is this process alive, and is it ready? Checks are registered by name; what they say is what operators read."""

from collections.abc import Awaitable, Callable
from typing import Final

Check = Callable[[], Awaitable[str | None]]
"""Returns None when all is well, else one sentence that says what is not."""


class Health:
    """Two lists of checks: liveness (restart me) and readiness (send me nothing yet)."""

    def __init__(self) -> None:
        self._liveness: Final[dict[str, Check]] = {}
        self._readiness: Final[dict[str, Check]] = {}

    def add_liveness(self, name: str, check: Check) -> None:
        self._liveness[name] = check

    def add_readiness(self, name: str, check: Check) -> None:
        self._readiness[name] = check

    async def liveness_faults(self) -> dict[str, str]:
        """Failing liveness checks with their sentences; empty when alive."""
        return await _faults(self._liveness)

    async def readiness_faults(self) -> dict[str, str]:
        """Failing readiness checks with their sentences; empty when ready."""
        return await _faults(self._readiness)


async def _faults(checks: dict[str, Check]) -> dict[str, str]:
    faults = {}
    for name, check in checks.items():
        fault = await check()
        if fault is not None:
            faults[name] = fault
    return faults
