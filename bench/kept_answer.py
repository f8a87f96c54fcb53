"""One answer of the API, kept so that a bare server can give the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import msgspec

_BY_THE_SERVER: Final = {"date", "server", "content-length", "connection", "server-timing"}
"""What every server writes itself, or what differs from one answer to the next."""


class KeptAnswer(msgspec.Struct, frozen=True):
    """Status, headers and the body as it went over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def fetch(cls, url: str, headers: Mapping[str, str]) -> "KeptAnswer":
        """The answer to a GET; a 304 is an answer too."""
        try:
            with urlopen(Request(url, headers=dict(headers))) as answer:  # noqa: S310  # loopback
                status, said, body = answer.status, answer.headers, answer.read()
        except HTTPError as error:
            status, said, body = error.code, error.headers, b""
        kept = {name.lower(): value for name, value in said.items() if name.lower() not in _BY_THE_SERVER}
        return cls(status, kept, body)

    @classmethod
    def read(cls, file: Path) -> "KeptAnswer":
        return msgspec.msgpack.decode(file.read_bytes(), type=cls)

    def write(self, file: Path) -> None:
        file.write_bytes(msgspec.msgpack.encode(self))
