"""YouTube's API through Google's client: one call, one request on the wire, one thread, one deadline.

The key travels in a header, so that it stands in no URI, exception or log line of any library (promise P9). Several
keys of one project take turns only when one is refused; they share the project's budget.
"""

import asyncio
import http.client
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import httplib2
import msgspec
from googleapiclient.discovery import build
from googleapiclient.errors import Error as ClientError
from googleapiclient.http import HttpRequest

from contract.producer_state import SEARCH_BUCKET, UNITS_BUCKET
from contract.settings import ALL_VIDEOS
from contract.times import format_millis
from producer.error_policy import InvalidCredentials, KeyRefused, YouTubeError, YouTubeUnavailable, mask, to_error
from producer.search_pass import PAGE_ITEMS, SearchRequest
from producer.single_send import ErrorAnswer, SingleSendHttp

MAX_IDS: Final = 50
"""The most videos that one call of `videos.list` may name."""

SEARCH_KIND: Final = "youtube#searchListResponse"
UPLOADS_KIND: Final = "youtube#playlistItemListResponse"
VIDEOS_KIND: Final = "youtube#videoListResponse"

_KEY_HEADER: Final = "X-Goog-Api-Key"

_BROKEN_CALL: Final = (
    OSError,  # refused, reset, timed out, TLS
    http.client.HTTPException,  # cut short, not HTTP
    httplib2.HttpLib2Error,
    ClientError,
    ValueError,  # not UTF-8
    RecursionError,  # JSON nested without end
)


class Page(msgspec.Struct, frozen=True):
    """One page of an answer; items are as YouTube sent them. No token is the last page."""

    items: list[Any]
    next_page_token: str | None


class UploadsRequest(msgspec.Struct, frozen=True):
    """One call of `playlistItems.list`: a page of what a channel uploaded, the latest upload first."""

    channel_id: str
    page_token: str | None = None


class YouTubeClient:
    """Calls to one endpoint; `timeout_seconds` bounds each call as a whole.

    `keys` are of one project. The first is used until YouTube refuses it, then the next one from the next call on: a
    refused call is not made again here, because each call is debited before it is made.
    """

    def __init__(self, keys: Sequence[str], endpoint: str, timeout_seconds: float) -> None:
        """Make no call yet.

        Raises:
            ValueError: there is no key, or one that can stand in no header.
        """
        self._keys: Final = tuple(dict.fromkeys(keys))
        self._refused: Final[set[int]] = set()
        self._timeout_seconds: Final = timeout_seconds
        _check_keys(self._keys)
        self._youtube = build(
            "youtube",
            "v3",
            http=SingleSendHttp(timeout_seconds),  # never used: it only keeps `build` from looking for credentials
            static_discovery=True,
            cache_discovery=False,
            client_options={"api_endpoint": endpoint},
        )

    async def search(self, request: SearchRequest) -> Page:
        """Make one call of `search.list`.

        Raises:
            YouTubeError: the call brought nothing; the class says what to do.
        """
        call = self._youtube.search().list(**search_parameters(request))
        return to_page(await self._execute(call, SEARCH_BUCKET), SEARCH_KIND)

    async def uploads(self, request: UploadsRequest) -> Page:
        """Make one call of `playlistItems.list` for a channel's uploads.

        Raises:
            YouTubeError: the call brought nothing; the class says what to do.
        """
        call = self._youtube.playlistItems().list(**uploads_parameters(request))
        return to_page(await self._execute(call, UNITS_BUCKET), UPLOADS_KIND)

    async def videos(self, ids: Sequence[str]) -> Page:
        """Make one call of `videos.list`; videos that are gone are missing from the answer.

        Raises:
            ValueError: no id, or more than 50.
            YouTubeError: the call brought nothing; the class says what to do.
        """
        if not 1 <= len(ids) <= MAX_IDS:
            raise ValueError(f"one call names 1 to {MAX_IDS} videos, not {len(ids)}")
        call = self._youtube.videos().list(part="snippet,contentDetails,status", id=",".join(ids))
        return to_page(await self._execute(call, UNITS_BUCKET), VIDEOS_KIND)

    async def _execute(self, call: HttpRequest, bucket: str) -> object:
        position = self._key_in_use()
        call.headers = {**(call.headers or {}), _KEY_HEADER: self._keys[position]}
        wire = SingleSendHttp(self._timeout_seconds)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await _in_own_thread(lambda: call.execute(http=wire, num_retries=0), wire.close)
        except ErrorAnswer as answer:
            error = to_error(answer.status, answer.body, bucket, self._keys)
            raise self._key_refused(position, error) if isinstance(error, InvalidCredentials) else error from None
        except _BROKEN_CALL as error:
            raise YouTubeUnavailable(mask(f"{type(error).__name__}: {error}", self._keys)) from None
        finally:
            wire.abort()

    def _key_in_use(self) -> int:
        for position in range(len(self._keys)):
            if position not in self._refused:
                return position
        raise InvalidCredentials(f"no key is left: YouTube refused {_all_of(len(self._keys))}")

    def _key_refused(self, position: int, error: InvalidCredentials) -> YouTubeError:
        """Leave the key out from now on; the error names it by its place in the list."""
        self._refused.add(position)
        which = f"key {position + 1} of {len(self._keys)}"
        if len(self._refused) < len(self._keys):
            return KeyRefused(f"{which} is left out from now on: {error}")
        return InvalidCredentials(f"{which} is refused, and no other is left: {error}")


def search_parameters(request: SearchRequest) -> dict[str, Any]:
    """Parameters of `search.list`; the query `*` is a search without words."""
    parameters: dict[str, Any] = {
        "part": "snippet",
        "type": "video",
        "order": "date",
        "maxResults": PAGE_ITEMS,
        "publishedAfter": format_millis(request.window.after_ms),
        "publishedBefore": format_millis(request.window.before_ms),
    }
    if request.query != ALL_VIDEOS:
        parameters["q"] = request.query
    if request.page_token is not None:
        parameters["pageToken"] = request.page_token
    return parameters


def uploads_parameters(request: UploadsRequest) -> dict[str, Any]:
    """Parameters of `playlistItems.list`; a channel's uploads have its id with another beginning."""
    parameters: dict[str, Any] = {
        "part": "snippet,contentDetails",
        "playlistId": f"UU{request.channel_id[2:]}",
        "maxResults": PAGE_ITEMS,
    }
    if request.page_token is not None:
        parameters["pageToken"] = request.page_token
    return parameters


def to_page(answer: object, kind: str) -> Page:
    """The page in a successful answer.

    YouTube sometimes leaves `items` out where there are none; that is an empty page only if the answer itself counts
    no results, so that half an answer never passes for "nothing there".

    Raises:
        YouTubeUnavailable: it is no list of this kind (the client returns a body that is not JSON as text).
    """
    if not isinstance(answer, dict) or answer.get("kind") != kind:
        raise YouTubeUnavailable(f"HTTP 200, but the body is no {kind}")
    items, token = answer.get("items", [] if _counts_nothing(answer) else None), answer.get("nextPageToken")
    if not isinstance(items, list) or not (token is None or isinstance(token, str)):
        raise YouTubeUnavailable(f"HTTP 200, but the {kind} has no items or no readable page token")
    return Page(items, token or None)


def _counts_nothing(answer: dict[str, Any]) -> bool:
    page_info = answer.get("pageInfo")
    return isinstance(page_info, dict) and page_info.get("totalResults") == 0 and not answer.get("nextPageToken")


def _check_keys(keys: tuple[str, ...]) -> None:
    if not keys:
        raise ValueError("there is no key")
    for position, key in enumerate(keys, 1):
        if not key or not all("!" <= character <= "~" for character in key):
            raise ValueError(f"key {position} of {len(keys)} is empty or holds spaces or characters beyond ASCII")


def _all_of(count: int) -> str:
    return "the only one" if count == 1 else f"all {count}"


async def _in_own_thread(work: Callable[[], object], finish: Callable[[], None]) -> object:
    """Run `work`, then `finish`, in a thread for them alone.

    A caller that gives up leaves the thread to itself: nothing else ever runs in it, and it does not keep the process
    alive (a thread pool's would).
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[object] = loop.create_future()

    def settle(result: object, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 - it is raised again where it is awaited
            error = raised
        finally:
            finish()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="youtube-call", daemon=True).start()
    return await done
