"""The file that a running `up` leaves for other commands, and the lock on its folder."""

import re
from pathlib import Path

import msgspec
import pytest

from yousync.local.running_stack import (
    RunningStack,
    find_running_stack,
    locked_home,
    settings_of,
    write_running_stack,
)
from yousync.local.server import LocalStackError

STACK = RunningStack(
    pid=7,
    source="generated",
    url="http://127.0.0.1:1/v1/videos",
    simulator_url=None,
    settings={"kafka_bootstrap_servers": "127.0.0.1:19092", "topic_partitions": "8"},
    processes=[],
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("KAFKA_BOOTSTRAP_SERVERS", "YOUSYNC_TOPIC_PARTITIONS", "YOUSYNC_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


def test_a_running_stack_is_found_while_its_lock_is_held(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with locked_home(home):
        assert find_running_stack(home) is None
        write_running_stack(home, STACK)
        assert find_running_stack(home) == STACK

    assert find_running_stack(home) is None
    assert not (home / "up.json").exists()


def test_a_file_without_its_lock_is_not_believed(tmp_path: Path) -> None:
    with locked_home(tmp_path):
        pass
    (tmp_path / "up.json").write_bytes(msgspec.json.encode(STACK))

    assert find_running_stack(tmp_path) is None


def test_a_second_up_in_the_same_home_is_refused_and_the_first_named(tmp_path: Path) -> None:
    with locked_home(tmp_path):
        write_running_stack(tmp_path, STACK)
        with (
            pytest.raises(LocalStackError, match=re.escape("(process 7, http://127.0.0.1:1/v1/videos): stop it")),
            locked_home(tmp_path),
        ):
            pass
        assert find_running_stack(tmp_path) == STACK


def test_looking_for_a_stack_makes_no_folder(tmp_path: Path) -> None:
    assert find_running_stack(tmp_path / "none") is None
    assert not (tmp_path / "none").exists()


def test_a_home_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(LocalStackError, match="YOUSYNC_HOME"), locked_home(tmp_path / "file" / "home"):
        pass


def test_a_running_stack_goes_before_the_environment_and_the_command_line_before_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path(".env").write_text("KAFKA_BOOTSTRAP_SERVERS=kafka:9092\n")
    monkeypatch.setenv("YOUSYNC_TOPIC_PARTITIONS", "3")

    beside, alone = settings_of(STACK, home=tmp_path), settings_of(None)

    assert (beside.kafka_bootstrap_servers, beside.topic_partitions, beside.home) == ("127.0.0.1:19092", 8, tmp_path)
    assert (alone.kafka_bootstrap_servers, alone.topic_partitions) == ("kafka:9092", 3)
    assert settings_of(STACK, topic_partitions=5).topic_partitions == 5
