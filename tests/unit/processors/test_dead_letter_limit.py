"""The limit stops a worker that dead-letters too much, and only then."""

from processors.dead_letter_limit import WINDOW, DeadLetterLimit


def test_good_records_never_exceed_it() -> None:
    limit = DeadLetterLimit(0.5, 10)
    for _ in range(3 * WINDOW):
        limit.count(dead=False)

    assert limit.exceeded() is None


def test_too_many_in_a_row_exceed_it_at_exactly_the_number() -> None:
    limit = DeadLetterLimit(1.0, 3)
    limit.count(dead=True)
    limit.count(dead=True)

    assert limit.exceeded() is None
    limit.count(dead=True)
    assert "3 dead letters in a row" in (limit.exceeded() or "")


def test_a_good_record_breaks_the_row() -> None:
    limit = DeadLetterLimit(1.0, 3)
    for dead in (True, True, False, True, True):
        limit.count(dead=dead)

    assert limit.exceeded() is None


def test_the_share_is_judged_over_a_full_window_only() -> None:
    limit = DeadLetterLimit(0.5, 10_000)
    for _ in range(WINDOW - 1):
        limit.count(dead=True)

    assert limit.exceeded() is None
    limit.count(dead=True)
    assert "YOUSYNC_DEAD_LETTER_MAX_SHARE" in (limit.exceeded() or "")


def test_the_share_forgets_what_is_older_than_the_window() -> None:
    limit = DeadLetterLimit(0.5, 10_000)
    for _ in range(WINDOW):
        limit.count(dead=True)
    for _ in range(WINDOW // 2):
        limit.count(dead=False)

    assert limit.exceeded() is None
