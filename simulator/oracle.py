"""What tests may know and change: the truth about every video, the calls that were made, and the faults that are on.

All of it is under `/_simulator`; nothing here exists at YouTube.
"""

from typing import Any

import msgspec
import orjson
from aiohttp import web

from contract.times import format_seconds
from simulator.catalogue import CatalogueVideo
from simulator.faults import FAULTS, decode_faults
from simulator.search import parse_query
from simulator.simulation import Simulation
from simulator.video_index import PublishedVideo, Window


def add_routes(app: web.Application, simulation: Simulation) -> None:
    """Have the routes for tests answered from the simulation."""
    oracle = _Oracle(simulation)
    app.router.add_get("/_simulator/published", oracle.published)
    app.router.add_get("/_simulator/expected", oracle.expected)
    app.router.add_get("/_simulator/calls", oracle.calls)
    app.router.add_post("/_simulator/publish", oracle.publish)
    app.router.add_post("/_simulator/videos/{video_id}/remove", oracle.remove)
    app.router.add_get("/_simulator/faults", oracle.faults)
    app.router.add_put("/_simulator/faults", oracle.put_faults)
    app.router.add_delete("/_simulator/faults", oracle.delete_faults)


class _Oracle:
    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    async def published(self, _request: web.Request) -> web.Response:
        """Every video ever published, newest first."""
        now_ms = self._simulation.clock()
        videos = [_seen(published, now_ms) for published in self._simulation.index.newest_first()]
        return _json({"videos": videos, "finished": self._simulation.finished})

    async def expected(self, request: web.Request) -> web.Response:
        """The ids that a search for `q` should find now if it had no cap, newest first; all without `q`."""
        query = parse_query(request.query.get("q"))
        found = self._simulation.index.search(query, Window(), self._simulation.clock())
        return _json({"ids": [published.video.video_id for published in found]})

    async def calls(self, _request: web.Request) -> web.Response:
        """Requests on the wire, answers by endpoint and outcome, and what all keys used of today's quotas."""
        simulation = self._simulation
        now_ms = simulation.clock()
        used = {bucket: simulation.quota.used(bucket, now_ms) for bucket in simulation.quota.limits}
        calls = simulation.calls
        return _json({"wire_requests": calls.wire_requests, "outcomes": calls.outcomes, "quota_used": used})

    async def publish(self, request: web.Request) -> web.Response:
        """Publish the videos of the body at once; known ids are passed over."""
        try:
            videos = msgspec.json.decode(await request.read(), type=list[CatalogueVideo])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _json({"error": str(error)}, status=400)
        return _json({"published": self._simulation.publish(videos)})

    async def remove(self, request: web.Request) -> web.Response:
        """Take a video out of every answer."""
        video_id = request.match_info["video_id"]
        if not self._simulation.remove(video_id):
            return _json({"error": f"there is no video {video_id}"}, status=404)
        return _json({"removed": video_id})

    async def faults(self, _request: web.Request) -> web.Response:
        """The faults that are on, and all that there are."""
        return _json(
            {
                "active": msgspec.to_builtins(self._simulation.faults.settings),
                "known": {fault.name: fault.what for fault in FAULTS.values()},
            }
        )

    async def put_faults(self, request: web.Request) -> web.Response:
        """Have the faults of the body and no others."""
        try:
            self._simulation.faults.replace(decode_faults(await request.read()))
        except (msgspec.MsgspecError, ValueError) as error:
            return _json({"error": str(error)}, status=400)
        return await self.faults(request)

    async def delete_faults(self, request: web.Request) -> web.Response:
        """Have no faults."""
        self._simulation.faults.replace({})
        return await self.faults(request)


def _seen(published: PublishedVideo, now_ms: int) -> dict[str, Any]:
    return {
        "id": published.video.video_id,
        "published_at": format_seconds(published.published_ms),
        "searchable": published.searchable_ms <= now_ms and not published.removed,
        "removed": published.removed,
    }


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")
