"""What the table `known_videos` holds of a video, and when that is enough to pass a record by. Rules only.

The table is the fast path: a duplicate is nearly all traffic and never reaches MongoDB. It is written last, so it
never knows more than the document; a table that knows less only costs a look at the document.
"""

from typing import Final

import msgspec

from processors.decode import Item
from processors.document import Register, VideoDocument
from processors.fold import CONFIRM_AFTER_MS


class KnownVideo(msgspec.Struct, frozen=True, array_like=True):
    """Value of the table; `generation` names the read model that it speaks of."""

    registers: dict[str, Register]
    queries: list[str]
    first_seen_ms: int
    confirmed_ms: int
    generation: str


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(KnownVideo)


def known_video(document: VideoDocument, generation: str) -> KnownVideo:
    """What the table is to know of a document that stands in the read model `generation`."""
    return KnownVideo(
        document.registers, document.video.queries, document.first_seen_ms, document.confirmed_ms, generation
    )


def encode_known(known: KnownVideo) -> bytes:
    return _encoder.encode(known)


def decode_known(value: bytes) -> KnownVideo | None:
    """None for a value that another version wrote: the document decides then."""
    try:
        return _decoder.decode(value)
    except msgspec.DecodeError:
        return None


def is_duplicate(known: KnownVideo | None, item: Item, generation: str) -> bool:
    """True only if the fold would leave the document as it is."""
    if known is None or known.generation != generation:
        return False
    register = known.registers.get(item.source)
    return (
        register is not None
        and register.hash == item.hash
        and item.first_seen_ms >= known.first_seen_ms
        and item.time_ms - known.confirmed_ms <= CONFIRM_AFTER_MS
        and set(item.queries).issubset(known.queries)
    )
