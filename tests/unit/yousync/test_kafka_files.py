"""The recorded jars and the broker's settings."""

import re
from pathlib import Path

import pytest

from yousync.local.kafka import format_arguments, server_properties
from yousync.local.kafka_jars import Jar, ensure_jars, parse_jars, recorded_jars
from yousync.local.mongod import find_mongod, make_executable
from yousync.local.server import LocalStackError

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_every_recorded_jar_has_a_coordinate_and_a_sum() -> None:
    jars = recorded_jars()

    assert all(re.fullmatch(r"[\w.-]+:[\w.-]+:[\w.-]+", jar.coordinate) for jar in jars)
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in jars)
    assert len({jar.filename for jar in jars}) == len(jars) == 46
    assert {"org.apache.kafka:kafka_2.13:4.3.1", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"} <= {
        jar.coordinate for jar in jars
    }


def test_a_line_is_a_coordinate_and_a_sum_and_comments_are_left_out() -> None:
    assert parse_jars("# why\n\ng:a-b:1.0 abc\n") == (Jar("g:a-b:1.0", "abc"),)
    assert Jar("g:a-b:1.0", "abc").filename == "a-b-1.0.jar"


def test_whole_jars_are_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "a-1.jar").touch()
    reports: list[tuple[int, int, int]] = []

    paths = ensure_jars((Jar("g:a:1", EMPTY_SHA256),), tmp_path, lambda *report: reports.append(report))

    assert (paths, reports) == ([tmp_path / "a-1.jar"], [])


def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(LocalStackError, match="Cannot keep Kafka's jars in"):
        ensure_jars((), tmp_path / "file" / "jars", lambda *_: None)


def test_the_brokers_settings_let_dead_letters_pass_and_replicate_nothing() -> None:
    settings = dict(line.split("=", 1) for line in server_properties(1, 2, Path("/data")).splitlines())

    assert settings["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert int(settings["message.max.bytes"]) >= 2 << 20
    assert settings["auto.create.topics.enable"] == "false"
    assert settings["group.initial.rebalance.delay.ms"] == "0"
    assert {value for name, value in settings.items() if name.endswith("replication.factor")} == {"1"}


def test_a_cluster_id_that_begins_with_a_dash_is_not_taken_for_an_option() -> None:
    arguments = format_arguments("-cluster", Path("/p"))

    assert [one for one in arguments if "cluster" in one] == ["--cluster-id=-cluster"]


def test_a_chosen_mongod_must_be_a_program(tmp_path: Path) -> None:
    (tmp_path / "mongod").touch()

    with pytest.raises(LocalStackError, match=r"YOUSYNC_MONGOD names .*mongod, which is not a program"):
        find_mongod(tmp_path / "mongod")


def test_a_chosen_mongod_goes_first(tmp_path: Path) -> None:
    program = tmp_path / "mongod"
    program.touch(mode=0o755)

    assert find_mongod(program) == program


def test_a_packaged_program_is_made_executable(tmp_path: Path) -> None:
    program = tmp_path / "mongod"
    program.touch(mode=0o644)

    assert make_executable(program, tmp_path / "copies") == program
    assert program.stat().st_mode & 0o111


def test_a_program_in_a_read_only_folder_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "mongod"
    program.write_bytes(b"binary")
    program.chmod(0o644)

    allowed = Path.chmod

    def refuse_the_original(path: Path, mode: int) -> None:
        if path == program:
            raise PermissionError
        allowed(path, mode)

    monkeypatch.setattr(Path, "chmod", refuse_the_original)

    copy = make_executable(program, tmp_path / "copies")
    copied_at = copy.stat().st_mtime_ns

    assert copy.parent == tmp_path / "copies"
    assert copy.read_bytes() == b"binary"
    assert copy.stat().st_mode & 0o111
    assert make_executable(program, tmp_path / "copies").stat().st_mtime_ns == copied_at
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
