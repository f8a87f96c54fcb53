"""A stretch of time that a search asks for, and how it is cut when YouTube does not list all of it.

Bounds are inclusive at both ends, as the API's are, and in ms since 1970. A cut falls between two whole seconds, the
finest publish time that the API shows, so that no moment is left out and no video is asked for twice.
"""

from typing import Final

import msgspec

SECOND_MS: Final = 1000


class Window(msgspec.Struct, frozen=True):
    """From `after_ms` to `before_ms`, both inclusive."""

    after_ms: int
    before_ms: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.before_ms - self.after_ms + 1) / SECOND_MS


def split(window: Window) -> tuple[Window, Window] | None:
    """The older and the newer half; None when the window lies within one second."""
    first, last = window.after_ms // SECOND_MS, window.before_ms // SECOND_MS
    if first >= last:
        return None
    cut_ms = ((first + last) // 2 + 1) * SECOND_MS
    return Window(window.after_ms, cut_ms - 1), Window(cut_ms, window.before_ms)
