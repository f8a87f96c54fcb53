"""`yousync up`: everything on this machine, started in order, watched, shown, and stopped in order."""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from contract.settings import Settings, SettingsError, load_settings
from contract.topics import topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics, require_topics
from yousync.local.kafka import KafkaServer, kafka_jars
from yousync.local.kafka_jars import DownloadStoppedError
from yousync.local.memory import memory_bytes
from yousync.local.mongod import MongodServer, find_mongod
from yousync.local.running_stack import RunningProcess, RunningStack, locked_home, write_running_stack
from yousync.local.server import free_ports, require_free_port
from yousync.local.service_process import ServiceProcess
from yousync.local.supervisor import Child, Supervisor
from yousync.observer import Observation, observer
from yousync.screen import ProcessRow, View, screen, summary
from yousync.stack_plan import Ports, Source, StackPlan, choose_source, plan_stack

_STOP_ORDER: Final = (("producer",), ("processor",), ("api",), ("simulator",), ("MongoDB", "Kafka"))
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_OBSERVE_SECONDS: Final = 2.0
_PLAIN_LINE_SECONDS: Final = 30.0
_ASK_SECONDS: Final = 0.1
_LOG_BYTES: Final = 10 << 20

Tell = Callable[[str], None]


def run(settings: Settings, *, kafka_port: int | None, mongodb_port: int | None) -> None:
    """Run the stack until SIGTERM, SIGHUP or Ctrl-C.

    Raises:
        SettingsError: settings are wrong, before anything is started.
        LocalStackError: the stack cannot start, or cannot be kept running.
    """
    _require_catalogue(settings)
    with locked_home(settings.home):
        plan = plan_stack(settings, _choose_ports(settings, kafka_port, mongodb_port), _generated_queries(settings))
        asyncio.run(_Up(settings, plan).run())


def _require_catalogue(settings: Settings) -> None:
    if settings.simulator_catalogue is not None and not settings.simulator_catalogue.is_file():
        raise SettingsError(f"YOUSYNC_SIMULATOR_CATALOGUE (--catalogue): no such file: {settings.simulator_catalogue}")


def _generated_queries(settings: Settings) -> tuple[str, ...]:
    if choose_source(settings) is not Source.GENERATED:
        return ()
    from simulator.generated import DEFAULT_QUERIES  # noqa: PLC0415 - brings Faker, which a real run need not load

    return DEFAULT_QUERIES


def _choose_ports(settings: Settings, kafka_port: int | None, mongodb_port: int | None) -> Ports:
    spare = free_ports(9)
    ports = Ports(
        kafka=kafka_port or spare[0],
        controller=spare[1],
        mongodb=mongodb_port or spare[2],
        api=settings.api_port or spare[3],
        simulator=(settings.simulator_port if "simulator_port" in settings.model_fields_set else 0) or spare[4],
        admin=dict(zip(("simulator", "processor", "producer", "api"), spare[5:], strict=True)),
    )
    require_free_port(ports.api, "The API", settings.api_host, remedy="choose another with --api-port")
    require_free_port(ports.kafka, "Kafka", remedy="choose another with --kafka-port")
    require_free_port(ports.mongodb, "MongoDB", remedy="choose another with --mongodb-port")
    if choose_source(settings) is not Source.YOUTUBE:
        require_free_port(ports.simulator, "The simulator", remedy="choose another in YOUSYNC_SIMULATOR_PORT")
    return ports


class _Up:
    """One run: starts, watches, shows; every part is a task, and the first failure ends them all."""

    def __init__(self, settings: Settings, plan: StackPlan) -> None:
        self._settings = settings
        self._plan = plan
        self._begun = time.monotonic()
        self._display = _Display()
        self._supervisor = Supervisor(self._display.tell)
        self._stop = asyncio.Event()
        self._stop_download = threading.Event()
        self._topics_exist = asyncio.Event()
        self._answering_url: str | None = None
        self._first_page_seconds: float | None = None
        self._observation: Observation | None = None

    async def run(self) -> None:
        for number in _SIGNALS:
            # Under nohup a lost terminal is no reason to stop.
            if not (number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN):
                asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        async with AsyncExitStack() as stack:
            stack.callback(self._display.close)
            work = asyncio.create_task(self._work())
            stopping = asyncio.create_task(self._stop.wait())
            try:
                await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    with suppress(DownloadStoppedError):
                        await work
            finally:
                work.cancel()
                stopping.cancel()
                await self._stop_everything()
                with suppress(asyncio.CancelledError):
                    if not work.done():
                        await work
            self._display.tell(f"YouSync has stopped; the data stays in {self._plan.folder}")

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._supervisor.close()
        self._stop.set()
        self._stop_download.set()

    async def _work(self) -> None:
        self._display.tell(f"YouSync: {self._plan.headline}")
        jars = await asyncio.to_thread(self._display.downloading, self._stop_download)
        self._display.begin_screen(self._view)
        await asyncio.gather(self._supervise(jars), self._announce(), self._observe(), self._show())

    async def _supervise(self, jars: list[Path]) -> None:
        plan, services = self._plan, {name: self._service(name) for name in self._plan.services}
        await self._supervisor.start(
            MongodServer(
                plan.folder / "mongod", self._log("mongod"), plan.ports.mongodb, find_mongod(self._settings.mongod)
            ),
            KafkaServer(plan.folder / "kafka", self._log("kafka"), plan.ports.kafka, plan.ports.controller, jars),
        )
        await self._make_topics()
        if "simulator" in services:
            await self._supervisor.start(services.pop("simulator"))
        await self._supervisor.start(*services.values())
        await self._supervisor.watch()

    async def _make_topics(self) -> None:
        connection = KafkaConnection(self._plan.shared["kafka_bootstrap_servers"])
        specs = topic_specs(self._settings.topic_partitions)
        await create_missing_topics(connection, specs, 1)
        await require_topics(connection, specs)
        self._topics_exist.set()

    def _service(self, name: str) -> ServiceProcess:
        return ServiceProcess(name, self._log(name), self._plan.ports.admin[name], self._plan.environments[name])

    def _log(self, name: str) -> Path:
        """The log of one process; a long one is put aside at the start of a run."""
        path = self._plan.logs / f"{name}.log"
        if path.exists() and path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(".old.log"))
        return path

    async def _announce(self) -> None:
        """Say that the API answers, and when it has its first video to show."""
        await self._topics_exist.wait()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while self._first_page_seconds is None:
                count = await _items_on_first_page(session, self._plan.url)
                if count is not None and self._answering_url is None:
                    self._answering_url = self._plan.url
                    self._display.tell(f"YouSync is up: {self._plan.url}")
                if count:
                    self._first_page_seconds = time.monotonic() - self._begun
                    self._display.tell(f"First page ready in {self._first_page_seconds:.1f} s")
                await asyncio.sleep(_ASK_SECONDS)

    async def _observe(self) -> None:
        await self._topics_exist.wait()
        settings = load_settings(**self._plan.shared)
        while True:
            with suppress(KafkaError, OSError, TimeoutError):
                async with observer(settings) as eyes:
                    while True:
                        self._observation = await eyes.observe(datetime.now(UTC))
                        await asyncio.sleep(_OBSERVE_SECONDS)
            await asyncio.sleep(_OBSERVE_SECONDS)

    async def _show(self) -> None:
        written: RunningStack | None = None
        while True:
            self._display.show(self._view())
            stack = self._running_stack()
            if stack != written:
                write_running_stack(self._settings.home, stack)
                written = stack
            await asyncio.sleep(0.5)

    def _view(self) -> View:
        return View(
            headline=self._plan.headline,
            url=self._answering_url,
            first_page_seconds=self._first_page_seconds,
            rows=[_row(child) for child in self._supervisor.children],
            observation=self._observation,
        )

    def _running_stack(self) -> RunningStack:
        plan = self._plan
        return RunningStack(
            pid=os.getpid(),
            source=plan.headline,
            url=plan.url,
            simulator_url=plan.simulator_url,
            settings={field: value for field, value in plan.shared.items() if field not in _NOT_FOR_OTHERS},
            processes=[
                RunningProcess(child.name, child.server.pid, child.state, child.restarts, child.fault)
                for child in self._supervisor.children
            ],
        )

    async def _stop_everything(self) -> None:
        self._display.tell("Stopping")
        for names in _STOP_ORDER:
            await self._supervisor.stop(*names)
        self._supervisor.close()


_NOT_FOR_OTHERS: Final = frozenset({"home", "youtube_api_key"})
"""The folder of the data is not the home that commands look in, and a key is nobody else's."""


class _Display:
    """Where the run is shown: a live screen on a terminal, lines elsewhere."""

    def __init__(self) -> None:
        self._console = Console()
        self._live: Live | None = None
        self._states: dict[str, str] = {}
        self._plain_at = 0.0

    def tell(self, message: str) -> None:
        """One line that stays."""
        # The terminal may have gone: the stop must go on all the same.
        with suppress(OSError):
            self._console.print(message, markup=False, highlight=False, soft_wrap=True)
            sys.stdout.flush()

    def downloading(self, stop: threading.Event) -> list[Path]:
        """Fetch Kafka's jars with visible progress."""
        if not self._console.is_terminal:
            return kafka_jars(_PlainProgress(self.tell), stop)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[mib]} MiB"),
        )
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task("Downloading Kafka (once)", total=None, mib=0, visible=False)

            def report(done: int, wanted: int, downloaded: int) -> None:
                bar.update(task, completed=done, total=wanted, mib=downloaded >> 20, visible=True)

            return kafka_jars(report, stop)

    def begin_screen(self, view: Callable[[], View]) -> None:
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=lambda: screen(view()), console=self._console, refresh_per_second=2, transient=True
            )
            self._live.start()

    def show(self, view: View) -> None:
        """Off a terminal: what changed, and the figures now and then."""
        if self._live is not None:
            return
        for row in view.rows:
            if self._states.get(row.name) != row.state:
                self._states[row.name] = row.state
                if row.state in {"ready", "not ready"}:
                    self.tell(f"{row.name} is {row.state} (process {row.pid}){f': {row.fault}' if row.fault else ''}")
        now = time.monotonic()
        if view.observation and now - self._plain_at >= _PLAIN_LINE_SECONDS:
            self._plain_at = now
            for line in (summary(view.observation), *view.observation.faults):
                self.tell(line)

    def close(self) -> None:
        with suppress(OSError):
            if self._live is not None:
                self._live.stop()


class _PlainProgress:
    """A line at first, every 2 s, and at the end."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._told_at = 0.0

    def __call__(self, done: int, wanted: int, downloaded: int) -> None:
        now = time.monotonic()
        if now - self._told_at >= 2 or done == wanted:
            self._told_at = now
            self._tell(f"Downloading Kafka (once): {done} of {wanted} jars, {downloaded >> 20} MiB")


async def _items_on_first_page(session: aiohttp.ClientSession, url: str) -> int | None:
    """How many videos the API's first page shows; None while it does not answer."""
    try:
        async with session.get(url) as answer:
            if answer.status != 200:
                return None
            return len((await answer.json())["items"])
    except (aiohttp.ClientError, TimeoutError, ValueError, LookupError):
        return None


def _row(child: Child) -> ProcessRow:
    return ProcessRow(
        child.name, child.state, child.server.pid, child.restarts, memory_bytes(child.server.pid), child.fault
    )
