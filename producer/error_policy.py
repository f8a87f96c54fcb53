"""What an error of YouTube asks for: each exception is named after the reaction, and one function picks it.

Classification is a pure function of status and body. The bodies are documented and recorded ones; where YouTube has
old and new forms of one error, both are known here. Only an error that the API itself wrote condemns a key, a query
or a channel: a page of HTML comes from something in between, and says nothing of what was asked.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec

_MAX_MESSAGE: Final = 300
_MASK: Final = "***"

_DAY_IS_OVER: Final = frozenset({"quotaExceeded", "dailyLimitExceeded"})
_TOO_FAST: Final = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})
_DELEGATION: Final = "accountDelegationForbidden"
_BAD_KEY: Final = frozenset(
    {"keyInvalid", "keyExpired", "accessNotConfigured", "dailyLimitExceededUnreg", "ipRefererBlocked"}
)
_BAD_PROJECT: Final = frozenset({"SERVICE_DISABLED", "CONSUMER_INVALID", "CONSUMER_SUSPENDED"})
_SHOWN_TO_NOBODY: Final = frozenset(
    {"playlistItemsNotAccessible", "channelClosed", "channelNotFound", "channelSuspended"}
)


class YouTubeError(Exception):
    """A call that brought nothing; `outcome` is its label in metrics and logs."""

    outcome: ClassVar[str] = "error"


class YouTubeUnavailable(YouTubeError):
    """Ask again at a later tick: the server, the network or the answer is broken."""

    outcome = "unavailable"


class RateLimited(YouTubeUnavailable):
    """Ask again at a later tick: there were too many calls within seconds, and the day is not over."""

    outcome = "rate_limited"


class DelegationRefused(YouTubeUnavailable):
    """Ask again at a later tick: the refusal of delegation that hits good calls at random."""

    outcome = "delegation_refused"


class KeyRefused(YouTubeUnavailable):
    """Ask again at a later tick: the key of this call is refused and left out, and another one is left."""

    outcome = "key_refused"


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


class NotFound(YouTubeError):
    """What was asked for (a channel's playlist, say) is not there, or not for a key to see."""

    outcome = "not_found"


class BadQuery(YouTubeError):
    """YouTube will never answer this query: leave it out until the next start."""

    outcome = "bad_query"


class _ApiError(msgspec.Struct, frozen=True):
    """What is readable of an error's body; all empty when nothing is."""

    message: str = ""
    status: str = ""
    reasons: frozenset[str] = frozenset()
    forbidden_globally: bool = False
    detail_reasons: frozenset[str] = frozenset()
    quota_units: tuple[str, ...] = ()
    quota_limits: tuple[str, ...] = ()

    @property
    def is_of_the_api(self) -> bool:
        """Whether the API wrote it; a proxy's JSON may have a message as well, but none of these."""
        return bool(self.reasons or self.detail_reasons or self.status)


def to_error(status: int, body: bytes, bucket: str, secrets: Sequence[str] = ()) -> YouTubeError:
    """The error to raise for an answer that is no success.

    `bucket` is the one that the call was debited from; `secrets` are masked where the server's text repeats them.
    """
    error = _read(body)
    message = f"HTTP {status}: {mask(error.message, secrets)[:_MAX_MESSAGE] or 'no readable reason'}"
    if status in {403, 429}:
        if _is_day_over(error):
            return QuotaExhausted(bucket, message)
        if status == 429 or _is_too_fast(error):
            return RateLimited(message)
    if not 400 <= status < 500 or not error.is_of_the_api:
        return YouTubeUnavailable(message)
    return _to_refusal(status, error)(message)


def mask(text: str, secrets: Sequence[str]) -> str:
    """The text without any of the secrets."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):  # one may begin with another
        text = text.replace(secret, _MASK)
    return text


def _to_refusal(status: int, error: _ApiError) -> type[YouTubeError]:
    """What the API's own 4xx asks for, quotas aside."""
    if status == 403 and _DELEGATION in error.reasons:
        return DelegationRefused
    if status in {400, 401, 403} and _is_bad_key(status, error):
        return InvalidCredentials
    if "invalidPageToken" in error.reasons:
        return InvalidPageToken
    if status == 404 or (status == 403 and error.reasons & _SHOWN_TO_NOBODY):
        return NotFound
    return BadQuery if status == 400 else YouTubeUnavailable


def _is_day_over(error: _ApiError) -> bool:
    """The unit of the limit decides; without one its name, then the message, then the reason."""
    if error.quota_units:
        return any(unit.startswith("1/d") for unit in error.quota_units)
    message = error.message.lower()
    if "per day" in message or any("PerDay" in limit for limit in error.quota_limits):
        return True
    return bool(error.reasons & _DAY_IS_OVER) and "per minute" not in message


def _is_too_fast(error: _ApiError) -> bool:
    return bool(error.reasons & (_TOO_FAST | _DAY_IS_OVER)) or "RATE_LIMIT_EXCEEDED" in error.detail_reasons


def _is_bad_key(status: int, error: _ApiError) -> bool:
    if status == 401 or error.reasons & _BAD_KEY or error.detail_reasons & _BAD_PROJECT:
        return True
    if any(reason.startswith("API_KEY_") for reason in error.detail_reasons):
        return True
    # `forbidden` of the global domain speaks of the key; what speaks of a channel has a domain of YouTube's own.
    return (status == 403 and error.forbidden_globally) or error.message.lower().startswith("api key ")


def _read(body: bytes) -> _ApiError:
    """Whatever parts have the expected types; the rest of the error counts without them."""
    try:
        answer: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _ApiError()
    error = _mapping(_mapping(answer).get("error"))
    errors, details = _mappings(error.get("errors")), _mappings(error.get("details"))
    quotas = [_mapping(detail.get("metadata")) for detail in details]
    return _ApiError(
        message=_text(error.get("message")),
        status=_text(error.get("status")),
        reasons=frozenset(_texts(errors, "reason")),
        forbidden_globally=any(item.get("reason") == "forbidden" and item.get("domain") == "global" for item in errors),
        detail_reasons=frozenset(_texts(details, "reason")),
        quota_units=_texts(quotas, "quota_unit"),
        quota_limits=_texts(quotas, "quota_limit"),
    )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(items: list[dict[str, Any]], name: str) -> tuple[str, ...]:
    return tuple(text for item in items if (text := _text(item.get(name))))
