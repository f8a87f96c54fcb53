"""What a client takes: in which coding, and whether it has the answer already. No I/O but the request's headers."""

from functools import lru_cache
from typing import Literal

from aiohttp import hdrs, web

Coding = Literal["br", "gzip", "identity"]


@lru_cache(maxsize=256)
def choose_coding(accepted: str) -> Coding:
    """The best coding of those that an `Accept-Encoding` allows: the smallest first."""
    allowed = dict(_codings(accepted))
    others = allowed.get("*", False)
    if allowed.get("br", others):
        return "br"
    if allowed.get("gzip", allowed.get("x-gzip", others)):
        return "gzip"
    return "identity"


def _codings(accepted: str) -> list[tuple[str, bool]]:
    """Each coding that is named, and whether it may be used: a weight of 0 forbids it."""
    parts = (part.partition(";") for part in accepted.lower().split(","))
    return [(name.strip(), not _forbids(weight)) for name, _, weight in parts]


def _forbids(weight: str) -> bool:
    name, _, value = weight.partition("=")
    return name.strip() == "q" and value.strip().rstrip("0") in ("", ".", "0.")


def has_already(request: web.Request, tag: str) -> bool:
    """What `If-None-Match` says; a weak tag of the same name will do (RFC 9110, 13.1.2)."""
    # The star is looked at here: aiohttp takes the tag "*", quoted, for the bare one that means any.
    if request.headers.get(hdrs.IF_NONE_MATCH) == "*":
        return True
    return any(known.value == tag for known in request.if_none_match or ())
