"""What people open in a browser: the dashboard at `/` and `/pipeline`, the API's page at `/docs`, the contract.

Everything is read and compressed once, at the start, and refers to nothing outside this server but YouTube's pictures.
The files are named in their URLs by a digest of them all, so that browsers may keep them for good, and a new version
of YouSync is seen at once.
"""

import gzip
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

import brotli
from aiohttp import hdrs, web

from query_api.negotiation import Coding, choose_coding, has_already

_HERE: Final = Path(__file__).parent
_CONTRACT: Final = _HERE / "openapi.json"
_FOLDERS: Final = {"dashboard": _HERE / "dashboard", "docs": _HERE / "docs_page"}
"""Where files are, by the first part of their name in a URL."""

_CONTENT_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Of the files that pages refer to; others are not served."""

_PAGES: Final = {"/": "videos", "/pipeline": "pipeline", "/docs": "docs"}
"""Path of each page, and its file; all stand in one frame."""

_ASSETS: Final = "{{assets}}"
"""Stands in a page for the folder of its files; see `Pages`."""

_OWN_ONLY: Final = "default-src 'none'; script-src 'self'; connect-src 'self'; "
_NOWHERE_ELSE: Final = "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
_DASHBOARD_POLICY: Final = (
    f"{_OWN_ONLY}style-src 'self'; img-src 'self' https://i.ytimg.com https://*.ytimg.com; {_NOWHERE_ELSE}; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_DOCS_POLICY: Final = f"{_OWN_ONLY}style-src 'self' 'unsafe-inline'; img-src 'self' data:; {_NOWHERE_ELSE}"
"""Swagger UI writes styles into its elements, and its pictures into its stylesheet."""

_SAFE: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_ASK_AGAIN: Final = "no-cache"
_KEEP_FOR_GOOD: Final = "public, max-age=31536000, immutable"

_WORTH_COMPRESSING: Final = 512
_BROTLI_QUALITY: Final = 7
"""Better ones take seconds for Swagger UI, at every start of every process."""


class _File:
    """One file ready to send, in each coding."""

    def __init__(self, content: bytes, content_type: str, policy: str | None = None) -> None:
        self._tag: Final = blake2b(content, digest_size=12).hexdigest()
        self._bodies: Final[dict[Coding, bytes]] = {"identity": content}
        if len(content) >= _WORTH_COMPRESSING:
            self._bodies["br"], self._bodies["gzip"] = _compressed(content)
        self._headers: Final = {hdrs.CONTENT_TYPE: content_type, hdrs.VARY: "Accept-Encoding", **_SAFE}
        if policy is not None:
            self._headers["Content-Security-Policy"] = policy

    def answer(self, request: web.Request, cache_control: str) -> web.Response:
        """200 in a coding that the client takes, or 304."""
        coding = choose_coding(request.headers.get(hdrs.ACCEPT_ENCODING, ""))
        if coding not in self._bodies:
            coding = "identity"
        # One tag a coding: what a cache has of one is not the other.
        tag = self._tag if coding == "identity" else f"{self._tag}-{coding}"
        headers = {**self._headers, hdrs.CACHE_CONTROL: cache_control, hdrs.ETAG: f'"{tag}"'}
        if has_already(request, tag):
            return web.Response(status=304, headers=headers)
        if coding != "identity":
            headers[hdrs.CONTENT_ENCODING] = coding
        return web.Response(body=self._bodies[coding], headers=headers)


class Pages:
    """All pages and their files."""

    def __init__(self) -> None:
        contents = dict(_contents())
        self.version: Final = _digest(contents)
        self._assets: Final = {
            name: _File(content, _CONTENT_TYPES[Path(name).suffix]) for name, content in contents.items()
        }
        frame = (_HERE / "dashboard" / "frame.html").read_text()
        self._pages: Final = {path: self._page(frame, name) for path, name in _PAGES.items()}
        self._contract: Final = _File(_CONTRACT.read_bytes(), "application/json")

    def _page(self, frame: str, name: str) -> _File:
        folder = _FOLDERS["docs" if name == "docs" else "dashboard"]
        # What goes into the frame's head, an empty line, and what goes into its body.
        head, _, main = (folder / f"{name}.html").read_text().partition("\n\n")
        page = frame.replace("{{head}}", head).replace("{{main}}", main.rstrip())
        # Which entry of the menu this page is; the others say nothing.
        page = page.replace(f'data-page="{name}"', 'aria-current="page"')
        page = page.replace(_ASSETS, f"/assets/{self.version}")
        return _File(page.encode(), "text/html; charset=utf-8", _DOCS_POLICY if name == "docs" else _DASHBOARD_POLICY)

    async def page(self, request: web.Request) -> web.Response:
        """`GET /`, `/pipeline` and `/docs`."""
        return self._pages[request.path].answer(request, _ASK_AGAIN)

    async def contract(self, request: web.Request) -> web.Response:
        """`GET /openapi.json`."""
        return self._contract.answer(request, _ASK_AGAIN)

    async def asset(self, request: web.Request) -> web.Response:
        """`GET /assets/{version}/{name}`; of another version the file as it is here, but not to be kept."""
        found = self._assets.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        ours = request.match_info["version"] == self.version
        return found.answer(request, _KEEP_FOR_GOOD if ours else _ASK_AGAIN)

    async def icon(self, request: web.Request) -> web.Response:
        """`GET /favicon.ico`: what browsers ask for where no page says what to ask for."""
        return self._assets["dashboard/icon.svg"].answer(request, _ASK_AGAIN)

    def routes(self) -> list[web.RouteDef]:
        """Nothing of the API: these are left out of the contract."""
        return [
            *(web.get(path, self.page) for path in _PAGES),
            web.get("/openapi.json", self.contract),
            web.get("/favicon.ico", self.icon),
            web.get("/assets/{version}/{name:.+}", self.asset),
        ]


@cache
def _compressed(content: bytes) -> tuple[bytes, bytes]:
    """Brotli and gzip: a quarter of a second for Swagger UI, which several applications of one process spend once."""
    return brotli.compress(content, quality=_BROTLI_QUALITY), gzip.compress(content, mtime=0)


def _contents() -> Iterator[tuple[str, bytes]]:
    for prefix, folder in _FOLDERS.items():
        for path in sorted(folder.rglob("*")):
            if path.suffix in _CONTENT_TYPES:
                yield f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes()


def _digest(contents: Mapping[str, bytes]) -> str:
    digest = blake2b(digest_size=8)
    for name, content in contents.items():
        digest.update(b"%s %d " % (name.encode(), len(content)) + content)
    return digest.hexdigest()
