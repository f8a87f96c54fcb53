"""Points in time: RFC 3339 in UTC on the wire, whole milliseconds since 1970 inside, and the quota's Pacific day."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import msgspec

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_PACIFIC: Final = ZoneInfo("America/Los_Angeles")
_Aware = Annotated[datetime, msgspec.Meta(tz=True)]

YOUTUBE_FOUNDED_MS: Final = 1_108_339_200_000
"""2005-02-14T00:00:00Z, the day the domain was registered: no video is older."""

YEAR_MS: Final = 366 * 86_400_000


def parse_rfc3339_ms(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time, finer parts cut off.

    Raises:
        ValueError: not RFC 3339, or without a time zone.
    """
    try:
        moment = msgspec.convert(text, _Aware)
    except msgspec.ValidationError as error:
        raise ValueError(f"not an RFC 3339 time with a zone: {text!r}") from error
    return (moment - _EPOCH) // _MILLISECOND


def _iso_seconds(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).isoformat()[:19]


def format_seconds(ms: int) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ`, the form of a publish time."""
    return f"{_iso_seconds(ms)}Z"


def format_millis(ms: int) -> str:
    """`YYYY-MM-DDTHH:MM:SS.mmmZ`, the form of everything that YouSync itself observed."""
    return f"{_iso_seconds(ms)}.{ms % 1000:03d}Z"


def pacific_date(ms: int) -> str:
    """`YYYY-MM-DD` in America/Los_Angeles: YouTube's quota is granted by that day."""
    return _pacific_midnight(ms).date().isoformat()


def pacific_day_start_ms(ms: int) -> int:
    """When the quota day of this moment began: 07:00 or 08:00 UTC."""
    return int(_pacific_midnight(ms).timestamp()) * 1000


def next_pacific_midnight_ms(ms: int) -> int:
    """When the next quota day begins, 23 to 25 hours after this one did."""
    # Clock time, not elapsed time: a day later on the same wall clock.
    return int((_pacific_midnight(ms) + timedelta(days=1)).timestamp()) * 1000


def _pacific_midnight(ms: int) -> datetime:
    moment = datetime.fromtimestamp(ms // 1000, _PACIFIC)
    return moment.replace(hour=0, minute=0, second=0)
