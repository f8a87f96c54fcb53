"""Lengths of time as people write and read them."""

import re
from typing import Final

from contract.times import parse_rfc3339_ms

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_AGE: Final = re.compile(r"(\d{1,6})([dh])")
_HOURS: Final = {"d": 24, "h": 1}
_SECONDS: Final = dict(_UNITS)
_AGO: Final = re.compile(r"(\d{1,6})(d|h|min|s)")
_LEAST_HOURS: Final = 24
_MOST_HOURS: Final = 24 * 3650


def parse_age_ms(text: str) -> int:
    """Milliseconds of an age such as `30d` or `36h`.

    Raises:
        ValueError: it is not of this form, or not between a day and ten years.
    """
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a number of days or hours, such as 30d or 36h")
    hours = int(found[1]) * _HOURS[found[2]]
    if not _LEAST_HOURS <= hours <= _MOST_HOURS:
        raise ValueError(f"{text!r} is not between 1d and 3650d")
    return hours * 3_600_000


def parse_moment_ms(text: str, now_ms: int) -> int:
    """Milliseconds since 1970 of an RFC 3339 time, or of so long ago: `3d`, `2h`, `30min` or `45s`.

    Raises:
        ValueError: it is neither.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return now_ms - int(ago[1]) * _SECONDS[ago[2]] * 1000
    try:
        return parse_rfc3339_ms(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a length of time, such as 2h, 30min or 3d, nor an RFC 3339 time, "
            "such as 2026-05-28T20:00:00Z"
        ) from None


def spoken(seconds: float) -> str:
    """The two greatest units, as in `3 h 20 min`; less than a second counts as none."""
    rest = max(0, int(seconds))
    counts = []
    for unit, length in _UNITS:
        counts.append((rest // length, unit))
        rest %= length
    first = next((place for place, (count, _) in enumerate(counts) if count), len(counts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in counts[first : first + 2] if count) or "0 s"


def moment(text: str | None, now_ms: int, never: str = "never") -> str:
    """An RFC 3339 time, and how long ago it is."""
    return never if text is None else f"{text} ({spoken((now_ms - parse_rfc3339_ms(text)) / 1000)} ago)"
