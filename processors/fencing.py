"""The right to speak: a worker that was paused longer than its session must not write what others now own.

aiokafka answers no question about its heartbeats, so the coordinator's heartbeat is watched from here: the time of
its last answer, and the generation of the group that the member belongs to.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from ops.logging import get_logger

log = get_logger(__name__)
_LOOK_AGAIN_SECONDS: Final = 0.05


class Fenced(Exception):
    """The partitions of the batch have, or may have, another owner: say nothing more."""


class HeartbeatWatch:
    """Notes when the group coordinator last answered this member.

    The coordinator lives in the consumer's thread; a float and an int are all that crosses over.
    """

    def __init__(self, session_timeout_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._trusted_for = session_timeout_seconds / 2
        self._clock = clock
        self._coordinator: Any = None
        self._answered_at = -float("inf")

    def watch(self, coordinator: Any) -> None:
        """Follow this coordinator from now on; called right after it has joined, which is an answer too."""
        self._answered_at = self._clock()
        if coordinator is self._coordinator:
            return
        self._coordinator = coordinator
        heartbeat = coordinator._do_heartbeat  # noqa: SLF001  # no public sign of a heartbeat: ADR 3

        async def watched() -> bool:
            answered = bool(await heartbeat())
            if answered:
                self._answered_at = self._clock()
            return answered

        coordinator._do_heartbeat = watched  # noqa: SLF001  # as above

    @property
    def generation(self) -> int:
        """Of the group as this member knows it; -1 once the coordinator disowned it."""
        return -1 if self._coordinator is None else int(self._coordinator.generation)

    @property
    def fresh(self) -> bool:
        """The last answer is younger than half the session timeout."""
        return self._clock() - self._answered_at < self._trusted_for

    def lease(self) -> "GroupLease":
        """A lease on what this member owns now."""
        return GroupLease(self, self.generation)


class GroupLease:
    """`processors.projection.Lease`: valid while the member's generation is the one it was given in."""

    def __init__(self, watch: HeartbeatWatch, generation: int) -> None:
        self._watch = watch
        self._generation = generation

    async def hold(self) -> None:
        """Wait for a fresh heartbeat answer.

        Raises:
            Fenced: the group has moved on without this member.
        """
        said = False
        while True:
            if self._generation == -1 or self._watch.generation != self._generation:
                raise Fenced("the consumer group has a new generation: another worker may own these partitions")
            if self._watch.fresh:
                return
            if not said:
                said = True
                log.warning("waiting", part="Kafka", reason="no heartbeat answer within half the session timeout")
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
