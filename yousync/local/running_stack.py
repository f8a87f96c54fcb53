"""What a running `yousync up` tells other commands: a file in its home folder, believed only while its lock is held."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from contract.settings import Settings, load_settings
from yousync.local.server import LocalStackError

_LOCK_NAME: Final = "up.lock"
_FILE_NAME: Final = "up.json"


class RunningProcess(msgspec.Struct, frozen=True):
    """One process of the stack; `fault` says why it is not ready."""

    name: str
    pid: int | None
    state: str
    restarts: int
    fault: str


class RunningStack(msgspec.Struct, frozen=True):
    """A running stack: what it plays, where it answers, and the settings it runs with that others need."""

    pid: int
    source: str
    url: str
    simulator_url: str | None
    settings: dict[str, str]
    processes: list[RunningProcess]


@contextmanager
def locked_home(home: Path) -> Iterator[None]:
    """Hold the home folder for one `yousync up`.

    Raises:
        LocalStackError: another one holds it, or the folder cannot be written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / _LOCK_NAME).open("a")
    except OSError as error:
        raise LocalStackError(f"Cannot use the folder {home} (YOUSYNC_HOME): {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            running = _read(home)
            by = f" (process {running.pid}, {running.url})" if running else ""
            raise LocalStackError(
                f"Another `yousync up` runs in {home}{by}: stop it, or choose another folder with --home"
            ) from None
        try:
            yield
        finally:
            (home / _FILE_NAME).unlink(missing_ok=True)


def write_running_stack(home: Path, stack: RunningStack) -> None:
    """Replace the file at once, so that a reader never sees half of it."""
    fresh = home / f"{_FILE_NAME}.new"
    fresh.write_bytes(msgspec.json.encode(stack))
    fresh.replace(home / _FILE_NAME)


def find_running_stack(home: Path) -> RunningStack | None:
    """The stack that runs in this home folder, None when none does."""
    try:
        with (home / _LOCK_NAME).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(home)
    except OSError:
        return None
    return None


def settings_of(stack: RunningStack | None, **overrides: Any) -> Settings:
    """The settings in effect beside a stack: its own go before the environment, which may speak of other servers.

    Raises:
        SettingsError: settings of this process are wrong.
    """
    return load_settings(**{**(stack.settings if stack else {}), **overrides})


def _read(home: Path) -> RunningStack | None:
    try:
        return msgspec.json.decode((home / _FILE_NAME).read_bytes(), type=RunningStack)
    except (OSError, msgspec.DecodeError):
        return None
