"""An `httplib2.Http` that puts every request on the wire exactly once.

httplib2 sends a request again, unasked, when the peer closes the connection without an answer, and follows redirects.
Every call costs quota and carries the key, so here one call is one request, over a connection of its own (one that
was kept alive may be closed by the time it is used), and nothing is sent after its deadline.
"""

import http.client
import socket
from typing import Any, Final

import httplib2


class ErrorAnswer(Exception):
    """The answer is no success; its text says nothing of the body, which may repeat the key.

    Raised before Google's client sees the answer: of a 403 it writes the body into its log, and it stumbles over one
    that is JSON of another shape.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status: Final = status
        self.body: Final = body


class _SingleSend(http.client.HTTPConnection):
    """Mixed into httplib2's connections: no answer is a plain connection error, which httplib2 does not retry."""

    debuglevel = 0
    given_up = False
    opened_socket: socket.socket | None = None

    def set_debuglevel(self, level: int) -> None:
        """Stay silent: what a level above 0 prints has the headers, and the key among them."""

    def connect(self) -> None:
        super().connect()
        # Kept apart: http.client forgets its socket as soon as an answer says that the connection will be closed.
        self.opened_socket = self.sock
        if self.given_up:
            self.close()
            raise ConnectionAbortedError("the deadline passed before the connection was open")

    def getresponse(self) -> http.client.HTTPResponse:
        try:
            return super().getresponse()
        except (http.client.BadStatusLine, http.client.ResponseNotReady) as error:
            raise ConnectionResetError("the connection was closed without an answer") from error


class _PlainConnection(_SingleSend, httplib2.HTTPConnectionWithTimeout):
    pass


class _TlsConnection(_SingleSend, httplib2.HTTPSConnectionWithTimeout):
    pass


class SingleSendHttp(httplib2.Http):
    """For one call; `timeout_seconds` bounds each socket operation, `abort` ends the call as a whole."""

    def __init__(self, timeout_seconds: float) -> None:
        # With proxies from the environment plain-http calls fail unless PySocks is there, loopback included.
        super().__init__(timeout=timeout_seconds, proxy_info=None)
        self.follow_redirects = False
        self._given_up = False

    def request(  # noqa: PLR0917 - httplib2's signature
        self,
        uri: str,
        method: str = "GET",
        body: Any = None,
        headers: Any = None,
        redirections: int = httplib2.DEFAULT_MAX_REDIRECTS,
        connection_type: Any = None,
    ) -> Any:
        """As in httplib2; `connection_type` is chosen here.

        Raises:
            ErrorAnswer: the status is no success.
            ConnectionAbortedError: the call was aborted before it was sent.
        """
        if self._given_up:
            raise ConnectionAbortedError("the deadline passed before the call began")
        connection_type = _TlsConnection if uri.startswith("https:") else _PlainConnection
        response, content = super().request(uri, method, body, headers, redirections, connection_type)
        if response.status >= 300:
            raise ErrorAnswer(int(response.status), content)
        return response, content

    def abort(self) -> None:
        """Wake a thread that is stuck in this call; it closes the connection itself. To be called from any thread."""
        self._given_up = True
        for connection in tuple(self.connections.values()):
            connection.given_up = True  # before the socket is looked at: one that opens later is closed by its thread
            opened = connection.opened_socket
            if opened is not None:
                try:
                    # The base class's method: a TLS socket's own would take the session away from under the thread.
                    socket.socket.shutdown(opened, socket.SHUT_RDWR)
                except OSError:  # it was closed already
                    continue
