"""Services of ours as real processes, for tests that kill them."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from yousync.local.server import free_port


class ServiceProcess:
    """`yousync <service>` with settings of its own; its log goes to `<folder>/<service>-<port>.log`.

    `module` stands in for the command line's module, for tests that start the service in another way.
    """

    def __init__(self, service: str, folder: Path, settings: Mapping[str, str], *, module: str = "yousync.cli") -> None:
        self.service = service
        self.module = module
        self.admin_port = free_port()
        self.log = folder / f"{service}-{self.admin_port}.log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONUNBUFFERED": "1",
            # This tree's packages, the tests' own launchers among them, wherever the process runs.
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "YOUSYNC_LOG_FORMAT": "json",
            "YOUSYNC_HOME": str(folder / "home"),
            "YOUSYNC_ADMIN_PORT": str(self.admin_port),
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, self.service],
                env=self._environment,
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    @property
    def runs(self) -> bool:
        """Started, and not ended; a paused process runs, too."""
        return self._process is not None and self._process.poll() is None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        """As a power failure would: no handler runs."""
        self.process.kill()
        self.process.wait(10)

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def terminate(self, seconds: float = 20) -> int:
        """Ask it to stop; its exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def readiness(self) -> int:
        """Status of `/readyz`; 0 when nothing listens."""
        return self.admin_status("/readyz")

    def admin_status(self, path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels, or one of its series, as `/metrics` has it now."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def wait_until_ready(self, seconds: float = 60) -> Self:
        wait_for(lambda: self.readiness() == 200, seconds, lambda: f"{self.service} is not ready:\n{self.tail()}")
        return self

    def tail(self, characters: int = 4000) -> str:
        return self.log.read_text()[-characters:]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)


def wait_for(true: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> None:
    """Poll until it is true.

    Raises:
        AssertionError: it was not in time, with what `otherwise` says.
    """
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.1)
