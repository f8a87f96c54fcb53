"""What a rebuilt document is to the one that readers have now. Rules only."""

from collections.abc import Mapping
from typing import Literal

import msgspec

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

    @property
    def is_living(self) -> bool:
        return self.sort_key is not None


def compare(
    live: Row | None, rebuilt: Row | None, applied: Mapping[int, int], begins: Mapping[int, int], *, by_event: bool
) -> Verdict:
    """`applied`: per partition the raw offset below which `rebuilt` knows all; `begins`: the first that is still there.

    `by_event`: the rebuilt one comes from the stream, which knows the event and not the last record behind a document.
    """
    if live is not None and live.source.offset >= applied.get(live.source.partition, 0):
        return "ahead"
    if live is None or not live.is_living:
        return "new" if rebuilt is not None and rebuilt.is_living else "same"
    if rebuilt is None:
        is_there = live.source.offset >= begins.get(live.source.partition, 0)
        return "unknown" if is_there and not by_event else "missing"
    if not rebuilt.is_living:
        return "gone"
    if live.body == rebuilt.body:
        return "same"
    if by_event:
        from_same = live.event.offset == rebuilt.event.offset
    else:
        # Where retention ate something the live one may come from more records than the last: nothing is certain.
        from_same = live.source == rebuilt.source and not begins.get(live.source.partition, 0)
    return "differs" if from_same and live.version == rebuilt.version else "changed"
