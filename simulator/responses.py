"""Shapes of what the API returns, key for key in the order in which it sends them."""

import base64
import html
import math
import secrets
from collections.abc import Iterable
from hashlib import sha1
from typing import Any, Final

import orjson

from contract.query_match import words_of
from contract.times import format_seconds
from simulator.catalogue import CatalogueVideo
from simulator.chance import fraction
from simulator.video_index import PublishedVideo

Json = dict[str, Any]

_EXCERPT_CHARACTERS: Final = 171
_CUT: Final = " ..."
_LEAD_CHARACTERS: Final = 60
_CHANNEL_FOUNDED_MS: Final = 1_230_768_000_000
_DAY_MS: Final = 86_400_000
_SMALL: Final = (("default", "default", 120, 90), ("medium", "mqdefault", 320, 180), ("high", "hqdefault", 480, 360))
_LARGE: Final = (("standard", "sddefault", 640, 480), ("maxres", "maxresdefault", 1280, 720))


def fresh_etag() -> str:
    """An etag that never comes back: 27 characters, as every search answer has."""
    return secrets.token_urlsafe(20)


def content_etag(content: object) -> str:
    """The etag of this content: 27 characters."""
    digest = sha1(orjson.dumps(content), usedforsecurity=False).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def escaped(text: str) -> str:
    """HTML as search puts it into titles and channel titles, and only there."""
    return html.escape(text).replace("&#x27;", "&#39;")


def excerpt(description: str, words: Iterable[str]) -> str:
    """At most 171 characters of the description, about where the first word of the query stands."""
    text = " ".join(description.split())
    if len(text) <= _EXCERPT_CHARACTERS:
        return text
    begin = _excerpt_begin(text, words)
    lead = "... " if begin else ""
    room = _EXCERPT_CHARACTERS - len(lead) - len(_CUT)
    if len(text) - begin <= room + len(_CUT):
        return lead + text[begin:]
    piece = text[begin : begin + room + 1]
    return lead + (piece.rpartition(" ")[0] or piece[:room])[:room].rstrip() + _CUT


def _excerpt_begin(text: str, words: Iterable[str]) -> int:
    lowered = text.lower()
    places = [place for word in words if (place := lowered.find(word)) >= 0]
    begin = min(places, default=0)
    if begin <= _LEAD_CHARACTERS:
        return 0
    return text.find(" ", begin - _LEAD_CHARACTERS, begin) + 1


def thumbnails(video: CatalogueVideo, *, large: bool = False) -> Json:
    """Preview pictures; those of a live video have names of their own."""
    suffix = "" if video.live == "none" else "_live"
    return {
        name: {
            "url": f"https://i.ytimg.com/vi/{video.video_id}/{file}{suffix}.jpg",
            "width": width,
            "height": height,
        }
        for name, file, width, height in (*_SMALL, *(_LARGE if large else ()))
    }


def search_item(published: PublishedVideo, words: Iterable[str], *, with_snippet: bool) -> Json:
    """A video as search shows it: titles escaped, the description an excerpt."""
    video = published.video
    at = format_seconds(published.published_ms)
    item: Json = {"id": {"kind": "youtube#video", "videoId": video.video_id}}
    if with_snippet:
        item["snippet"] = {
            "publishedAt": at,
            "channelId": video.channel_id,
            "title": escaped(video.title),
            "description": excerpt(video.description, words),
            "thumbnails": thumbnails(video),
            "channelTitle": escaped(video.channel_title),
            "liveBroadcastContent": video.live,
            "publishTime": at,
        }
    return {"kind": "youtube#searchResult", "etag": content_etag(item), **item}


def foreign_item(published: PublishedVideo, *, playlist: bool, with_snippet: bool) -> Json:
    """The channel of a video, or its uploads playlist, as search mixes them in; a channel's pictures have no size."""
    video = published.video
    at = format_seconds(_channel_founded_ms(video.channel_id))
    if playlist:
        id_ = {"kind": "youtube#playlist", "playlistId": uploads_playlist(video.channel_id)}
    else:
        id_ = {"kind": "youtube#channel", "channelId": video.channel_id}
    item: Json = {"id": id_}
    if with_snippet:
        item["snippet"] = {
            "publishedAt": at,
            "channelId": video.channel_id,
            "title": escaped(video.channel_title),
            "description": "",
            "thumbnails": thumbnails(video) if playlist else _channel_pictures(video.channel_id),
            "channelTitle": escaped(video.channel_title),
            "liveBroadcastContent": "none",
            "publishTime": at,
        }
    return {"kind": "youtube#searchResult", "etag": content_etag(item), **item}


def playlist_item(published: PublishedVideo, position: int, parts: frozenset[str], *, private: bool = False) -> Json:
    """A video as its channel's uploads playlist shows it: full description, nothing escaped.

    Of a private one it says where it stands and no more: neither what it is nor when it was published.
    """
    video = published.video
    at = format_seconds(published.published_ms)
    playlist_id = uploads_playlist(video.channel_id)
    texts: Json = {"title": video.title, "description": video.description, "thumbnails": thumbnails(video, large=True)}
    owner = {"videoOwnerChannelTitle": video.channel_title, "videoOwnerChannelId": video.channel_id}
    if private:
        texts, owner = {"title": "Private video", "description": "This video is private.", "thumbnails": {}}, {}
    content: Json = {
        "snippet": {
            "publishedAt": at,
            "channelId": video.channel_id,
            **texts,
            "channelTitle": video.channel_title,
            "playlistId": playlist_id,
            "position": position,
            "resourceId": {"kind": "youtube#video", "videoId": video.video_id},
            **owner,
        },
        "contentDetails": {"videoId": video.video_id, **({} if private else {"videoPublishedAt": at})},
        "status": {"privacyStatus": "private" if private else "public"},
    }
    item_id = base64.b64encode(f"{playlist_id}.{video.video_id}".encode()).rstrip(b"=").decode()
    return _resource("youtube#playlistItem", item_id, content, parts)


def video_item(published: PublishedVideo, parts: frozenset[str], now_ms: int) -> Json:
    """A video as videos.list shows it; its counts grow with time."""
    video = published.video
    content: Json = {
        "snippet": _video_snippet(published),
        "contentDetails": {
            **({} if (duration := iso_duration(video)) is None else {"duration": duration}),
            "dimension": "2d",
            "definition": "hd",
            "caption": "false",
            "licensedContent": False,
            "contentRating": {},
            "projection": "rectangular",
        },
        "status": {
            "uploadStatus": "processed" if video.live == "none" else "uploaded",
            "privacyStatus": "public",
            "license": "youtube",
            "embeddable": True,
            "publicStatsViewable": True,
            "madeForKids": False,
        },
        "statistics": _statistics(published, now_ms),
    }
    return _resource("youtube#video", video.video_id, content, parts)


def channel_item(latest: PublishedVideo, video_count: int, parts: frozenset[str]) -> Json:
    """A channel, told by its latest video."""
    video = latest.video
    content: Json = {
        "snippet": {
            "title": video.channel_title,
            "description": "",
            "customUrl": f"@{''.join(words_of(video.channel_title))[:30] or 'channel'}",
            "publishedAt": format_seconds(_channel_founded_ms(video.channel_id)),
            "thumbnails": _channel_pictures(video.channel_id, sized=True),
            "localized": {"title": video.channel_title, "description": ""},
        },
        "contentDetails": {"relatedPlaylists": {"likes": "", "uploads": uploads_playlist(video.channel_id)}},
        "statistics": {
            "viewCount": str(video_count * 1000),
            "subscriberCount": str(int(10 ** (6 * fraction("subscribers", video.channel_id)))),
            "hiddenSubscriberCount": False,
            "videoCount": str(video_count),
        },
    }
    return _resource("youtube#channel", video.channel_id, content, parts)


def uploads_playlist(channel_id: str) -> str:
    """The playlist that holds every video of a channel."""
    return f"UU{channel_id[2:]}"


def iso_duration(video: CatalogueVideo) -> str | None:
    """ISO 8601 (`PT1H2M3S`); `P0D` while live or upcoming, None when unknown."""
    if video.live != "none":
        return "P0D"
    if video.duration_seconds is None:
        return None
    minutes, seconds = divmod(round(video.duration_seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{number}{unit}" for number, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if number]
    return f"PT{''.join(parts) or '0S'}"


def _video_snippet(published: PublishedVideo) -> Json:
    video = published.video
    return {
        "publishedAt": format_seconds(published.published_ms),
        "channelId": video.channel_id,
        "title": video.title,
        "description": video.description,
        "thumbnails": thumbnails(video, large=True),
        "channelTitle": video.channel_title,
        **({"tags": list(video.tags)} if video.tags else {}),
        "categoryId": "28",
        "liveBroadcastContent": video.live,
        "localized": {"title": video.title, "description": video.description},
        **({"defaultAudioLanguage": video.language} if video.language else {}),
    }


def _statistics(published: PublishedVideo, now_ms: int) -> Json:
    days = max(0.0, (now_ms - published.published_ms) / _DAY_MS)
    appeal = 10 ** (5 * fraction("views", published.video.video_id))
    views = int(appeal * math.log1p(days))
    return {
        "viewCount": str(views),
        "likeCount": str(views // 25),
        "favoriteCount": "0",
        "commentCount": str(views // 400),
    }


def _channel_founded_ms(channel_id: str) -> int:
    return _CHANNEL_FOUNDED_MS + int(fraction("founded", channel_id) * 5000) * _DAY_MS


def _channel_pictures(channel_id: str, *, sized: bool = False) -> Json:
    base = f"https://yt3.ggpht.com/ytc/{channel_id}"
    return {
        name: {"url": f"{base}=s{side}-c-k-c0x00ffffff-no-rj", **({"width": side, "height": side} if sized else {})}
        for name, side in (("default", 88), ("medium", 240), ("high", 800))
    }


def _resource(kind: str, id_: str, content: Json, parts: frozenset[str]) -> Json:
    shown = {part: value for part, value in content.items() if part in parts}
    return {"kind": kind, "etag": content_etag([id_, shown]), "id": id_, **shown}
