"""A bare aiohttp handler on uvloop that answers any request with one answer, read from a file: head and body.

`python -m bench.bare_page_server ANSWER PORT`
"""

import sys
from pathlib import Path

import uvloop
from aiohttp import web

from bench.kept_answer import KeptAnswer


def main() -> None:
    kept, port = KeptAnswer.read(Path(sys.argv[1])), int(sys.argv[2])

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=kept.status, body=kept.body or None, headers=kept.headers)

    app = web.Application()
    app.router.add_get("/v1/videos", answer)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main()
