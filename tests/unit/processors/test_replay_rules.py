"""The replay's decisions: what to read, what to hold back, what a difference means, and what a start finds."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import events
from contract.read_model import PROJECTION_VERSION, SHADOW_PREFIX
from contract.topics import RAW, projector_client_id, read_projector_client_id
from processors.document import OwedEvent, SourcePosition
from processors.replay.announcement import announcement
from processors.replay.comparison import Oldest, Row, Verdict, compare
from processors.replay.extent import Extent, eaten, raw_extents, shares
from processors.replay.fold_buffer import FoldBuffer
from processors.replay.run_state import Phase, Run, resume_fault, shadow_name


def row(
    offset: int, body: bytes | None = b"body", *, event: int | None = None, version: int = PROJECTION_VERSION
) -> Row:
    """A living video whose last record stands at `offset` of partition 2; `body` None: a removed one."""
    return Row(
        video_id="vid00000001",
        sort_key=None if body is None else "1780000000000vid00000001",
        body=body,
        source=SourcePosition(RAW, 2, offset),
        event=OwedEvent(offset if event is None else event, events.VIDEO_DISCOVERED, "0000000000001vid00000001"),
        version=version,
        first_seen_at=None if body is None else "2026-01-15T10:00:00.000Z",
    )


APPLIED = {2: 100}
FIRST_SEEN_MS = 1_768_471_200_000
OLDEST = {2: Oldest(5, FIRST_SEEN_MS - 1)}


@pytest.mark.parametrize(
    ("live", "rebuilt", "verdict"),
    [
        (row(7), row(7), "same"),
        (row(7, b"old"), row(7, b"new"), "differs"),
        (row(7, b"old", version=PROJECTION_VERSION - 1), row(7, b"new"), "changed"),
        (row(7, b"old"), row(9, b"new"), "changed"),
        (row(4), None, "missing"),
        (row(5), None, "unknown"),
        (row(7), row(9, None), "gone"),
        (row(99), None, "unknown"),
        (row(100), None, "ahead"),
        (row(100, b"other"), row(99), "ahead"),
        (row(100, None), row(99), "ahead"),
        (None, row(7), "new"),
        (row(5, None), row(7), "new"),
        (None, row(7, None), "same"),
        (row(7, None), None, "same"),
        (row(7, None), row(7, None), "same"),
    ],
)
def test_what_a_rebuilt_document_is_to_the_live_one(live: Row | None, rebuilt: Row | None, verdict: Verdict) -> None:
    assert compare(live, rebuilt, APPLIED, OLDEST, by_event=False) == verdict


def test_from_the_stream_the_event_says_whether_the_records_are_the_same() -> None:
    confirmed = row(9, b"old", event=7)

    assert compare(confirmed, row(7, b"new"), APPLIED, OLDEST, by_event=True) == "differs"
    assert compare(confirmed, row(7, b"new"), APPLIED, OLDEST, by_event=False) == "changed"


@pytest.mark.parametrize(
    ("oldest", "verdict"),
    [
        (Oldest(5, FIRST_SEEN_MS - 1), "differs"),
        (Oldest(5, FIRST_SEEN_MS), "changed"),
        (Oldest(0, FIRST_SEEN_MS + 1), "differs"),
    ],
)
def test_a_video_that_is_older_than_what_retention_left_may_come_out_otherwise(
    oldest: Oldest, verdict: Verdict
) -> None:
    assert compare(row(7, b"old"), row(7, b"new"), APPLIED, {2: oldest}, by_event=False) == verdict


def test_the_stream_cannot_say_whether_the_topic_ever_knew_a_video() -> None:
    assert compare(row(99), None, APPLIED, OLDEST, by_event=True) == "missing"


def test_a_partition_of_which_nothing_was_applied_makes_all_of_it_ahead() -> None:
    assert compare(row(0), None, {}, {}, by_event=False) == "ahead"


def test_each_partition_is_read_to_what_the_group_acknowledged_and_no_further() -> None:
    extents = raw_extents({0: 0, 1: 5, 2: 0}, {0: 10, 1: 10, 2: 10}, {0: 7, 1: 10}, group_is_empty=True)

    assert extents == [Extent(0, 0, 7), Extent(1, 5, 10), Extent(2, 0, 0)]
    assert [one.records for one in extents] == [7, 5, 0]


@pytest.mark.parametrize(("group_is_empty", "end"), [(True, 10), (False, 0)])
def test_without_any_commit_all_is_read_if_nobody_is_there_to_commit(group_is_empty: bool, end: int) -> None:
    assert raw_extents({0: 0}, {0: 10}, {}, group_is_empty=group_is_empty) == [Extent(0, 0, end)]


def test_a_commit_outside_the_log_reads_nothing_that_is_not_there() -> None:
    assert raw_extents({0: 5, 1: 5}, {0: 10, 1: 10}, {0: 3, 1: 12}, group_is_empty=True) == [
        Extent(0, 5, 3),
        Extent(1, 5, 10),
    ]
    assert Extent(0, 5, 3).records == 0
    assert eaten({0: 5, 1: 5}) == 10


@given(sizes=st.lists(st.integers(0, 1_000), max_size=12), workers=st.integers(1, 5))
def test_every_extent_goes_to_one_process_and_none_is_idle(sizes: list[int], workers: int) -> None:
    extents = [Extent(number, 0, size) for number, size in enumerate(sizes)]

    parts = shares(extents, workers)

    assert sorted((one for part in parts for one in part), key=lambda one: one.partition) == extents
    assert len(parts) == min(workers, len(extents))
    heaviest = max((sum(one.records for one in part) for part in parts), default=0)
    assert heaviest <= sum(sizes) / workers + max(sizes, default=0)


def test_the_buffer_gives_up_what_has_waited_longest_with_all_its_records() -> None:
    buffer = FoldBuffer[str](10)
    for offset, key in enumerate(["a", "b", "a", "c"]):
        buffer.add(key, f"{key}{offset}", offset=offset, size=3)

    assert (len(buffer), buffer.is_full, buffer.first_offset) == (3, True, 0)
    assert buffer.take(1) == {"a": ["a0", "a2"]}
    assert (len(buffer), buffer.is_full, buffer.first_offset) == (2, False, 1)
    assert buffer.take(5) == {"b": ["b1"], "c": ["c3"]}
    assert (len(buffer), buffer.is_full, buffer.first_offset) == (0, False, None)


@given(
    keys=st.lists(st.sampled_from("abcdef"), max_size=60),
    max_bytes=st.integers(1, 200),
    count=st.integers(1, 4),
)
def test_the_buffer_loses_nothing_keeps_the_order_and_its_bound(keys: list[str], max_bytes: int, count: int) -> None:
    buffer = FoldBuffer[int](max_bytes)
    left: dict[str, list[int]] = {}
    held = 0
    for offset, key in enumerate(keys):
        buffer.add(key, offset, offset=offset, size=10)
        held += 10
        while buffer.is_full:
            for taken, records in buffer.take(count).items():
                left.setdefault(taken, []).extend(records)
                held -= 10 * len(records)
        assert held <= max_bytes
        waiting = set(range(offset + 1)) - {one for records in left.values() for one in records}
        assert buffer.first_offset == min(waiting, default=None)
    for taken, records in buffer.take(len(keys)).items():
        left.setdefault(taken, []).extend(records)

    assert left == {key: [at for at, one in enumerate(keys) if one == key] for key in dict.fromkeys(keys)}


def run(phase: Phase = "following", **changes: object) -> Run:
    there = Run(
        owner=None,
        beat=1,
        host="here",
        pid=1,
        started_at="2026-01-15T10:00:00+00:00",
        phase=phase,
        source="raw",
        shadow=shadow_name("abc"),
        generation="uuid",
        projection_version=PROJECTION_VERSION,
        offsets={},
        ends={},
        tail={},
    )
    return msgspec.structs.replace(there, **changes)


def test_an_unfinished_run_is_gone_on_with() -> None:
    assert resume_fault(run(), "raw", shadow_is_there=True, swapped=False) is None
    assert resume_fault(run("swapping"), "raw", shadow_is_there=False, swapped=True) is None


@pytest.mark.parametrize(
    ("found", "is_there", "why"),
    [
        (None, False, "no unfinished replay"),
        (run("done"), True, "no unfinished replay"),
        (run(), False, "is gone"),
        (run(projection_version=PROJECTION_VERSION + 1), True, "projection version"),
        (run(source="videos"), True, "--from videos"),
    ],
)
def test_what_cannot_be_gone_on_with_says_why_and_what_to_do(found: Run | None, is_there: bool, why: str) -> None:
    fault = resume_fault(found, "raw", shadow_is_there=is_there, swapped=False)

    assert fault is not None
    assert why in fault
    assert "yousync replay --execute" in fault


def test_a_shadow_has_a_name_of_its_attempts_own() -> None:
    assert shadow_name("one") != shadow_name("two")
    assert shadow_name("one").startswith(SHADOW_PREFIX)


def test_a_new_video_is_announced_as_discovered_with_the_sequence_of_its_last_event() -> None:
    envelope, value = announcement(row(9, b"body", event=7), is_new=True)

    assert (envelope.type, envelope.partition, envelope.sequence) == (events.VIDEO_DISCOVERED, 2, 7)
    assert (envelope.subject, envelope.sort_key) == ("vid00000001", "1780000000000vid00000001")
    assert value == b"body"


def test_a_changed_one_is_announced_as_updated_and_a_removed_one_with_the_key_it_had() -> None:
    assert announcement(row(9), is_new=False)[0].type == events.VIDEO_UPDATED

    envelope, value = announcement(row(9, None), is_new=True)

    assert (envelope.type, envelope.sort_key) == (events.VIDEO_REMOVED, "0000000000001vid00000001")
    assert envelope.previous_sort_key is None
    assert value is None


def test_a_member_of_the_group_says_its_projection_version() -> None:
    assert read_projector_client_id(projector_client_id(12)) == 12
    assert read_projector_client_id("faust-0.15.3") is None
    assert read_projector_client_id(projector_client_id(1) + "x") is None
