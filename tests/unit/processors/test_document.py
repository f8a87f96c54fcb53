"""What is stored of a video beside the state of the fold."""

from datetime import UTC, datetime

from contract.search_text import search_words
from processors.document import from_stored, to_stored
from tests.suites.processor_edges import folded, marker

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_video_is_stored_with_what_searches_find_its_title_by() -> None:
    document = folded(1, 10, title="How to make Tèa?")

    stored = to_stored(document, _NOW)

    assert stored["q"] == ["h", "ho", "how", "t", "to", "m", "ma", "mak", "make", "te", "tea"]
    assert set(search_words("TEA how")) <= set(stored["q"])
    assert from_stored(stored) == document


def test_a_new_title_is_found_by_its_own_words() -> None:
    first = folded(1, 10, title="Tea")

    stored = to_stored(folded(1, 11, title="Milk", on=first), _NOW)

    assert stored["q"] == ["m", "mi", "mil", "milk"]


def test_a_marker_is_found_by_no_search() -> None:
    assert "q" not in to_stored(marker(1, 11, on=folded(1, 10)), _NOW)
