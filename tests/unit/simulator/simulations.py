"""Small simulations for tests: a clock that only tests move, and videos that say no more than they must."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulator.catalogue import CatalogueVideo
from simulator.faults import Faults, Setting
from simulator.indexing_delay import IndexingDelay
from simulator.publication_log import PublicationLog
from simulator.quota import Quota
from simulator.simulation import Simulation

START_MS = 1_790_424_000_000
"""2026-09-26T12:00:00Z."""

CHANNEL = "UCaaaaaaaaaaaaaaaaaaaaaa"
OTHER_CHANNEL = "UCbbbbbbbbbbbbbbbbbbbbbb"


@dataclass
class MovedClock:
    """Milliseconds since 1970, moved by hand."""

    now_ms: int = START_MS

    def __call__(self) -> int:
        return self.now_ms

    def forward(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)


@dataclass
class Made:
    """A simulation and the clock that it goes by."""

    simulation: Simulation
    clock: MovedClock = field(default_factory=MovedClock)


def video(number: int, title: str = "Some talk", **fields: Any) -> CatalogueVideo:
    """The video of this number; numbers sort as ids do."""
    return CatalogueVideo(
        video_id=f"video{number:06d}",
        title=title,
        channel_id=fields.pop("channel_id", CHANNEL),
        channel_title=fields.pop("channel_title", "Somebody"),
        **fields,
    )


def make_simulation(folder: Path, videos: Iterable[CatalogueVideo] = (), **changed: Any) -> Made:
    """A simulation whose videos can be searched at once, with 1,000 calls and units a day; `changed` by field name."""
    clock = changed.pop("clock", None) or MovedClock()
    to_publish = list(videos)
    arguments: dict[str, Any] = {
        "log": PublicationLog.open(folder / "published.jsonl"),
        "source": lambda known: (one for one in to_publish if one.video_id not in known),
        "clock": clock,
        "rate": 5.0,
        "seed": 1,
        "indexing_delay": IndexingDelay(1, 0, 0),
        "quota": Quota(search_calls_per_day=1000, units_per_day=1000),
        "faults": Faults(1),
        **changed,
    }
    return Made(Simulation(**arguments), clock)


def published(folder: Path, count: int, *, every_seconds: float = 1, **changed: Any) -> Made:
    """A simulation with videos 0 to `count` - 1 out, one after another, and its clock at the last."""
    made = make_simulation(folder, **changed)
    for number in range(count):
        if number:
            made.clock.forward(every_seconds)
        made.simulation.publish([video(number, f"Talk {number}")])
    return made


def always(*names: str, times: int | None = None) -> Faults:
    """These faults strike whenever they can."""
    return Faults(1, {name: Setting(1.0, times) for name in names})
