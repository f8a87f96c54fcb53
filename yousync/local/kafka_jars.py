"""The jars of the local Kafka: fetched once by exact coordinate, checked against recorded sums, kept in the cache.

A download is written under a temporary name and renamed when it is whole and its sum is right, so an interrupted
one goes on with the jars that are missing.
"""

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

from yousync.local.server import LocalStackError, cache_folder

_PARALLEL: Final = 4
_ATTEMPTS: Final = 3
_TIMEOUT_SECONDS: Final = 30
_STALE_PART_SECONDS: Final = 3600

Progress = Callable[[int, int, int], None]
"""Called with jars there, jars wanted, and bytes downloaded so far."""


class Jar(msgspec.Struct, frozen=True):
    """One jar: its Maven coordinate `group:artifact:version` and the SHA-256 it must have."""

    coordinate: str
    sha256: str

    @property
    def filename(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


class DownloadStoppedError(Exception):
    """The download was asked to stop."""


def recorded_jars() -> tuple[Jar, ...]:
    """The jars of `kafka_jars.txt`."""
    return parse_jars((files("yousync.local") / "kafka_jars.txt").read_text())


def parse_jars(text: str) -> tuple[Jar, ...]:
    """Lines of `coordinate sha256`; `#` begins a comment line."""
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return tuple(Jar(coordinate, sha256) for coordinate, sha256 in lines)


def jars_folder() -> Path:
    """Where this user's jars are kept between runs."""
    return cache_folder() / "kafka-4.3.1"


def ensure_jars(
    jars: tuple[Jar, ...], folder: Path, progress: Progress, stop: threading.Event | None = None
) -> list[Path]:
    """Paths of all jars, downloading what is missing or damaged.

    Raises:
        LocalStackError: a jar cannot be had, or what came is not what was recorded.
        DownloadStoppedError: `stop` was set.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale_parts(folder)
    except OSError as error:
        raise LocalStackError(f"Cannot keep Kafka's jars in {folder}: {error.strerror}") from error
    missing = [jar for jar in jars if not _is_whole(folder / jar.filename, jar.sha256)]
    if missing:
        _Download(folder, len(jars) - len(missing), len(jars), progress, stop or threading.Event()).run(missing)
    return [folder / jar.filename for jar in jars]


class _Download:
    """One run over the missing jars, a few at a time."""

    def __init__(self, folder: Path, done: int, wanted: int, progress: Progress, stop: threading.Event) -> None:
        self.folder = folder
        self.done = done
        self.wanted = wanted
        self.bytes = 0
        self.progress = progress
        self.stop = stop
        self.lock = threading.Lock()

    def run(self, missing: list[Jar]) -> None:
        self.report()
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="jars") as pool:
            pending: set[Future[None]] = {pool.submit(self.fetch, jar) for jar in missing}
            try:
                while pending:
                    finished, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in finished:
                        future.result()
                        self.done += 1
                    self.report()
            except BaseException:
                self.stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def report(self) -> None:
        self.progress(self.done, self.wanted, self.bytes)

    def fetch(self, jar: Jar) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            self.check_stop()
            try:
                self.fetch_once(jar)
            except (OSError, RuntimeError) as error:
                self.check_stop()
                if attempt == _ATTEMPTS:
                    raise LocalStackError(
                        f"Cannot download {jar.filename} for the local Kafka ({_reason(error)}); check the network and "
                        "start again: the jars that are here are kept"
                    ) from error
                self.stop.wait(attempt)
            else:
                return

    def fetch_once(self, jar: Jar) -> None:
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - optional, and slow to import

        with tempfile.TemporaryDirectory(prefix=".part-", dir=self.folder) as part:
            context = MavenContext(
                resolver=PythonResolver(progress_callback=self.count),
                repo_cache=Path(part),
                timeout=_TIMEOUT_SECONDS,
            )
            path = context.create_dependency(jar.coordinate).artifact.resolve()
            found = _sha256(path)
            if found != jar.sha256:
                raise LocalStackError(
                    f"Refused {jar.filename}: its SHA-256 is {found}, recorded is {jar.sha256}; "
                    "what was downloaded has been deleted"
                )
            path.replace(self.folder / jar.filename)

    @contextmanager
    def count(self, _filename: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield self.add_bytes

    def add_bytes(self, count: int) -> None:
        self.check_stop()
        with self.lock:
            self.bytes += count

    def check_stop(self) -> None:
        if self.stop.is_set():
            raise DownloadStoppedError


def _is_whole(path: Path, sha256: str) -> bool:
    """Whether the jar is there and undamaged; a damaged one is deleted."""
    try:
        if _sha256(path) == sha256:
            return True
        path.unlink()
    except FileNotFoundError:
        pass
    return False


def _sha256(path: Path) -> str:
    with path.open("rb") as jar:
        return hashlib.file_digest(jar, "sha256").hexdigest()


def _remove_stale_parts(folder: Path) -> None:
    """Delete what killed downloads left; a fresh part may belong to a download that runs beside us."""
    for part in folder.glob(".part-*"):
        if time.time() - part.stat().st_mtime > _STALE_PART_SECONDS:
            for path in sorted(part.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            part.rmdir()


def _reason(error: Exception) -> str:
    if "not found in remote" in str(error):
        return "the repository does not have it"
    return "no connection, or it was cut" if isinstance(error, OSError) else str(error)
