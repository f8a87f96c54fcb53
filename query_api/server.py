"""Several processes on one port: gunicorn keeps them running, each serves with an event loop of its own.

The master binds the ports and starts, replaces and stops the workers. A worker that is told to end leaves no request
without its answer: it takes in what has connected to it, answers what arrives on the connections that are open, and
tells their clients with each answer to connect anew.
"""

import asyncio
import ctypes
import mmap
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from struct import pack
from typing import Any, Final

from aiohttp import web
from aiohttp.worker import GunicornUVLoopWebWorker
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from prometheus_client.multiprocess import mark_process_dead

from contract.settings import Settings
from ops.admin_server import create_admin_app
from ops.garbage import collect_seldom
from ops.http_server import BACKLOG, listen, port_of, serve_on
from ops.logging import get_logger
from ops.metrics import ApiMetrics
from query_api.connections import Connections
from query_api.instruments import Instruments, instruments_of_process

log = get_logger(__name__)

CLOSING_SECONDS: Final = 2.0
"""How long a worker that ends goes on serving connections that are open: clients come back on them."""

FINISH_SECONDS: Final = 5.0
"""How long requests under way may take after that: twice what a read may take.

aiohttp spends it twice, waiting for a request and then for its cancellation (a client that does not read).
"""

_HANDSHAKE_SECONDS: Final = 0.1
"""How long a client may take to finish a handshake that was begun before no more were answered."""

_WORKER_SECONDS: Final = 30
"""A worker that shows no sign of life for so long is replaced."""

_SPARE_FILES: Final = 200
"""Files of a process that are no client's connection."""

_PR_SET_PDEATHSIG: Final = 1
_SO_ATTACH_FILTER: Final = 26
_NO_HANDSHAKES: Final = b"".join(
    pack("HBBI", *step)
    for step in (
        (0x30, 0, 0, 13),  # the byte of TCP's flags
        (0x54, 0, 0, 0x12),  # of them SYN and ACK
        (0x15, 0, 1, 0x02),  # SYN alone begins a handshake,
        (0x06, 0, 0, 0),  # which is dropped,
        (0x06, 0, 0, 0xFFFFFFFF),  # and all else is let in
    )
)
"""A filter for listening sockets."""


MakeApp = Callable[[Settings, Instruments], Awaitable[web.Application]]
"""Makes the application of one worker; what runs beside it begins and ends in its `cleanup_ctx`."""


def serve(settings: Settings, make_app: MakeApp) -> None:
    """Serve until SIGTERM or SIGINT, and leave by `SystemExit`; SIGHUP replaces the workers one by one.

    With more than one process `PROMETHEUS_MULTIPROC_DIR` must name a folder since before the metrics' library was
    imported.

    Raises:
        SettingsError: an address cannot be listened on.
    """
    with ExitStack() as stack:
        admin = listen(settings.admin_host, settings.admin_port, variables="YOUSYNC_ADMIN")
        for listener in admin:
            stack.enter_context(listener)
        public = listen(settings.api_host, settings.api_port, variables="YOUSYNC_API")
        _allow_many_files(settings.api_connections)
        log.info("listening", host=settings.api_host, port=port_of(public), admin_port=port_of(admin))
        _Master(_Service(settings, make_app, public, admin)).run()


def _allow_many_files(connections: int) -> None:
    """Raise this process's limit to the highest that it may have."""
    _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))
    if highest != resource.RLIM_INFINITY and highest < connections + _SPARE_FILES:
        log.warning("fewer connections than YOUSYNC_API_CONNECTIONS are possible", open_files=highest)


class _Service(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn's settings, and what its workers need of ours."""

    def __init__(
        self, settings: Settings, make_app: MakeApp, public: Sequence[socket.socket], admin: Sequence[socket.socket]
    ) -> None:
        self.settings = settings
        self.make_app = make_app
        self.admin = admin
        self._addresses = [f"fd://{listener.detach()}" for listener in public]
        super().__init__()

    @property
    def several(self) -> bool:
        return self.settings.api_processes > 1

    def load_config(self) -> None:
        in_memory = "/dev/shm"  # noqa: S108 - files without a name, for signs of life
        for name, value in {
            "bind": self._addresses,
            "workers": self.settings.api_processes,
            "worker_class": _Worker,
            "worker_tmp_dir": in_memory if os.access(in_memory, os.W_OK) else None,
            "timeout": _WORKER_SECONDS,
            "graceful_timeout": int(CLOSING_SECONDS + 2 * FINISH_SECONDS) + 3,
            "logger_class": _Log,
            "control_socket_disable": True,
            "proc_name": "yousync-api",
            "child_exit": self._worker_ended,
            "on_exit": _stopped,
        }.items():
            self.cfg.set(name, value)

    def load(self) -> MakeApp:
        return self.make_app

    def _worker_ended(self, master: "_Master", worker: "_Worker") -> None:
        if self.several:
            mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # it has no annotations
        if not master.stopping:
            log.info("worker ended, another takes its place", worker=worker.pid)


def _stopped(_master: "_Master") -> None:
    log.info("stopped")


class _Log(Logger):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn's lines, through the handler that everybody's go through."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        for logger in (self.error_log, self.access_log):
            logger.propagate = True
        # What it says of every start and stop is said here in one line.
        self.error_log.setLevel("WARNING")


class _Master(Arbiter):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn's master, which replaces workers one by one and lets no handshake go unanswered at the end."""

    def __init__(self, service: _Service) -> None:
        super().__init__(service)
        self.stopping = False
        self._outdated: set[int] = set()

    def handle_hup(self) -> None:
        """Replace all workers, each once another one serves."""
        log.info("replacing workers", workers=sorted(self.WORKERS))
        self._outdated = set(self.WORKERS)

    def handle_int(self) -> None:
        """As SIGTERM."""
        self.handle_term()

    def manage_workers(self) -> None:
        """Have the workers that there shall be, and one more while an outdated one waits to be replaced."""
        self._outdated &= self.WORKERS.keys()
        wanted = self.cfg.workers
        replacing = len(self.WORKERS) > wanted and all(worker.serves for worker in self.WORKERS.values())
        self.num_workers = wanted + bool(self._outdated and not replacing)
        super().manage_workers()

    def stop(self, graceful: bool = True) -> None:
        """End the workers, and with them the port."""
        self.stopping = True
        log.info("stopping")
        if graceful:
            for listener in self.LISTENERS:
                refuse_handshakes(listener)
            time.sleep(_HANDSHAKE_SECONDS)
        super().stop(graceful)


def refuse_handshakes(listener: socket.socket) -> None:
    """Let nobody begin to connect any more; who began before may end it, and is then accepted.

    A client that has connected sends its request, and would be cut off if the port was closed before it is accepted.
    Elsewhere than on Linux that may happen.
    """
    program = ctypes.create_string_buffer(_NO_HANDSHAKES, len(_NO_HANDSHAKES))
    described = pack("HP", len(_NO_HANDSHAKES) // 8, ctypes.addressof(program))
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


class _Worker(GunicornUVLoopWebWorker):
    """aiohttp's worker for gunicorn, with bounds on its connections, the admin server, and an end in several steps."""

    app: _Service

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # One byte that the master sees change: memory that both share.
        self._serves = mmap.mmap(-1, 1)
        self._told_to_end = asyncio.Event()

    @property
    def serves(self) -> bool:
        """Whether it has begun to; also for the master to ask."""
        return self._serves[0] == 1

    def init_process(self) -> None:
        _end_with(self.ppid)
        super().init_process()

    def init_signals(self) -> None:
        super().init_signals()
        # Ctrl-C reaches every process of a terminal, and the master tells what is to be done.
        self.loop.add_signal_handler(signal.SIGINT, lambda: None)

    def handle_exit(self, _number: int, _frame: Any) -> None:
        """Told to end (SIGTERM)."""
        self._told_to_end.set()

    def handle_quit(self, _number: int, _frame: Any) -> None:
        """Told to end at once: the master leaves two seconds."""
        self._told_to_end.set()

    async def _run(self) -> None:
        try:
            await self._serve()
        except Exception:
            log.exception("worker failed", worker=self.pid)
            self.exit_code = 1 if self.booted else Arbiter.WORKER_BOOT_ERROR

    async def _serve(self) -> None:
        settings, instruments = self.app.settings, instruments_of_process(several=self.app.several)
        async with AsyncExitStack() as stack:
            admin = web.AppRunner(create_admin_app(instruments.health, instruments.registry), access_log=None)
            await admin.setup()
            stack.push_async_callback(admin.cleanup)
            await serve_on(self.app.admin, admin)
            runner = _Runner(await self.app.make_app(settings, instruments), shutdown_timeout=FINISH_SECONDS)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            connections = Connections(runner.started_server(), instruments.metrics, settings.api_connections)
            keeping = asyncio.create_task(_keep(connections, instruments.metrics))
            stack.callback(keeping.cancel)
            listeners = [listener.sock for listener in self.sockets]
            servers = [
                await self.loop.create_server(connections.accept, sock=listener, backlog=BACKLOG)
                for listener in listeners
            ]
            collect_seldom()
            self.booted = True
            self._serves[0] = 1
            await self._until_told_to_end()
            await _accept_all(listeners)
            for server in servers:
                server.close()
            # Live streams end here, and every answer from now on says that it is its connection's last.
            await runner.shutdown()
            await connections.wait_until_closed(CLOSING_SECONDS)
        instruments.metrics.settle()

    async def _until_told_to_end(self) -> None:
        while not self._told_to_end.is_set() and os.getppid() == self.ppid:
            self.notify()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told_to_end.wait(), 1)


class _Runner(web.AppRunner):
    """Shuts its application down once: early, for what has to end before connections do."""

    __slots__ = ("_is_shut_down",)

    def __init__(self, app: web.Application, *, shutdown_timeout: float) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=shutdown_timeout)
        self._is_shut_down = False

    def started_server(self) -> web.Server:
        if self.server is None:
            raise RuntimeError("the runner is not set up")
        return self.server

    async def shutdown(self) -> None:
        if not self._is_shut_down:
            self._is_shut_down = True
            await super().shutdown()


async def _keep(connections: Connections, metrics: ApiMetrics) -> None:
    """What is done every second."""
    while True:
        await asyncio.sleep(1)
        connections.close_the_slow()
        # Other processes read these figures, too.
        metrics.settle()


async def _accept_all(listeners: Iterable[socket.socket]) -> None:
    """Let the loop accept who has connected already; others may go on connecting to other workers."""
    waiting = select.poll()
    for listener in listeners:
        waiting.register(listener, select.POLLIN)
    deadline = time.monotonic() + 1
    while waiting.poll(0) and time.monotonic() < deadline:  # noqa: ASYNC110 - the system tells of no empty queue
        await asyncio.sleep(0)


def _end_with(master: int) -> None:
    """Leave no worker behind that keeps the port when the master is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != master:
        os._exit(1)
