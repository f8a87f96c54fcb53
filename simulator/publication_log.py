"""What has been published, changed and removed, in order: an append-only file of JSON lines.

A restart goes on from it. A line is on its way to the disk before anybody can see its video, or its change. It
survives `kill -9` of the simulator (the operating system holds it), not a power cut. What a kill or a full disk
leaves of a last line is dropped.
"""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import msgspec

from contract.settings import SettingsError
from contract.video import Live
from simulator.catalogue import CatalogueVideo


class Publication(msgspec.Struct, frozen=True, tag_field="is", tag="published"):
    """A video and when it was published, in ms since 1970."""

    published_ms: int
    video: CatalogueVideo


class Removal(msgspec.Struct, frozen=True, tag_field="is", tag="removed"):
    """A video that vanished from every answer."""

    video_id: str


class Visibility(msgspec.Struct, frozen=True, tag_field="is", tag="visibility"):
    """A video that was made private, or public again."""

    video_id: str
    hidden: bool


class Broadcast(msgspec.Struct, frozen=True, tag_field="is", tag="broadcast"):
    """A video whose broadcast is to come, has begun or is over."""

    video_id: str
    live: Live


Change = Removal | Visibility | Broadcast
Entry = Publication | Change

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Entry)


class PublicationLog:
    """One open log; only one process may hold it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._size = 0

    @classmethod
    def open(cls, path: Path, first_entries: Callable[[], Iterable[Entry]] = tuple) -> Self:
        """Open the log, or make it with `first_entries`: all of them, or (if killed meanwhile) none.

        Raises:
            SettingsError: another process holds it, or the folder cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                unfinished = path.with_suffix(".unfinished")
                unfinished.write_bytes(_lines(first_entries()))
                unfinished.rename(path)
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            raise SettingsError(f"YOUSYNC_HOME: the simulator cannot write {path}: {error}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise SettingsError(f"YOUSYNC_HOME: another simulator is running on {path.parent}") from error
        return cls(path, descriptor)

    def entries(self) -> Iterator[Entry]:
        """Every entry from the beginning; a torn last line is cut off. To be read once, before the first append.

        Raises:
            SettingsError: a line other than the last is damaged.
        """
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = _decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise SettingsError(
                        f"{self._path}:{number}: damaged ({error}); remove the file to begin anew"
                    ) from error
                self._size += len(line)
                yield entry
        os.ftruncate(self._descriptor, self._size)

    def append(self, entries: Iterable[Entry]) -> None:
        """Add lines, all or none.

        Raises:
            OSError: the disk is full or gone.
        """
        lines = _lines(entries)
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(lines)

    def close(self) -> None:
        """Give the file back; closing ends the lock."""
        os.close(self._descriptor)


def _lines(entries: Iterable[Entry]) -> bytes:
    return b"".join(_encoder.encode(entry) + b"\n" for entry in entries)
