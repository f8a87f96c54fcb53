"""The command line's answers to its users: help, version, and a sentence with an exit code for each mistake."""

import shlex
import sys
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from contract.settings import Settings, SettingsError, environment_name, load_settings
from ops.kafka_topics import TopicsError
from simulator.faults import parse_faults
from yousync import cli
from yousync.cli import app
from yousync.local.server import LocalStackError, free_port

COMMANDS = (
    "up",
    "producer",
    "processor",
    "api",
    "simulator",
    "topics",
    "status",
    "tail",
    "config",
    "queries",
    "quota",
    "purge",
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("YOUTUBE_API_KEY", "YOUTUBE_KEY", "MONGODB_URI", "YOUSYNC_HOME", "YOUSYNC_POLL_SECONDS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["yousync", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("command", [*COMMANDS, "queries list", "queries add", "queries remove"])
def test_every_command_helps_with_examples(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *command.split(), "--help") == 0

    help_text = capsys.readouterr().out
    assert f"Usage: yousync {command}" in help_text
    assert f"yousync {command}" in help_text.partition("Examples:")[2]


def test_the_version_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("yousync 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("tail",),
        ("tail", "raw", "--limit", "0"),
        ("up", "--what"),
        ("queries", "add"),
        ("queries", "add", "tea", " "),
        ("queries", "remove", "tea;coffee"),
        ("purge",),
        ("purge", "--older-than", "3h"),
    ],
)
def test_wrong_usage_exits_with_2(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_wrong_settings_are_all_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("YOUSYNC_POLL_SECONDS", "soon")

    assert run(monkeypatch, "up", "--rate", "1000") == 2

    assert sorted(line.partition(":")[0] for line in capsys.readouterr().err.splitlines()) == [
        "YOUSYNC_POLL_SECONDS",
        "YOUSYNC_SIMULATOR_RATE",
    ]


def test_a_catalogue_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "up", "--catalogue", "none.jsonl") == 2
    assert "no such file: none.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (SettingsError("A: wrong\nB: wrong"), 2, "A: wrong\nB: wrong\n"),
        (TopicsError("Topics are missing."), 2, "Topics are missing.\n"),
        (LocalStackError("Kafka died."), 1, "Kafka died.\n"),
    ],
)
def test_a_fault_is_a_sentence_and_an_exit_code(
    error: Exception, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_home: object) -> object:
        raise error

    monkeypatch.setattr(cli, "_stack_and_settings", fail)

    assert run(monkeypatch, "config") == code
    assert capsys.readouterr().err == message


def test_a_missing_local_package_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_psutil(_module: str) -> object:
        raise ModuleNotFoundError("No module named 'psutil'", name="psutil")

    monkeypatch.setattr(cli, "import_module", without_psutil)

    assert run(monkeypatch, "simulator") == 1

    assert capsys.readouterr().err.startswith("This command needs the package psutil")


def test_config_masks_secrets_and_says_where_values_come_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("YOUTUBE_API_KEY", "very-secret")
    monkeypatch.setenv("MONGODB_URI", "mongodb://user:pass-word@db:27017/?tls=true")

    assert run(monkeypatch, "config") == 0

    shown = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert shown["YOUTUBE_API_KEY"].endswith("'***'  (set)")
    assert shown["MONGODB_URI"].endswith("'mongodb://***@db:27017/?tls=true'  (set)")
    assert shown["YOUSYNC_POLL_SECONDS"].endswith("'10.0'  (default)")
    assert "secret" not in str(shown)
    assert "pass-word" not in str(shown)


def _examples() -> list[str]:
    groups = [group.typer_instance for group in app.registered_groups if group.typer_instance]
    commands = [
        *app.registered_commands,
        app.registered_callback,
        *app.registered_groups,
        *(command for group in groups for command in group.registered_commands),
    ]
    return sorted({line.strip() for one in commands if one for line in str(one.epilog).splitlines()[2:]})


def test_there_are_examples() -> None:
    assert len(_examples()) > len(COMMANDS)


@pytest.mark.parametrize("example", _examples())
def test_an_example_can_be_typed_as_it_stands(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(example)
    program = words.index("yousync")
    for assignment in words[:program]:
        name, _, value = assignment.partition("=")
        assert name in {environment_name(field) for field in Settings.model_fields}
        monkeypatch.setenv(name, value)
    command, arguments = get_command(app), words[program + 1 :]
    while isinstance(command, TyperGroup):
        with command.make_context("yousync", arguments) as context:
            _, subcommand, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        assert subcommand
        command = subcommand
    command.make_context("yousync", arguments)

    parse_faults(load_settings().simulator_faults)


def test_a_wrong_age_or_query_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "purge", "--older-than", "30") == 2
    assert "'--older-than': '30' is not a number of days or hours" in capsys.readouterr().err

    assert run(monkeypatch, "queries", "add", "t" * 201) == 2
    assert "is longer than 200 characters" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [("queries", "list"), ("queries", "add", "tea"), ("quota",), ("purge", "--older-than", "30d", "--yes")]
)
def test_a_kafka_that_is_not_there_is_one_sentence(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    monkeypatch.setattr("ops.logging.configure_logging", lambda *_, **__: None)

    assert run(monkeypatch, *arguments) == 1

    assert capsys.readouterr().err.startswith("Kafka does not answer: ")
