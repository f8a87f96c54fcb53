"""Faults that the simulator shows on request: which there are, and the seeded dice that decide when one strikes."""

import random
from typing import Annotated, Any, Final, Literal, get_args

import msgspec

from contract.settings import SettingsError

Endpoint = Literal["search", "videos", "playlistItems", "channels"]
ENDPOINTS: Final[tuple[Endpoint, ...]] = get_args(Endpoint)

_SEARCH: Final[tuple[Endpoint, ...]] = ("search",)
_VIDEOS: Final[tuple[Endpoint, ...]] = ("videos",)
_UPLOADS: Final[tuple[Endpoint, ...]] = ("playlistItems",)
_OTHERS: Final[tuple[Endpoint, ...]] = ("videos", "playlistItems", "channels")


class Fault(msgspec.Struct, frozen=True):
    """One kind of fault; its probability counts per call, or per item of a page."""

    name: str
    where: tuple[Endpoint, ...]
    per: Literal["call", "item"]
    what: str


FAULTS: Final[dict[str, Fault]] = {
    fault.name: fault
    for fault in (
        Fault("delegation403", _SEARCH, "call", "403 accountDelegationForbidden; about 0.33 was seen in 2026"),
        Fault("burst429", _SEARCH, "call", "429 rateLimitExceeded of a short window, without the mark of a day"),
        Fault("quota_exhausted", _SEARCH, "call", "429 rateLimitExceeded of the day's search calls"),
        Fault("units_exhausted", _OTHERS, "call", "403 quotaExceeded of the day's units"),
        Fault("daily_limit_exceeded", ENDPOINTS, "call", "403 dailyLimitExceeded, the older form of an exhausted day"),
        Fault("key_invalid", ENDPOINTS, "call", "400 API_KEY_INVALID"),
        Fault("access_not_configured", ENDPOINTS, "call", "403 accessNotConfigured: the API is not enabled"),
        Fault("key_restricted", ENDPOINTS, "call", "403 forbidden: the key may not be used from here"),
        Fault("error500_json", ENDPOINTS, "call", "500 backendError"),
        Fault("error502_html", ENDPOINTS, "call", "502 with a page of HTML"),
        Fault("truncated_body", ENDPOINTS, "call", "200 whose connection ends in the middle of the body"),
        Fault("bad_json_200", ENDPOINTS, "call", "200 whose whole body is not JSON"),
        Fault("connection_close", ENDPOINTS, "call", "the connection is closed without an answer"),
        Fault("slow_trickle", ENDPOINTS, "call", "the body comes a few bytes at a time over many seconds"),
        Fault("invalid_page_token", ENDPOINTS, "call", "400 invalidPageToken for a token that was good"),
        Fault("blank_next_page_token", _SEARCH, "call", "the next page's token is empty although there is more"),
        Fault("stuck_page_token", _SEARCH, "call", "the next page's token leads to the same page again, for ever"),
        Fault("duplicates_across_pages", _SEARCH, "call", "a later page begins with the last items of the one before"),
        Fault("published_after_ignored", _SEARCH, "call", "videos older than publishedAfter are in the answer"),
        Fault("filters_ignored", _SEARCH, "call", "neither publishedAfter nor publishedBefore narrows the answer"),
        Fault("disorder", _SEARCH, "call", "neighbours on a page change places"),
        Fault("omission", _SEARCH, "item", "a video that matches is left out of this one answer"),
        Fault("foreign_kinds", _SEARCH, "item", "a channel or playlist stands between the videos"),
        Fault("missing_video_id", _SEARCH, "item", "the item's id has no videoId"),
        Fault("missing_snippet", _SEARCH, "item", "the item has no snippet"),
        Fault("missing_thumbnails", _SEARCH, "item", "the snippet has no thumbnails"),
        Fault("missing_videos", _VIDEOS, "item", "a video that was asked for is left out of this one answer"),
        Fault("private_uploads", _UPLOADS, "item", "a video is private in this one answer: no publish time, no text"),
        Fault("uploads_not_found", _UPLOADS, "call", "404 playlistNotFound for a channel's uploads"),
    )
}


class Setting(msgspec.Struct):
    """How often a fault strikes; `times` is how many strikes are left, None for no end."""

    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    times: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Faults:
    """The faults that are on, each with dice of its own, so that one more does not change when others strike."""

    def __init__(self, seed: int, settings: dict[str, Setting] | None = None) -> None:
        self._seed = seed
        self.replace(settings or {})

    def replace(self, settings: dict[str, Setting]) -> None:
        """Have these faults and no others; their dice begin anew."""
        self.settings: dict[str, Setting] = settings
        self._dice = {name: random.Random(f"{self._seed}/{name}") for name in settings}  # noqa: S311 (has to repeat)

    def strikes(self, name: str, endpoint: Endpoint) -> bool:
        """Whether the fault strikes this call (or item) now; a strike counts against its `times`."""
        setting = self.settings.get(name)
        if setting is None or endpoint not in FAULTS[name].where or setting.times == 0:
            return False
        if self._dice[name].random() >= setting.probability:
            return False
        if setting.times is not None:
            setting.times -= 1
        return True


def parse_faults(text: str) -> dict[str, Setting]:
    """The faults of YOUSYNC_SIMULATOR_FAULTS: `name=probability,…`.

    Raises:
        SettingsError: every name and probability that is wrong.
    """
    settings: dict[str, Setting] = {}
    wrong: list[str] = []
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, probability = map(str.strip, part.partition("="))
        if name not in FAULTS:
            wrong.append(f"YOUSYNC_SIMULATOR_FAULTS: there is no fault {name!r}; there are {', '.join(FAULTS)}")
            continue
        try:
            settings[name] = msgspec.convert({"probability": float(probability)}, Setting)
        except (ValueError, msgspec.ValidationError):
            wrong.append(f"YOUSYNC_SIMULATOR_FAULTS: {part!r} is not {name}=P with P between 0 and 1")
    if wrong:
        raise SettingsError("\n".join(wrong))
    return settings


def decode_faults(body: bytes) -> dict[str, Setting]:
    """The faults of a PUT: `{"name": {"probability": 0.3, "times": 5}}`, or just `{"name": 0.3}`.

    Raises:
        ValueError: not such JSON, or an unknown name.
    """
    given: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    unknown = sorted(given.keys() - FAULTS.keys())
    if unknown:
        raise ValueError(f"unknown faults: {', '.join(unknown)}")
    as_objects = {name: how if isinstance(how, dict) else {"probability": how} for name, how in given.items()}
    return msgspec.convert(as_objects, dict[str, Setting])
