"""What `yousync up` shows: one screen on a terminal, a plain line now and then elsewhere. Pure: state in, text out."""

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from yousync.observer import Observation

_STATE_STYLES = {"ready": "green", "starting": "yellow", "restarting": "red", "not ready": "yellow"}


class ProcessRow(msgspec.Struct, frozen=True):
    """One line of the table, and below it why the process is not ready."""

    name: str
    state: str
    pid: int | None
    restarts: int
    memory_bytes: int | None
    fault: str


class View(msgspec.Struct, frozen=True):
    """Everything that is shown at one moment."""

    headline: str
    url: str | None
    first_page_seconds: float | None
    rows: list[ProcessRow]
    observation: Observation | None


def screen(view: View) -> RenderableType:
    """The whole screen."""
    return Group(
        Text("YouSync", style="bold").append(f"  {view.headline}", style="not bold"),
        process_table(view.rows),
        *(Text(line, style="yellow") for line in process_faults(view.rows)),
        *(Text(line) for line in figures(view)),
        Text("Ctrl-C stops everything; the data stays.", style="dim"),
    )


def process_table(rows: list[ProcessRow]) -> Table:
    """What runs, a process a line."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("process", "state", "pid", "restarts", "memory"):
        table.add_column(title, justify="left" if title in {"process", "state"} else "right")
    for row in rows:
        state = Text(row.state, style=_STATE_STYLES.get(row.state, "dim"))
        memory = "" if row.memory_bytes is None else f"{row.memory_bytes / 2**20:.0f} MiB"
        table.add_row(row.name, state, str(row.pid or ""), str(row.restarts), memory)
    return table


def process_faults(rows: list[ProcessRow]) -> list[str]:
    """Why processes are not ready, a line each."""
    return [f"{row.name}: {row.fault}" for row in rows if row.fault]


def figures(view: View) -> list[str]:
    """The figures below the table, then the URL."""
    lines = [summary(view.observation)] if view.observation else []
    if view.observation:
        lines += [*view.observation.notices, *view.observation.faults]
    if view.url:
        ready = "" if view.first_page_seconds is None else f"   (first page ready in {view.first_page_seconds:.1f} s)"
        lines.append(f"Open {view.url}{ready}")
    return lines


def summary(seen: Observation) -> str:
    """The pipeline in one line."""
    left = seen.quota_left
    quota = "?" if left is None else f"{left.search:,} search calls, {left.units:,} units"
    return (
        f"{_count(seen.videos)} videos stored · lag {_count(seen.lag)} · "
        f"{_count(seen.dead_letters)} dead letters · quota left today: {quota}"
    )


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"
