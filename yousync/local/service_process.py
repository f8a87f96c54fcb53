"""One of our own services as a child process, ready when its admin server says so."""

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from yousync.local.server import LocalServer

_ASK_SECONDS: Final = 2.0


class ServiceProcess(LocalServer):
    """`yousync <name>` with settings of its own; `port` is its admin server's."""

    def __init__(self, name: str, log_file: Path, admin_port: int, settings: dict[str, str]) -> None:
        super().__init__(
            name,
            admin_port,
            log_file,
            start_seconds=120,
            stop_seconds=20,
        )
        self._settings = settings

    def command(self) -> list[str]:
        return [sys.executable, "-m", "yousync.cli", self.name]

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self._settings}

    def answers(self) -> bool:
        """Whether the service says that it is ready."""
        return self.fault() is None

    def fault(self) -> str | None:
        """What `/readyz` says."""
        return readiness_fault(self.port)


def readiness_fault(admin_port: int) -> str | None:
    """What `/readyz` finds wrong, in one line; None when the service is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/readyz", timeout=_ASK_SECONDS):
            return None
    except urllib.error.HTTPError as refusal:
        try:
            return "; ".join(json.load(refusal)["faults"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"/readyz answers {refusal.code}"
    except OSError as error:
        return f"its admin server does not answer: {error}"
