"""Spreads the day's remaining calls evenly over the time that remains of the day.

Credit accrues at the even rate and every call takes one from it; a tick polls while it is not in debt. With a
generous quota a tick's credit is more than it can spend, so every tick polls every query.
"""

import msgspec


class Pace(msgspec.Struct, frozen=True):
    """Calls that may be made ahead of the even rate (a debt if negative), on one Pacific date."""

    pacific_date: str
    credit: float = 0.0


def accrue(pace: Pace, *, pacific_date: str, seconds: float, calls_left: int, seconds_left: float) -> Pace:
    """The pace after `seconds` without a call.

    Credit does not pile up over more than these seconds, so an idle stretch is followed by no burst; and a debt ends
    with its day, because it was owed to that day's calls.
    """
    if pace.pacific_date != pacific_date:
        return Pace(pacific_date)
    earned = seconds * calls_left / max(seconds_left, 1.0)
    return Pace(pacific_date, min(pace.credit + earned, earned))


def spend(pace: Pace) -> Pace:
    """The pace after one call."""
    return Pace(pace.pacific_date, pace.credit - 1)


def may_poll(pace: Pace) -> bool:
    """Whether the even pace allows a call now."""
    return pace.credit >= 0
