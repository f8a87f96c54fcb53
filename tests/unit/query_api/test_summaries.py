"""What the lists of queries and channels are asked for, and how a cursor names a place in them."""

import base64

import msgspec
import pytest

from query_api.filters import ParameterFault
from query_api.summaries import Listed, SummaryRequest, cursor_after, parse_summary_request


def _cursor(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).rstrip(b"=").decode()


def test_nothing_asked_is_the_first_ten() -> None:
    assert parse_summary_request("queries", []) == SummaryRequest(10, None)


@pytest.mark.parametrize("name", ["tea", "*", "зелёный чай", "q" * 200, ""])
def test_a_cursor_leads_on_after_the_name_it_was_made_for(name: str) -> None:
    asked = parse_summary_request("queries", [("limit", "3"), ("cursor", cursor_after("queries", name))])

    assert asked == SummaryRequest(3, name)


@pytest.mark.parametrize("listed", ["queries", "channels"])
@pytest.mark.parametrize(
    "cursor",
    ["", "!", "a", _cursor([1]), _cursor({"of": "videos", "after": "x"}), _cursor({"of": "queries"}), "A" * 2049,
     base64.urlsafe_b64encode(b"\xff").decode().rstrip("=")],
)  # fmt: skip
def test_a_foreign_cursor_is_refused(listed: Listed, cursor: str) -> None:
    faults = parse_summary_request(listed, [("cursor", cursor)])

    assert isinstance(faults, list)
    assert [fault.parameter for fault in faults] == ["cursor"]


def test_a_cursor_of_the_other_list_is_refused() -> None:
    assert isinstance(parse_summary_request("queries", [("cursor", cursor_after("channels", "UC"))]), list)


def test_every_fault_is_listed() -> None:
    faults = parse_summary_request("channels", [("limit", "0"), ("cursor", "?"), ("page", "2")])

    assert isinstance(faults, list)
    assert {fault.parameter for fault in faults} == {"page", "limit", "cursor"}
    assert ParameterFault("page", "is unknown here; known are limit, cursor") in faults
