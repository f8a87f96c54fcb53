"""A seeded storm over real workers, a real Kafka and a real MongoDB while records keep coming.

`plan` turns a seed into a list of steps with their times, and nothing else decides: the same seed repeats the same
storm, but for the timing of the machine. `Storm` carries the steps out, restarts workers that end by themselves as a
supervisor would, then lets everything calm down and has the history checked.
"""

import asyncio
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from contract.topics import CHANGELOG, DEAD_LETTER, VIDEOS, topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from tests.conftest import Servers
from tests.fault.record_writer import RecordWriter
from tests.history import check_acknowledged, check_history, is_consumed
from tests.kafka_faults import accept_writes, delete_topic, refuse_writes
from tests.raw_items import PARTITIONS
from tests.service_process import ServiceProcess, wait_for

SESSION_SECONDS: Final = 6
WORKERS: Final = 3
EXITS_IN_A_ROW: Final = 4
"""A worker that ends by itself so often without having been ready in between is in a loop."""

CALM_SECONDS: Final = 240
"""How long the workers may take afterwards, on a machine of two busy cores, to be done with all records."""

_MEAN_GAP_SECONDS: Final = 4.0
_LOOK_SECONDS: Final = 0.2


@dataclass(frozen=True)
class Step:
    """Something done at `at` seconds after the start: to a worker (by number), or to a server or topic (by name)."""

    at: float
    what: str
    worker: int | None = None
    topic: str = ""

    def __str__(self) -> str:
        subject = self.topic if self.worker is None else f"worker {self.worker}"
        return f"{self.at:6.1f} s  {self.what} {subject}".rstrip()


def plan(seed: int, seconds: float, away_seconds: float) -> list[Step]:
    """The storm's steps in order; what a step breaks, a later one mends. MongoDB is away for `away_seconds` at most."""
    return sorted(_Planner(random.Random(seed), away_seconds).steps(seconds), key=lambda step: step.at)


class _Planner:
    """Draws episodes, each of which keeps its subjects (workers, servers, topics) to itself until it is over."""

    def __init__(self, chance: random.Random, away_seconds: float) -> None:
        self._chance = chance
        self._away_seconds = away_seconds
        self._busy: dict[int | str, float] = {}

    def steps(self, seconds: float) -> Iterator[Step]:
        workers = list(range(WORKERS))
        self._chance.shuffle(workers)
        for number, worker in enumerate(workers):
            joins_at = 0.0 if number == 0 else self._chance.choice([0.0, self._chance.uniform(0, seconds / 2)])
            self._busy[worker] = joins_at
            yield Step(joins_at, "start", worker)
        at = 6.0
        while at < seconds:
            yield from self._episode(at)
            at += 0.5 + self._chance.expovariate(1 / _MEAN_GAP_SECONDS)

    def _episode(self, at: float) -> list[Step]:
        """An episode whose subjects are free now, if there is one."""
        episodes = [
            (3, self._killed), (3, self._paused), (2, self._left), (1, self._kafka_restarted), (1, self._kafka_killed),
            (1, self._mongod_killed), (1, self._mongod_paused), (1, self._mongod_slow), (2, self._topic_refuses),
            (1, self._changelog_recreated), (1, self._table_wiped), (1, self._table_garbled), (1, self._tables_swapped),
            (1, self._table_rolled_back),
        ]  # fmt: skip
        draw = [episode for weight, episode in episodes for _ in range(weight)]
        self._chance.shuffle(draw)
        return next(filter(None, (episode(at) for episode in draw)), [])

    def _free(self, at: float, *subjects: int | str) -> bool:
        return all(self._busy.get(one, 0) <= at for one in subjects)

    def _keep(self, until: float, *subjects: int | str) -> None:
        self._busy.update(dict.fromkeys(subjects, until + 0.5))

    def _workers(self, at: float, count: int) -> list[int]:
        free = [worker for worker in range(WORKERS) if self._free(at, worker)]
        return self._chance.sample(free, count) if len(free) >= count else []

    def _one_or_two(self, at: float) -> list[int]:
        return self._workers(at, self._chance.choice([1, 1, 2])) or self._workers(at, 1)

    def _down_and_up(
        self, at: float, workers: list[int], shortest: float, longest: float, *, down: str = "kill", up: str = "start"
    ) -> list[Step]:
        ends = [at + self._chance.uniform(shortest, longest) for _ in workers]
        for worker, end in zip(workers, ends, strict=True):
            self._keep(end, worker)
        return [
            *(Step(at, down, worker) for worker in workers),
            *(Step(end, up, worker) for worker, end in zip(workers, ends, strict=True)),
        ]

    def _killed(self, at: float) -> list[Step]:
        return self._down_and_up(at, self._one_or_two(at), 0, 3)

    def _paused(self, at: float) -> list[Step]:
        """Longer than the session (rarely just shorter): the zombie wakes up when others own its partitions."""
        return self._down_and_up(
            at, self._one_or_two(at), SESSION_SECONDS - 2, SESSION_SECONDS + 8, down="pause", up="resume"
        )

    def _left(self, at: float) -> list[Step]:
        return self._down_and_up(at, self._workers(at, 1), 0, 12, down="terminate")

    def _server(self, at: float, name: str, down: str, up: str, longest: float) -> list[Step]:
        if not self._free(at, name):
            return []
        end = at + self._chance.uniform(0, longest)
        self._keep(end + 8, name)  # it has to start, too
        return [Step(at, f"{down} {name}"), Step(end, f"{up} {name}")]

    def _kafka_restarted(self, at: float) -> list[Step]:
        return self._server(at, "kafka", "stop", "start", 4)

    def _kafka_killed(self, at: float) -> list[Step]:
        return self._server(at, "kafka", "kill", "start", 4)

    def _mongod_killed(self, at: float) -> list[Step]:
        return self._server(at, "mongod", "kill", "start", self._away_seconds)

    def _mongod_paused(self, at: float) -> list[Step]:
        return self._server(at, "mongod", "pause", "resume", self._away_seconds)

    def _mongod_slow(self, at: float) -> list[Step]:
        """It answers in gasps."""
        if not self._free(at, "mongod"):
            return []
        steps, end = [], at + self._chance.uniform(3, 10)
        while at < end:
            steps += [Step(at, "pause mongod"), Step(at + self._chance.uniform(0.1, 0.8), "resume mongod")]
            at += self._chance.uniform(0.9, 1.2)
        self._keep(at, "mongod")
        return steps

    def _topic_refuses(self, at: float) -> list[Step]:
        topic = self._chance.choice([DEAD_LETTER, DEAD_LETTER, VIDEOS, CHANGELOG])
        if not self._free(at, topic, "kafka"):
            return []
        end = at + self._chance.uniform(1, 12)
        self._keep(end + 2, topic, "kafka")
        return [Step(at, "refuse writes to", topic=topic), Step(end, "accept writes to", topic=topic)]

    def _changelog_recreated(self, at: float) -> list[Step]:
        """With no worker alive; their local tables stay, and are of another topic from then on."""
        workers = list(range(WORKERS))
        if not self._free(at, "kafka", CHANGELOG, *workers):
            return []
        steps = self._down_and_up(at, workers, 4, 8, down=self._chance.choice(["kill", "terminate"]))
        self._keep(at + 4, "kafka", CHANGELOG)
        return [*steps, Step(at + 3, "recreate", topic=CHANGELOG)]

    def _table_wiped(self, at: float) -> list[Step]:
        return self._with_table(at, "wipe the table of")

    def _table_garbled(self, at: float) -> list[Step]:
        return self._with_table(at, self._chance.choice(["truncate a table file of", "garble a table file of"]))

    def _with_table(self, at: float, what: str) -> list[Step]:
        workers = self._workers(at, 1)
        steps = self._down_and_up(at, workers, 0.2, 2)
        return [*steps, *(Step(at + 0.1, what, worker) for worker in workers)]

    def _tables_swapped(self, at: float) -> list[Step]:
        workers = self._workers(at, 2)
        steps = self._down_and_up(at, workers, 0.3, 2)
        return [*steps, *(Step(at + 0.1, "give its table to the next:", worker) for worker in workers)]

    def _table_rolled_back(self, at: float) -> list[Step]:
        """An old copy of the volume comes back, as from a snapshot."""
        workers = self._workers(at, 1)
        if not workers:
            return []
        copied = self._down_and_up(at, workers, 0.3, 1)
        later = at + self._chance.uniform(6, 20)
        restored = self._down_and_up(later, workers, 0.3, 2)
        return [
            *copied,
            Step(at + 0.1, "copy the table of", workers[0]),
            *restored,
            Step(later + 0.1, "bring back the copied table of", workers[0]),
        ]


class StormFailure(AssertionError):
    """What went wrong, with the seed and the steps that were taken."""


@dataclass
class _Worker:
    """One slot: its process, and what is wanted of it."""

    number: int
    folder: Path
    process: ServiceProcess
    wanted: bool = False
    paused: bool = False
    exits_in_a_row: int = 0
    exits: list[int] = field(default_factory=list)

    @property
    def table(self) -> Path:
        return self.folder / "home" / "processor"

    @property
    def runs(self) -> bool:
        return self.process.runs


class Storm:
    """One storm on a fresh pair of servers; `settings` are given to every worker."""

    def __init__(
        self,
        seed: int,
        seconds: float,
        servers: Servers,
        folder: Path,
        *,
        away_seconds: float,
        settings: Mapping[str, str],
    ) -> None:
        self.seed = seed
        self._servers = servers
        self._folder = folder
        self._steps = plan(seed, seconds, away_seconds)
        self._chance = random.Random(f"{seed}-files")
        self._taken: list[str] = []
        self._writer = RecordWriter(servers.kafka_bootstrap, seed)
        self._workers = [self._worker(number, settings) for number in range(WORKERS)]
        self._swapped: Path | None = None
        self._began = 0.0

    def _worker(self, number: int, settings: Mapping[str, str]) -> _Worker:
        folder = self._folder / f"worker-{number}"
        folder.mkdir(parents=True)
        return _Worker(
            number,
            folder,
            ServiceProcess(
                "processor",
                folder,
                {
                    "KAFKA_BOOTSTRAP_SERVERS": self._servers.kafka_bootstrap,
                    "MONGODB_URI": self._servers.mongodb_uri,
                    "YOUSYNC_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
                    **settings,
                },
            ),
        )

    def run(self) -> str:
        """The whole storm with its calm and its check; one line that says what it was.

        Raises:
            StormFailure: a promise is broken, or a worker does not come back.
        """
        asyncio.run(create_missing_topics(KafkaConnection(self._servers.kafka_bootstrap), topic_specs(PARTITIONS), 1))
        self._began = time.monotonic()
        try:
            with self._writer:
                self._blow()
            calm_at = time.monotonic()
            self._calm_down()
            calmed = time.monotonic() - calm_at
            self._check()
        except Exception as error:
            raise StormFailure(self._report(error)) from error
        finally:
            for worker in self._workers:
                worker.process.__exit__(None, None, None)
        exits = [code for worker in self._workers for code in worker.exits]
        return (
            f"storm {self.seed}: {len(self._taken)} steps, {self._writer.count} records, consumed {calmed:.0f} s after "
            f"the end, exits by themselves: {exits}"
        )

    def _blow(self) -> None:
        for step in self._steps:
            while time.monotonic() - self._began < step.at:
                self._look_after()
                time.sleep(_LOOK_SECONDS)
            self._take(step)
            self._look_after()

    def _take(self, step: Step) -> None:
        late = time.monotonic() - self._began - step.at
        self._taken.append(f"{step}  (+{late:.1f} s)" if late >= 1 else str(step))
        say(f"storm {self.seed}  {self._taken[-1]}")
        if step.worker is not None:
            self._of_worker(step.what)(self._workers[step.worker])
        elif step.topic:
            self._of_topic(step.what)(step.topic)
        else:
            self._of_server(step.what)

    def _of_worker(self, what: str) -> Callable[[_Worker], None]:
        return {
            "start": self._start,
            "kill": self._kill,
            "pause": self._pause,
            "resume": self._resume,
            "terminate": self._terminate,
            "wipe the table of": lambda worker: shutil.rmtree(worker.table, ignore_errors=True),
            "truncate a table file of": lambda worker: self._damage(worker, _truncate),
            "garble a table file of": lambda worker: self._damage(worker, _garble),
            "give its table to the next:": self._pass_on,
            "copy the table of": lambda worker: _copy(worker.table, worker.folder / "copy"),
            "bring back the copied table of": lambda worker: _copy(worker.folder / "copy", worker.table),
        }[what]

    def _of_topic(self, what: str) -> Callable[[str], None]:
        wanted = {spec.name: spec for spec in topic_specs(PARTITIONS)}
        bootstrap = self._servers.kafka_bootstrap

        def recreate(topic: str) -> None:
            asyncio.run(delete_topic(bootstrap, topic))
            asyncio.run(create_missing_topics(KafkaConnection(bootstrap), [wanted[topic]], 1))

        return {
            "refuse writes to": lambda topic: asyncio.run(refuse_writes(bootstrap, wanted[topic])),
            "accept writes to": lambda topic: asyncio.run(accept_writes(bootstrap, wanted[topic])),
            "recreate": recreate,
        }[what]

    def _of_server(self, what: str) -> None:
        action, name = what.split(" ", 1)
        server = {"kafka": self._servers.kafka, "mongod": self._servers.mongod}[name]
        getattr(server, action)()

    def _start(self, worker: _Worker) -> None:
        worker.wanted, worker.exits_in_a_row = True, 0
        worker.process.start()

    def _kill(self, worker: _Worker) -> None:
        worker.wanted = worker.paused = False
        if worker.runs:
            worker.process.kill()

    def _pause(self, worker: _Worker) -> None:
        worker.paused = True
        worker.process.pause()

    def _resume(self, worker: _Worker) -> None:
        worker.paused = False
        worker.process.resume()

    def _terminate(self, worker: _Worker) -> None:
        worker.wanted = False
        if worker.runs:
            code = worker.process.terminate(30)
            # One that finds itself fenced at that moment says so, and one may not have come to its handler yet.
            assert code in {0, 1, -signal.SIGTERM}, f"worker {worker.number} ended with {code} when asked to stop"

    def _damage(self, worker: _Worker, damage: Callable[[Path, random.Random], None]) -> None:
        files = sorted(one for one in worker.table.rglob("*") if one.is_file() and one.stat().st_size)
        if files:
            chosen = self._chance.choice(files)
            say(f"storm {self.seed}          {chosen.relative_to(worker.folder)}, {chosen.stat().st_size} bytes")
            damage(chosen, self._chance)

    def _pass_on(self, worker: _Worker) -> None:
        """The first gives its table away and the second takes it; the second's goes to the first."""
        kept = self._folder / "swapped"
        if self._swapped is None:
            worker.table.mkdir(parents=True, exist_ok=True)
            worker.table.rename(kept)
            self._swapped = worker.table
        else:
            worker.table.mkdir(parents=True, exist_ok=True)
            worker.table.rename(self._swapped)
            kept.rename(worker.table)
            self._swapped = None

    def _look_after(self) -> None:
        """Restart what ended by itself."""
        self._writer.check()
        for worker in self._workers:
            if not worker.wanted or worker.paused:
                continue
            if worker.runs:
                if worker.exits_in_a_row and worker.process.readiness() == 200:
                    worker.exits_in_a_row = 0
                continue
            code = worker.process.process.returncode
            worker.exits.append(code)
            worker.exits_in_a_row += 1
            elapsed = time.monotonic() - self._began
            self._taken.append(f"{elapsed:6.1f} s  worker {worker.number} ended by itself with {code}")
            say(f"storm {self.seed}  {self._taken[-1]}")
            assert code == 1, f"worker {worker.number} ended by itself with {code}: {worker.process.tail()}"
            assert worker.exits_in_a_row <= EXITS_IN_A_ROW, (
                f"worker {worker.number} ends by itself again and again: {worker.process.tail()}"
            )
            worker.process.start()

    def _calm_down(self) -> None:
        for worker in self._workers:
            if not worker.wanted:
                self._start(worker)

        def consumed() -> bool:
            self._look_after()
            return asyncio.run(is_consumed(self._servers.kafka_bootstrap))

        wait_for(consumed, CALM_SECONDS, lambda: f"not consumed within {CALM_SECONDS} s: {self._tails()}")
        for worker in self._workers:
            self._terminate(worker)

    def _check(self) -> None:
        asyncio.run(check_acknowledged(self._servers.kafka_bootstrap, self._writer.acknowledged))
        asyncio.run(check_history(self._servers.kafka_bootstrap, self._servers.mongodb_uri))

    def _tails(self) -> str:
        return "\n".join(f"worker {worker.number}: {worker.process.tail(1500)}" for worker in self._workers)

    def _report(self, error: Exception) -> str:
        steps = "\n".join(self._taken)
        return f"storm {self.seed} (YOUSYNC_STORM_SEED={self.seed}) failed: {error}\n{steps}\nlogs: {self._folder}"


def _truncate(file: Path, chance: random.Random) -> None:
    os.truncate(file, chance.randrange(file.stat().st_size))


def _garble(file: Path, chance: random.Random) -> None:
    size = file.stat().st_size
    with file.open("r+b") as opened:
        for _ in range(1 + size // 1000):
            opened.seek(chance.randrange(size))
            opened.write(chance.randbytes(8))


def _copy(source: Path, target: Path) -> None:
    if source.exists():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)


def say(line: str) -> None:
    """To the terminal or the test's captured output, at once."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201
