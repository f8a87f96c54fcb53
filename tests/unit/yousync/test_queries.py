"""What adding and removing queries writes, and how they are listed."""

import json

import pytest

from contract.producer_state import FollowedQuery
from contract.topics import DAY_MS, HOUR_MS
from producer.coverage import Coverage, Stretch
from producer.following import decide_changes, followed_queries
from producer.state import ProducerState
from producer.windows import Window
from tests.fakes.producer_edges import MemoryStateLog
from yousync import queries
from yousync.producer_log import query_entry
from yousync.queries import UnknownQuery, decide_added, decide_removed

NOW_MS = 1_780_000_000_000
SINCE = "2026-01-15T12:00:00.000Z"
KNOWN = {
    "tea": FollowedQuery(SINCE),
    "coffee": FollowedQuery(SINCE, enabled=False),
    "a|": FollowedQuery(SINCE, refused="HTTP 400: \x1b[31minvalid query"),
}


def rows_of(known: dict[str, FollowedQuery], coverage: dict[str, Coverage]) -> list[queries.QueryRow]:
    return [queries._row(query, followed, coverage.get(query)) for query, followed in known.items()]


def test_a_new_query_is_followed_from_now_on_by_command() -> None:
    added = decide_added(["milk", "milk"], KNOWN, NOW_MS)

    assert added == {"milk": FollowedQuery("2026-05-28T20:26:40.000Z", origin="command")}


@pytest.mark.parametrize("query", KNOWN)
def test_a_known_query_keeps_its_beginning_and_is_asked_for_again(query: str) -> None:
    assert decide_added([query], KNOWN, NOW_MS) == {query: FollowedQuery(SINCE, origin="command")}


def test_what_commands_said_outlives_the_settings() -> None:
    known = {**KNOWN, **decide_added(["coffee"], KNOWN, NOW_MS), **decide_removed(["tea"], KNOWN)}

    changes = decide_changes(["tea"], known, NOW_MS)

    assert set(followed_queries({**known, **changes})) == {"coffee"}


def test_removing_an_unknown_query_changes_nothing_and_names_those_followed() -> None:
    with pytest.raises(UnknownQuery) as refused:
        decide_removed(["tea", "milk"], KNOWN)

    assert str(refused.value) == "Not followed: 'milk'. Followed are: 'a|', 'tea'."

    with pytest.raises(UnknownQuery, match="No query is followed"):
        decide_removed(["milk"], {})


def test_what_is_written_is_what_the_producer_reads() -> None:
    key, value = query_entry("grüner tee", decide_added(["grüner tee"], {}, NOW_MS)["grüner tee"])
    state = ProducerState(MemoryStateLog(), {})

    state.take(key, value)

    assert followed_queries(state.queries) == ("grüner tee",)


def test_a_list_says_how_far_each_query_is_covered() -> None:
    coverage = Coverage(
        covered_until_ms=NOW_MS - HOUR_MS,
        completed_ms=NOW_MS - HOUR_MS + 1000,
        stretches=(
            Stretch(Window(NOW_MS - 2 * DAY_MS, NOW_MS - DAY_MS - 1)),
            Stretch(Window(NOW_MS - DAY_MS, NOW_MS - HOUR_MS), "sweep"),
        ),
        videos_per_day=1234.5,
    )
    rows = rows_of(KNOWN, {"tea": coverage})

    lines = queries.rows_text(rows, NOW_MS)

    assert lines[:7] == [
        "tea",
        "  followed, by YOUSYNC_QUERIES",
        f"  since              {SINCE}",
        "  covered until      2026-05-28T19:26:40.000Z (1 h ago)",
        "  last complete pass 2026-05-28T19:26:41.000Z (59 min 59 s ago)",
        "  videos per day     1,234.5",
        "  still to be read   2026-05-26T20:26:40.000Z to 2026-05-27T20:26:39.999Z (1 d)",
    ]
    assert lines[7:10] == ["coffee", "  not followed any more, by YOUSYNC_QUERIES", f"  since              {SINCE}"]
    assert lines[10] == "  covered until      never searched"
    assert "refused by YouTube" in lines[13]
    assert all(line.isprintable() for line in lines)

    listed = {row["query"]: row for row in json.loads(queries.rows_json(rows))}
    assert [listed[query]["followed"] for query in KNOWN] == [True, False, False]
    assert listed["tea"]["from"] == "settings"
    assert listed["tea"]["missed"] == [
        {"after": "2026-05-26T20:26:40.000Z", "before": "2026-05-27T20:26:39.999Z", "seconds": 86_400.0}
    ]
    assert "invalid query" in listed["a|"]["refused"]


def test_an_empty_list_says_what_to_do() -> None:
    assert "yousync queries add" in queries.rows_text([], NOW_MS)[0]
