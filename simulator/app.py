"""The simulator over HTTP: one route per list method of the API, and the routes for tests.

A call is counted, its key checked and its quota debited; then a fault may take the answer's place, or break it on
its way. Routes under `/_simulator` cost nothing and never fail on purpose.
"""

import asyncio
from typing import Final, get_args

import orjson
from aiohttp import web

from contract.times import pacific_day_start_ms
from ops.logging import get_logger
from simulator import errors, oracle
from simulator.errors import ApiError
from simulator.faults import Endpoint
from simulator.parameters import Parameters
from simulator.quota import Bucket
from simulator.responses import Json
from simulator.simulation import Simulation

log = get_logger(__name__)

_TRICKLES: Final = 40
_MOST_BODY_BYTES: Final = 64 << 20  # a test may publish many thousands of videos at once


def create_app(simulation: Simulation, *, trickle_seconds: float = 20.0) -> web.Application:
    """An application that answers from the simulation; a slow answer takes `trickle_seconds`.

    It publishes nothing by itself: somebody must call `simulation.advance`.
    """
    app = web.Application(client_max_size=_MOST_BODY_BYTES)
    for endpoint in get_args(Endpoint):
        handler = _Method(simulation, endpoint, trickle_seconds)
        app.router.add_get(f"/youtube/v3/{endpoint}", handler.handle, allow_head=False)
        app.router.add_post(f"/youtube/v3/{endpoint}", handler.handle)
    oracle.add_routes(app, simulation)
    return app


class _Method:
    """One list method on the wire."""

    def __init__(self, simulation: Simulation, endpoint: Endpoint, trickle_seconds: float) -> None:
        self._simulation = simulation
        self._endpoint = endpoint
        self._trickle_seconds = trickle_seconds

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self._simulation.calls.wire_requests += 1
        parameters = await _read_parameters(request)
        try:
            answer = self._answer(parameters, request.headers.get("X-Goog-Api-Key") or parameters.get("key", ""))
        except ApiError as error:
            self._note(error.reason)
            return web.Response(status=error.status, body=error.body, headers=_headers(error.content_type))
        return await self._send(request, answer)

    def _answer(self, parameters: Parameters, key: str) -> Json:
        now_ms = self._simulation.clock()
        self._check_key(key)
        self._debit(key, now_ms)
        self._fail_on_purpose(key, now_ms)
        return self._simulation.endpoints.answer(self._endpoint, parameters, now_ms)

    def _check_key(self, key: str) -> None:
        if not key:
            raise errors.key_missing()
        if not self._simulation.accepts(key) or self._strikes("key_invalid"):
            raise errors.key_invalid()
        if self._strikes("access_not_configured"):
            raise errors.access_not_configured(key)
        if self._strikes("key_restricted"):
            raise errors.key_restricted(key)

    def _debit(self, key: str, now_ms: int) -> None:
        """Invalid calls cost as well, so this comes before their parameters are looked at."""
        bucket: Bucket = "search" if self._endpoint == "search" else "units"
        if self._simulation.quota.debit(bucket, key, now_ms):
            return
        raise self._search_quota_exceeded(key, now_ms) if bucket == "search" else errors.units_exceeded()

    def _search_quota_exceeded(self, key: str, now_ms: int) -> ApiError:
        limit = self._simulation.quota.limits["search"]
        return errors.search_quota_exceeded(key, pacific_day_start_ms(now_ms) // 1000, limit)

    def _fail_on_purpose(self, key: str, now_ms: int) -> None:
        replacements = {
            "delegation403": errors.delegation_forbidden,
            "burst429": lambda: errors.burst(key, now_ms // 1000),
            "quota_exhausted": lambda: self._search_quota_exceeded(key, now_ms),
            "units_exhausted": errors.units_exceeded,
            "daily_limit_exceeded": errors.daily_limit_exceeded,
            "error500_json": errors.backend_error,
            "error502_html": errors.bad_gateway_page,
            "uploads_not_found": errors.playlist_not_found,
        }
        for name, error in replacements.items():
            if self._strikes(name):
                raise error()

    async def _send(self, request: web.Request, answer: Json) -> web.StreamResponse:
        body = orjson.dumps(answer)
        if self._strikes("connection_close"):
            self._note("connection_close")
            return _hang_up(request)
        if self._strikes("truncated_body"):
            self._note("truncated_body")
            return await _send_half(request, body)
        if self._strikes("slow_trickle"):
            self._note("slow_trickle")
            sending = _trickle(request, body, self._trickle_seconds)
        elif self._strikes("bad_json_200"):
            self._note("bad_json_200")
            return web.Response(body=body[: len(body) // 2], headers=_headers())
        else:
            self._note("ok")
            sending = _send_whole(request, body)
        try:
            response = await sending
        except ConnectionError:  # the caller has gone
            return _hang_up(request)
        self._simulation.answered.note(self._endpoint, answer)
        return response

    def _strikes(self, name: str) -> bool:
        return self._simulation.faults.strikes(name, self._endpoint)

    def _note(self, outcome: str) -> None:
        self._simulation.calls.count(self._endpoint, outcome)
        log.debug("call answered", endpoint=self._endpoint, outcome=outcome)


async def _read_parameters(request: web.Request) -> Parameters:
    """Those of the address and, for a long call in a POST's clothes, those of its form.

    Raises:
        HTTPNotFound: a POST that does not say it is a GET.
    """
    pairs = list(request.query.items())
    if request.method == "POST":
        if request.headers.get("X-HTTP-Method-Override", "").upper() != "GET":
            raise web.HTTPNotFound
        pairs += [(name, value) for name, value in (await request.post()).items() if isinstance(value, str)]
    parameters: dict[str, str] = {}
    for name, value in pairs:
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    return parameters


def _headers(content_type: str = "application/json") -> dict[str, str]:
    return {"Content-Type": f"{content_type}; charset=UTF-8"}


def _hang_up(request: web.Request) -> web.Response:
    """Close the connection; the answer has nowhere to go."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


async def _send_whole(request: web.Request, body: bytes) -> web.StreamResponse:
    """Send the answer to its end here, so that what comes after knows that it was sent."""
    response = web.Response(body=body, headers=_headers())
    await response.prepare(request)
    await response.write_eof()
    return response


async def _send_half(request: web.Request, body: bytes) -> web.StreamResponse:
    response = await _begin(request, len(body))
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def _trickle(request: web.Request, body: bytes, seconds: float) -> web.StreamResponse:
    response = await _begin(request, len(body))
    size = -(-len(body) // _TRICKLES)
    for place in range(0, len(body), size):
        await asyncio.sleep(seconds / _TRICKLES)
        await response.write(body[place : place + size])
    return response


async def _begin(request: web.Request, length: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={**_headers(), "Content-Length": str(length)})
    await response.prepare(request)
    return response
