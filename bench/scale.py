"""What so many requests and so many videos need, from measured costs of one: the tables of `docs/scale.md`.

    .venv/bin/python -m bench.scale

Nothing is measured here. `COSTS` are figures of the benchmarks; a change there is entered here, and the tables of the
guide are then made again (a test compares them).
"""

import math
from typing import Final

import msgspec

DAY_SECONDS: Final = 86_400
REPLICAS: Final = 3
RATES: Final = (1, 100, 10_000)
VIDEOS: Final = (1_000_000, 100_000_000, 10_000_000_000)
RETENTION_DAYS: Final = 29
REFRESH_DAYS: Final = 25
IDS_PER_CALL: Final = 50
"""Videos that one unit of YouTube's quota refreshes."""


class Costs(msgspec.Struct, frozen=True):
    """Of one process on a core of its own, or of one video; bytes are on the disk."""

    hot_pages: float = 16_299
    """Answers a second from memory (`read_api`, 100,000 videos)."""
    stored_pages: float = 2_301
    """Answers a second that ask MongoDB (`read_api`, a million videos; MongoDB on the same two cores)."""
    searches: float = 312
    """A second, one after the other: the median is 3.2 ms (`read_api`, a million videos)."""
    processed: float = 4_505
    """Records a second, half of them new (`bench_live_path`, stock loop)."""
    replayed: float = 10_012
    """Records a second into an empty store, with its indexes (`bench_replay`)."""
    document: float = 726
    """A stored document, compressed (`collStats` of 100,000 made-up videos of 2.9 kB)."""
    search_index: float = 1_478
    other_indexes: float = 131
    raw_record: float = 400
    """A record of `videos.list`, zstd in batches of 100 (20,492 real videos; a lone record is 2,447)."""
    video_event: float = 352
    """A record of `youtube.videos`, likewise."""
    table_entry: float = 150
    """Key and value of the processors' table."""


COSTS: Final = Costs()


class Reads(msgspec.Struct, frozen=True):
    """What a rate of requests needs: processes of the API (never fewer than two), and reads that MongoDB answers."""

    rate: int
    processes: int
    store_reads: float


class Storage(msgspec.Struct, frozen=True):
    """What a number of videos needs, replicas not counted but in `disk`; bytes, and units of quota a day."""

    videos: int
    store: float
    index_in_memory: float
    raw_topic: float
    video_topic: float
    table: float
    disk: float
    refresh_units: float
    replay_hours: float
    refresh_rate: float
    """Records a second, each a write and an event."""


def reads(rate: int, *, from_memory: float = 0.9, searching: float = 0.02, costs: Costs = COSTS) -> Reads:
    """`rate` requests a second: of these so many are answered from memory and so many search; the rest are pages."""
    pages = 1 - from_memory - searching
    busy = rate * (from_memory / costs.hot_pages + pages / costs.stored_pages + searching / costs.searches)
    # Half loaded, so that one of two, or one zone of three, may go.
    return Reads(rate, max(2, math.ceil(2 * busy)), rate * (pages + searching))


def storage(videos: int, costs: Costs = COSTS) -> Storage:
    """So many videos, each refreshed every 25 days."""
    store = videos * (costs.document + costs.search_index + costs.other_indexes)
    raw = videos * costs.raw_record * RETENTION_DAYS / REFRESH_DAYS
    events = videos * costs.video_event
    replayed = videos * RETENTION_DAYS / REFRESH_DAYS / costs.replayed
    return Storage(
        videos=videos,
        store=store,
        index_in_memory=videos * (costs.search_index + costs.other_indexes),
        raw_topic=raw,
        video_topic=events,
        table=videos * costs.table_entry,
        disk=REPLICAS * (store + raw + events),
        refresh_units=videos / IDS_PER_CALL / REFRESH_DAYS,
        replay_hours=replayed / 3600,
        refresh_rate=videos / REFRESH_DAYS / DAY_SECONDS,
    )


def tables() -> str:
    """The tables, as the guide has them."""
    lines = ["| requests a second | API processes | pages and searches that reach MongoDB, a second |", "|---|---|---|"]
    for rate in RATES:
        need = reads(rate)
        lines.append(f"| {rate:,} | {need.processes:,} | {need.store_reads:,.1f} |")
    lines += [
        "",
        "| videos | store | of it indexes | raw topic | `youtube.videos` | table | disk, three copies | refresh |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for videos in VIDEOS:
        need_of = storage(videos)
        sizes = (
            need_of.store,
            need_of.index_in_memory,
            need_of.raw_topic,
            need_of.video_topic,
            need_of.table,
            need_of.disk,
        )
        lines.append(
            f"| {videos:,} | {' | '.join(map(size, sizes))} "
            f"| {need_of.refresh_units:,.0f} units a day, {need_of.refresh_rate:,.2f} a second |"
        )
    lines += [
        "",
        "| videos | replay in one process | new videos a second, if they came within ten years |",
        "|---|---|---|",
    ]
    for videos in VIDEOS:
        arriving = videos / (10 * 365.25 * DAY_SECONDS)
        lines.append(f"| {videos:,} | {duration(storage(videos).replay_hours)} | {arriving:.3g} |")
    return "\n".join(lines)


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:.3g} {unit}"
    return f"{count / 1000:.3g} TB"


def duration(hours: float) -> str:
    """Hours for people."""
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} days"


if __name__ == "__main__":
    print(tables())
