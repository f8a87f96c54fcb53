"""How figures of several rounds are put into words."""

import math
import statistics
from collections.abc import Sequence


def spread(figures: Sequence[float], form: str) -> str:
    """Median with minimum and maximum, each in the format `form`."""
    return f"{statistics.median(figures):{form}} (min {min(figures):{form}}, max {max(figures):{form}})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours divided by theirs, round by round."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def percentile(figures: Sequence[float], percent: float) -> float:
    """The smallest figure that `percent` of them do not exceed."""
    return sorted(figures)[max(0, math.ceil(len(figures) * percent / 100) - 1)]
