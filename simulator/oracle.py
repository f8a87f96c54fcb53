"""What tests may know and change: the truth about every video, what was asked and answered, and the faults.

All of it is under `/_simulator`; nothing here exists at YouTube.
"""

from typing import Any

import msgspec
import orjson
from aiohttp import web

from contract.query_match import parse_query
from contract.times import format_seconds
from contract.video import Live
from simulator.catalogue import CatalogueVideo
from simulator.faults import FAULTS, decode_faults
from simulator.simulation import Simulation
from simulator.video_index import PublishedVideo, Window


def add_routes(app: web.Application, simulation: Simulation) -> None:
    """Have the routes for tests answered from the simulation."""
    oracle = _Oracle(simulation)
    app.router.add_get("/_simulator/published", oracle.published)
    app.router.add_get("/_simulator/expected", oracle.expected)
    app.router.add_get("/_simulator/calls", oracle.calls)
    app.router.add_get("/_simulator/answered", oracle.answered)
    app.router.add_post("/_simulator/publish", oracle.publish)
    app.router.add_post("/_simulator/videos/{video_id}/remove", oracle.remove)
    app.router.add_post("/_simulator/videos/{video_id}/hide", oracle.hide)
    app.router.add_post("/_simulator/videos/{video_id}/show", oracle.show)
    app.router.add_put("/_simulator/videos/{video_id}/live", oracle.put_live)
    app.router.add_get("/_simulator/faults", oracle.faults)
    app.router.add_put("/_simulator/faults", oracle.put_faults)
    app.router.add_delete("/_simulator/faults", oracle.delete_faults)


class _LiveBody(msgspec.Struct):
    live: Live


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

    async def answered(self, _request: web.Request) -> web.Response:
        """The ids of the videos in every answer that was sent whole and could be read, by method."""
        return _json(self._simulation.answered.ids())

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
        return _changed(video_id, {"removed": video_id}, found=self._simulation.remove(video_id))

    async def hide(self, request: web.Request) -> web.Response:
        """Make a video private: it stays in its channel's uploads, without a word about it, and nowhere else."""
        video_id = request.match_info["video_id"]
        return _changed(video_id, {"hidden": video_id}, found=self._simulation.hide(video_id))

    async def show(self, request: web.Request) -> web.Response:
        """Make a video public again."""
        video_id = request.match_info["video_id"]
        return _changed(video_id, {"shown": video_id}, found=self._simulation.hide(video_id, hidden=False))

    async def put_live(self, request: web.Request) -> web.Response:
        """Have a video's broadcast begin (`{"live": "live"}`), end (`none`) or be announced (`upcoming`)."""
        video_id = request.match_info["video_id"]
        try:
            live = msgspec.json.decode(await request.read(), type=_LiveBody).live
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _json({"error": str(error)}, status=400)
        return _changed(video_id, {"live": live}, found=self._simulation.set_live(video_id, live))

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
        "searchable": published.searchable(now_ms),
        "removed": published.removed,
        "hidden": published.hidden,
    }


def _changed(video_id: str, body: dict[str, str], *, found: bool) -> web.Response:
    return _json(body) if found else _json({"error": f"there is no video {video_id}"}, status=404)


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")
