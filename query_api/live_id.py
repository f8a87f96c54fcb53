"""Ids of live events: how much of `youtube.videos` a client has, as the next offset of each partition. No I/O.

`s1.12-0-7-99` says that partition 0 is known below offset 12, partition 1 below 0, and so on. Such an id means the same
to every process and after every restart, so that a client may go on wherever it is connected next.
"""

import re
from typing import Final

Offsets = tuple[int, ...]
"""Next offsets, by partition."""

_PREFIX: Final = "s1."
_ID: Final = re.compile(r"s1\.(?:0|[1-9][0-9]{0,18})(?:-(?:0|[1-9][0-9]{0,18}))*")
_LONGEST: Final = 4_096


def format_id(offsets: Offsets) -> str:
    return _PREFIX + "-".join(map(str, offsets))


def parse_id(text: str) -> Offsets | None:
    """The offsets that an id names; None when it is no id of this API."""
    if len(text) > _LONGEST or not _ID.fullmatch(text):
        return None
    return tuple(map(int, text.removeprefix(_PREFIX).split("-")))


def reaches(offsets: Offsets, others: Offsets) -> bool:
    """Whether who knows all below `offsets` also knows all below `others`, in every partition."""
    return all(one >= other for one, other in zip(offsets, others, strict=True))


def furthest(offsets: Offsets, others: Offsets) -> Offsets:
    """The greater offset of each partition."""
    return tuple(map(max, offsets, others))
