"""Keys and values of `yousync.producer.state`, the producer's durable memory (compacted, one partition).

Values are JSON; times are RFC 3339 text, so that `yousync tail` reads well.
"""

from typing import Final

import msgspec

SEARCH_BUCKET: Final = "search"
"""Quota of `search.list`: calls a Pacific day."""

UNITS_BUCKET: Final = "units"
"""Quota of everything else: units a Pacific day."""


class Watermark(msgspec.Struct, frozen=True):
    """How far a query has been followed: every pass up to `covered_until` is in the raw topic."""

    covered_until: str


class Ledger(msgspec.Struct, frozen=True):
    """Calls (or units) debited from one bucket on one Pacific day, failed ones included."""

    used: int


UNREADABLE_LEDGER: Final = Ledger(1 << 53)
"""What a ledger that cannot be read counts as: its day is spent, on the safe side."""


class FollowedQuery(msgspec.Struct, frozen=True):
    """A query that is followed."""

    followed_since: str
    enabled: bool = True


def watermark_key(query: str) -> bytes:
    return f"watermark/{query}".encode()


def ledger_key(bucket: str, pacific_date: str) -> bytes:
    """`pacific_date` is `YYYY-MM-DD` in America/Los_Angeles, where the quota's day begins."""
    return f"ledger/{bucket}/{pacific_date}".encode()


def query_key(query: str) -> bytes:
    return f"query/{query}".encode()
