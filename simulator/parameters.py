"""What a call asks for: parameters checked and defaulted as the API does it; wrong ones are its own 400s."""

import re
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from contract.query_match import Query, parse_query
from contract.times import parse_rfc3339_ms
from simulator import errors
from simulator.page_tokens import page_start
from simulator.video_index import Window

Parameters = Mapping[str, str]
"""Parameters by name; of one that is repeated, the values are joined by commas."""

MOST_PER_PAGE: Final = 50
MOST_IDS: Final = 50
_DEFAULT_PER_PAGE: Final = 5
_DEFAULT_REGION: Final = "US"

_STANDARD: Final = {
    *("key", "fields", "alt", "prettyPrint", "quotaUser", "callback", "access_token", "oauth_token"),
    *("$.xgafv", "upload_protocol", "uploadType"),
}
_VIDEO_FILTERS: Final = {
    "eventType": {"completed", "live", "upcoming"},
    "videoCaption": {"any", "closedCaption", "none"},
    "videoDefinition": {"any", "high", "standard"},
    "videoDimension": {"2d", "3d", "any"},
    "videoDuration": {"any", "short", "medium", "long"},
    "videoEmbeddable": {"any", "true"},
    "videoLicense": {"any", "creativeCommon", "youtube"},
    "videoPaidProductPlacement": {"any", "true"},
    "videoSyndicated": {"any", "true"},
    "videoType": {"any", "episode", "movie"},
}
_CHOICES: Final = {
    **_VIDEO_FILTERS,
    "order": {"date", "rating", "relevance", "title", "videoCount", "viewCount"},
    "safeSearch": {"none", "moderate", "strict"},
    "channelType": {"any", "show"},
}
_FREE_VIDEO_FILTERS: Final = {"videoCategoryId", "location", "locationRadius"}
_SEARCH_PARAMETERS: Final = {
    *("part", "q", "type", "maxResults", "publishedAfter", "publishedBefore", "pageToken", "regionCode"),
    *("relevanceLanguage", "channelId", "topicId", *_FREE_VIDEO_FILTERS, *_CHOICES),
}
_TYPES: Final = {"video", "channel", "playlist"}
_CHANNEL_ID: Final = re.compile(r"UC[A-Za-z0-9_-]{22}")
_REGION: Final = re.compile(r"[A-Za-z]{2}")


class PageRequest(msgspec.Struct, frozen=True):
    """Which items of a list: `size` of them (0 to 50) from `start`, where `token` leads (empty: none was sent)."""

    start: int
    size: int
    token: str = ""


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A search.list call."""

    parts: frozenset[str]
    q: str
    query: Query | None
    types: frozenset[str]
    order: str
    window: Window
    page: PageRequest
    region: str
    channel_id: str | None
    event_type: str
    duration: str


class PlaylistItemsRequest(msgspec.Struct, frozen=True):
    """A playlistItems.list call."""

    parts: frozenset[str]
    playlist_id: str
    page: PageRequest


class ByIdRequest(msgspec.Struct, frozen=True):
    """A videos.list or channels.list call."""

    parts: frozenset[str]
    ids: tuple[str, ...]


def parse_search(parameters: Parameters) -> SearchRequest:
    """The search that is asked for.

    Raises:
        ApiError: a parameter is missing, unknown or wrong, or a filter needs `type=video`.
    """
    _check_names(parameters, _SEARCH_PARAMETERS)
    parts = _parts(parameters, {"snippet", "id"})
    for name in _CHOICES.keys() & parameters.keys():
        if parameters[name] not in _CHOICES[name]:
            raise errors.invalid_parameter(name, parameters[name])
    types = frozenset(filter(None, parameters.get("type", "").split(","))) or frozenset(_TYPES)
    if types - _TYPES:
        raise errors.invalid_parameter("type", parameters["type"])
    if types != {"video"} and parameters.keys() & (_VIDEO_FILTERS.keys() | _FREE_VIDEO_FILTERS):
        raise errors.invalid_search_filter()
    return SearchRequest(
        parts=parts,
        q=parameters.get("q", ""),
        query=parse_query(parameters.get("q")),
        types=types,
        order=parameters.get("order", "relevance"),
        window=Window(
            _time(parameters, "publishedAfter", "published_after"),
            _time(parameters, "publishedBefore", "published_before"),
        ),
        page=_page(parameters),
        region=_region(parameters),
        channel_id=_channel_id(parameters),
        event_type=parameters.get("eventType", ""),
        duration=parameters.get("videoDuration", "any"),
    )


def parse_playlist_items(parameters: Parameters) -> PlaylistItemsRequest:
    """The playlist page that is asked for.

    Raises:
        ApiError: a parameter is missing, unknown or wrong.
    """
    _check_names(parameters, {"part", "playlistId", "maxResults", "pageToken"})
    parts = _parts(parameters, {"id", "snippet", "contentDetails", "status"})
    if not parameters.get("playlistId"):
        raise errors.no_filter_selected("id", "playlistId")
    return PlaylistItemsRequest(parts, parameters["playlistId"], _page(parameters))


def parse_by_id(parameters: Parameters, known_parts: Collection[str]) -> ByIdRequest:
    """The resources that are asked for, each once, in the order given.

    Raises:
        ApiError: a parameter is missing, unknown or wrong, or there are over 50 ids.
    """
    _check_names(parameters, {"part", "id", "maxResults", "pageToken", "hl", "regionCode"})
    parts = _parts(parameters, known_parts)
    ids = tuple(dict.fromkeys(filter(None, parameters.get("id", "").split(","))))
    if not ids:
        raise errors.no_filter_selected("id")
    if len(ids) > MOST_IDS:
        raise errors.invalid_filters()
    return ByIdRequest(parts, ids)


def _check_names(parameters: Parameters, own: Collection[str]) -> None:
    for name in parameters:
        if name not in own and name not in _STANDARD:
            raise errors.unexpected_parameter(name)


def _parts(parameters: Parameters, known: Collection[str]) -> frozenset[str]:
    parts = [part.strip() for part in parameters.get("part", "").split(",") if part.strip()]
    if not parts:
        raise errors.missing_required_parameter("part")
    for part in parts:
        if part not in known:
            raise errors.unknown_part(part)
    return frozenset(parts)


def _page(parameters: Parameters) -> PageRequest:
    given = parameters.get("maxResults", str(_DEFAULT_PER_PAGE))
    if not re.fullmatch(r"[0-9]{1,10}", given):
        raise errors.not_unsigned("max_results", given)
    size = min(int(given), MOST_PER_PAGE)
    token = parameters.get("pageToken", "")
    if not token:  # also when it is blank: then the list begins anew, the loop that a careless client gets into
        return PageRequest(0, size)
    try:
        return PageRequest(page_start(token, size), size, token)
    except ValueError as error:
        raise errors.invalid_page_token() from error


def _time(parameters: Parameters, name: str, field: str) -> int | None:
    if name not in parameters:
        return None
    try:
        return parse_rfc3339_ms(parameters[name])
    except ValueError as error:
        raise errors.illegal_timestamp(field) from error


def _region(parameters: Parameters) -> str:
    region = parameters.get("regionCode", _DEFAULT_REGION)
    if not _REGION.fullmatch(region):
        raise errors.invalid_parameter("regionCode", region)
    return region.upper()


def _channel_id(parameters: Parameters) -> str | None:
    channel_id = parameters.get("channelId")
    if channel_id is not None and not _CHANNEL_ID.fullmatch(channel_id):
        raise errors.invalid_channel_id()
    return channel_id
