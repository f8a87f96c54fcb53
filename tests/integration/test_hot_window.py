"""What a node shows, on the real Kafka and MongoDB: filled, followed, made up for, read anew."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from contract.topics import VIDEOS as VIDEO_EVENTS
from contract.topics import topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from query_api.filters import Filters
from query_api.pagination import PageRequest
from tests.conftest import Servers, start_servers
from tests.fakes.video_documents import NEWEST_MS, make_id
from tests.hot_stage import PARTITIONS, Processor, running_node, until
from tests.kafka_faults import delete_topic

pytestmark = pytest.mark.integration

TEA = PageRequest(filters=Filters(query="tea"))
ICE = PageRequest(filters=Filters(query="ice"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers of these tests' own, for the topic's name is fixed; each test has a database of its own."""
    servers = start_servers(tmp_path_factory.mktemp("servers"))
    yield servers
    servers.stop()


@pytest.fixture
async def processor(stack: Servers) -> AsyncIterator[Processor]:
    processor = Processor(stack)
    await processor.prepare()
    yield processor
    await processor.close()


def _downwards(count: int, newest: int) -> list[int]:
    return list(range(newest, newest - count, -1))


async def test_what_is_stored_is_shown_and_what_happens_is_followed_by_every_node(processor: Processor) -> None:
    await processor.store_many(1300)
    async with running_node(processor) as first, running_node(processor) as second:
        for each in (first, second):
            await each.until_shown(_downwards(10, 1299), 1300)
            await each.until_shown(_downwards(10, 1299), 1300, TEA)
            await each.until_fresh()

        await processor.store(1300, queries=["ice", "tea"])
        await processor.store(1, NEWEST_MS + 1_300_500)
        await processor.remove(1299)
        await processor.remove(3)

        for each in (first, second):
            await each.until_shown([1, 1300, *_downwards(8, 1298)], 1299)
            await each.until_shown([1, 1300, *_downwards(8, 1298)], 1299, TEA)
            await each.until_shown([1300], 1, ICE)
            await each.until_published(4)
            assert await each.node.readiness_fault() is None

        for number in range(1298, 1098, -1):
            await processor.remove(number)
        for each in (first, second):
            await each.until_shown(_downwards(100, 200), 1099, PageRequest(100, 10))


async def test_what_arrives_while_the_store_is_read_is_not_missed(processor: Processor) -> None:
    await processor.store_many(3000)

    async def go_on() -> None:
        for number in range(3000, 3400):
            await processor.store(number)
            if number % 3 == 0:
                await processor.remove(number - 1)

    going_on = asyncio.create_task(go_on())
    async with running_node(processor) as early, running_node(processor) as late:
        await going_on
        gone = {number - 1 for number in range(3000, 3400) if number % 3 == 0}
        left = [number for number in range(3399, -1, -1) if number not in gone]
        for each in (early, late):
            for page in (1, 2, 10):
                await each.until_shown(left[(page - 1) * 100 : page * 100], len(left), PageRequest(100, page))


async def test_a_replay_s_swap_is_noticed_and_read(processor: Processor) -> None:
    await processor.store_many(20)
    async with running_node(processor) as node:
        await node.until_shown(_downwards(10, 19), 20)

        await processor.swap(range(5))

        await node.until_shown(_downwards(5, 4), 5)
        await node.until_shown(_downwards(5, 4), 5, TEA)
        await processor.store(7)
        await node.until_shown([7, *_downwards(5, 4)], 6)


async def test_a_topic_made_anew_is_followed_from_its_beginning(stack: Servers, processor: Processor) -> None:
    await processor.store_many(20)
    async with running_node(processor) as node:
        await node.until_shown(_downwards(10, 19), 20)
        for number in range(20, 40):
            await processor.store(number)
        await node.until_shown(_downwards(10, 39), 40)
        await processor.reconnect()

        await delete_topic(stack.kafka_bootstrap, VIDEO_EVENTS)
        kafka = KafkaConnection(stack.kafka_bootstrap)
        while VIDEO_EVENTS not in await create_missing_topics(kafka, topic_specs(PARTITIONS), 1):  # noqa: ASYNC110  # the broker's
            await asyncio.sleep(0.2)
        await until(lambda: len(node.feed.beginnings) == 2)

        await processor.store(40)
        await node.until_shown(_downwards(10, 40), 41)


async def test_missing_topic_and_collection_are_waited_for(stack: Servers) -> None:
    await create_missing_topics(KafkaConnection(stack.kafka_bootstrap), topic_specs(PARTITIONS), 1)
    await delete_topic(stack.kafka_bootstrap, VIDEO_EVENTS)
    processor = Processor(stack)
    async with running_node(processor) as node:
        await node.until_shown([], 0)
        await node.until_stale()
        await processor.prepare()
        await node.until_fresh()

        await processor.store(1)

        await node.until_shown([1], 1)
        assert {event.video_id for event in node.feed.published} <= {make_id(1)}
    await processor.close()
