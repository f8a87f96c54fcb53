"""`yousync replay`: what it would do, and how far it is, in words or as JSON lines."""

import asyncio
import signal
import sys
import time
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from contract.settings import Settings
from contract.topics import RAW, VIDEOS
from processors.replay.replay import Options, Plan, Result, execute, make_plan
from processors.replay.replay import Progress as Step

RECORDS_A_SECOND: Final = 8_000
"""With verification, on two cores that Kafka and MongoDB share; for the estimate alone. See bench/bench_replay.py."""

DOCUMENT_BYTES: Final = 2_000
"""Likewise, where there is no store yet to judge by."""

_LINE_SECONDS: Final = 5.0


async def show_plan(settings: Settings, options: Options, *, as_json: bool) -> int:
    """Print what a replay would do; the exit code."""
    plan = await make_plan(settings, options)
    estimate = {"seconds": round(_seconds(plan, options), 1), "bytes": _bytes(plan)}
    if as_json:
        print(msgspec.json.encode({"phase": "plan", **msgspec.to_builtins(plan), "estimate": estimate}).decode())  # noqa: T201  # the answer
    else:
        _print_plan(plan, options)
    return 1 if plan.faults else 0


def _seconds(plan: Plan, options: Options) -> float:
    return plan.records / min(RECORDS_A_SECOND, options.rate or RECORDS_A_SECOND)


def _bytes(plan: Plan) -> int:
    return plan.live_bytes if plan.live_documents else plan.records * DOCUMENT_BYTES


def _print_plan(plan: Plan, options: Options) -> None:
    topic = RAW if plan.source == "raw" else VIDEOS
    lines = [
        f"Plan: rebuild the store from {topic}. Nothing is changed; add --execute to do it.",
        *(
            f"  partition {one.partition}: {one.start:,} to {one.end:,}, {one.records:,} records"
            for one in plan.extents
        ),
        f"Records: {plan.records:,}, about {_duration(_seconds(plan, options))}"
        + (f" at {options.rate:,.0f} a second" if options.rate else ""),
        f"Disk: about {_size(_bytes(plan))} beside the store's {_size(plan.live_bytes)} until the swap",
    ]
    if plan.eaten_records:
        lines.append(f"Retention has removed {plan.eaten_records:,} raw records so far.")
    if plan.only_in_store:
        lines.append(f"{plan.only_in_store:,} videos of the store have no record left: --carry-over keeps them.")
    members = ", ".join(str(version or "unknown") for version in plan.members) or "none running"
    lines.append(
        f"Projection version: store {plan.live_version or 'unknown'}, this {plan.version}, processors: {members}"
    )
    if plan.unfinished is not None:
        lines.append(
            f"Unfinished: a replay that began at {plan.unfinished.started_at} is {plan.unfinished.phase}; "
            "--execute --resume goes on with it, --execute starts again."
        )
    for line in [*lines, *plan.faults]:
        Console(highlight=False).print(line, markup=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _size(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count < 1e10 else f"{count / 1e9:,.0f} GB"


async def carry_out(settings: Settings, options: Options, *, as_json: bool) -> int:
    """Replay, telling how far it is; the exit code. A stop by signal ends it in order: it can be resumed.

    Raises:
        ReplayRefused: see `processors.replay.replay.execute`.
    """
    telling = _JsonLines() if as_json else _Bar() if sys.stderr.isatty() else _Lines()
    work = asyncio.ensure_future(execute(settings, options, telling.tell))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    try:
        result = await work
    except asyncio.CancelledError:
        telling.end()
        sys.stderr.write("Stopped; readers saw nothing of it. Go on with: yousync replay --execute --resume\n")
        return 1
    finally:
        telling.end()
    telling.done(result)
    return 0


class _JsonLines:
    """One JSON object a line on standard output, for programs."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()

    def tell(self, step: Step) -> None:
        self._print({**msgspec.to_builtins(step), "seconds": round(time.monotonic() - self._began_at, 2)})

    def end(self) -> None:
        """Nothing is open."""

    def done(self, result: Result) -> None:
        self._print({"phase": "done", **msgspec.to_builtins(result)})

    def _print(self, said: dict[str, Any]) -> None:
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
        sys.stdout.flush()


class _Lines:
    """A line at each new phase, and now and then in a long one."""

    def __init__(self) -> None:
        self._phase = ""
        self._said_at = 0.0

    def tell(self, step: Step) -> None:
        if step.phase == self._phase and time.monotonic() - self._said_at < _LINE_SECONDS:
            return
        self._phase, self._said_at = step.phase, time.monotonic()
        of = "" if step.total is None else f" of {step.total:,}"
        done = f": {step.done:,}{of}" if step.done or step.total else ""
        sys.stderr.write(f"{step.phase}{done}{f' ({step.note})' if step.note else ''}\n")

    def end(self) -> None:
        """Nothing is open."""

    def done(self, result: Result) -> None:
        sys.stdout.write(_summary(result) + "\n")


class _Bar:
    """A progress bar on a terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
        )
        self._phase = ""
        self._progress.start()

    def tell(self, step: Step) -> None:
        if step.phase != self._phase:
            self._phase = step.phase
            self._task = self._progress.add_task(step.phase, total=None, note="")
        self._progress.update(self._task, completed=step.done, total=step.total, note=step.note or "")

    def end(self) -> None:
        self._progress.stop()

    def done(self, result: Result) -> None:
        sys.stdout.write(_summary(result) + "\n")


def _summary(result: Result) -> str:
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in sorted(result.verdicts.items()))
    return (
        f"Swapped in: {result.videos:,} videos from {result.records:,} records in {result.seconds:,.1f} s"
        f"{f' ({verdicts})' if verdicts else ''}."
    )
