"""The right to speak: a worker that was paused longer than its session must not write what others now own."""

from ops.kafka_lease import HeartbeatWatch


class Fenced(Exception):
    """The partitions of the batch have, or may have, another owner: say nothing more."""


class GroupLease:
    """`processors.projection.Lease` on what this member owns now: valid while the group's generation stays."""

    def __init__(self, watch: HeartbeatWatch) -> None:
        self._watch = watch
        self._generation = watch.generation

    async def hold(self) -> None:
        """Wait for a fresh heartbeat answer.

        Raises:
            Fenced: the group has moved on without this member.
        """
        await self._watch.hold(self._is_ours)

    def _is_ours(self) -> bool:
        if self._generation == -1 or self._watch.generation != self._generation:
            raise Fenced("the consumer group has a new generation: another worker may own these partitions")
        return True
