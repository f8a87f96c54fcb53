"""When dead letters are so many that the fault is ours: stop, rather than empty a topic into them. Rules only."""

from collections import deque
from typing import Final

WINDOW: Final = 1_000


class DeadLetterLimit:
    """Counts records as they are taken; holds no clock and no connection.

    The share is judged over a full window only, so that one bad record at start stops nothing.
    """

    def __init__(self, max_share: float, max_consecutive: int) -> None:
        self._max_share = max_share
        self._max_consecutive = max_consecutive
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._dead = 0
        self._consecutive = 0

    def count(self, *, dead: bool) -> None:
        """One more record was taken."""
        if len(self._recent) == WINDOW:
            self._dead -= self._recent[0]
        self._recent.append(dead)
        self._dead += dead
        self._consecutive = self._consecutive + 1 if dead else 0

    def exceeded(self) -> str | None:
        """A sentence that says which limit, or None."""
        if self._consecutive >= self._max_consecutive:
            return f"{self._consecutive} dead letters in a row (YOUSYNC_DEAD_LETTER_MAX_CONSECUTIVE)"
        if len(self._recent) == WINDOW and self._dead > self._max_share * WINDOW:
            return f"{self._dead} of the last {WINDOW} records are dead letters (YOUSYNC_DEAD_LETTER_MAX_SHARE)"
        return None
