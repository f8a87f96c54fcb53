"""What an error of YouTube asks for: each exception is named after the reaction, and one function picks it.

Classification is a pure function of status and body. The bodies are documented and recorded ones; where YouTube has
old and new forms of one error, both are known here.
"""

from typing import Any, ClassVar, Final

import msgspec

_MAX_MESSAGE: Final = 300

_DAY_IS_OVER: Final = frozenset({"quotaExceeded", "dailyLimitExceeded"})
_TRANSIENT_403: Final = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "accountDelegationForbidden"})
_BAD_KEY: Final = frozenset({"keyInvalid", "keyExpired", "accessNotConfigured", "dailyLimitExceededUnreg"})


class YouTubeError(Exception):
    """A call that brought nothing; `outcome` is its label in metrics and logs."""

    outcome: ClassVar[str] = "error"


class YouTubeUnavailable(YouTubeError):
    """Ask again at a later tick: the server, the network or the answer is broken, or there was a burst of calls."""

    outcome = "unavailable"


class QuotaExhausted(YouTubeError):
    """No call of this bucket until the next Pacific midnight."""

    outcome = "quota_exhausted"

    def __init__(self, bucket: str, message: str) -> None:
        super().__init__(message)
        self.bucket = bucket


class InvalidCredentials(YouTubeError):
    """The key or its project is refused: stop, an operator must act."""

    outcome = "invalid_credentials"


class InvalidPageToken(YouTubeError):
    """The chain of pages is broken: begin its window again from the first page."""

    outcome = "invalid_page_token"


class BadQuery(YouTubeError):
    """YouTube will never answer this query: leave it out until the next start."""

    outcome = "bad_query"


class _Detail(msgspec.Struct):
    reason: str = ""
    metadata: dict[str, Any] = {}


class _Reason(msgspec.Struct):
    reason: str = ""
    domain: str = ""


class _Error(msgspec.Struct):
    message: str = ""
    errors: list[_Reason] = []
    details: list[_Detail] = []


class _Envelope(msgspec.Struct):
    error: _Error


def to_error(status: int, body: bytes, bucket: str) -> YouTubeError:
    """The error to raise for an answer that is no success; `bucket` is the one that the call was debited from."""
    error = _read(body)
    message = f"HTTP {status}: {error.message[:_MAX_MESSAGE] or 'no readable reason'}"
    reasons = {item.reason for item in error.errors}
    if _is_day_over(status, error, reasons):
        return QuotaExhausted(bucket, message)
    if status in {400, 401, 403} and _is_bad_key(status, error, reasons):
        return InvalidCredentials(message)
    if "invalidPageToken" in reasons:
        return InvalidPageToken(message)
    if status == 400:
        return BadQuery(message)
    return YouTubeUnavailable(message)


def _read(body: bytes) -> _Error:
    """The error in a body; an empty one when the body is not an error of the API (a proxy's page, say)."""
    try:
        return msgspec.json.decode(body, type=_Envelope).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Error()


def _is_day_over(status: int, error: _Error, reasons: set[str]) -> bool:
    if status == 403 and reasons & _DAY_IS_OVER:
        return True
    return status in {403, 429} and _is_per_day(error)


def _is_per_day(error: _Error) -> bool:
    units = [str(detail.metadata.get("quota_unit", "")) for detail in error.details]
    return any(unit.startswith("1/d") for unit in units) or "per day" in error.message.lower()


def _is_bad_key(status: int, error: _Error, reasons: set[str]) -> bool:
    details = {detail.reason for detail in error.details}
    if status == 401 or reasons & _BAD_KEY or "SERVICE_DISABLED" in details:
        return True
    # `forbidden` of the global domain speaks of the key; a transient 403 has a domain and reason of YouTube's own.
    restricted = any(item.reason == "forbidden" and item.domain == "global" for item in error.errors)
    return (restricted and not reasons & _TRANSIENT_403) or any(reason.startswith("API_KEY_") for reason in details)
