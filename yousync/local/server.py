"""A server process of the one-machine stack: started, awaited, stopped, and gone when we are gone."""

import ctypes
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None
_POLL_SECONDS: Final = 0.05
_SERVER_PORTS: Final = (15_000, 32_000)
_PORT_TRIES: Final = 1000
_TAIL_BYTES: Final = 8192
_ERROR: Final = re.compile(r"\b(ERROR|FATAL)\b|\"s\":\"[EF]\"")
_CAUSE: Final = re.compile(r"(Caused by: )?[\w.$]+(Exception|Error)(: |$)")


class LocalStackError(Exception):
    """The one-machine stack cannot start or go on; one sentence for the user."""


class LocalServer:
    """One server as a child process.

    The child ends with the thread that launched it (Linux tells it so), therefore launch from a thread that lives
    as long as the server is needed: the main one.
    """

    def __init__(
        self,
        name: str,
        port: int,
        log_file: Path,
        *,
        start_seconds: float,
        stop_seconds: float,
    ) -> None:
        self.name: Final = name
        self.port: Final = port
        self.log_file: Final = log_file
        self.start_seconds: Final = start_seconds
        self._stop_seconds = stop_seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process's id, None when it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How the last process ended (negative: by that signal), None while it runs or before the first."""
        return self._process.poll() if self._process else None

    def command(self) -> Sequence[str]:
        """The command line."""
        raise NotImplementedError

    def environment(self) -> dict[str, str] | None:
        """The environment, None for ours."""
        return None

    def prepare(self) -> None:
        """Make ready what the process needs on disk; may take seconds, may be called from any thread.

        Raises:
            LocalStackError: it cannot be made.
        """

    def start(self) -> None:
        """Launch, and return when the server answers.

        Raises:
            LocalStackError: the port is taken, the process ended, or it did not answer in time.
        """
        self.prepare()
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Launch what was prepared, without waiting.

        Raises:
            LocalStackError: the port is taken, or the program cannot be run.
        """
        if self.pid is not None:
            raise LocalStackError(f"{self.name} is running already (process {self.pid})")
        require_free_port(self.port, self.name)
        self._process = spawn(self.command(), self.log_file, self.environment())

    def wait_until_ready(self) -> None:
        """Return when the server answers.

        Raises:
            LocalStackError: the process ended, or did not answer in time.
        """
        deadline = time.monotonic() + self.start_seconds
        while not self.answers():
            if self.pid is None:
                raise LocalStackError(f"{self.name} ended while starting: {last_line(self.log_file)}")
            if time.monotonic() > deadline:
                self.kill()
                raise LocalStackError(
                    f"{self.name} did not answer within {self.start_seconds:.0f} s; its log is {self.log_file}"
                )
            time.sleep(_POLL_SECONDS)

    def answers(self) -> bool:
        """Whether the server answers at this moment; blocks for seconds at most."""
        raise NotImplementedError

    def fault(self) -> str | None:
        """Why the server cannot be used at this moment, None when it can; blocks as `answers` does."""
        return None if self.answers() else "it does not answer"

    def stop(self) -> None:
        """End the process cleanly; by force when it does not end in its time."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        if self._process:
            try:
                self._process.wait(self._stop_seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End the process as a power cut would (`kill -9`)."""
        self._signal(signal.SIGKILL)
        if self._process:
            self._process.wait()

    def pause(self) -> None:
        """Freeze the process: its connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)


def spawn(command: Sequence[str], log_file: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own (a Ctrl-C is ours to pass on); its output is appended to `log_file`.

    Raises:
        LocalStackError: the program cannot be run.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as output:
        try:
            return subprocess.Popen(  # noqa: S603 - the command is ours
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - one libc call, made before any thread matters
            )
        except OSError as error:
            raise LocalStackError(f"Cannot run {command[0]}: {error.strerror or error}") from error


def _die_with(parent: int) -> Callable[[], None] | None:
    libc = _LIBC
    if libc is None:
        return None

    def ask_for_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask_for_signal


def cache_folder() -> Path:
    """Where this user keeps what can be fetched or made again."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "yousync"


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses at this moment; see `free_ports`."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 that nobody uses at this moment.

    They lie below the range from which the system takes ports for outgoing connections, so that none of those
    takes one before its server listens.
    """
    candidates = random.sample(range(*_SERVER_PORTS), _PORT_TRIES)
    ports = list(itertools.islice(filter(port_is_free, candidates), count))
    if len(ports) < count:
        raise LocalStackError(f"No {count} free ports found between {_SERVER_PORTS[0]} and {_SERVER_PORTS[1]}")
    return ports


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def require_free_port(port: int, name: str, host: str = "127.0.0.1", remedy: str = "stop it first") -> None:
    """Check that nobody listens where `name` wants to.

    Raises:
        LocalStackError: another program does; the sentence ends with the remedy.
    """
    if not port_is_free(port, host):
        raise LocalStackError(f"{name} cannot listen on port {port} of {host}, another program uses it: {remedy}")


def port_answers(port: int) -> bool:
    """Whether somebody accepts connections on this port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def last_line(log_file: Path) -> str:
    """What a program said last, for one-sentence errors: its last error with its cause, else its last line."""
    try:
        text = log_file.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
    except OSError:
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if _ERROR.search(line)]
    if not errors:
        return lines[-1] if lines else f"it said nothing in {log_file}"
    # A Java program's error says little; the root of the stack trace below it says what happened.
    causes = [line for line in lines[errors[-1] + 1 :] if _CAUSE.match(line)]
    return " - ".join([lines[errors[-1]], *causes[-1:]])
