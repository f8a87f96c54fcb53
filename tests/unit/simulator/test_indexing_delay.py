"""How long videos take to become searchable."""

from statistics import median

from simulator.indexing_delay import IndexingDelay


def delays(rule: IndexingDelay) -> list[int]:
    return [rule.delay_ms(f"video{number:06d}") for number in range(2000)]


def test_the_median_is_as_set_and_some_take_much_longer() -> None:
    all_ms = delays(IndexingDelay(1, 600, 21_600))

    assert 500_000 < median(all_ms) < 700_000
    assert max(all_ms) > 6_000_000
    assert min(all_ms) < 60_000


def test_none_takes_longer_than_the_maximum() -> None:
    assert max(delays(IndexingDelay(1, 600, 900))) == 900_000


def test_without_a_delay_a_video_is_there_at_once() -> None:
    assert set(delays(IndexingDelay(1, 0, 10))) == {0}


def test_a_delay_depends_on_the_seed_and_the_id_alone() -> None:
    assert delays(IndexingDelay(1, 600, 900)) == delays(IndexingDelay(1, 600, 900))
    assert delays(IndexingDelay(1, 600, 900)) != delays(IndexingDelay(2, 600, 900))
