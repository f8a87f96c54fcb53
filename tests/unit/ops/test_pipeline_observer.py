"""Lag and quota as sums over what Kafka says, and what is read from the producer's state."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.producer_state import (
    EPOCH_HEADER,
    LEADER_KEY,
    LEDGER_PREFIX,
    QUERY_PREFIX,
    FollowedQuery,
    Leader,
    Ledger,
    ledger_key,
    query_key,
    read_ledger,
)
from contract.settings import load_settings
from ops.pipeline_observer import ObservedState, QuotaLeft, quota_left, total_lag
from producer.state_log import StateFold, StateRecord

SINCE = "2026-01-15T10:00:00.000Z"
DAY = "2026-01-15"


@pytest.mark.parametrize(
    ("begins", "ends", "committed", "lag"),
    [
        ({0: 0, 1: 0}, {0: 10, 1: 5}, {0: 10, 1: 5}, 0),
        ({0: 0, 1: 0}, {0: 10, 1: 5}, {0: 7}, 3 + 5),
        ({0: 4}, {0: 10}, {}, 6),
        ({0: 8}, {0: 10}, {0: 3}, 2),
        ({0: 0}, {0: 10}, {0: 12}, 0),
    ],
    ids=["done", "one without a commit", "retention ate some", "commit before the beginning", "topic made again"],
)
def test_lag_is_what_is_not_yet_acknowledged(
    begins: dict[int, int], ends: dict[int, int], committed: dict[int, int], lag: int
) -> None:
    assert total_lag(begins, ends, committed) == lag


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b'{"used": "all"}', b'{"used":'])
def test_a_ledger_that_cannot_be_read_counts_as_spent(
    value: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ledgers = {ledger_key("search", DAY): read_ledger(value)}

    assert quota_left(ledgers, load_settings(), DAY).search == 0
    assert read_ledger(b'{"used": 3}') == Ledger(3)


def test_only_todays_ledgers_count_against_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(search_calls_per_day=100, units_per_day=10_000)
    ledgers = {
        ledger_key("search", "2026-01-14"): Ledger(99),
        ledger_key("search", DAY): Ledger(30),
        ledger_key("units", DAY): Ledger(10_001),
    }

    assert quota_left(ledgers, settings, DAY) == QuotaLeft(search=70, units=0)
    assert quota_left(ledgers, settings, "2026-01-16") == QuotaLeft(search=100, units=10_000)


def _take(state: ObservedState, key: bytes, value: object, epoch: int | None = None) -> None:
    headers = [] if epoch is None else [(EPOCH_HEADER, b"%d" % epoch)]
    state.take(key, value if isinstance(value, bytes | None) else msgspec.json.encode(value), headers)


def test_a_query_is_followed_while_it_is_enabled_and_not_refused() -> None:
    state = ObservedState()

    _take(state, query_key("tea"), FollowedQuery(SINCE))
    _take(state, query_key("coffee"), FollowedQuery(SINCE, enabled=False))
    _take(state, query_key("x"), FollowedQuery(SINCE, refused="invalid"))
    _take(state, query_key("gone"), FollowedQuery(SINCE))
    _take(state, query_key("gone"), None)
    _take(state, query_key("garbage"), b"{")
    _take(state, QUERY_PREFIX + b"\xff", FollowedQuery(SINCE))

    assert state.queries == {"tea": True, "coffee": False, "x": False}


def test_a_deposed_leader_s_late_word_is_void_but_an_operator_s_never_is() -> None:
    state = ObservedState()

    _take(state, LEADER_KEY, Leader(2, "two", SINCE))
    _take(state, ledger_key("search", DAY), Ledger(5), 2)
    _take(state, ledger_key("search", DAY), Ledger(4), 1)
    _take(state, LEADER_KEY, Leader(1, "one", SINCE))
    _take(state, LEADER_KEY, Leader(2, "late", SINCE))
    _take(state, query_key("tea"), FollowedQuery(SINCE, enabled=False, origin="command"))
    state.take(ledger_key("units", DAY), b'{"used":1}', [(EPOCH_HEADER, b"two")])

    assert state.leader == Leader(2, "two", SINCE)
    assert state.ledgers == {ledger_key("search", DAY): Ledger(5)}
    assert state.queries == {"tea": False}


_epochs = st.integers(1, 3)
_records = st.one_of(
    st.builds(
        lambda epoch, name: (LEADER_KEY, msgspec.json.encode(Leader(epoch, name, SINCE)), epoch),
        _epochs,
        st.sampled_from("ab"),
    ),
    st.tuples(
        st.sampled_from([query_key("tea"), ledger_key("search", DAY), b"video/x"]),
        st.one_of(
            st.none(),
            st.builds(lambda used: msgspec.json.encode(Ledger(used)), st.integers(0, 9)),
            st.builds(lambda on: msgspec.json.encode(FollowedQuery(SINCE, enabled=on)), st.booleans()),
        ),
        st.one_of(st.none(), _epochs),
    ),
)


@given(st.lists(_records, max_size=30))
def test_what_counts_is_what_counts_for_the_producer(records: list[tuple[bytes, bytes | None, int | None]]) -> None:
    observed, fold = ObservedState(), StateFold()
    led: dict[int, Leader] = {}

    for key, value, epoch in records:
        # No leader writes before its own record is there.
        if key != LEADER_KEY and epoch is not None and epoch > fold.epoch:
            continue
        _take(observed, key, value, epoch)
        if fold.take(StateRecord(key, value, epoch)) and key == LEADER_KEY:
            leader = msgspec.json.decode(value or b"", type=Leader)
            led.setdefault(leader.epoch, leader)

    assert observed.leader == led.get(fold.epoch)
    kept = {key: value for key, value in fold.values.items() if key.startswith(LEDGER_PREFIX)}
    assert observed.ledgers == {key: read_ledger(value) for key, value in kept.items()}
