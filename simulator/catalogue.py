"""A catalogue of videos to publish: JSON lines, plain or gzipped, read and checked as a whole before the start."""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec

from contract.settings import SettingsError
from contract.video import VIDEO_ID, Live

UNNAMED_CHANNEL: Final = "UCsimulated0channel00000"
_SHOWN_FAULTS: Final = 10

VideoId = Annotated[str, msgspec.Meta(pattern=rf"\A{VIDEO_ID.pattern}\Z")]
ChannelId = Annotated[str, msgspec.Meta(pattern=r"\AUC[A-Za-z0-9_-]{22}\Z")]


class CatalogueVideo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A video before it has a publish time; fields that a line has beside these are passed over."""

    video_id: VideoId
    title: str
    description: str = ""
    channel_id: ChannelId = UNNAMED_CHANNEL
    channel_title: str = ""
    tags: tuple[str, ...] = ()
    duration_seconds: float | None = None
    language: str | None = None
    live: Live = "none"


_decoder: Final = msgspec.json.Decoder(CatalogueVideo)


def read_catalogue(path: Path) -> list[CatalogueVideo]:
    """The videos of a `.jsonl` or `.jsonl.gz` file, in its order.

    Raises:
        SettingsError: the file cannot be read, is empty, or has wrong lines: each is named as `FILE:LINE`.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            videos, faults = _check(path, lines)
    except (OSError, EOFError, zlib.error) as error:
        raise SettingsError(f"YOUSYNC_SIMULATOR_CATALOGUE: {path} cannot be read: {error}") from error
    if faults:
        more = [f"… and {len(faults) - _SHOWN_FAULTS} more"] if len(faults) > _SHOWN_FAULTS else []
        raise SettingsError("\n".join([*faults[:_SHOWN_FAULTS], *more]))
    if not videos:
        raise SettingsError(f"YOUSYNC_SIMULATOR_CATALOGUE: {path} holds no videos")
    return videos


def _check(path: Path, lines: Iterable[bytes]) -> tuple[list[CatalogueVideo], list[str]]:
    videos: list[CatalogueVideo] = []
    faults: list[str] = []
    first_line: dict[str, int] = {}
    for number, line in _filled(lines):
        try:
            video = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            faults.append(f"{path}:{number}: {error}")
            continue
        if video.video_id in first_line:
            faults.append(f"{path}:{number}: video {video.video_id} was on line {first_line[video.video_id]} already")
            continue
        first_line[video.video_id] = number
        videos.append(video)
    return videos, faults


def _filled(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
