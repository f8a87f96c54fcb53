"""Reading a catalogue: what is wrong is named by file and line."""

import gzip
import json
from pathlib import Path

import pytest

from contract.settings import SettingsError
from simulator.catalogue import UNNAMED_CHANNEL, read_catalogue

LINE = json.dumps(
    {
        "channel_id": "UCO-bUht3qhJ2judgzhIcQ5i",
        "channel_title": "Montréal",
        "description": "",
        "duration_seconds": 61.5,
        "language": "eng",
        "published_at": "2008-02-07T22:21:27Z",
        "speakers": ["Somebody"],
        "tags": ["a", "b"],
        "title": "A talk",
        "video_id": "DdIuI6fB0yU",
    }
)


def write(folder: Path, *lines: str, name: str = "talks.jsonl") -> Path:
    path = folder / name
    content = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["talks.jsonl", "talks.jsonl.gz"])
def test_videos_are_read_in_order(tmp_path: Path, name: str) -> None:
    videos = read_catalogue(write(tmp_path, LINE, "", '{"video_id": "-_aaaaaaaaa", "title": "B"}', name=name))

    assert [video.title for video in videos] == ["A talk", "B"]
    assert (videos[0].tags, videos[0].duration_seconds, videos[0].language) == (("a", "b"), 61.5, "eng")
    assert videos[1].channel_id == UNNAMED_CHANNEL


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("not json", "invalid character"),
        ('{"title": "no id"}', "`video_id`"),
        ('{"video_id": "DdIuI6fB0yU"}', "`title`"),
        ('{"video_id": "too short", "title": "x"}', "$.video_id"),
        ('{"video_id": "DdIuI6fB0y\\n", "title": "x"}', "$.video_id"),
        ('{"video_id": "aaaaaaaaaaa", "title": "x", "channel_id": "nobody"}', "$.channel_id"),
        ('{"video_id": "aaaaaaaaaaa", "title": "\\udc00"}', "surrogate"),
        ('{"video_id": "aaaaaaaaaaa", "title": 5}', "$.title"),
        (LINE, "was on line 1 already"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = write(tmp_path, LINE, "", line)

    with pytest.raises(SettingsError) as raised:
        read_catalogue(path)

    assert str(raised.value).startswith(f"{path}:3: ")
    assert said in str(raised.value)


def test_many_wrong_lines_are_counted(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        read_catalogue(write(tmp_path, *["nonsense"] * 25))

    lines = str(raised.value).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "… and 15 more"


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(gzip.compress(LINE.encode() * 50)[:60])
    plain = tmp_path / "plain.jsonl.gz"
    plain.write_text(LINE)

    for path in (broken, plain, tmp_path / "absent.jsonl", write(tmp_path, "", name="empty.jsonl")):
        with pytest.raises(SettingsError, match=str(path)):
            read_catalogue(path)
