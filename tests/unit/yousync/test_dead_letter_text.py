"""How dead letters are shown: everything, and nothing that a terminal would obey."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.decode import Record
from tests.raw_items import record, search_item
from tests.unit.yousync.test_dead_letter_selection import folded, letter
from yousync.dead_letter_selection import Letter
from yousync.dead_letter_text import export_json, list_json, list_text, plan_text, safe, show_text
from yousync.dead_letters import FoundDeadLetters, Going, RetryPlan, Staying

replace = msgspec.structs.replace
ESCAPES = "\x1b]0;owned\x07 \x9b31m \x7f \u202e \r\n"


def hostile() -> Letter:
    headers: Any = ((ESCAPES, ESCAPES.encode()), ("x-none", None), ("x-bytes", b"\xff\x1b"), ("x-empty", b""))
    original = Record("t", 0, 1, 5, ESCAPES.encode(), ESCAPES.encode(), headers)
    return letter(original, origin=f"o{ESCAPES}", reason=f"r{ESCAPES}", detail=ESCAPES, version=ESCAPES)


def plan(count: int) -> RetryPlan:
    going = {(0, each): Going(f"o{ESCAPES}/{each}", 1, 5, "schema" if each else None) for each in range(count)}
    return RetryPlan(going, [Staying(ESCAPES, ESCAPES)], [Staying(ESCAPES, ESCAPES)])


def test_no_line_holds_what_a_terminal_would_obey() -> None:
    one = hostile()
    found = FoundDeadLetters([folded(one)], strangers=2)
    lines = [*list_text(found, None), *show_text([one]), *show_text([replace(one, value=None)]), *plan_text(plan(3))]
    json_lines = [list_json(folded(one)), export_json(folded(one), one)]

    assert all(line.isprintable() for line in lines)
    assert all(not any(character < " " for character in line) and "\x9b" not in line for line in json_lines)


@given(st.text())
def test_safe_text_is_printable_and_says_the_same(text: str) -> None:
    shown = safe(text)

    assert shown.isprintable()
    assert shown == text or "\\u" in shown


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\x9b", "\u202e", "\ud800", "\U000e0001"])
def test_an_escaped_character_is_json(character: str) -> None:
    assert json.loads(f'"{safe(character)}"') == character


def shown(value: bytes | None, **said: Any) -> list[str]:
    return list(show_text([replace(letter(**said), value=value)]))


def test_json_is_shown_as_it_is_written_with_indents() -> None:
    assert shown(b'{"a":[1e400,"\xe2\x98\x95"],"a":1.50}')[-7:] == [
        "{",
        '  "a": [',
        "    1e400,",
        '    "☕"',
        "  ],",
        '  "a": 1.50',
        "}",
    ]


def test_a_lone_surrogate_is_shown_as_the_escape_that_it_was() -> None:
    assert shown(b'{"a": "\\ud800 \\u0041"}')[-3:] == ["{", '  "a": "\\ud800 A"', "}"]


@pytest.mark.parametrize(
    "value",
    [
        b"plain text",
        b'{"a":"\xff"}',
        b"[" * 5_000 + b"]" * 5_000,
        b'{"a":"\x1b"}',
        b"[1,",
        b"[NaN]",
        b'["\\ud800",1e400]',
        bytes(range(256)) * 9,
    ],
)
def test_anything_else_is_dumped_from_its_beginning(value: bytes) -> None:
    lines = shown(value)
    dump = [line for line in lines if line.endswith("|")]

    assert len(dump) == min(32, -(-len(value) // 16))
    assert (
        dump[0]
        == f"00000000  {value[:16].hex(' '):<47}  |{''.join(chr(b) if 32 <= b < 127 else '.' for b in value[:16])}|"
    )
    assert ("bytes more" in lines[-1]) == (len(value) > 512)


def test_a_null_and_an_empty_value_are_told_apart() -> None:
    assert shown(None)[-1] == "value     (null: the video is gone)"
    assert shown(b"")[-1] == "value     0 bytes"


def test_each_attempt_is_shown_and_the_newest_value() -> None:
    first = replace(letter(offset=4), value=None)
    second = letter(offset=9, attempt=2, reason="schema", detail="now this")

    lines = list(show_text([first, second]))

    assert lines[1:4] == ["reason    schema", "detail    now this", "attempts  2"]
    assert "youtube.videos.dead-letter/0/4" in lines[4]
    assert lines[5].strip() == "why"
    assert "youtube.videos.dead-letter/0/9" in lines[6]
    assert '  "kind": "youtube#searchResult",' in lines


def test_counts_are_of_all_that_match() -> None:
    found = FoundDeadLetters([folded(letter(origin=each)) for each in "abc"], strangers=0)

    lines = list(list_text(found, 2))

    assert [line.split()[0] for line in lines[1:3]] == ["a", "b"]
    assert lines[-2:] == ["2 of 3 shown, the last failures first.", "Dead letters: 3 (not_json 3)."]


def test_a_long_detail_is_cut_for_people_only() -> None:
    one = folded(letter(detail="d" * 500))

    assert "d" * 101 not in "".join(list_text(FoundDeadLetters([one], 0), None))
    assert json.loads(list_json(one))["detail"] == "d" * 500


def test_what_stays_is_named_each_and_what_goes_up_to_twenty() -> None:
    lines = list(plan_text(plan(25)))

    assert lines[0] == "To be put back onto youtube.videos.raw: 25."
    assert lines[21] == "  … and 5 more"
    assert lines[22] == "Will fail again by the rules of this version: 24 (schema 24)."
    assert sum(line.startswith("Cannot be put back: 1") for line in lines) == 1


def test_an_export_has_every_byte() -> None:
    headers: Any = (("x", b"\xff"), ("none", None), ("x", b"twice"))
    one = letter(replace(record(1, 2, search_item(1)), key=None, headers=headers))

    line = json.loads(export_json(folded(one), one))

    assert line["key"] is None
    assert line["headers"][:3] == [["x", "/w=="], ["none", None], ["x", "dHdpY2U="]]
    assert (line["topic"], line["partition"], line["offset"]) == ("youtube.videos.dead-letter", 0, 0)
