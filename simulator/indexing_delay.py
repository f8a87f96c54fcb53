"""How long a published video takes until a search can find it: log-normal, as late indexing was reported to be."""

import math
from statistics import NormalDist
from typing import Final

import msgspec

from simulator.chance import fraction

_SPREAD: Final = 1.0
"""Sigma of the logarithm: one video in six takes longer than 2.7 times the median."""

_NORMAL: Final = NormalDist()


class IndexingDelay(msgspec.Struct, frozen=True):
    """The rule for every video; a video's delay depends on nothing but the seed and its id."""

    seed: int
    median_seconds: float
    max_seconds: float

    def delay_ms(self, video_id: str) -> int:
        """Milliseconds from publication until the video can be searched."""
        deviation = _NORMAL.inv_cdf(fraction(self.seed, "indexing", video_id))
        seconds = self.median_seconds * math.exp(_SPREAD * deviation)
        return round(1000 * min(seconds, self.max_seconds))
