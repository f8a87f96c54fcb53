"""What the state topic's records amount to, read in log order: which of them count, and the last value of each key.

A leader's records carry its epoch. Once a `leader` record of a greater epoch is in the log, whatever an earlier leader
still writes is void. The log cleaner knows nothing of this: it keeps the last record of a key, void or not, and would
drop the valid one before it. So the leader writes the valid value of a `voided` key again, and the topic's
`min.compaction.lag.ms` gives it the time to.

Cleaning only ever removes what is older, so at any point of a cleaned log the epoch is at most what it was in the whole
one: more may count on the way to the end, never less. A key whose last record counts has the same value in both.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from contract.producer_state import EPOCH_HEADER, LEADER_KEY, Leader

UNREADABLE_EPOCH: Final = -1
"""Of a record whose epoch header is not a number: it never counts."""


class StateRecord(msgspec.Struct, frozen=True):
    """One record of the state topic; without an epoch it is an operator's, or of a version that knew no epochs."""

    key: bytes
    value: bytes | None
    epoch: int | None


class StateFold:
    """Takes records in log order; `values` holds those that count, but not the `leader` record."""

    def __init__(self) -> None:
        self.epoch = 0
        """Greatest epoch seen; 0 before the first leader."""
        self.leader_id: str | None = None
        """Who leads in that epoch; None while its `leader` record has not been seen."""
        self.values: Final[dict[bytes, bytes]] = {}
        self.voided: Final[set[bytes]] = set()
        """Keys whose last record is void: the cleaner would keep that one alone."""

    def take(self, record: StateRecord) -> bool:
        """Apply one record; False when it is void."""
        counts = self._take_leader(record.value) if record.key == LEADER_KEY else self._take_value(record)
        if counts:
            self.voided.discard(record.key)
        else:
            self.voided.add(record.key)
        return counts

    def _take_leader(self, value: bytes | None) -> bool:
        leader = _read_leader(value)
        if leader is None or leader.epoch < max(self.epoch, 1):
            return False
        # A leader's own record may come again: written twice for want of an answer, or as a repair.
        if leader.epoch == self.epoch and self.leader_id not in {None, leader.id}:
            return False
        self.epoch, self.leader_id = leader.epoch, leader.id
        return True

    def _take_value(self, record: StateRecord) -> bool:
        if record.epoch is not None:
            if record.epoch < self.epoch:
                return False
            if record.epoch > self.epoch:  # the cleaner took the leader's record away, but a leader there was
                self.epoch, self.leader_id = record.epoch, None
        if record.value is None:
            self.values.pop(record.key, None)
        else:
            self.values[record.key] = record.value
        return True


def read_epoch(headers: Iterable[tuple[str, bytes]]) -> int | None:
    """The epoch in a record's headers; None if there is none, `UNREADABLE_EPOCH` if it is not decimal digits."""
    for name, value in headers:
        if name == EPOCH_HEADER:
            return int(value) if value.isdigit() else UNREADABLE_EPOCH
    return None


def epoch_headers(epoch: int) -> tuple[tuple[str, bytes], ...]:
    """Headers of a record that the leader of this epoch writes."""
    return ((EPOCH_HEADER, b"%d" % epoch),)


def _read_leader(value: bytes | None) -> Leader | None:
    try:
        return None if value is None else msgspec.json.decode(value, type=Leader)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
