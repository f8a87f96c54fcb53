"""Hot pages over HTTP while MongoDB or Kafka is away: the same bytes, marked stale, and fresh again afterwards."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from query_api.node import STALE_SECONDS
from query_api.pagination import PageRequest, parse_page_request
from query_api.ready_page import ReadyPages
from tests.conftest import MakeServers, Servers
from tests.hot_stage import Processor, RunningNode, running_node

pytestmark = pytest.mark.fault

Client = TestClient[web.Request, web.Application]


@pytest.fixture
def stack(make_servers: MakeServers) -> Servers:
    return make_servers()


@pytest.fixture
async def processor(stack: Servers) -> AsyncIterator[Processor]:
    processor = Processor(stack)
    await processor.prepare()
    await processor.store_many(1300)
    yield processor
    await processor.close()


@pytest.fixture
async def node(processor: Processor) -> AsyncIterator[RunningNode]:
    async with running_node(processor) as running:
        await running.until_shown(_newest(1299), 1300)
        await running.until_fresh()
        yield running


@pytest.fixture
async def client(node: RunningNode) -> AsyncIterator[Client]:
    ready = ReadyPages(node.node)

    async def answer(request: web.Request) -> web.Response:
        kept = ready.answer(request)
        if kept is not None:
            return kept
        asked = parse_page_request(request.query.items())
        hot = node.node.hot_page(asked) if isinstance(asked, PageRequest) else None
        return web.Response(status=503) if hot is None else ready.keep(request, hot)

    app = web.Application()
    app.router.add_get("/v1/videos", answer)
    async with TestClient(TestServer(app)) as client:
        yield client


def _newest(newest: int) -> list[int]:
    return list(range(newest, newest - 10, -1))


@pytest.mark.parametrize("part", ["mongod", "kafka"])
async def test_hot_pages_outlive_a_server_and_are_fresh_again_when_it_is_back(
    stack: Servers, processor: Processor, node: RunningNode, client: Client, part: str
) -> None:
    pages = ["/v1/videos", "/v1/videos?limit=100&page=10", "/v1/videos?query=tea"]
    await node.until_shown(_newest(1299), 1300, _tea())
    before = {page: await (await client.get(page)).read() for page in pages}
    server = stack.mongod if part == "mongod" else stack.kafka
    if part == "kafka":
        await processor.reconnect()

    server.stop()
    await node.until_stale()

    for page in pages:
        answer = await client.get(page)
        assert (answer.status, await answer.read()) == (200, before[page])
        assert answer.headers["Warning"] == '110 - "Response is Stale"'
        assert int(answer.headers["Age"]) >= int(STALE_SECONDS)
    assert await node.node.readiness_fault() is None
    server.start()
    await node.until_fresh()
    await processor.store(1300)
    await node.until_shown(_newest(1300), 1301)
    answer = await client.get("/v1/videos")
    assert not {"Age", "Warning"} & set(answer.headers)


@pytest.mark.parametrize("stop", ["kill", "pause"])
async def test_what_was_told_after_kafka_died_or_hung_is_gone_on_with(
    stack: Servers, processor: Processor, node: RunningNode, stop: str
) -> None:
    await processor.reconnect()
    if stop == "kill":
        stack.kafka.kill()
    else:
        stack.kafka.pause()
    await node.until_stale()
    if stop == "kill":
        stack.kafka.start()
    else:
        stack.kafka.resume()

    for number in range(1300, 1320):
        await processor.store(number)

    await node.until_shown(_newest(1319), 1320)
    await node.until_fresh()
    assert len(node.feed.beginnings) == 1
    await node.until_published(20)


async def test_both_away_at_the_start_are_waited_for(stack: Servers, processor: Processor) -> None:
    await processor.store(1300)
    await processor.reconnect()
    stack.mongod.stop()
    stack.kafka.stop()
    async with running_node(processor) as late:
        assert late.shown(PageRequest()) is None
        stack.mongod.start()
        await late.until_shown(_newest(1300), 1301)
        await late.until_stale()
        stack.kafka.start()

        await late.until_fresh()
        await processor.store(1301)

        await late.until_shown(_newest(1301), 1302)


def _tea() -> PageRequest:
    asked = parse_page_request([("query", "tea")])
    assert isinstance(asked, PageRequest)
    return asked
