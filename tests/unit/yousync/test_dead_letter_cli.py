"""The command line of `yousync dead-letters`: help, and wrong usage."""

import sys
from pathlib import Path

import pytest

from ops.kafka_topics import TopicsError
from tests.raw_items import NOW_MS
from yousync import cli
from yousync.dead_letters import NoSuchDeadLetter, Unfinished
from yousync.durations import parse_moment_ms

HOUR_MS = 3_600_000


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["yousync", "dead-letters", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("command", ["list", "show", "retry", "export"])
def test_every_command_helps_with_examples(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, command, "--help") == 0

    help_text = capsys.readouterr().out
    assert f"Usage: yousync dead-letters {command}" in help_text
    assert f"yousync dead-letters {command}" in help_text.partition("Examples:")[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--reason", "not_jsn"),
        ("list", "--since", "yesterday"),
        ("list", "--until", "2026-05-28T20:00:00"),
        ("list", "--limit", "0"),
        ("show",),
        ("show", "a/1/2", "a/1/3"),
        ("retry", "--rate", "0"),
        ("export", "somewhere.jsonl"),
    ],
)
def test_wrong_usage_exits_with_2(
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run(monkeypatch, *arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"), [(NoSuchDeadLetter("None."), 1), (Unfinished("Half."), 1), (TopicsError("Missing."), 2)]
)
def test_a_fault_is_a_sentence_and_an_exit_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_home: object) -> object:
        raise error

    monkeypatch.setattr(cli, "_settings_of_stack", fail)

    assert run(monkeypatch, "list") == code
    assert capsys.readouterr().err == f"{error}\n"


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2h", NOW_MS - 2 * HOUR_MS),
        (" 30min ", NOW_MS - HOUR_MS // 2),
        ("45s", NOW_MS - 45_000),
        ("3d", NOW_MS - 72 * HOUR_MS),
        ("2026-05-28T20:26:40Z", NOW_MS),
        ("2026-05-28T22:26:40.5+02:00", NOW_MS + 500),
    ],
)
def test_a_moment_is_so_long_ago_or_a_time(text: str, ms: int) -> None:
    assert parse_moment_ms(text, NOW_MS) == ms


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "2 h", "2m", "1.5h", "now", "2026-05-28", "2026-05-28T20:00:00"])
def test_any_other_moment_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is neither a length of time") as refused:
        parse_moment_ms(text, NOW_MS)

    assert repr(text) in str(refused.value)
