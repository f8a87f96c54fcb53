"""YouTube's API through Google's client: one call, one request on the wire, one thread, one deadline.

The key travels in a header, so that it stands in no URI, exception or log line of any library (promise P9).
"""

import asyncio
import http.client
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import httplib2
import msgspec
from googleapiclient.discovery import build
from googleapiclient.errors import Error as ClientError
from googleapiclient.errors import HttpError
from googleapiclient.http import HttpRequest

from contract.producer_state import SEARCH_BUCKET
from contract.settings import ALL_VIDEOS
from contract.times import format_millis
from producer.error_policy import YouTubeError, YouTubeUnavailable, to_error
from producer.search_pass import PAGE_ITEMS, SearchRequest
from producer.single_send import SingleSendHttp

_KEY_HEADER: Final = "X-Goog-Api-Key"
_SEARCH_KIND: Final = "youtube#searchListResponse"

_BROKEN_CALL: Final = (
    OSError,  # refused, reset, timed out, TLS
    http.client.HTTPException,  # cut short, not HTTP
    httplib2.HttpLib2Error,
    ClientError,
    ValueError,  # not UTF-8
    RecursionError,  # JSON nested without end
)


class SearchPage(msgspec.Struct, frozen=True):
    """One page of an answer; items are as YouTube sent them."""

    items: list[Any]
    next_page_token: str | None


class YouTubeClient:
    """Calls to one endpoint with one key; `timeout_seconds` bounds each call as a whole."""

    def __init__(self, key: str, endpoint: str, timeout_seconds: float) -> None:
        self._key: Final = key
        self._timeout_seconds: Final = timeout_seconds
        self._youtube = build(
            "youtube",
            "v3",
            http=SingleSendHttp(timeout_seconds),  # never used: it only keeps `build` from looking for credentials
            requestBuilder=_build_with_key(key),
            static_discovery=True,
            cache_discovery=False,
            client_options={"api_endpoint": endpoint},
        )

    async def search(self, request: SearchRequest) -> SearchPage:
        """Make one call of `search.list`.

        Raises:
            YouTubeError: the call brought nothing; the class says what to do.
        """
        call = self._youtube.search().list(**search_parameters(request))
        return to_search_page(await self._execute(call, SEARCH_BUCKET))

    async def _execute(self, call: HttpRequest, bucket: str) -> object:
        wire = SingleSendHttp(self._timeout_seconds)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await _in_own_thread(lambda: call.execute(http=wire, num_retries=0), wire.close)
        except HttpError as error:
            raise self._to_youtube_error(error, bucket) from None  # its text may quote what the server echoed
        except _BROKEN_CALL as error:
            raise YouTubeUnavailable(self._masked(f"{type(error).__name__}: {error}")) from None
        finally:
            wire.abort()

    def _to_youtube_error(self, error: HttpError, bucket: str) -> YouTubeError:
        return to_error(int(error.resp.status), error.content.replace(self._key.encode(), b"***"), bucket)

    def _masked(self, text: str) -> str:
        return text.replace(self._key, "***")


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


def to_search_page(answer: object) -> SearchPage:
    """The page in a successful answer.

    Raises:
        YouTubeUnavailable: it is no list of search results (the client returns a body that is not JSON as text).
    """
    if not isinstance(answer, dict) or answer.get("kind") != _SEARCH_KIND:
        raise YouTubeUnavailable("HTTP 200, but the body is no list of search results")
    items, token = answer.get("items"), answer.get("nextPageToken")
    if not isinstance(items, list) or not (token is None or isinstance(token, str)):
        raise YouTubeUnavailable("HTTP 200, but the list of search results has no items or no readable page token")
    return SearchPage(items, token or None)


def _build_with_key(key: str) -> type[HttpRequest]:
    """A request builder for Google's client that puts the key into a header."""

    class RequestWithKey(HttpRequest):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.headers = {**(self.headers or {}), _KEY_HEADER: key}

    return RequestWithKey


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
