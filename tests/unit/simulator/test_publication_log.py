"""The publication log: it survives kills, and is nobody else's meanwhile."""

import os
from pathlib import Path

import pytest

from contract.settings import SettingsError
from simulator.publication_log import Broadcast, Entry, Publication, PublicationLog, Removal, Visibility
from tests.unit.simulator.simulations import START_MS, video

ENTRIES: list[Entry] = [
    Publication(START_MS, video(1, "Quotes \" & ' 🚀", tags=("a",), duration_seconds=5, live="live")),
    Publication(START_MS, video(2)),
    Removal("video000001"),
    Visibility("video000002", hidden=True),
    Broadcast("video000002", "upcoming"),
]


def read(path: Path) -> list[Entry]:
    log = PublicationLog.open(path)
    try:
        return list(log.entries())
    finally:
        log.close()


def write(path: Path, entries: list[Entry]) -> None:
    log = PublicationLog.open(path)
    list(log.entries())
    log.append(entries)
    log.close()


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "simulator" / "published.jsonl"
    write(path, ENTRIES[:1])
    write(path, ENTRIES[1:])

    assert read(path) == ENTRIES


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_torn_last_line_is_dropped_and_the_next_one_is_whole(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "published.jsonl"
    write(path, ENTRIES[:2])
    path.write_bytes(path.read_bytes()[:-cut])

    write(path, ENTRIES[2:3])

    assert read(path) == [ENTRIES[0], ENTRIES[2]]


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "published.jsonl"
    write(path, ENTRIES)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"nonsense\n", lines[2]]))

    with pytest.raises(SettingsError, match=rf"{path}:2: damaged"):
        read(path)


def test_a_second_simulator_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "published.jsonl"
    log = PublicationLog.open(path)

    with pytest.raises(SettingsError, match="another simulator is running"):
        PublicationLog.open(path)
    log.close()

    PublicationLog.open(path).close()


def test_the_first_entries_are_written_once(tmp_path: Path) -> None:
    path = tmp_path / "published.jsonl"
    PublicationLog.open(path, lambda: ENTRIES[:1]).close()
    PublicationLog.open(path, lambda: ENTRIES).close()

    assert read(path) == ENTRIES[:1]


def test_first_entries_of_which_only_some_were_written_count_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "published.jsonl"
    path.with_suffix(".unfinished").write_bytes(b'{"is":"removed","video_id":"half of')

    PublicationLog.open(path, lambda: ENTRIES).close()

    assert read(path) == ENTRIES


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SettingsError, match="YOUSYNC_HOME"):
        PublicationLog.open(tmp_path / "file" / "published.jsonl")


def test_a_full_disk_leaves_no_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "published.jsonl"
    log = PublicationLog.open(path)
    log.append(ENTRIES[:1])
    written = os.write

    def half_then_full(descriptor: int, content: memoryview) -> int:
        if len(content) < 100:
            raise OSError(28, "No space left on device")
        return written(descriptor, content[: len(content) - 50])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", half_then_full)
        with pytest.raises(OSError, match="No space"):
            log.append(ENTRIES[1:2])
    log.append(ENTRIES[2:3])
    log.close()

    assert read(path) == [ENTRIES[0], ENTRIES[2]]
