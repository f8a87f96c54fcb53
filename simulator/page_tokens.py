"""Page tokens as YouTube makes them: base64url of the protobuf {1: start, 2: 0 for next, 1 for previous}, unpadded.

They are positions in a list that changes under the reader: videos that arrive at the top between two pages shift
items onto the next page again, and removals make it skip some.
"""

import base64
import binascii
from typing import Final

_START_TAG: Final = 0x08
_DIRECTION_TAG: Final = 0x10
_MOST: Final = 2**31


def next_page_token(start: int) -> str:
    """The token of the page that begins at `start`."""
    return _encode(start, 0)


def previous_page_token(start: int) -> str:
    """The token of the page that ends before `start`."""
    return _encode(start, 1)


def page_start(token: str, page_size: int) -> int:
    """Where the token's page begins.

    Raises:
        ValueError: no token of ours.
    """
    try:
        content = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"not base64url: {token!r}") from error
    start, backwards = _read(content)
    if _encode(start, backwards) != token:
        raise ValueError(f"not a page token: {token!r}")
    return max(0, start - page_size) if backwards else start


def _encode(start: int, backwards: int) -> str:
    content = bytes([_START_TAG, *_varint(start), _DIRECTION_TAG, backwards])
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _varint(number: int) -> list[int]:
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return [*groups, number]


def _read(content: bytes) -> tuple[int, int]:
    """Start and direction; whatever is not just so is found by encoding them again."""
    number = 0
    for place, byte in enumerate(content[1:6]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            break
    if number >= _MOST or not content:
        raise ValueError("not a page token")
    return number, content[-1] & 1
