"""What a rebuilt document is to the one that readers have now. Rules only."""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from contract.times import parse_rfc3339_ms
from processors.document import OwedEvent, SourcePosition

Verdict = Literal["same", "ahead", "missing", "unknown", "differs", "new", "changed", "gone"]
"""`ahead`: the live one is beyond what was applied, the seam brings it. `missing`: the topic no longer says anything of
it (retention). `unknown`: nor did it ever, for the record that it is said to come from is still there. `differs`: the
same records gave other public bytes. `new`, `changed`, `gone`: what readers will see.
"""

DIFFERENCES: tuple[Verdict, ...] = ("differs", "gone", "unknown")
"""What a sound store never has: the swap is refused unless it is asked for."""


class Row(msgspec.Struct, frozen=True):
    """What is compared of a document; `sort_key` and `body` None for the marker of a removed video."""

    video_id: str
    sort_key: str | None
    body: bytes | None
    source: SourcePosition
    event: OwedEvent
    version: int | None
    first_seen_at: str | None

    @property
    def is_living(self) -> bool:
        return self.sort_key is not None


class Oldest(msgspec.Struct, frozen=True):
    """The oldest record that retention has left of a partition: offset, and Kafka's time in ms."""

    offset: int
    time_ms: int


_BEGINNING: Final = Oldest(0, 0)


def compare(
    live: Row | None, rebuilt: Row | None, applied: Mapping[int, int], oldest: Mapping[int, Oldest], *, by_event: bool
) -> Verdict:
    """`applied`: per partition the raw offset below which `rebuilt` knows all; `oldest`: its first record that is left.

    `by_event`: the rebuilt one comes from the stream, which knows the event and not the last record behind a document.
    """
    if live is not None and live.source.offset >= applied.get(live.source.partition, 0):
        return "ahead"
    if live is None or not live.is_living:
        return "new" if rebuilt is not None and rebuilt.is_living else "same"
    if rebuilt is None:
        is_there = live.source.offset >= oldest.get(live.source.partition, _BEGINNING).offset
        return "unknown" if is_there and not by_event else "missing"
    if not rebuilt.is_living:
        return "gone"
    if live.body == rebuilt.body:
        return "same"
    if by_event:
        from_same = live.event.offset == rebuilt.event.offset
    else:
        from_same = live.source == rebuilt.source and _is_told_whole(live, oldest)
    return "differs" if from_same and live.version == rebuilt.version else "changed"


def _is_told_whole(live: Row, oldest: Mapping[int, Oldest]) -> bool:
    """All records of a video are left that was first seen after the oldest one that is; else nothing is certain."""
    left = oldest.get(live.source.partition, _BEGINNING)
    return left.offset == 0 or (live.first_seen_at is not None and parse_rfc3339_ms(live.first_seen_at) > left.time_ms)
