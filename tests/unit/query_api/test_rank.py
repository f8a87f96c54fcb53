"""The buckets: they tile the order, hold few rows, and are trusted only until something happens in them."""

import random

import pytest

from query_api.rank import Place, Rank, Stretch

KEYS = [f"{1_790_000_000_000 + number:013d}vid-{number:07d}" for number in range(40)]


def _count(rank: Rank, *keys: str) -> None:
    """What the counts of everything dirty come to while these keys are stored."""
    for floor in rank.dirty_buckets():
        bucket = rank.bucket_of(floor)
        while len(held := _held(keys, bucket.at_least, bucket.below)) > rank.crowded_rows:
            bucket = rank.cut(bucket, held[-rank.bucket_rows])
        rank.counted(bucket, len(held))


def _held(keys: tuple[str, ...], at_least: str, below: str | None) -> list[str]:
    return sorted(key for key in keys if at_least <= key and (below is None or key < below))


def _rank_of(*keys: str) -> Rank:
    rank = Rank(bucket_rows=4)
    _count(rank, *keys)
    assert not rank.dirty
    return rank


def test_a_new_rank_is_to_be_counted_as_a_whole() -> None:
    rank = Rank()

    assert rank.dirty
    assert rank.total == 0
    assert rank.place_of(0) == Place(None, 0)
    assert rank.dirty_buckets() == [""]


def test_few_rows_are_one_bucket() -> None:
    rank = _rank_of(*KEYS[:8])

    assert (rank.total, rank.buckets) == (8, 1)
    assert rank.place_of(7) == Place(None, 7)


def test_a_crowded_bucket_is_cut_from_above() -> None:
    rank = _rank_of(*KEYS[:9])

    assert (rank.total, rank.buckets) == (9, 2)
    assert rank.place_of(3) == Place(None, 3)
    assert rank.place_of(4) == Place(KEYS[5], 0)
    assert rank.place_of(8) == Place(KEYS[5], 4)


def test_past_the_end_nothing_is_found() -> None:
    rank = _rank_of(*KEYS[:9])

    place = rank.place_of(30)

    assert place.below == KEYS[5]
    assert place.skip >= 5


def test_every_key_has_a_bucket_also_of_days_never_seen() -> None:
    rank = _rank_of(*KEYS)
    older, newer = "1" + KEYS[0][2:], "9" + KEYS[0][1:]

    rank.mark(older)
    rank.mark(newer)
    _count(rank, older, *KEYS, newer)

    assert rank.total == 42
    assert rank.place_of(0) == Place(None, 0)


def test_a_mark_makes_its_own_bucket_dirty_and_no_other() -> None:
    rank = _rank_of(*KEYS)
    assert rank.buckets > 5

    rank.mark(KEYS[20])
    rank.mark(KEYS[20])

    [floor] = rank.dirty_buckets()
    bucket = rank.bucket_of(floor)
    assert bucket.below is not None
    assert bucket.at_least <= KEYS[20] < bucket.below


def test_a_mark_during_the_count_keeps_the_bucket_dirty() -> None:
    rank = _rank_of(*KEYS[:5])
    rank.mark(KEYS[2])
    bucket = rank.bucket_of(KEYS[2])

    rank.mark(KEYS[3])
    rank.counted(bucket, 6)

    assert rank.dirty
    assert rank.total == 6
    rank.counted(rank.bucket_of(KEYS[2]), 7)
    assert not rank.dirty


@pytest.mark.parametrize("told_late", [KEYS[1], KEYS[8]])
def test_a_mark_during_a_cut_is_kept_on_both_sides_of_it(told_late: str) -> None:
    rank = Rank(bucket_rows=4)
    bucket = rank.bucket_of("")

    rank.mark(told_late)
    rest = rank.cut(bucket, KEYS[5])

    assert rank.dirty_buckets() == [KEYS[5], ""]
    rank.counted(rest, 5)
    assert rank.dirty_buckets() == [KEYS[5]]


def test_what_a_cut_leaves_is_dirty_even_if_no_event_ever_was() -> None:
    rank = _rank_of(*KEYS[:5])

    rank.cut(rank.bucket_of(""), KEYS[1])

    assert rank.dirty_buckets() == [""]


def test_a_count_of_what_is_no_longer_a_bucket_changes_nothing() -> None:
    rank = _rank_of(*KEYS[:9])
    whole = Rank(bucket_rows=4).bucket_of("")

    rank.counted(whole, 100)

    assert rank.total == 9


def test_buckets_that_became_small_are_joined() -> None:
    rank = _rank_of(*KEYS)
    for key in KEYS:
        rank.mark(key)

    _count(rank, *KEYS[:4])

    assert (rank.total, rank.buckets) == (4, 1)


def test_a_dirty_neighbour_is_not_joined() -> None:
    rank = _rank_of(*KEYS[:9])
    rank.mark(KEYS[0])
    rank.mark(KEYS[8])

    rank.counted(rank.bucket_of(KEYS[8]), 0)

    assert rank.buckets == 2
    assert rank.dirty_buckets() == [""]
    rank.counted(rank.bucket_of(""), 1)
    assert (rank.buckets, rank.total) == (1, 1)


def test_a_bucket_that_became_small_is_joined_to_the_older_one() -> None:
    rank = _rank_of(*KEYS[:9])
    rank.counted(rank.bucket_of(KEYS[0]), 2)
    assert rank.buckets == 2

    rank.counted(rank.bucket_of(KEYS[8]), 2)

    assert (rank.buckets, rank.total) == (1, 4)


def test_there_are_never_more_buckets_than_the_rows_need() -> None:
    rng, rank, stored = random.Random(6), Rank(bucket_rows=4), set[str]()
    for _ in range(2_000):
        key = rng.choice(KEYS)
        stored ^= {key}
        rank.mark(key)
        _count(rank, *stored)
        assert rank.total == len(stored)
        assert rank.buckets <= 2 * (len(stored) // (rank.bucket_rows + 1)) + 1


def test_between_counts_whole_buckets_and_names_the_parts() -> None:
    rank = _rank_of(*KEYS[:17])
    first, second, third = KEYS[5], KEYS[9], KEYS[13]
    assert rank.buckets == 4

    assert rank.between("", None) == Stretch(17, ())
    assert rank.between(first, third) == Stretch(8, ())
    assert rank.between(KEYS[6], KEYS[8]) == Stretch(0, ((KEYS[6], KEYS[8]),))
    assert rank.between(KEYS[6], third) == Stretch(4, ((KEYS[6], second),))
    assert rank.between(first, KEYS[15]) == Stretch(8, ((third, KEYS[15]),))
    assert rank.between(KEYS[3], KEYS[15]) == Stretch(8, ((KEYS[3], first), (third, KEYS[15])))
    assert rank.between(KEYS[7], KEYS[10]) == Stretch(0, ((KEYS[7], second), (second, KEYS[10])))
    assert rank.between(KEYS[15], None) == Stretch(0, ((KEYS[15], None),))


def test_nothing_lies_between_bounds_in_the_wrong_order() -> None:
    rank = _rank_of(*KEYS)

    assert rank.between(KEYS[9], KEYS[9]) == Stretch(0, ())
    assert rank.between(KEYS[30], KEYS[2]) == Stretch(0, ())


def test_a_slice_ends_where_a_bucket_begins_and_holds_enough() -> None:
    rank = _rank_of(*KEYS[:17])

    assert rank.slice_below(None, 1) == KEYS[13]
    assert rank.slice_below(None, 4) == KEYS[13]
    assert rank.slice_below(None, 5) == KEYS[9]
    assert rank.slice_below(KEYS[13], 8) == KEYS[5]
    assert rank.slice_below(KEYS[15], 1) == KEYS[13]
    assert rank.slice_below(None, 17) == ""
    assert rank.slice_below(None, 10**9) == ""


def test_slices_get_to_the_end_whatever_the_counts_say() -> None:
    for rank in (Rank(), _rank_of(), _rank_of(*KEYS)):
        below: str | None = None
        while below != "":
            lower = rank.slice_below(below, 1)
            assert below is None or lower < below
            below = lower
