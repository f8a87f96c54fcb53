"""What is shown, as text."""

import io

from rich.console import Console

from ops.pipeline_observer import QuotaLeft
from yousync.observer import Observation
from yousync.screen import ProcessRow, View, figures, screen, summary

SEEN = Observation(lag=12, videos=20_492, dead_letters=3, quota_left=QuotaLeft(search=97, units=9_990), faults=[])
BLIND = Observation(lag=None, videos=None, dead_letters=None, quota_left=None, faults=["Kafka does not say: gone"])


def view(**changes: object) -> View:
    row = ProcessRow("processor", "restarting", 4711, 2, 100 << 20, "exit code 1")
    shown = View("Simulated YouTube", "http://127.0.0.1:8080/v1/videos", 7.25, [row], SEEN)
    return View(**{field: changes.get(field, getattr(shown, field)) for field in View.__struct_fields__})  # type: ignore[arg-type] # a test's shorthand


def test_the_figures_are_one_line() -> None:
    assert summary(SEEN) == (
        "20,492 videos stored · lag 12 · 3 dead letters · quota left today: 97 search calls, 9,990 units"
    )


def test_what_is_not_known_is_a_question_mark_and_the_fault_follows() -> None:
    assert figures(view(observation=BLIND, url=None)) == [
        "? videos stored · lag ? · ? dead letters · quota left today: ?",
        "Kafka does not say: gone",
    ]


def test_the_url_comes_with_the_time_to_the_first_page() -> None:
    assert figures(view())[-1] == "Open http://127.0.0.1:8080/v1/videos   (first page ready in 7.2 s)"
    assert figures(view(first_page_seconds=None))[-1] == "Open http://127.0.0.1:8080/v1/videos"


def test_the_screen_shows_each_process_with_state_restarts_and_memory() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(screen(view()))

    lines = console.export_text().splitlines()

    assert lines[0].startswith("YouSync  Simulated YouTube")
    assert lines[2].split() == ["processor", "restarting", "4711", "2", "100", "MiB"]
    assert lines[3] == "processor: exit code 1"
    assert "Ctrl-C stops everything" in lines[-1]
