"""Spreads a day's calls evenly over what remains of the day, a part of the searches held back as a reserve.

Credit accrues at the even rate and every call takes one from it; a call may be made while there is no debt. With a
generous quota a tick's credit is more than it can spend.
"""

from typing import Final

import msgspec

RESERVE_SHARE: Final = 0.2
"""Of the day's searches: for retries, missed stretches and sweeps. What is not needed is released as the day passes."""

_DAY_SECONDS: Final = 86_400.0
_RESERVE_HOLDS: Final = 0.5


class Pace(msgspec.Struct, frozen=True):
    """Calls that may be made ahead of the even rate (a debt if negative), on one Pacific date."""

    pacific_date: str
    credit: float = 0.0


def accrue(pace: Pace, *, pacific_date: str, seconds: float, calls_left: float, seconds_left: float) -> Pace:
    """The pace after `seconds` without a call.

    Credit does not pile up over more than these seconds, so an idle stretch is followed by no burst; and a debt ends
    with its day, because it was owed to that day's calls.
    """
    if pace.pacific_date != pacific_date:
        return Pace(pacific_date)
    earned = seconds * max(0.0, calls_left) / max(seconds_left, 1.0)
    return Pace(pacific_date, min(pace.credit + earned, earned))


def accrue_reserve(pace: Pace, *, pacific_date: str, seconds: float, limit: int) -> Pace:
    """The reserve after `seconds`: it piles up, to half of a day's reserve, because it waits for bad hours."""
    if pace.pacific_date != pacific_date:
        return Pace(pacific_date, max(0.0, pace.credit))
    earned = seconds * limit * RESERVE_SHARE / _DAY_SECONDS
    return Pace(pacific_date, min(pace.credit + earned, max(earned, limit * RESERVE_SHARE * _RESERVE_HOLDS)))


def reserved(limit: int, seconds_left: float) -> float:
    """Searches that are held back for the rest of the day."""
    return limit * RESERVE_SHARE * min(1.0, seconds_left / _DAY_SECONDS)


def spend(pace: Pace) -> Pace:
    """The pace after one call."""
    return Pace(pace.pacific_date, pace.credit - 1)


def may_call(pace: Pace) -> bool:
    """Whether the even pace allows a call now."""
    return pace.credit >= 0
