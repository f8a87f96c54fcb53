"""What of a query's past is in the raw topic, and which stretch of time to read next.

A pass over the newest stretch is frequent and short, so that a new video is found soon. What it cannot reach (the
first backfill, an outage, more videos than the quota carries) becomes missed stretches, which are read besides, and
what YouTube indexes later than the overlap reaches back is found by sweeps. The watermark moves with the newest
pass; the stretches still to be read are kept beside it, durably.

Bounds are inclusive and in ms since 1970. Rules only.
"""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from contract.topics import DAY_MS
from producer.search_pass import PAGE_ITEMS
from producer.windows import SECOND_MS, Window

PART_MS: Final = DAY_MS // 2
"""Missed stretches are cut into parts of half a day to a day: so much is read again if the process dies in one."""

SWEEP_EVERY_MS: Final = DAY_MS // 2
"""Twice a day: within a day of its indexing a video is then in one sweep for certain, and mostly in two."""

KEEP_MS: Final = 7 * DAY_MS
"""How long a missed stretch is tried for before it is given up as lost, at least (a longer backfill: as long)."""

MAX_STRETCHES: Final = 400
_MEMORY_DAYS: Final = 2.0
_OUTAGE_DAYS: Final = 2


class Stretch(msgspec.Struct, frozen=True):
    """A part of the past to read; `sweep` was read before, and is read once more."""

    window: Window
    kind: Literal["missed", "sweep"] = "missed"


class Coverage(msgspec.Struct, frozen=True):
    """All of a query up to `covered_until_ms` is in the raw topic, but for the missed `stretches` (oldest first)."""

    covered_until_ms: int
    completed_ms: int | None = None
    swept_ms: int | None = None
    stretches: tuple[Stretch, ...] = ()
    videos_per_day: float | None = None

    @property
    def missed(self) -> tuple[Stretch, ...]:
        """What has never been read."""
        return tuple(stretch for stretch in self.stretches if stretch.kind == "missed")


class FreshWindow(msgspec.Struct, frozen=True):
    """The newest stretch, and what lies between it and the watermark and is left for later (None: nothing)."""

    window: Window
    missed: Window | None = None


def decide_fresh_window(
    coverage: Coverage | None, now_ms: int, *, overlap_seconds: int, backfill_seconds: int, reach_seconds: float
) -> FreshWindow:
    """The next newest window: back to the watermark and the overlap before it, but no farther than `reach_seconds`.

    A watermark ahead of the clock counts as now: it was written by a clock that was wrong. If it is ahead by more than
    the overlap, nobody knows for how long nothing was read, and it counts as none.
    """
    overlap_ms = overlap_seconds * SECOND_MS
    if coverage is None or coverage.covered_until_ms > now_ms + overlap_ms:
        begin_ms = now_ms - backfill_seconds * SECOND_MS
    else:
        begin_ms = min(coverage.covered_until_ms, now_ms) - overlap_ms
    cut_ms = (now_ms - int(reach_seconds * SECOND_MS)) // SECOND_MS * SECOND_MS
    if begin_ms >= cut_ms:
        return FreshWindow(Window(begin_ms, now_ms))
    # An overlap that is longer than the reach is cut; what was never read is not.
    is_read = coverage is not None and cut_ms <= coverage.covered_until_ms <= now_ms + overlap_ms
    return FreshWindow(Window(cut_ms, now_ms), None if is_read else Window(begin_ms, cut_ms - 1))


def reach_seconds(videos_per_day: float, *, calls_per_day: float) -> float:
    """How far any newest window may reach back, so that a round over all queries takes half a day.

    That is of the calls that the newest have while something is missed: one in three.
    `videos_per_day` is what all queries find together: one reach for all, so that what cannot be read is the same
    part of each. Between an hour and a day.
    """
    days = calls_per_day / 3 / 2 * PAGE_ITEMS / max(videos_per_day, 1.0)
    return min(max(days, 1 / 24), 1.0) * DAY_MS / SECOND_MS


def pages_per_pass(videos_per_day: float | None, window: Window, *, calls_per_day: float, queries: int) -> int:
    """After how many pages a pass leaves the rest for later, so that no query holds up the others.

    Half a query's share of a day's calls, or twice what its window is expected to hold if that is more.
    """
    expected = (videos_per_day or 0.0) * window.seconds / 86_400
    return max(2 + int(2 * expected / PAGE_ITEMS), int(calls_per_day / max(1, queries) / 2))


def complete_fresh(
    before: Coverage | None,
    window: Window,
    missed: Iterable[Window],
    now_ms: int,
    *,
    items: int,
    overlap_seconds: int,
    sweep_seconds: int,
) -> Coverage:
    """The coverage once all that a newest pass read is with Kafka; `missed` is what it left out."""
    gaps = tuple(missed)
    read_ms = (
        window.before_ms
        - window.after_ms
        - sum(gap.before_ms - gap.after_ms for gap in gaps if gap.after_ms >= window.after_ms)
    )
    stretches = list(before.stretches if before else ())
    stretches += [part for gap in gaps for part in _parts(gap)]
    swept_ms = before.swept_ms if before else None
    if swept_ms is None:
        swept_ms = now_ms  # the backfill has just read what a sweep would
    elif now_ms - swept_ms >= SWEEP_EVERY_MS and sweep_seconds > overlap_seconds:
        swept_ms = now_ms
        sweep = Window(window.before_ms - sweep_seconds * SECOND_MS, window.before_ms - overlap_seconds * SECOND_MS)
        stretches = [it for it in stretches if it.kind != "sweep" or it.window.after_ms < sweep.after_ms]
        stretches.append(Stretch(sweep, "sweep"))
    return Coverage(
        covered_until_ms=window.before_ms,
        completed_ms=now_ms,
        swept_ms=min(swept_ms, now_ms),
        stretches=tuple(sorted(stretches, key=lambda stretch: stretch.window.before_ms)),
        videos_per_day=_smoothed(before.videos_per_day if before else None, items, read_ms),
    )


def complete_stretch(coverage: Coverage, stretch: Stretch, left_out: Iterable[Window]) -> Coverage:
    """The coverage once a stretch has been read, but for what was left out of it.

    A search leaves out some of what it should list, so what was missed is read for a second time, as a sweep: the
    newest stretch is read again by its overlap.
    """
    rest = [other for other in coverage.stretches if other != stretch]
    if stretch.kind == "missed":
        rest += [part for gap in left_out for part in _parts(gap)]
        rest.append(Stretch(stretch.window, "sweep"))
    return msgspec.structs.replace(coverage, stretches=tuple(sorted(rest, key=lambda each: each.window.before_ms)))


def next_stretch(coverage: Coverage) -> Stretch | None:
    """What to read besides the newest: the newest missed stretch, or else the sweep."""
    missed = coverage.missed
    if missed:
        return missed[-1]
    return coverage.stretches[-1] if coverage.stretches else None


def give_up(coverage: Coverage, now_ms: int, backfill_seconds: int) -> tuple[Coverage, tuple[Stretch, ...]]:
    """The coverage without what has been missed for too long, and what that is: it is lost, and to be told."""
    oldest_ms = now_ms - max(KEEP_MS, backfill_seconds * SECOND_MS) - DAY_MS
    kept = [stretch for stretch in coverage.stretches if stretch.window.before_ms >= oldest_ms]
    kept = kept[-MAX_STRETCHES:]
    lost = tuple(stretch for stretch in coverage.missed if stretch not in kept)
    if len(kept) == len(coverage.stretches):
        return coverage, ()
    return msgspec.structs.replace(coverage, stretches=tuple(kept)), lost


def capacity_per_day(*, calls_per_day: int, queries: int, overlap_seconds: int, sweep_seconds: int) -> float:
    """Videos a day, over all queries, that searches alone can carry.

    Two things must fit into a day's calls, half a page lost at the end of each pass: a pass of each query every
    `overlap_seconds` (so that each video is listed twice at least) with its sweeps; and, after an outage of two days,
    all that was missed, read twice.
    """
    passes = max(1.0, 86_400 / max(1, overlap_seconds))
    sweeps = DAY_MS / SWEEP_EVERY_MS
    times_read = passes * 2 * overlap_seconds / 86_400 + sweeps * max(0, sweep_seconds - overlap_seconds) / 86_400
    every_day = (calls_per_day - queries * (passes + sweeps) / 2) * PAGE_ITEMS / max(1.0, times_read)
    days_to_read = 1 + _OUTAGE_DAYS
    after_outage = (calls_per_day - queries * 2 * days_to_read / 2) * PAGE_ITEMS / (2 * days_to_read)
    return max(0.0, min(every_day, after_outage))


def _parts(gap: Window) -> Iterable[Stretch]:
    """The gap in parts, cut between whole seconds."""
    after_ms = gap.after_ms
    while gap.before_ms - after_ms > 2 * PART_MS:
        cut_ms = (after_ms + PART_MS) // SECOND_MS * SECOND_MS
        yield Stretch(Window(after_ms, cut_ms - 1))
        after_ms = cut_ms
    yield Stretch(Window(after_ms, gap.before_ms))


def _smoothed(before: float | None, items: int, read_ms: int) -> float | None:
    if read_ms < SECOND_MS:
        return before  # too little to tell
    days = read_ms / DAY_MS
    # A short stretch says little: there are busy hours and quiet ones.
    return items / days if before is None else before + days / (days + _MEMORY_DAYS) * (items / days - before)
