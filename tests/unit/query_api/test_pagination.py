"""What requests ask for, what cursors say, how pages read."""

import base64

import msgspec
import pytest

from query_api.filters import Filters, ParameterFault
from query_api.pagination import (
    LAST_COUNTABLE,
    Page,
    PageRequest,
    Total,
    encode_cursor,
    link_header,
    parse_page_request,
    render_page,
    to_page,
    unexpected,
)
from query_api.stored import StoredVideo

SORT_KEY = "1790000000000vid-0000007"
CURSOR = encode_cursor(SORT_KEY)


def _armoured(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).rstrip(b"=").decode()


def _faulty(*parameters: tuple[str, str]) -> list[str]:
    faults = parse_page_request(parameters)
    assert isinstance(faults, list)
    return [fault.parameter for fault in faults]


def test_nothing_asked_is_the_first_ten() -> None:
    assert parse_page_request([]) == PageRequest(limit=10, page=1, after=None)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ([("page", "3"), ("limit", "20")], PageRequest(20, 3, None)),
        ([("limit", "100")], PageRequest(100, 1, None)),
        ([("limit", "1")], PageRequest(1, 1, None)),
        ([("page", "007")], PageRequest(10, 7, None)),
        ([("cursor", CURSOR)], PageRequest(10, None, SORT_KEY)),
        ([("cursor", CURSOR), ("limit", "5")], PageRequest(5, None, SORT_KEY)),
        ([("page", str((LAST_COUNTABLE - 1) // 100)), ("limit", "100")], PageRequest(100, 92233720368547758, None)),
    ],
)
def test_right_parameters_are_a_page_request(parameters: list[tuple[str, str]], expected: PageRequest) -> None:
    assert parse_page_request(parameters) == expected


def test_skip_counts_the_pages_before() -> None:
    assert PageRequest(20, 3).skip == 40
    assert PageRequest(20, 1).skip == 0
    assert PageRequest(20, None, SORT_KEY).skip == 0


@pytest.mark.parametrize("name", ["page", "limit"])
@pytest.mark.parametrize(
    "text", ["0", "-1", "+1", "x", "", " 1", "1 ", "1.0", "1e3", "1_0", "٣", "99999999999999999999", "9" * 5000]
)
def test_what_is_no_natural_number_is_refused(name: str, text: str) -> None:
    assert _faulty((name, text)) == [name]


def test_limits_over_a_hundred_are_refused_with_the_bounds() -> None:
    assert parse_page_request([("limit", "101")]) == [ParameterFault("limit", "must be a whole number from 1 to 100")]


@pytest.mark.parametrize("page", [LAST_COUNTABLE, LAST_COUNTABLE // 10 + 1, LAST_COUNTABLE + 1])
def test_a_page_beyond_what_mongodb_can_count_is_refused(page: int) -> None:
    assert _faulty(("page", str(page))) == ["page"]


def test_page_beside_cursor_is_refused() -> None:
    assert parse_page_request([("page", "1"), ("cursor", CURSOR)]) == [
        ParameterFault("page", "cannot stand beside cursor: give one of them")
    ]


def test_every_fault_is_listed_at_once() -> None:
    parameters = [("page", "0"), ("limit", "x"), ("cursor", "?"), ("sort", "title"), ("page", "2"), ("sort", "id")]

    assert sorted(set(_faulty(*parameters))) == ["cursor", "limit", "page", "sort"]


def test_a_parameter_given_twice_is_refused() -> None:
    assert parse_page_request([("limit", "5"), ("limit", "5")]) == [ParameterFault("limit", "is given more than once")]


def test_unknown_parameters_are_told_the_known_ones() -> None:
    assert unexpected([("q", "tea")], ["page"]) == [ParameterFault("q", "is unknown here; known are page")]
    assert unexpected([("q", "tea")], []) == [ParameterFault("q", "is unknown: nothing can be asked for here")]


@pytest.mark.parametrize(
    ("cursor", "why"),
    [
        ("", "not a cursor"),
        ("!!!!", "not a cursor"),
        ("a", "not a cursor"),
        (CURSOR + "=", "not a cursor"),
        (CURSOR[:-3], "not a cursor"),
        ("A" * 513, "not a cursor"),
        (base64.urlsafe_b64encode(b"\xff\xfe{}").decode().rstrip("="), "not a cursor"),
        (_armoured([1, SORT_KEY]), "not a cursor"),
        (_armoured({"v": 1, "k": SORT_KEY}), "not a cursor"),
        (_armoured({"v": 1, "k": 5, "f": ""}), "not a cursor"),
        (_armoured({"v": 2, "k": SORT_KEY, "f": ""}), "another version"),
        (_armoured({"v": 1, "k": "", "f": ""}), "no place in the order"),
        (_armoured({"v": 1, "k": SORT_KEY + "x", "f": ""}), "no place in the order"),
        (_armoured({"v": 1, "k": SORT_KEY + "\n", "f": ""}), "no place in the order"),
        (_armoured({"v": 1, "k": {"$gt": ""}, "f": ""}), "not a cursor"),
        (_armoured({"v": 1, "k": SORT_KEY, "f": ""}), "other filters"),
        (encode_cursor(SORT_KEY, Filters(query="tea")), "other filters"),
    ],
)
def test_a_foreign_cursor_is_refused_with_the_reason(cursor: str, why: str) -> None:
    faults = parse_page_request([("cursor", cursor)])

    assert isinstance(faults, list)
    assert [fault.parameter for fault in faults] == ["cursor"]
    assert why in faults[0].detail


def test_a_cursor_is_bound_to_what_its_filters_mean() -> None:
    cursor = encode_cursor(SORT_KEY, Filters(query="tea", search=("how", "tea")))

    asked = parse_page_request([("cursor", cursor), ("search", "HOW  Téa"), ("query", " tea ")])

    assert isinstance(asked, PageRequest)
    assert asked.after == SORT_KEY
    assert isinstance(parse_page_request([("cursor", cursor), ("query", "tea")]), list)


def test_a_cursor_handed_out_before_is_read_for_ever() -> None:
    old = "eyJ2IjoxLCJrIjoiMTc5MDAwMDAwMDAwMHZpZC0wMDAwMDA3IiwiZiI6ImY0ODIxMmQzMjBjNCJ9"

    assert parse_page_request([("cursor", old)]) == PageRequest(10, None, SORT_KEY)


def _page(number: int | None, videos: int, total: int, limit: int = 2) -> Page:
    stored = [StoredVideo(f"179000000000{n}vid-0000007", b'{"id":%d}' % n) for n in range(videos)]
    return to_page(PageRequest(limit, number), stored, Total(total))


def test_a_page_is_rendered_with_every_key_in_order() -> None:
    page = _page(1, 3, 7)

    cursor = encode_cursor("1790000000001vid-0000007").encode()
    assert render_page(page) == (
        b'{"items":[{"id":0},{"id":1}],"page":1,"limit":2,"total":7,'
        b'"total_is_exact":true,"complete":true,"next_cursor":"' + cursor + b'"}'
    )


def test_null_is_the_end_mark_and_a_cursor_page_has_no_number() -> None:
    assert render_page(_page(None, 2, 7)) == (
        b'{"items":[{"id":0},{"id":1}],"page":null,"limit":2,"total":7,'
        b'"total_is_exact":true,"complete":true,"next_cursor":null}'
    )


def test_past_the_end_is_an_empty_page() -> None:
    assert render_page(_page(9, 0, 7)) == (
        b'{"items":[],"page":9,"limit":2,"total":7,"total_is_exact":true,"complete":true,"next_cursor":null}'
    )


@pytest.mark.parametrize(
    ("page", "links"),
    [
        (_page(1, 0, 0), {"first": "page=1", "last": "page=1"}),
        (_page(1, 3, 7), {"first": "page=1", "next": "page=2", "last": "page=4"}),
        (_page(2, 3, 8), {"first": "page=1", "prev": "page=1", "next": "page=3", "last": "page=4"}),
        (_page(4, 1, 7), {"first": "page=1", "prev": "page=3", "last": "page=4"}),
        (_page(90, 0, 7), {"first": "page=1", "prev": "page=4", "last": "page=4"}),
        (_page(None, 1, 7), {"first": "page=1", "last": "page=4"}),
    ],
)
def test_links_lead_to_the_pages_around(page: Page, links: dict[str, str]) -> None:
    expected = ", ".join(f'</v1/videos?{query}&limit=2>; rel="{rel}"' for rel, query in links.items())

    assert link_header("/v1/videos", page) == expected


def test_a_page_reached_by_cursor_leads_on_by_cursor() -> None:
    page = _page(None, 3, 7)

    assert f'</v1/videos?cursor={page.next_cursor}&limit=2>; rel="next"' in link_header("/v1/videos", page)


def test_links_keep_the_filters_as_they_were_asked_for() -> None:
    asked = parse_page_request([("search", "Tea & more"), ("query", "tea"), ("limit", "1")])
    assert isinstance(asked, PageRequest)

    links = link_header("/v1/videos", to_page(asked, [StoredVideo(SORT_KEY, b"{}")] * 2, Total(1000, exact=False)))

    assert links == (
        '</v1/videos?page=1&limit=1&query=tea&search=Tea+%26+more>; rel="first", '
        '</v1/videos?page=2&limit=1&query=tea&search=Tea+%26+more>; rel="next"'
    )


def test_a_total_that_was_not_counted_to_its_end_says_so() -> None:
    page = to_page(PageRequest(), [StoredVideo(SORT_KEY, b"{}")], Total(1000, exact=False))

    assert msgspec.json.decode(render_page(page))["total_is_exact"] is False


def test_a_search_that_ran_out_of_time_goes_on_where_it_stopped() -> None:
    page = to_page(PageRequest(limit=2), [StoredVideo(SORT_KEY, b"{}")], Total(1, exact=False), reached=SORT_KEY)

    assert msgspec.json.decode(render_page(page))["complete"] is False
    assert page.next_cursor == encode_cursor(SORT_KEY)
    assert f'</v1/videos?cursor={page.next_cursor}&limit=2>; rel="next"' in link_header("/v1/videos", page)


def test_a_full_page_is_complete_however_far_the_search_got() -> None:
    videos = [StoredVideo(f"179000000000{n}vid-0000007", b"{}") for n in (3, 2, 1)]

    page = to_page(PageRequest(limit=2), videos, Total(2, exact=False), reached="1780000000000vid-0000007")

    assert page.complete
    assert page.next_cursor == encode_cursor(videos[1].sort_key)


def test_where_pages_by_number_end_the_cursor_leads_on() -> None:
    videos = [StoredVideo(SORT_KEY, b"{}")] * 101
    total = Total(1000, exact=False)

    before, last = (
        link_header("/v1/videos", to_page(PageRequest(100, page, filters=Filters(channel_id="UC")), videos, total))
        for page in (9, 10)
    )

    assert 'page=10&limit=100>; rel="next"' in before
    assert f'cursor={encode_cursor(SORT_KEY, Filters(channel_id="UC"))}&limit=100>; rel="next"' in last


def test_what_is_counted_for_free_is_paged_by_number_to_its_end() -> None:
    page = to_page(PageRequest(100, 5_000), [StoredVideo(SORT_KEY, b"{}")] * 101, Total(1_000_000))

    assert '?page=5001&limit=100>; rel="next"' in link_header("/v1/videos", page)
