"""How dead letters are shown, and what an export says of each.

A poison value, key or header may hold escape sequences, and text that runs backwards: what is no printable character
never reaches the terminal.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from contract.times import format_millis
from contract.topics import DEAD_LETTER, RAW
from yousync.dead_letter_selection import DeadLetter, Letter
from yousync.dead_letters import FoundDeadLetters, RetryPlan

_DETAIL_CHARACTERS: Final = 100
_NAMED: Final = 20
"""Dead letters of a plan that are named one by one; those that stay behind are all named."""

_DUMPED_BYTES: Final = 512
_DUMPED_A_LINE: Final = 16


def safe(text: str) -> str:
    """The text with every character that is not printable escaped as in JSON."""
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else json.dumps(character)[1:-1]


def list_text(found: FoundDeadLetters, limit: int | None) -> Iterator[str]:
    """A line for each dead letter, then how many there are of each reason."""
    shown = found.letters[:limit]
    if shown:
        yield from _table(
            ("origin", "reason", "attempts", "first failed", "last failed", "key", "bytes", "detail"), shown
        )
        yield ""
    if len(shown) < len(found.letters):
        yield f"{len(shown):,} of {len(found.letters):,} shown, the last failures first."
    yield _counted(Counter(each.reason for each in found.letters))
    if found.strangers:
        yield f"Records of {DEAD_LETTER} that are no dead letters, passed over: {found.strangers:,}."


def _table(titles: Sequence[str], letters: Iterable[DeadLetter]) -> Iterator[str]:
    rows = [list(titles), *map(_cells, letters)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cells(letter: DeadLetter) -> list[str]:
    cells = [
        letter.origin,
        letter.reason,
        str(letter.attempts),
        format_millis(letter.first_failed_ms),
        format_millis(letter.last_failed_ms),
        _text(letter.key, "(none)"),
        f"{letter.size:,}",
        letter.detail if len(letter.detail) <= _DETAIL_CHARACTERS else f"{letter.detail[:_DETAIL_CHARACTERS]}…",
    ]
    return [safe(cell) for cell in cells]


def _counted(reasons: Counter[str]) -> str:
    if not reasons:
        return "No dead letters."
    each = ", ".join(f"{safe(reason)} {count:,}" for reason, count in sorted(reasons.items()))
    return f"Dead letters: {reasons.total():,} ({each})."


def list_json(letter: DeadLetter) -> str:
    """One JSON object; times are RFC 3339, the key text, cut to 64 bytes."""
    line = {
        "origin": letter.origin,
        "reason": letter.reason,
        "detail": letter.detail,
        "attempts": letter.attempts,
        "first_failed_at": format_millis(letter.first_failed_ms),
        "last_failed_at": format_millis(letter.last_failed_ms),
        "key": None if letter.key is None else letter.key.decode(errors="replace"),
        "bytes": letter.size,
    }
    return _json_line(line)


def export_json(summary: DeadLetter, letter: Letter) -> str:
    """One JSON object with the newest record of a dead letter as Kafka has it, bytes in base64.

    The original record has this key and value, those of these headers whose names do not begin with `dl_`, and the
    time `original_timestamp_ms` (null if the dead letter does not say).
    """
    line = {
        "origin": letter.said.origin,
        "reason": letter.said.reason,
        "detail": letter.said.detail,
        "attempts": summary.attempts,
        "first_failed_at": format_millis(summary.first_failed_ms),
        "last_failed_at": format_millis(summary.last_failed_ms),
        "original_timestamp_ms": letter.said.timestamp_ms,
        "topic": DEAD_LETTER,
        "partition": letter.partition,
        "offset": letter.offset,
        "timestamp_ms": letter.timestamp_ms,
        "key": _base64(letter.key),
        "headers": [[name, _base64(value)] for name, value in letter.headers],
        "value": _base64(letter.value),
    }
    return _json_line(line)


def show_text(attempts: Sequence[Letter]) -> Iterator[str]:
    """Everything about one dead letter; `attempts` are its records in the order of the topic."""
    newest = max(attempts, key=lambda each: (each.said.attempt, each.offset))
    said = newest.said
    yield f"origin    {safe(said.origin)}"
    yield f"reason    {safe(said.reason)}"
    yield f"detail    {safe(said.detail)}"
    yield f"attempts  {said.attempt:,}"
    for each in attempts:
        place = f"{DEAD_LETTER}/{each.partition}/{each.offset}"
        yield safe(
            f"  {each.said.attempt:>3}  {format_millis(each.said.failed_at_ms)}  {each.said.reason}  "
            f"by {each.said.version}, {place}"
        )
        if (each.said.reason, each.said.detail) != (said.reason, said.detail):
            yield safe(f"       {each.said.detail}")
    written = "not known" if said.timestamp_ms is None else f"{said.timestamp_ms} ms since 1970"
    yield f"written   {written}, by Kafka's time of the original record"
    yield f"key       {_shown_bytes(newest.key)}"
    yield "headers"
    for name, value in newest.headers:
        if not name.startswith("dl_"):
            yield f"  {safe(name)}: {_shown_bytes(value)}"
    yield f"value     {_size(newest.value)}"
    yield from _value_text(newest.value)


def _shown_bytes(value: bytes | None) -> str:
    if value is None:
        return "(null)"
    try:
        return safe(value.decode()) or "(empty)"
    except UnicodeDecodeError:
        return f"hex {value.hex(' ')}"


def _size(value: bytes | None) -> str:
    return "(null: the video is gone)" if value is None else f"{len(value):,} bytes"


def _value_text(value: bytes | None) -> Iterator[str]:
    """JSON with indents, its numbers and strings as they are written; anything else as a hex dump of its beginning."""
    if not value:
        return
    try:
        text = _indented(value)
    except (ValueError, RecursionError):
        yield from _hex_dump(value[:_DUMPED_BYTES])
        if len(value) > _DUMPED_BYTES:
            yield f"… {len(value) - _DUMPED_BYTES:,} bytes more: `yousync dead-letters export` has all."
        return
    for line in text.split("\n"):
        yield safe(line)


def _indented(value: bytes) -> str:
    """JSON with indents; ValueError when it is none."""
    text = value.decode()
    try:
        return msgspec.json.format(text, indent=2)
    except msgspec.DecodeError:
        # Lone surrogates, which msgspec refuses, and which are what a dead letter may be about.
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False, allow_nan=False)


def _hex_dump(value: bytes) -> Iterator[str]:
    for start in range(0, len(value), _DUMPED_A_LINE):
        part = value[start : start + _DUMPED_A_LINE]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        yield f"{start:08x}  {part.hex(' '):<{3 * _DUMPED_A_LINE - 1}}  |{text}|"


def plan_text(plan: RetryPlan) -> Iterator[str]:
    """What a retry comes to: what goes, what fails again, what waits and what stays."""
    yield f"To be put back onto {RAW}: {len(plan.going):,}."
    for going in list(plan.going.values())[:_NAMED]:
        again = "" if going.fails_again is None else f"; fails again by the rules of this version: {going.fails_again}"
        yield f"  {safe(going.origin)} to partition {going.partition}{again}"
    if len(plan.going) > _NAMED:
        yield f"  … and {len(plan.going) - _NAMED:,} more"
    if plan.failing_again:
        counts = ", ".join(f"{reason} {count:,}" for reason, count in sorted(plan.failing_again.items()))
        yield f"Will fail again by the rules of this version: {plan.failing_again.total():,} ({counts})."
    if plan.waiting:
        yield f"Put back before and not failed since, left out: {len(plan.waiting):,}."
        yield from (f"  {safe(each.origin)}: {safe(each.why)}" for each in plan.waiting)
    if plan.staying:
        yield f"Cannot be put back: {len(plan.staying):,}."
        yield from (f"  {safe(each.origin)}: {safe(each.why)}" for each in plan.staying)


def _text(value: bytes | None, none: str) -> str:
    return none if value is None else value.decode(errors="replace")


def _base64(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _json_line(line: dict[str, Any]) -> str:
    # ASCII only: escapes, and nothing that a terminal would take for a command.
    return json.dumps(line)
