"""Pages tile the whole list, whatever is in it, and cursors do so whatever is inserted between two reads."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from query_api.filters import Filters
from query_api.pagination import PageRequest, Total, encode_cursor, parse_page_request, to_page
from query_api.stored import StoredVideo
from tests.fakes.video_documents import NEWEST_MS, make_document
from tests.fakes.video_reader import InMemoryVideoReader

# Few moments, so that ties are common.
videos = st.dictionaries(st.integers(0, 60), st.integers(0, 5).map(lambda second: NEWEST_MS + second * 1000))
limits = st.one_of(st.integers(1, 3), st.integers(1, 100))
sort_keys = st.builds(
    "{:013d}{}".format,
    st.integers(0, 10**13 - 1),
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", min_size=11, max_size=11),
)
filters = st.builds(
    Filters,
    query=st.none() | st.text(max_size=3),
    channel_id=st.none() | st.text(max_size=3),
    published_after_ms=st.none() | st.integers(0, 3),
    search=st.lists(st.text(max_size=2), max_size=2).map(tuple),
)


def _reader_of(published: dict[int, int]) -> InMemoryVideoReader:
    reader = InMemoryVideoReader()
    for number, moment in published.items():
        reader.put(make_document(number, moment))
    return reader


def _read(reader: InMemoryVideoReader, asked: PageRequest) -> tuple[list[StoredVideo], str | None]:
    """One page as the routes read it."""
    rows = asyncio.run(reader.list_videos(limit=asked.limit + 1, skip=asked.skip, below=asked.after))
    page = to_page(asked, rows, Total(asyncio.run(reader.count_videos())))
    return list(page.items), page.next_cursor


def _asked(**parameters: object) -> PageRequest:
    request = parse_page_request((name, str(value)) for name, value in parameters.items())
    assert isinstance(request, PageRequest)
    return request


@given(videos, limits)
def test_numbered_pages_tile_the_list(published: dict[int, int], limit: int) -> None:
    reader = _reader_of(published)
    whole = asyncio.run(reader.list_videos(limit=1000))
    seen: list[StoredVideo] = []

    for number in range(1, len(published) // limit + 2):
        items, next_cursor = _read(reader, _asked(page=number, limit=limit))
        seen += items
        assert (next_cursor is None) == (len(seen) == len(whole))

    assert seen == whole


@given(videos, st.lists(limits, min_size=1))
def test_cursors_tile_the_list_at_any_changing_limit(published: dict[int, int], sizes: list[int]) -> None:
    reader = _reader_of(published)
    items, cursor = _read(reader, _asked(limit=sizes[0]))
    seen = items

    for turn in range(1, 1000):
        if cursor is None:
            break
        items, cursor = _read(reader, _asked(cursor=cursor, limit=sizes[turn % len(sizes)]))
        seen += items

    assert seen == asyncio.run(reader.list_videos(limit=1000))


@given(videos, limits, st.lists(videos))
def test_cursors_neither_repeat_nor_skip_while_videos_arrive(
    published: dict[int, int], limit: int, arrivals: list[dict[int, int]]
) -> None:
    reader = _reader_of(published)
    there_before = asyncio.run(reader.list_videos(limit=1000))
    items, cursor = _read(reader, _asked(limit=limit))
    seen = items

    for turn in range(1000):
        if cursor is None:
            break
        if turn < len(arrivals):
            for number, moment in arrivals[turn].items():
                reader.put(make_document(number + 1000, moment))
        items, cursor = _read(reader, _asked(cursor=cursor, limit=limit))
        seen += items

    assert len({video.sort_key for video in seen}) == len(seen)
    assert [video for video in seen if video in there_before] == there_before
    assert [video.sort_key for video in seen] == sorted((video.sort_key for video in seen), reverse=True)


@given(sort_keys, filters, filters)
def test_a_cursor_means_one_place_in_one_filtered_list(sort_key: str, made_for: Filters, used_for: Filters) -> None:
    page = to_page(PageRequest(1, filters=made_for), [StoredVideo(sort_key, b"{}")] * 2, Total(2))

    assert page.next_cursor == encode_cursor(sort_key, made_for)
    assert (encode_cursor(sort_key, used_for) == page.next_cursor) == (made_for == used_for)


@given(st.lists(st.tuples(st.sampled_from(["page", "limit", "cursor", "x"]), st.text() | st.integers().map(str))))
def test_any_parameters_are_a_request_or_faults_of_what_was_given(parameters: list[tuple[str, str]]) -> None:
    answer = parse_page_request(parameters)

    if isinstance(answer, list):
        assert {fault.parameter for fault in answer} <= {name for name, _ in parameters}
        assert answer
    else:
        assert 1 <= answer.limit <= 100
        assert answer.skip + answer.limit + 1 < 2**63


@given(st.text("ABCDEFabcdef012345_-", max_size=100))
def test_any_text_for_a_cursor_is_read_or_refused(text: str) -> None:
    assert isinstance(parse_page_request([("cursor", text)]), PageRequest | list)
