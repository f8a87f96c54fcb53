"""What filters say, and which of them can be counted for free."""

import pytest

from query_api.filters import Filters, ParameterFault, parse_filters

MOMENT_MS = 1_795_420_800_000
MOMENT = "2026-11-23T08:00:00Z"


def _parsed(**values: str) -> Filters:
    faults: list[ParameterFault] = []
    filters = parse_filters(values, faults)
    assert faults == []
    return filters


def _faulty(**values: str) -> list[ParameterFault]:
    faults: list[ParameterFault] = []
    parse_filters(values, faults)
    return faults


def test_no_parameter_is_no_filter() -> None:
    assert _parsed() == Filters()


def test_each_filter_is_read_in_its_normal_form() -> None:
    assert _parsed(
        query="  green   tea ",
        channel_id="UC38IQsAvIsxxjztdMZQtwHA",
        published_after="2026-11-23T09:00:00+01:00",
        published_before="2026-11-23T08:00:00.5Z",
        search="Tea, HÓW",
    ) == Filters("green tea", "UC38IQsAvIsxxjztdMZQtwHA", MOMENT_MS, MOMENT_MS + 500, ("tea", "how"))


def test_a_plus_sign_that_arrived_as_a_space_is_read() -> None:
    assert _parsed(published_after="2026-11-23T09:00:00 01:00").published_after_ms == MOMENT_MS


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("query", "", "must have words"),
        ("query", "a;b", "more than one"),
        ("query", "x" * 201, "longer than"),
        ("channel_id", "", "1 to 64"),
        ("channel_id", "UC/../", "1 to 64"),
        ("channel_id", "U" * 65, "1 to 64"),
        ("published_after", "yesterday", "RFC 3339"),
        ("published_after", "2026-11-23", "RFC 3339"),
        ("published_before", "2026-11-23T08:00:00", "RFC 3339"),
        ("search", "", "letter or digit"),
        ("search", " ?! ", "letter or digit"),
        ("search", "x" * 201, "200 characters"),
        ("search", "a b c d e f g h i j k", "10 words"),
    ],
)
def test_a_wrong_filter_is_named_with_the_reason(name: str, value: str, why: str) -> None:
    (fault,) = _faulty(**{name: value})

    assert fault.parameter == name
    assert why in fault.detail


def test_every_wrong_filter_is_listed() -> None:
    faults = _faulty(query="", channel_id="?", published_after="x", published_before="y", search="")

    assert [fault.parameter for fault in faults] == [
        "published_after",
        "published_before",
        "query",
        "channel_id",
        "search",
    ]


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    (fault,) = _faulty(published_after="2026-11-23T08:00:00Z", published_before="2026-11-22T08:00:00Z")

    assert fault.parameter == "published_after"


@pytest.mark.parametrize(
    ("key", "passes"),
    [
        (f"{MOMENT_MS - 1:013d}zzzzzzzzzzz", False),
        (f"{MOMENT_MS:013d}-----------", True),
        (f"{MOMENT_MS:013d}zzzzzzzzzzz", True),
        (f"{MOMENT_MS + 1:013d}-----------", False),
    ],
)
def test_both_ends_of_a_range_are_inclusive(key: str, passes: bool) -> None:
    filters = _parsed(published_after=MOMENT, published_before=MOMENT)

    assert filters.below is not None
    assert (filters.at_least <= key < filters.below) is passes


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"])
def test_moments_beyond_the_sort_key_are_bounds_like_any(moment: str) -> None:
    key = f"{MOMENT_MS:013d}vid-0000007"
    past = moment < MOMENT

    after, before = _parsed(published_after=moment), _parsed(published_before=moment)

    assert (after.at_least <= key) is past
    assert (before.below is None or key < before.below) is not past


@pytest.mark.parametrize(
    ("filters", "countable"),
    [
        (Filters(), True),
        (Filters(query="tea"), True),
        (Filters(published_after_ms=1), True),
        (Filters(published_after_ms=1, published_before_ms=2), True),
        (Filters(query="tea", published_after_ms=1), False),
        (Filters(channel_id="UC"), False),
        (Filters(search=("tea",)), False),
        (Filters(query="tea", search=("tea",)), False),
    ],
)
def test_what_counts_for_free(filters: Filters, countable: bool) -> None:
    assert filters.countable is countable
