"""The real Google client against servers that misbehave: one request a call, one deadline, and no key anywhere."""

import asyncio
import http.client
import json
import logging
import socket
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import googleapiclient.model
import httplib2
import pytest

from producer.error_policy import (
    BadQuery,
    DelegationRefused,
    InvalidCredentials,
    InvalidPageToken,
    KeyRefused,
    NotFound,
    QuotaExhausted,
    RateLimited,
    YouTubeError,
    YouTubeUnavailable,
)
from producer.search_pass import SearchRequest
from producer.single_send import ErrorAnswer, SingleSendHttp
from producer.windows import Window
from producer.youtube_client import Page, UploadsRequest, YouTubeClient

KEY = "AIzaSyThisIsNoRealKeyButLooksLikeOne_03"
NEXT_KEY = "AIzaSyThisIsNoRealKeyButLooksLikeOne_04"
BOTH = (KEY, NEXT_KEY)
REQUEST = SearchRequest("tea & scones", Window(1_780_000_000_000, 1_780_000_600_999), None)
PAGE = {"kind": "youtube#searchListResponse", "items": [{"id": {"kind": "youtube#video"}}], "nextPageToken": "CDIQAA"}

CHANNEL = "UCaaaaaaaaaaaaaaaaaaaaaa"
UPLOADS = {**PAGE, "kind": "youtube#playlistItemListResponse"}
VIDEOS = {"kind": "youtube#videoListResponse", "items": [{"id": "video000001"}]}

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def http_answer(body: bytes, status: int = 200, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Whatever\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def sends(answer: bytes) -> Answer:
    """Send these bytes and close."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return send


def json_answer(answer: object) -> Answer:
    return sends(http_answer(json.dumps(answer).encode()))


def in_turn(*answers: Answer) -> Answer:
    """One answer after another."""
    left = iter(answers)

    async def send(writer: asyncio.StreamWriter) -> None:
        await next(left)(writer)

    return send


class Server:
    """Answers requests; counts and keeps them."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[str] = []

    @property
    def parameters(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.requests[-1].split(" ")[1]).query)

    @property
    def keys(self) -> list[str]:
        heads = [head.lower().partition("x-goog-api-key: ")[2].partition("\r\n")[0] for head in self.requests]
        return [key for head in heads for key in (*BOTH, "unknown") if key.lower() == head]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head.decode())
            await self.answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    answer: Answer, timeout_seconds: float = 5.0, keys: Sequence[str] = (KEY,)
) -> AsyncIterator[tuple[Server, YouTubeClient]]:
    server = Server(answer)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield server, YouTubeClient(keys, f"http://127.0.0.1:{port}", timeout_seconds)
    finally:
        listener.close()


async def test_a_page_is_returned_as_it_was_sent() -> None:
    async with serving(sends(http_answer(json.dumps(PAGE).encode()))) as (server, client):
        assert await client.search(REQUEST) == Page(PAGE["items"], "CDIQAA")  # type: ignore[arg-type]
    assert len(server.requests) == 1


@pytest.mark.parametrize("links", [{}, {"nextPageToken": ""}])
async def test_no_token_and_a_blank_one_are_the_last_page(links: dict[str, str]) -> None:
    page = {"kind": PAGE["kind"], "items": PAGE["items"], **links}
    async with serving(sends(http_answer(json.dumps(page).encode()))) as (_, client):
        assert await client.search(REQUEST) == Page(page["items"], None)  # type: ignore[arg-type]


async def test_the_call_asks_for_what_was_requested() -> None:
    async with serving(sends(http_answer(json.dumps(PAGE).encode()))) as (server, client):
        await client.search(REQUEST)
        assert server.requests[0].startswith("GET /youtube/v3/search?")
        assert server.parameters == {
            "part": ["snippet"],
            "q": ["tea & scones"],
            "type": ["video"],
            "order": ["date"],
            "maxResults": ["50"],
            "publishedAfter": ["2026-05-28T20:26:40.000Z"],
            "publishedBefore": ["2026-05-28T20:36:40.999Z"],
            "alt": ["json"],
        }
        await client.search(SearchRequest("*", REQUEST.window, "CDIQAA"))
        assert "q" not in server.parameters
        assert server.parameters["pageToken"] == ["CDIQAA"]


async def test_uploads_are_read_from_the_playlist_of_the_channel() -> None:
    async with serving(json_answer(UPLOADS)) as (server, client):
        page = await client.uploads(UploadsRequest(CHANNEL))
        assert server.requests[0].startswith("GET /youtube/v3/playlistItems?")
        assert server.parameters == {
            "part": ["snippet,contentDetails"],
            "playlistId": ["UUaaaaaaaaaaaaaaaaaaaaaa"],
            "maxResults": ["50"],
            "alt": ["json"],
        }
        await client.uploads(UploadsRequest(CHANNEL, "CDIQAA"))
        assert server.parameters["pageToken"] == ["CDIQAA"]
    assert page == Page(PAGE["items"], "CDIQAA")  # type: ignore[arg-type]


async def test_videos_are_asked_for_together() -> None:
    async with serving(json_answer(VIDEOS)) as (server, client):
        page = await client.videos(["video000001", "video000002"])
        assert server.requests[0].startswith("GET /youtube/v3/videos?")
        assert server.parameters == {
            "part": ["snippet,contentDetails,status"],
            "id": ["video000001,video000002"],
            "alt": ["json"],
        }
        await client.videos([f"video{number:06d}" for number in range(50)])
    assert page == Page(VIDEOS["items"], None)  # type: ignore[arg-type]
    assert len(server.requests) == 2


@pytest.mark.parametrize("count", [0, 51])
async def test_more_videos_than_a_call_may_name_are_not_asked_for(count: int) -> None:
    async with serving(json_answer(VIDEOS)) as (server, client):
        with pytest.raises(ValueError, match=f"1 to 50 videos, not {count}"):
            await client.videos(["video000001"] * count)
    assert server.requests == []


Call = Callable[[YouTubeClient], Awaitable[Page]]
CALLS: dict[str, tuple[Call, str]] = {
    "search": (lambda client: client.search(REQUEST), "youtube#searchListResponse"),
    "uploads": (lambda client: client.uploads(UploadsRequest(CHANNEL)), "youtube#playlistItemListResponse"),
    "videos": (lambda client: client.videos(["video000001"]), "youtube#videoListResponse"),
}


@pytest.mark.parametrize("asked", CALLS)
@pytest.mark.parametrize("answered", CALLS)
async def test_only_the_kind_that_was_asked_for_is_an_answer(asked: str, answered: str) -> None:
    call, kind = CALLS[asked][0], CALLS[answered][1]
    async with serving(json_answer({"kind": kind, "items": []})) as (_, client):
        if asked == answered:
            assert await call(client) == Page([], None)
        else:
            with pytest.raises(YouTubeUnavailable, match=CALLS[asked][1]):
                await call(client)


@pytest.mark.parametrize("name", CALLS)
async def test_no_items_are_an_empty_page_only_if_the_answer_counts_none(name: str) -> None:
    call, kind = CALLS[name]
    nothing = {"kind": kind, "pageInfo": {"totalResults": 0, "resultsPerPage": 5}}
    async with serving(json_answer(nothing)) as (_, client):
        assert await call(client) == Page([], None)
    for broken in (
        {"kind": kind},
        {"kind": kind, "pageInfo": {}},
        {"kind": kind, "pageInfo": []},
        {"kind": kind, "pageInfo": {"totalResults": 3}},
        {**nothing, "items": None},
        {**nothing, "items": {}},
        {**nothing, "nextPageToken": "CDIQAA"},
    ):
        async with serving(json_answer(broken)) as (_, client):
            with pytest.raises(YouTubeUnavailable):
                await call(client)


@pytest.mark.parametrize(("name", "bucket"), [("search", "search"), ("uploads", "units"), ("videos", "units")])
async def test_an_exhausted_bucket_is_that_of_the_call(name: str, bucket: str) -> None:
    async with serving(sends(http_answer(DAY, 429))) as (_, client):
        with pytest.raises(QuotaExhausted) as caught:
            await CALLS[name][0](client)
    assert caught.value.bucket == bucket


async def test_the_key_travels_in_a_header_only() -> None:
    async with serving(sends(http_answer(json.dumps(PAGE).encode()))) as (server, client):
        await client.search(REQUEST)
    line, _, headers = server.requests[0].partition("\r\n")
    assert KEY not in line
    assert f"x-goog-api-key: {KEY}".lower() in headers.lower()


def error_body(code: int, reason: str, message: str, **more: Any) -> bytes:
    error = {"code": code, "message": message, "errors": [{"reason": reason, "domain": "global"}], **more}
    return json.dumps({"error": error}).encode()


async def trickle(writer: asyncio.StreamWriter) -> None:
    """A byte now and then, each sooner than any socket timeout, for as long as anybody listens."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def silence(_writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(5)


ECHO = error_body(400, "invalidSearchFilter", f"bad request with {KEY} in it")
DAY = error_body(429, "rateLimitExceeded", "limit 'Search Queries per day'")
UNAUTHENTICATED = error_body(401, "required", "Login Required")
SUSPENDED = error_body(
    403,
    "forbidden",
    f"Permission denied: Consumer 'api_key:{KEY}' has been suspended.",
    details=[{"reason": "CONSUMER_SUSPENDED"}],
)
TOO_DEEP = b'{"kind":' + b"[" * 100_000
FAULTS: dict[str, tuple[Answer, type[YouTubeError]]] = {
    "closed without an answer": (sends(b""), YouTubeUnavailable),
    "not HTTP": (sends(b"SSH-2.0-OpenSSH_9.2\r\n"), YouTubeUnavailable),
    "cut short": (sends(http_answer(json.dumps(PAGE).encode())[:-10]), YouTubeUnavailable),
    "200, half of the JSON": (sends(http_answer(json.dumps(PAGE).encode()[:-10])), YouTubeUnavailable),
    "200, empty": (sends(http_answer(b"")), YouTubeUnavailable),
    "200, text": (sends(http_answer(b'"text"')), YouTubeUnavailable),
    "200, a list": (sends(http_answer(b"[]")), YouTubeUnavailable),
    "200, not UTF-8": (sends(http_answer(b'{"kind": "\xff"}')), YouTubeUnavailable),
    "200, nested without end": (sends(http_answer(TOO_DEEP)), YouTubeUnavailable),
    "200, bad gzip": (sends(http_answer(b"{}", headers="Content-Encoding: gzip\r\n")), YouTubeUnavailable),
    "200, another kind": (sends(http_answer(b'{"kind": "youtube#videoListResponse"}')), YouTubeUnavailable),
    "200, no items": (sends(http_answer(b'{"kind": "youtube#searchListResponse"}')), YouTubeUnavailable),
    "200, odd token": (
        sends(http_answer(json.dumps({**PAGE, "nextPageToken": 7}).encode())),
        YouTubeUnavailable,
    ),
    "204": (sends(b"HTTP/1.1 204 No Content\r\n\r\n"), YouTubeUnavailable),
    "redirect": (sends(http_answer(b"", 302, "Location: /elsewhere\r\nConnection: close\r\n")), YouTubeUnavailable),
    "401": (sends(http_answer(UNAUTHENTICATED, 401, 'WWW-Authenticate: Basic realm="x"\r\n')), InvalidCredentials),
    "401 of a proxy": (sends(http_answer(b"{}", 401, 'WWW-Authenticate: Basic realm="x"\r\n')), YouTubeUnavailable),
    "500": (sends(http_answer(error_body(500, "backendError", "Backend Error"), 500)), YouTubeUnavailable),
    "502, HTML": (sends(http_answer(b"<html>", 502)), YouTubeUnavailable),
    "429 of the day": (sends(http_answer(DAY, 429)), QuotaExhausted),
    "429 of a burst": (sends(http_answer(error_body(429, "rateLimitExceeded", "slower"), 429)), RateLimited),
    "delegation": (sends(http_answer(error_body(403, "accountDelegationForbidden", "no"), 403)), DelegationRefused),
    "404": (sends(http_answer(error_body(404, "playlistNotFound", "gone"), 404)), NotFound),
    "404, HTML": (sends(http_answer(b"<html>", 404)), YouTubeUnavailable),
    "403, errors that are no objects": (sends(http_answer(b'{"error": {"errors": [5]}}', 403)), YouTubeUnavailable),
    "403, error is null": (sends(http_answer(b'{"error": null}', 403)), YouTubeUnavailable),
    "403, an empty list": (sends(http_answer(b"[]", 403)), YouTubeUnavailable),
    "403, empty": (sends(http_answer(b"", 403)), YouTubeUnavailable),
    "bad key": (sends(http_answer(error_body(400, "keyInvalid", "Bad Request"), 400)), InvalidCredentials),
    "bad token": (sends(http_answer(error_body(400, "invalidPageToken", "bad"), 400)), InvalidPageToken),
    "echo of the key": (sends(http_answer(ECHO, 400)), BadQuery),
    "echo of the key, escaped": (sends(http_answer(ECHO.replace(b"AIza", b"\\u0041Iza"), 400)), BadQuery),
    "echo of the key in HTML": (sends(http_answer(f"<p>{KEY}</p>".encode(), 403)), YouTubeUnavailable),
    "echo of the key as reason": (sends(http_answer(error_body(403, KEY, KEY), 403)), YouTubeUnavailable),
    "echo of the key as status": (sends(f"HTTP/1.1 {KEY}\r\n\r\n".encode()), YouTubeUnavailable),
    "echo of the key as protocol": (sends(f"HTTP/{KEY} 200 OK\r\n\r\n".encode()), YouTubeUnavailable),
    "suspended, with the key": (sends(http_answer(SUSPENDED, 403)), InvalidCredentials),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_one_request_and_one_reaction_and_shows_no_key(
    fault: str, every_word: Callable[[], str]
) -> None:
    answer, reaction = FAULTS[fault]
    async with serving(answer) as (server, client):
        with pytest.raises(YouTubeError) as caught:
            await client.search(REQUEST)
    assert reaction is caught.type
    assert len(server.requests) == 1, "the request went out more than once"
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + every_word()
    assert KEY not in shown


async def test_nobody_listening_is_unavailable() -> None:
    async with serving(silence) as (_, client):
        pass
    with pytest.raises(YouTubeUnavailable, match="ConnectionRefusedError"):
        await client.search(REQUEST)


@pytest.fixture
def every_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Callable[[], str]:
    """Every library at its most talkative; gives what was logged and printed until then."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="googleapiclient")
    monkeypatch.setattr(googleapiclient.model, "dump_request_response", True)
    monkeypatch.setattr(httplib2, "debuglevel", 9)
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 9)

    def said() -> str:
        out, err = capfd.readouterr()
        return caplog.text + out + err

    return said


@pytest.mark.parametrize("name", CALLS)
async def test_no_library_says_the_key_of_a_good_call(name: str, every_word: Callable[[], str]) -> None:
    call, kind = CALLS[name]
    async with serving(json_answer({"kind": kind, "items": []})) as (_, client):
        await call(client)
        shown = every_word() + repr(client) + str(client)
    assert "URL being requested" in shown, "the client's own line is what this test is about"
    assert "--response-start--" in shown
    assert KEY not in shown


def key_refused(key: str) -> Answer:
    """The answer to a key that is none, which names it and the other one."""
    message = f"API key not valid: {key}. It is neither {KEY} nor {NEXT_KEY}."
    return sends(http_answer(error_body(400, "keyInvalid", message), 400))


async def test_a_refused_key_is_left_out_from_the_next_call_on(every_word: Callable[[], str]) -> None:
    answer = in_turn(json_answer(PAGE), key_refused(KEY), json_answer(PAGE), json_answer(UPLOADS))
    async with serving(answer, keys=BOTH) as (server, client):
        await client.search(REQUEST)
        with pytest.raises(KeyRefused, match=r"^key 1 of 2 is left out") as caught:
            await client.search(REQUEST)
        assert len(server.requests) == 2, "a second request in the same call is not debited"
        await client.search(REQUEST)
        await client.uploads(UploadsRequest(CHANNEL))
    assert server.keys == [KEY, KEY, NEXT_KEY, NEXT_KEY]
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(client) + every_word()
    assert "AIza" not in shown


async def test_when_no_key_is_left_nothing_is_asked_any_more() -> None:
    async with serving(in_turn(key_refused(KEY), key_refused(NEXT_KEY)), keys=BOTH) as (server, client):
        with pytest.raises(KeyRefused):
            await client.search(REQUEST)
        with pytest.raises(InvalidCredentials, match=r"^key 2 of 2 is refused, and no other is left: HTTP 400") as last:
            await client.search(REQUEST)
        with pytest.raises(InvalidCredentials, match="refused all 2") as after:
            await client.search(REQUEST)
    assert server.keys == [KEY, NEXT_KEY]
    assert "AIza" not in str(last.value) + str(after.value)


@pytest.mark.parametrize(
    "fault", ["429 of the day", "429 of a burst", "delegation", "500", "closed without an answer", "401 of a proxy"]
)
async def test_no_other_fault_turns_to_another_key(fault: str) -> None:
    async with serving(in_turn(FAULTS[fault][0], json_answer(PAGE)), keys=BOTH) as (server, client):
        with pytest.raises(YouTubeError):
            await client.search(REQUEST)
        await client.search(REQUEST)
    assert server.keys == [KEY, KEY]


async def test_two_calls_under_way_with_a_key_that_is_refused_cost_no_other_key() -> None:
    async with serving(in_turn(key_refused(KEY), key_refused(KEY), json_answer(PAGE)), keys=BOTH) as (server, client):
        calls = (client.search(REQUEST), client.uploads(UploadsRequest(CHANNEL)))
        assert [type(error) for error in await asyncio.gather(*calls, return_exceptions=True)] == [KeyRefused] * 2
        await client.search(REQUEST)
    assert server.keys == [KEY, KEY, NEXT_KEY]


async def test_a_key_that_is_given_twice_is_tried_once() -> None:
    async with serving(key_refused(KEY), keys=(KEY, KEY)) as (_, client):
        with pytest.raises(InvalidCredentials, match="key 1 of 1"):
            await client.search(REQUEST)


@pytest.mark.parametrize("keys", [(), ("",), ("good-key", "two words"), ("line\nbreak",), ("caf\u00e9",), ("\x00",)])
def test_a_key_that_can_stand_in_no_header_is_an_error_at_once(keys: Sequence[str]) -> None:
    with pytest.raises(ValueError, match="key") as caught:
        YouTubeClient(keys, "http://127.0.0.1:9", 1)
    assert not any(key.strip() in str(caught.value) for key in keys if key.strip())


@pytest.mark.parametrize("answer", [trickle, silence], ids=["trickle", "silence"])
async def test_the_deadline_ends_a_slow_answer_and_lets_go_of_its_thread(answer: Answer) -> None:
    async with serving(answer, timeout_seconds=0.4) as (server, client):
        with pytest.raises(YouTubeUnavailable, match="Timeout"):
            await client.search(REQUEST)
        assert len(server.requests) == 1
        await _until(lambda: not call_threads())


async def test_the_next_call_does_not_wait_for_a_stuck_one() -> None:
    async with serving(in_turn(trickle, json_answer(PAGE)), timeout_seconds=1) as (_, client):
        with pytest.raises(YouTubeUnavailable):
            await client.search(REQUEST)
        assert (await client.search(REQUEST)).items == PAGE["items"]


async def test_a_cancelled_call_lets_go_of_its_thread() -> None:
    async with serving(silence, timeout_seconds=30) as (server, client):
        call = asyncio.create_task(client.search(REQUEST))
        await _until(lambda: bool(server.requests))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await _until(lambda: not call_threads())


async def test_nothing_is_sent_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that takes long to look up: the connection opens when nobody waits any more."""
    looked_up = threading.Event()
    look_up = socket.getaddrinfo

    def slow_look_up(host: Any, *arguments: Any, **named: Any) -> Any:
        if threading.current_thread().name == "youtube-call":
            looked_up.wait(timeout=30)
        return look_up(host, *arguments, **named)

    async with serving(json_answer(PAGE), timeout_seconds=0.2) as (server, client):
        monkeypatch.setattr(socket, "getaddrinfo", slow_look_up)
        with pytest.raises(YouTubeUnavailable, match="Timeout"):
            await client.search(REQUEST)
        looked_up.set()
        await _until(lambda: not call_threads())
    assert server.requests == []


def test_a_call_that_was_given_up_before_it_began_is_not_made() -> None:
    wire = SingleSendHttp(1)
    wire.abort()
    with pytest.raises(ConnectionAbortedError):
        wire.request("http://127.0.0.1:9/")


def test_the_text_of_an_answer_that_is_no_success_repeats_nothing_of_it() -> None:
    error = ErrorAnswer(403, KEY.encode())
    assert KEY not in f"{error} {error!r}"


def call_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "youtube-call"]


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - a thread's end sets no event
            await asyncio.sleep(0.01)
