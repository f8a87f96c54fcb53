"""Whether the worker stands still for good: messages wait, nothing is committed, and nothing explains it. Rules only.

What explains it is a sign of life: a part of the infrastructure that was asked again and is away (starting anew would
not bring it back), a new generation of the group, a recovery or a seam that gets on. That something is being waited
for is no sign of life by itself: the waiting may be over, and nobody noticed.
"""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from contract.topics import RAW

STALL_SECONDS: Final = 180.0
"""Longer than a batch of which no call fails: calls of MongoDB end within 30 s, those of Kafka within 10 s, and a batch
makes some five of the one and three of the other."""

BLIND_SECONDS: Final = 15.0
"""Between looks further apart than this nothing is known: Kafka was away, or this process was paused."""

REMEDY: Final = (
    "Start the worker again: what was not committed is taken again, and nothing is lost. "
    "See docs/operations/processor.md."
)


class Place(msgspec.Struct, frozen=True):
    """Where a partition of the raw topic stands, as offsets to come next; `committed` is 0 before the first commit."""

    committed: int
    log_start: int
    log_end: int

    @property
    def waiting(self) -> int:
        """Messages that are there and not acknowledged."""
        return max(0, self.log_end - max(self.committed, self.log_start))


class Look(msgspec.Struct, frozen=True):
    """The worker at one moment; the counts are since the process began."""

    places: Mapping[int, Place]
    """Of the partitions that the worker owns."""

    generation: int = 0
    """Of the consumer group."""

    rebalancing: bool = False
    """From the first partition taken away until the table is recovered and messages are fetched again."""

    recovering: Mapping[int, int] = {}
    """Changelog records that recovery has still to read, by partition."""

    waiting_for: Collection[str] = ()
    """Parts of the infrastructure that a batch says it waits for."""

    failed_tries: int = 0
    """How often a part of the infrastructure was asked by a batch and was away."""

    seam_records: int = 0
    """How many records were applied again after the swap of a replay."""

    @property
    def signs_of_life(self) -> tuple[object, ...]:
        """Whatever of this is another at the next look explains why nothing was committed in between."""
        return self.generation, self.recovering, self.failed_tries, self.seam_records


class _Standing(msgspec.Struct, frozen=True):
    """How long a partition's commits have stood while messages waited, and how much of that nothing explains."""

    place: Place
    seconds: float = 0.0
    unexplained_seconds: float = 0.0


class Watchdog:
    """Looks now and then, and remembers for how long there was no progress; holds no clock.

    `now` is in seconds, of a clock that is never set back.
    """

    def __init__(self, stall_seconds: float = STALL_SECONDS) -> None:
        self._stall_seconds = stall_seconds
        self._last: Look | None = None
        self._looked_at = 0.0
        self._standings: dict[int, _Standing] = {}
        self._rebalancing_seconds = 0.0

    def look(self, look: Look, now: float) -> None:
        """Judge by this from now on. While Kafka does not say where partitions stand, there is no look."""
        passed = 0.0 if self._last is None else now - self._looked_at
        explained = self._last is None or look.signs_of_life != self._last.signs_of_life
        self._standings = {
            partition: _standing(self._standings.get(partition), place, passed, explained)
            for partition, place in look.places.items()
        }
        self._rebalancing_seconds = _unexplained(self._rebalancing_seconds, passed, explained or not look.rebalancing)
        self._last, self._looked_at = look, now

    def standing_seconds(self) -> dict[int, float]:
        """Per partition for how long messages had waited without a commit at the last look, for whatever reason."""
        return {partition: standing.seconds for partition, standing in self._standings.items()}

    def fault(self, now: float) -> str | None:
        """A sentence or two: what stands still, for how long, why as far as that is known, and what to do."""
        if self._last is None or now - self._looked_at > BLIND_SECONDS:
            return None
        stalled = {
            partition: standing
            for partition, standing in self._standings.items()
            if standing.unexplained_seconds >= self._stall_seconds
        }
        if stalled:
            return f"{_what_stands(stalled)}{_why(self._last)}. {REMEDY}"
        if self._rebalancing_seconds >= self._stall_seconds:
            return f"Nothing has come of a rebalance for {self._rebalancing_seconds:.0f} s{_why(self._last)}. {REMEDY}"
        return None


def _standing(before: _Standing | None, place: Place, passed: float, explained: bool) -> _Standing:
    if before is None or place.committed != before.place.committed or not (place.waiting and before.place.waiting):
        return _Standing(place)
    return _Standing(place, before.seconds + passed, _unexplained(before.unexplained_seconds, passed, explained))


def _unexplained(before: float, passed: float, explained: bool) -> float:
    """Seconds that nothing explains; those in which nobody looked do not count, and do not explain either."""
    if explained:
        return 0.0
    return before + passed if passed <= BLIND_SECONDS else before


def _what_stands(stalled: Mapping[int, _Standing]) -> str:
    numbers = ", ".join(str(partition) for partition in sorted(stalled))
    messages = sum(standing.place.waiting for standing in stalled.values())
    seconds = max(standing.seconds for standing in stalled.values())
    return (
        f"{RAW}, partition{'s' if len(stalled) > 1 else ''} {numbers}: "
        f"for {seconds:.0f} s nothing has been committed while messages wait ({messages} now)"
    )


def _why(look: Look) -> str:
    if look.recovering:
        return f"; the recovery of the table does not get on, {sum(look.recovering.values())} records are left"
    if look.waiting_for:
        return f"; the worker says that it waits for {', '.join(sorted(look.waiting_for))}, but does not ask again"
    if look.rebalancing:
        return "; the worker does not end the rebalance"
    return ", and the worker waits for nothing"
