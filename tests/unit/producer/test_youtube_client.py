"""The real Google client against servers that misbehave: one request a call, one deadline, and no key anywhere."""

import asyncio
import json
import logging
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from producer.error_policy import (
    BadQuery,
    InvalidCredentials,
    InvalidPageToken,
    QuotaExhausted,
    YouTubeError,
    YouTubeUnavailable,
)
from producer.search_pass import SearchRequest
from producer.windows import Window
from producer.youtube_client import SearchPage, YouTubeClient

KEY = "AIzaSyThisIsNoRealKeyButLooksLikeOne_03"
REQUEST = SearchRequest("tea & scones", Window(1_780_000_000_000, 1_780_000_600_999), None)
PAGE = {"kind": "youtube#searchListResponse", "items": [{"id": {"kind": "youtube#video"}}], "nextPageToken": "CDIQAA"}

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


class Server:
    """Answers every request alike; counts and keeps them."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[str] = []

    @property
    def parameters(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.requests[-1].split(" ")[1]).query)

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
async def serving(answer: Answer, timeout_seconds: float = 5.0) -> AsyncIterator[tuple[Server, YouTubeClient]]:
    server = Server(answer)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield server, YouTubeClient(KEY, f"http://127.0.0.1:{port}", timeout_seconds)
    finally:
        listener.close()


async def test_a_page_is_returned_as_it_was_sent() -> None:
    async with serving(sends(http_answer(json.dumps(PAGE).encode()))) as (server, client):
        assert await client.search(REQUEST) == SearchPage(PAGE["items"], "CDIQAA")  # type: ignore[arg-type]
    assert len(server.requests) == 1


@pytest.mark.parametrize("links", [{}, {"nextPageToken": ""}])
async def test_no_token_and_a_blank_one_are_the_last_page(links: dict[str, str]) -> None:
    page = {"kind": PAGE["kind"], "items": PAGE["items"], **links}
    async with serving(sends(http_answer(json.dumps(page).encode()))) as (_, client):
        assert await client.search(REQUEST) == SearchPage(page["items"], None)  # type: ignore[arg-type]


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
    """A byte now and then, each sooner than any socket timeout."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n")
    for _ in range(100):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def silence(_writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(5)


ECHO = error_body(400, "invalidSearchFilter", f"bad request with {KEY} in it")
DAY = error_body(429, "rateLimitExceeded", "limit 'Search Queries per day'")
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
    "401": (sends(http_answer(b"{}", 401, 'WWW-Authenticate: Basic realm="x"\r\n')), InvalidCredentials),
    "500": (sends(http_answer(error_body(500, "backendError", "Backend Error"), 500)), YouTubeUnavailable),
    "502, HTML": (sends(http_answer(b"<html>", 502)), YouTubeUnavailable),
    "429 of the day": (sends(http_answer(DAY, 429)), QuotaExhausted),
    "429 of a burst": (sends(http_answer(error_body(429, "rateLimitExceeded", "slower"), 429)), YouTubeUnavailable),
    "bad key": (sends(http_answer(error_body(400, "keyInvalid", "Bad Request"), 400)), InvalidCredentials),
    "bad token": (sends(http_answer(error_body(400, "invalidPageToken", "bad"), 400)), InvalidPageToken),
    "echo of the key": (sends(http_answer(ECHO, 400)), BadQuery),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_one_request_and_one_reaction_and_shows_no_key(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer, reaction = FAULTS[fault]
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, logger="googleapiclient"):
        async with serving(answer) as (server, client):
            with pytest.raises(YouTubeError) as caught:
                await client.search(REQUEST)
    assert reaction is caught.type
    assert len(server.requests) == 1, "the request went out more than once"
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    assert KEY not in shown


async def test_nobody_listening_is_unavailable() -> None:
    async with serving(silence) as (_, client):
        pass
    with pytest.raises(YouTubeUnavailable, match="ConnectionRefusedError"):
        await client.search(REQUEST)


async def test_the_key_is_in_no_log_line_of_a_good_call(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, logger="googleapiclient"):
        async with serving(sends(http_answer(json.dumps(PAGE).encode()))) as (_, client):
            await client.search(REQUEST)
    assert "URL being requested" in caplog.text, "the client's own line is what this test is about"
    assert KEY not in caplog.text


@pytest.mark.parametrize("answer", [trickle, silence], ids=["trickle", "silence"])
async def test_the_deadline_ends_a_slow_answer_and_lets_go_of_its_thread(answer: Answer) -> None:
    async with serving(answer, timeout_seconds=0.4) as (server, client):
        started = time.monotonic()
        with pytest.raises(YouTubeUnavailable, match="Timeout"):
            await client.search(REQUEST)
        assert time.monotonic() - started < 1.5
        assert len(server.requests) == 1
        await _until(lambda: not call_threads())


async def test_the_next_call_does_not_wait_for_a_stuck_one() -> None:
    answers = iter([trickle, sends(http_answer(json.dumps(PAGE).encode()))])

    async def answer(writer: asyncio.StreamWriter) -> None:
        await next(answers)(writer)

    async with serving(answer, timeout_seconds=0.4) as (_, client):
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


def call_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "youtube-call"]


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not true():  # noqa: ASYNC110 - a thread's end sets no event
            await asyncio.sleep(0.01)
