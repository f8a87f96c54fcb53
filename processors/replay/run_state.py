"""A replay's run: what is kept of it in the database, and what a start makes of what it finds. Rules only."""

from typing import Literal

import msgspec

from contract.read_model import PROJECTION_VERSION, SHADOW_PREFIX

Source = Literal["raw", "videos"]
Phase = Literal["loading", "following", "swapping", "done"]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The last run. `owner` is the attempt that works on it, None when it has ended; `beat` counts while it lives.

    `generation` is the UUID of the shadow. Per partition, all below `offsets` is in it: of the topic of `source` while
    `loading`, of the raw topic after that. `ends` is how far the load goes, `tail` where the raw topic goes on then.
    """

    owner: str | None
    beat: int
    host: str
    pid: int
    started_at: str
    phase: Phase
    source: Source
    shadow: str
    generation: str
    projection_version: int
    offsets: dict[str, int]
    ends: dict[str, int]
    tail: dict[str, int]

    @property
    def unfinished(self) -> bool:
        return self.phase != "done"


def shadow_name(attempt: str) -> str:
    """The collection of one attempt: nobody else ever writes to that name."""
    return f"{SHADOW_PREFIX}{attempt}"


def resume_fault(run: Run | None, source: Source, *, shadow_is_there: bool, swapped: bool) -> str | None:
    """Why there is nothing to go on with; None when there is."""
    again = "start again: yousync replay --execute"
    if run is None or not run.unfinished:
        return f"there is no unfinished replay: {again}"
    if swapped:
        return None
    if not shadow_is_there:
        return f"what the unfinished replay had built is gone: {again}"
    if run.projection_version != PROJECTION_VERSION:
        return (
            f"the unfinished replay is of projection version {run.projection_version}, this is version "
            f"{PROJECTION_VERSION}: {again}"
        )
    if run.source != source:
        return f"the unfinished replay reads --from {run.source}: name that, or {again}"
    return None
