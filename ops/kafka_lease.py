"""The right to speak: a member of a consumer group that was paused longer than its session must keep silent.

aiokafka answers no question about its heartbeats, so the coordinator's heartbeat is watched from here: when the last
one that was answered had been asked, and the generation of the group that the member belongs to.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from ops.logging import get_logger

_LOOK_AGAIN_SECONDS: Final = 0.05

_log = get_logger(__name__)


class HeartbeatWatch:
    """Knows when the group's coordinator last confirmed this member.

    The coordinator may live in another thread; a float and an int are all that crosses over.
    """

    def __init__(self, session_timeout_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._trusted_for: Final = session_timeout_seconds / 2
        self._clock: Final = clock
        self._coordinator: Any = None
        self._confirmed_at = -float("inf")

    def watch(self, coordinator: Any) -> None:
        """Follow this coordinator from now on; called before it joins, or right after it has, which confirms it too."""
        self._confirmed_at = self._clock()
        if coordinator is self._coordinator:
            return
        self._coordinator = coordinator
        heartbeat = coordinator._do_heartbeat  # noqa: SLF001  # no public sign of a heartbeat: ADR 3

        async def watched() -> bool:
            # When it was asked counts: the answer may have lain here while this process was paused.
            asked_at = self._clock()
            answered = bool(await heartbeat())
            if answered:
                self._confirmed_at = asked_at
            return answered

        coordinator._do_heartbeat = watched  # noqa: SLF001  # as above

    @property
    def generation(self) -> int:
        """Of the group as this member knows it; -1 once the coordinator disowned it."""
        return -1 if self._coordinator is None else int(self._coordinator.generation)

    @property
    def silent_seconds(self) -> float:
        """How long ago the last answered heartbeat was asked."""
        return self._clock() - self._confirmed_at

    @property
    def fresh(self) -> bool:
        """The last confirmation is younger than half the session timeout."""
        return self.silent_seconds < self._trusted_for

    async def hold(self, ours: Callable[[], bool]) -> None:
        """Return when the confirmation is fresh and `ours` says yes.

        `ours` is asked again and again: False waits, and what it raises ends the waiting.
        """
        said = False
        while not (ours() and self.fresh):
            if not self.fresh and not said:
                said = True
                _log.warning("waiting", part="Kafka", reason="no heartbeat answer within half the session timeout")
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
