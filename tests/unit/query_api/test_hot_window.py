"""The rules of a hot window, one by one; `tests/property/test_hot_window.py` has them all at once."""

from collections.abc import Iterable

from contract.events import VIDEO_REMOVED, VIDEO_UPDATED
from query_api.hot_window import HotWindow, LastSequences
from query_api.stored import WindowRow
from query_api.video_event import VideoEvent
from tests.fakes.video_documents import make_id

TEA = ("tea",)


def _key(number: int) -> str:
    return f"{number:013d}{make_id(number)}"


def _row(number: int, sequence: int = 1) -> WindowRow:
    return WindowRow(make_id(number), _key(number), b"{}", sequence, TEA)


def _event(number: int, sequence: int, *, moved_to: int | None = None, removed: bool = False) -> VideoEvent:
    place = number if moved_to is None else moved_to
    return VideoEvent(
        partition=0,
        offset=sequence,
        video_id=make_id(number),
        type=VIDEO_REMOVED if removed else VIDEO_UPDATED,
        sequence=sequence,
        sort_key=f"{place:013d}{make_id(number)}",
        previous_sort_key=None,
        body=None if removed else b"new",
    )


def _window(numbers: Iterable[int], size: int = 4, query: str | None = None) -> HotWindow:
    """A window whose store holds these."""
    window = HotWindow(query, size=size, enough=size - 1)
    rows = [_row(number) for number in sorted(numbers, reverse=True)]
    window.begin_reading()
    window.end_reading(rows[:size], asked=size)
    return window


def _numbers(window: HotWindow) -> list[int]:
    snapshot = window.snapshot()
    assert snapshot is not None
    return [int(row.video_id[4:]) for row in reversed(snapshot.rows)]


def test_nothing_is_known_before_the_first_reading() -> None:
    window = HotWindow(size=4, enough=3)

    assert window.snapshot() is None
    assert not window.whole
    assert window.missing == 4
    assert window.floor is None
    assert not window.apply(_event(1, 2), TEA)


def test_a_reading_of_less_than_was_asked_is_all_there_is() -> None:
    assert _window([1, 2, 3]).whole
    assert _window([]).whole
    assert not _window([1, 2, 3, 4]).whole
    assert _window([1, 2, 3]).missing == 0


def test_a_whole_window_takes_in_what_is_older_until_it_is_full() -> None:
    window = _window([5, 6, 7])

    assert window.apply(_event(1, 2), TEA)
    assert (_numbers(window), window.whole) == ([7, 6, 5, 1], True)
    assert window.apply(_event(2, 3), TEA)
    assert (_numbers(window), window.whole) == ([7, 6, 5, 2], False)
    assert not window.apply(_event(3, 4, moved_to=1), TEA)


def test_removals_are_made_up_for_once_they_are_many() -> None:
    window = _window(range(10))
    assert _numbers(window) == [9, 8, 7, 6]

    assert window.apply(_event(8, 2, removed=True), TEA)
    assert window.missing == 0
    assert window.apply(_event(7, 3, removed=True), TEA)
    assert (window.missing, window.floor) == (2, _key(6))
    window.begin_reading()
    window.end_reading([_row(5), _row(4)], asked=2)

    assert _numbers(window) == [9, 6, 5, 4]


def test_rows_stay_while_a_reading_begins_below_them() -> None:
    window = _window(range(10))
    for number, sequence in ((8, 2), (7, 3)):
        window.apply(_event(number, sequence, removed=True), TEA)
    window.begin_reading()
    for number, sequence in ((20, 4), (21, 5), (22, 6)):
        window.apply(_event(number, sequence), TEA)

    window.end_reading([_row(5), _row(4)], asked=2)

    assert _numbers(window) == [22, 21, 20, 9]
    assert window.floor == _key(9)


def test_a_reading_that_is_given_up_leaves_a_window_of_its_size() -> None:
    window = _window(range(10))
    window.begin_reading()
    for number, sequence in ((20, 4), (21, 5)):
        window.apply(_event(number, sequence), TEA)

    window.abandon_reading()

    assert _numbers(window) == [21, 20, 9, 8]


def test_what_was_told_during_a_reading_is_not_lost_to_it() -> None:
    window = HotWindow(size=4, enough=3)
    window.begin_reading()
    window.apply(_event(3, 5), TEA)
    window.apply(_event(2, 6, removed=True), TEA)
    window.apply(_event(1, 1), TEA)

    window.end_reading([_row(2, 4), _row(1, 4)], asked=4)

    assert _numbers(window) == [3, 1]
    snapshot = window.snapshot()
    assert snapshot is not None
    assert [row.sequence for row in snapshot.rows] == [4, 5]


def test_a_video_moves_with_its_publish_time_and_leaves_below_the_floor() -> None:
    window = _window(range(10))

    assert window.apply(_event(7, 2, moved_to=50), TEA)
    assert _numbers(window) == [7, 9, 8, 6]
    assert window.apply(_event(7, 3, moved_to=2), TEA)
    assert _numbers(window) == [9, 8, 6]


def test_what_is_not_above_a_row_s_sequence_changes_nothing() -> None:
    window = _window(range(10))
    version = window.version

    assert not window.apply(_event(9, 1), TEA)
    assert not window.apply(_event(9, 0, removed=True), TEA)
    assert window.version == version


def test_the_version_is_another_with_every_change() -> None:
    window = _window(range(10))
    versions = {window.version}

    for event in (_event(30, 2), _event(30, 3), _event(30, 4, removed=True)):
        assert window.apply(event, TEA)
        assert window.version not in versions
        versions.add(window.version)
    window.begin_reading()
    window.end_reading([], asked=1)
    assert window.version not in versions


def test_a_video_that_is_no_longer_of_the_query_leaves_its_window() -> None:
    window = _window(range(3), query="tea")

    assert window.concerns(_event(2, 2), ("ice",))
    assert window.apply(_event(2, 2), ("ice",))
    assert _numbers(window) == [1, 0]
    assert not window.concerns(_event(2, 3), ("ice",))


def test_a_removal_concerns_every_list_that_may_hold_the_video_below_its_window() -> None:
    window = _window(range(10), query="tea")

    assert window.concerns(_event(2, 2, removed=True), ())
    assert window.concerns(_event(8, 2, removed=True), ())
    assert not window.concerns(_event(12, 2, removed=True), ())
    assert not window.concerns(_event(2, 2), ("ice",))
    window.begin_reading()
    assert window.concerns(_event(2, 2), ("ice",))
    never_stored = VideoEvent(
        partition=0,
        offset=1,
        video_id=make_id(99),
        type=VIDEO_REMOVED,
        sequence=1,
        sort_key=None,
        previous_sort_key=None,
        body=None,
    )
    window.abandon_reading()
    assert not window.concerns(never_stored, ())


def test_pages_say_what_lies_beyond_the_window() -> None:
    snapshot = _window(range(10)).snapshot()
    whole = _window(range(3)).snapshot()
    assert snapshot is not None
    assert whole is not None

    def numbers(rows: list[WindowRow] | None) -> list[int] | None:
        return None if rows is None else [int(row.video_id[4:]) for row in rows]

    assert numbers(snapshot.newest_after(None, 0, 3)) == [9, 8, 7]
    assert numbers(snapshot.newest_after(None, 2, 2)) == [7, 6]
    assert numbers(snapshot.newest_after(None, 3, 2)) is None
    assert numbers(snapshot.newest_after(_key(8), 0, 2)) == [7, 6]
    assert numbers(snapshot.newest_after(_key(6), 0, 1)) is None
    assert numbers(whole.newest_after(None, 2, 5)) == [0]
    assert numbers(whole.newest_after(None, 9, 5)) == []
    assert numbers(whole.newest_after(_key(0), 0, 5)) == []


def test_a_late_older_event_is_no_news_and_the_same_one_again_is() -> None:
    sequences = LastSequences()

    assert sequences.is_news(_event(1, 5))
    assert sequences.is_news(_event(1, 7, removed=True))
    assert not sequences.is_news(_event(1, 5))
    assert not sequences.is_news(_event(1, 6))
    assert sequences.is_news(_event(1, 7, removed=True))
    assert sequences.is_news(_event(2, 1))


def test_the_video_of_which_nothing_was_heard_for_longest_is_forgotten() -> None:
    sequences = LastSequences(remembered=2)
    for number in (1, 2, 1, 3):
        sequences.is_news(_event(number, 5))

    assert sequences.is_news(_event(2, 4))
    assert not sequences.is_news(_event(3, 4))
