"""The state log means the same whatever deposed leaders still write and whenever the log cleaner runs.

A history is made of leaders that take over, write, and write on when they are deposed, of candidates that come too
late, of operators, and of the cleaner. Beside the log runs what ought to be remembered: only what the leader of the
moment and the operators wrote.
"""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from contract.producer_state import LEADER_KEY, Leader
from producer.state_log import StateFold, StateRecord

KEYS = [b"ledger", b"video/a", b"query/tea"]

keys = st.sampled_from(KEYS)
values = st.one_of(st.none(), st.integers(0, 9).map(lambda number: b"%d" % number))
which = st.integers(0, 5)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("take_over")),
        st.tuples(st.just("late_candidate"), which),
        st.tuples(st.just("write"), keys, values),
        st.tuples(st.just("late_write"), which, keys, values),
        st.tuples(st.just("operator"), keys, values),
        st.tuples(st.just("clean"), st.floats(0, 1), st.booleans()),
    ),
    max_size=60,
)


def fold_of(log: list[StateRecord]) -> StateFold:
    fold = StateFold()
    for record in log:
        fold.take(record)
    return fold


def cleaned(log: list[StateRecord], end: int, tombstones_too: bool) -> list[StateRecord]:
    """What the cleaner leaves when it has cleaned everything before `end`: the last record of each key."""
    last = {record.key: position for position, record in enumerate(log[:end])}
    kept = [record for position, record in enumerate(log[:end]) if last[record.key] == position]
    return [record for record in kept if record.value is not None or not tombstones_too] + log[end:]


class History:
    """A log in the making, and what it ought to say."""

    def __init__(self) -> None:
        self.log: list[StateRecord] = []
        self.remembered: dict[bytes, bytes] = {}
        self.fold = StateFold()
        self.repaired = 0

    def append(self, key: bytes, value: bytes | None, epoch: int | None) -> None:
        record = StateRecord(key, value, epoch)
        self.log.append(record)
        self.fold.take(record)

    def remember(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.remembered.pop(key, None)
        else:
            self.remembered[key] = value

    def take_over(self) -> None:
        # A new leader reads the log as the cleaner left it, not as it was written.
        self.fold = fold_of(self.log)
        self.late_candidate(self.fold.epoch + 1)
        self.repair()

    def late_candidate(self, epoch: int) -> None:
        leader = Leader(epoch, f"leader {len(self.log)}", "")
        self.append(LEADER_KEY, msgspec.json.encode(leader), epoch)

    def write(self, key: bytes, value: bytes | None) -> None:
        self.remember(key, value)
        self.append(key, value, self.fold.epoch)

    def operator(self, key: bytes, value: bytes | None) -> None:
        self.remember(key, value)
        self.append(key, value, None)

    def repair(self) -> None:
        own = {LEADER_KEY: msgspec.json.encode(Leader(self.fold.epoch, self.fold.leader_id or "", ""))}
        for key in sorted(self.fold.voided):
            self.append(key, own.get(key, self.fold.values.get(key)), self.fold.epoch)
        assert not self.fold.voided
        self.repaired = len(self.log)

    def clean(self, share: float, tombstones_too: bool) -> None:
        """The topic's compaction lag keeps the cleaner from what the leader has not had time to repair."""
        end = int(self.repaired * share)
        before = len(self.log)
        self.log = cleaned(self.log, end, tombstones_too)
        self.repaired -= before - len(self.log)


def happen(history: History, steps: list[tuple[object, ...]]) -> None:
    for name, *arguments in steps:
        match name, arguments:
            case "late_write", [int(which), bytes(key), value]:
                # Of a leader before the one of the moment, if there was one.
                if history.fold.epoch > 1:
                    history.append(key, value, 1 + which % (history.fold.epoch - 1))  # type: ignore[arg-type]
            case "late_candidate", [int(which)]:
                if history.fold.epoch:
                    history.late_candidate(1 + which % history.fold.epoch)
            case "write", [bytes(key), value]:
                if history.fold.epoch:
                    history.write(key, value)  # type: ignore[arg-type]
            case _:
                getattr(history, str(name))(*arguments)


@given(steps)
def test_late_records_never_change_what_is_remembered(steps: list[tuple[object, ...]]) -> None:
    history = History()
    happen(history, steps)
    assert history.fold.values == history.remembered
    found = fold_of(history.log)
    assert (found.values, found.epoch) == (history.remembered, history.fold.epoch)


@given(steps, st.floats(0, 1), st.booleans())
def test_a_repaired_log_says_the_same_however_much_of_it_is_cleaned(
    steps: list[tuple[object, ...]], share: float, tombstones_too: bool
) -> None:
    history = History()
    happen(history, steps)
    if history.fold.epoch:
        history.repair()
    history.clean(share, tombstones_too)
    found = fold_of(history.log)
    assert (found.values, found.epoch) == (history.remembered, history.fold.epoch)


@given(steps)
def test_a_new_leader_leaves_a_log_whose_last_records_all_count(steps: list[tuple[object, ...]]) -> None:
    history = History()
    happen(history, steps)
    history.take_over()
    last = {record.key: record.value for record in history.log if record.key != LEADER_KEY}
    assert {key: value for key, value in last.items() if value is not None} == history.remembered
