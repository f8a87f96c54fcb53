"""A batch falls into its partitions, each in its order."""

from processors.agents import by_partition
from tests.raw_items import record, search_item


def test_each_partition_keeps_its_records_in_their_order() -> None:
    batch = [
        record(number, offset, search_item(number), partition=number % 3)
        for offset, number in enumerate([4, 1, 2, 7, 5, 3])
    ]

    parts = by_partition(batch)

    assert [[one.offset for one in part] for part in parts] == [[0, 1, 3], [2, 4], [5]]
    assert all(len({one.partition for one in part}) == 1 for part in parts)


def test_an_empty_batch_has_no_parts() -> None:
    assert by_partition([]) == []
