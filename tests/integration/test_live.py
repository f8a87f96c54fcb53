"""Live clients over HTTP, a feed that follows the real Kafka, and what is older than the ring read from there."""

import asyncio
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition
from prometheus_client import CollectorRegistry

from contract.events import VIDEO_DISCOVERED, VIDEO_REMOVED, VIDEO_UPDATED, VideoEnvelope, video_headers
from contract.read_model import sort_key
from contract.topics import DAY_MS, VIDEOS, topic_specs
from contract.video import Channel, encode
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from ops.metrics import ApiMetrics
from query_api.answering import serve_routes
from query_api.live import LIVE, ROUTES, LiveStreams, end_streams
from query_api.live_client import HistoryUnavailable
from query_api.live_feed import LiveFeed
from query_api.live_history import KafkaHistory
from query_api.live_id import Offsets, format_id, parse_id
from query_api.video_event import VideoEvent, read_event
from tests.fakes.video_documents import NEWEST_MS, make_id, make_video
from yousync.local.kafka import KafkaServer, kafka_jars
from yousync.local.server import free_port, free_ports

pytestmark = pytest.mark.integration

PARTITIONS: Final = 4
PLACES: Final = [TopicPartition(VIDEOS, partition) for partition in range(PARTITIONS)]
PATIENCE_SECONDS: Final = 60
NUMBERS: Final = itertools.count(1)


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Kafka of these tests' own, with the topics; every test goes on where the topic ends then."""
    folder = tmp_path_factory.mktemp("live")
    port, controller_port = free_ports(2)
    kafka = KafkaServer(folder / "kafka", folder / "kafka.log", port, controller_port, kafka_jars(lambda *_: None))
    kafka.start()
    asyncio.run(create_missing_topics(KafkaConnection(kafka.address), topic_specs(PARTITIONS), 1))
    yield kafka.address
    kafka.stop()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():  # noqa: ASYNC110  # what is waited for announces itself to nobody
            await asyncio.sleep(0.005)


class Metrics(ApiMetrics):
    """The API's own set, and a look into it."""

    def __init__(self) -> None:
        super().__init__(CollectorRegistry())

    def dropped(self, reason: str) -> float:
        return float(self.live_dropped.labels(reason)._value.get())

    @property
    def clients(self) -> float:
        return float(self.live_clients._value.get())


class Told(msgspec.Struct, frozen=True):
    """One event as a client gets it."""

    name: str
    data: str
    id: Offsets | None


class Stream:
    """One client's stream, read event by event; it remembers the last id, as a browser does."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response: Final = response
        self.id: Offsets | None = None
        self.comments = 0
        self.retry: bytes | None = None

    async def __aiter__(self) -> AsyncIterator[Told]:
        name, data = b"", b""
        async for line in self.response.content:
            field, _, value = line.rstrip(b"\n").partition(b": ")
            if field == b"id":
                self.id = parse_id(value.decode())
            elif field == b"event":
                name = value
            elif field == b"data":
                data = value
            elif field == b"retry":
                self.retry = value
            elif line == b"\n" and data:
                yield Told(name.decode(), data.decode(), self.id)
                name, data = b"", b""
            elif line.startswith(b":"):
                self.comments += 1

    async def take(self, count: int) -> list[Told]:
        """The next events."""
        found: list[Told] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for told in self:
                found.append(told)
                if len(found) == count:
                    break
        return found

    async def until_id(self) -> "Stream":
        """Until the client was told where it is."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.id is None:
                line = await self.response.content.readline()
                assert line
                if line.startswith(b"id: "):
                    self.id = parse_id(line[4:-1].decode())
        return self


class Node:
    """A server whose feed follows the topic."""

    def __init__(self, bootstrap: str, feed: LiveFeed, metrics: Metrics, url: str) -> None:
        self.bootstrap: Final = bootstrap
        self.feed: Final = feed
        self.metrics: Final = metrics
        self.url: Final = url
        self._session: Final = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(), connector=aiohttp.TCPConnector(limit=0)
        )
        self._producer: Final = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=2)
        self._streams: Final[list[Stream]] = []

    @property
    def end(self) -> Offsets:
        assert self.feed.ring is not None
        return self.feed.ring.end

    async def open(self, parameters: Mapping[str, str] | None = None, since: Offsets | str | None = None) -> Stream:
        header = format_id(since) if isinstance(since, tuple) else since
        headers = {"Last-Event-ID": header} if header else {}
        response = await self._session.get(self.url, params=parameters or {}, headers=headers)
        self._streams.append(Stream(response))
        return self._streams[-1]

    async def publish(self, numbers: Sequence[int], *, type_: str = VIDEO_DISCOVERED, **changes: Any) -> None:
        """One event for each, in the partition of its number; returns when the feed has them all."""
        pending = []
        for number in numbers:
            video = msgspec.structs.replace(make_video(number), **changes)
            body = None if type_ == VIDEO_REMOVED else encode(video)
            envelope = VideoEnvelope(
                type=type_,
                partition=number % PARTITIONS,
                sequence=next(NUMBERS),
                subject=video.id,
                sort_key=sort_key(NEWEST_MS, video.id),
            )
            pending.append(
                await self._producer.send(
                    VIDEOS, body, key=video.id.encode(), partition=number % PARTITIONS, headers=video_headers(envelope)
                )
            )
        ends = [await sent for sent in pending]
        await until(lambda: all(one.offset < self.end[one.partition] for one in ends))

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for stream in self._streams:
            stream.response.close()
        await self._session.close()
        await self._producer.stop()


MakeNode = Callable[..., Any]


@pytest.fixture
def make_node(bootstrap: str) -> MakeNode:
    """`async with make_node(...) as node`."""

    @asynccontextmanager
    async def make(
        *,
        entries: int = 10_000,
        feed: LiveFeed | None = None,
        history: KafkaHistory | None = None,
        **limits: Any,
    ) -> AsyncIterator[Node]:
        feed = feed or LiveFeed(entries=entries, overlap_seconds=0, tick_seconds=0.05)
        metrics = Metrics()
        app = web.Application()
        app[LIVE] = LiveStreams(feed, history or KafkaHistory(KafkaConnection(bootstrap)), metrics, **limits)
        serve_routes(app, ROUTES, metrics)
        app.on_shutdown.append(end_streams)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=PATIENCE_SECONDS)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/live"
        following = asyncio.create_task(_follow(bootstrap, feed))
        try:
            async with Node(bootstrap, feed, metrics, url) as node:
                await until(lambda: feed.ring is not None or following.done())
                yield node
        finally:
            async with asyncio.timeout(PATIENCE_SECONDS / 2):  # no stream holds up the stop
                await runner.cleanup()
            following.cancel()
            with pytest.raises(asyncio.CancelledError):
                await following

    return make


async def _follow(bootstrap: str, feed: LiveFeed) -> None:
    """A small stand-in for the node: from the topic's end into the feed."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(PLACES)
        ends = await consumer.end_offsets(PLACES)
        for place, offset in ends.items():
            consumer.seek(place, offset)
        feed.start_at({place.partition: offset for place, offset in ends.items()})
        while True:
            found = await consumer.getmany(timeout_ms=1000)
            feed.publish([event for records in found.values() for one in records if (event := read_event(one))])
    finally:
        await consumer.stop()


def ids_of(told: Sequence[Told]) -> list[str]:
    return [json.loads(one.data)["id"] for one in told]


def fresh(count: int) -> list[int]:
    """Numbers of videos that no test had yet."""
    return [next(NUMBERS) for _ in range(count)]


async def test_clients_are_told_what_happens_as_it_is_served(make_node: MakeNode) -> None:
    async with make_node() as node:
        stream = await (await node.open()).until_id()
        assert stream.id == node.end
        one, *_ = fresh(1)
        await node.publish([one])
        await node.publish([one], type_=VIDEO_UPDATED, title="Changed")
        await node.publish([one], type_=VIDEO_REMOVED)
        told = await stream.take(3)

    assert [each.name for each in told] == ["discovered", "updated", "removed"]
    assert told[0].data.encode() == encode(make_video(one))
    assert json.loads(told[1].data)["title"] == "Changed"
    assert json.loads(told[2].data) == {"id": make_id(one)}
    assert told[-1].id == node.end
    headers = stream.response.headers
    assert stream.response.status == 200
    assert headers["Content-Type"] == "text/event-stream"
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")
    assert "Content-Encoding" not in headers
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_filters_narrow_what_a_client_is_told_but_not_removals(make_node: MakeNode) -> None:
    async with make_node() as node:
        by_query = await (await node.open({"query": "milk"})).until_id()
        by_channel = await (await node.open({"channel_id": "UC-milk"})).until_id()
        by_words = await (await node.open({"search": "tea how"})).until_id()
        plain, milk, channel, title = numbers = fresh(4)
        await node.publish([plain])
        await node.publish([milk], queries=["milk", "tea"])
        await node.publish([channel], channel=Channel("UC-milk", "Milk"))
        await node.publish([title], title="HOW to make téa?")
        await node.publish(numbers[:1], type_=VIDEO_REMOVED)

        assert ids_of(await by_query.take(2)) == [make_id(milk), make_id(plain)]
        assert ids_of(await by_channel.take(2)) == [make_id(channel), make_id(plain)]
        assert ids_of(await by_words.take(2)) == [make_id(title), make_id(plain)]


async def test_a_client_goes_on_from_the_ring_by_header_or_parameter(make_node: MakeNode) -> None:
    async with make_node() as node:
        stream = await (await node.open()).until_id()
        first, second = fresh(40), fresh(40)
        await node.publish(first)
        told = await stream.take(25)
        stream.response.close()
        await node.publish(second)
        again = await node.open(since=told[-1].id)
        by_parameter = await node.open({"last_event_id": format_id(told[-1].id or ())})

        everything = [make_id(number) for number in first + second]
        assert sorted(ids_of(told + await again.take(55))) == sorted(everything)
        assert sorted(ids_of(told + await by_parameter.take(55))) == sorted(everything)


async def test_a_client_goes_on_past_the_ring_while_it_moves_on(make_node: MakeNode) -> None:
    async with make_node(entries=20) as node:
        stream = await (await node.open()).until_id()
        since = stream.id
        stream.response.close()
        missed, later = fresh(700), fresh(400)
        await node.publish(missed)
        clients = [await node.open(since=since) for _ in range(6)]
        publishing = asyncio.create_task(_publish_slowly(node, later))
        everything = {make_id(number) for number in missed + later}
        await asyncio.gather(*(_collect(node, client, everything) for client in clients))
        await publishing


async def _publish_slowly(node: Node, numbers: Sequence[int]) -> None:
    for at in range(0, len(numbers), 10):
        await node.publish(numbers[at : at + 10])


async def _collect(node: Node, stream: Stream, everything: set[str]) -> None:
    """All events, each once within a connection and in order; who is dropped goes on."""
    seen: set[str] = set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while seen != everything:
            reached = [0] * PARTITIONS
            async for told in stream:
                assert told.name in {"discovered", "dropped"}, told
                if told.name == "dropped":
                    break
                video_id = json.loads(told.data)["id"]
                partition = int(video_id.removeprefix("vid-")) % PARTITIONS
                assert told.id is not None
                assert told.id[partition] > reached[partition], "each once and in order"
                reached[partition] = told.id[partition]
                seen.add(video_id)
                if seen == everything:
                    return
            stream = await node.open(since=stream.id)


async def test_repeats_in_kafka_are_not_told_again_past_the_ring_either(make_node: MakeNode, bootstrap: str) -> None:
    async with make_node(entries=1) as node:
        stream = await (await node.open()).until_id()
        one, two, three = fresh(3)
        await node.publish([one])
        await stream.take(1)
        await node.publish([two])
        told = await stream.take(1)
        stream.response.close()
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        await producer.start()
        envelope = VideoEnvelope(type=VIDEO_UPDATED, partition=0, sequence=0, subject=make_id(one), sort_key="k")
        await producer.send_and_wait(
            VIDEOS, b"{}", key=make_id(one).encode(), partition=one % PARTITIONS, headers=video_headers(envelope)
        )
        await producer.stop()
        await node.publish([three, two], type_=VIDEO_UPDATED)
        assert told[-1].id is not None
        missed = await _read(KafkaHistory(KafkaConnection(bootstrap)), told[-1].id, node.end)

        assert sorted(event.video_id for event in missed) == [make_id(two), make_id(three)]


async def _read(history: KafkaHistory, since: Offsets, until: Offsets) -> list[VideoEvent]:
    return [event async for chunk in history.read(since, until) for event in chunk]


async def test_nothing_is_read_from_beyond_where_the_ring_begins(make_node: MakeNode, bootstrap: str) -> None:
    async with make_node() as node:
        since = node.end
        await node.publish(fresh(8))
        until = node.end
        await node.publish(fresh(8))

        missed = await _read(KafkaHistory(KafkaConnection(bootstrap)), since, until)

    assert len(missed) == 8
    assert all(event.offset < until[event.partition] for event in missed)


async def test_who_missed_the_same_as_another_before_is_told_without_kafka(make_node: MakeNode, bootstrap: str) -> None:
    async with make_node() as node:
        early = node.end
        await node.publish(fresh(8))
        late = node.end
        await node.publish(fresh(8))
        history = KafkaHistory(KafkaConnection(bootstrap))
        first = await _read(history, late, node.end)
        history._connection = KafkaConnection(f"127.0.0.1:{free_port()}")  # type: ignore[misc]
        second = await _read(history, early, node.end)

        assert [event for event in second if event.offset >= late[event.partition]] == first
        assert (len(second), len(first)) == (16, 8)
        for since, until in (
            (tuple(offset - 501 for offset in early), node.end),
            (tuple(offset + 1 for offset in node.end), node.end),
            (late, tuple(offset - 1 for offset in node.end)),
        ):
            with pytest.raises(HistoryUnavailable):
                await anext(history.read(since, until))


async def test_what_cannot_be_told_any_more_is_a_reset(make_node: MakeNode, bootstrap: str) -> None:
    async with make_node(entries=2) as node:
        stream = await (await node.open()).until_id()
        since = stream.id
        assert since is not None
        await node.publish(fresh(30))
        beyond = (node.end[0] + 1, *node.end[1:])
        for id_, why in (
            ("17", "Last-Event-ID is no id of this stream."),
            (format_id(beyond), "Last-Event-ID lies beyond the last event: the topic was made anew."),
            (format_id((*since, 0)), "The number of partitions has changed."),
        ):
            told = (await (await node.open(since=id_)).take(1))[0]
            assert (told.name, told.data, told.id) == ("reset", why, node.end)

    for history, why in (
        (
            KafkaHistory(KafkaConnection(bootstrap), clock=lambda: int(time.time() * 1000) + 7 * DAY_MS),
            "Last-Event-ID is too old.",
        ),
        (KafkaHistory(KafkaConnection(bootstrap), most_events=10), "Too much was missed."),
    ):
        async with make_node(history=history) as node:
            stream = await node.open(since=since)
            told = (await stream.take(1))[0]
            assert (told.name, told.data, told.id) == ("reset", why, node.end)
            one = fresh(1)
            await node.publish(one)
            assert ids_of(await stream.take(1)) == [make_id(one[0])]


async def test_an_id_of_a_silent_time_is_not_too_old(make_node: MakeNode, bootstrap: str) -> None:
    history = KafkaHistory(KafkaConnection(bootstrap), clock=lambda: int(time.time() * 1000) + 7 * DAY_MS)
    async with make_node(entries=2, history=history) as node:
        since = node.end
        assert await _read(history, since, since) == []
        numbers = fresh(5)
    async with make_node(history=history) as node:
        stream = await node.open(since=since)
        await node.publish(numbers)
        assert sorted(ids_of(await stream.take(5))) == sorted(map(make_id, numbers))


async def test_with_kafka_away_a_client_is_dropped_and_goes_on_later(make_node: MakeNode) -> None:
    async with make_node(entries=2, history=KafkaHistory(KafkaConnection(f"127.0.0.1:{free_port()}"))) as node:
        since = node.end
        await node.publish(fresh(9))
        stream = await node.open(since=since)
        told = (await stream.take(1))[0]

        assert (told.name, told.data) == ("dropped", "What was missed cannot be read at the moment.")
        assert await stream.take(1) == []
        assert node.metrics.dropped("history") == 1
        at_end = await (await node.open()).until_id()
        assert at_end.id == node.end


async def test_only_so_many_are_read_for_at_once_and_others_wait_in_line(make_node: MakeNode, bootstrap: str) -> None:
    async with make_node() as node:
        since = node.end
        await node.publish(fresh(3))
        history = KafkaHistory(KafkaConnection(bootstrap), readers=1)
        first, second = history.read(since, node.end), history.read(since, node.end)
        await anext(first)
        waiting = asyncio.ensure_future(anext(second))
        for _ in range(3):  # as long as the second would need
            await _read(KafkaHistory(KafkaConnection(bootstrap)), since, node.end)
        assert not waiting.done()
        await first.aclose()
        assert await waiting
        await second.aclose()


async def test_a_slow_client_is_dropped_and_goes_on_without_loss(make_node: MakeNode) -> None:
    async with make_node(entries=50, stalled_seconds=0.3) as node:
        since = node.end
        host, port = node.url.removeprefix("http://").removesuffix("/v1/live").split(":")
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect((host, int(port)))
            stalled.sendall(b"GET /v1/live HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: node.metrics.clients == 1)
            numbers: list[int] = []
            while node.metrics.clients == 1:
                numbers += (more := fresh(20))
                await node.publish(more, description="x" * 50_000)
                await asyncio.sleep(0.01)
        assert node.metrics.dropped("slow") + node.metrics.dropped("stalled") == 1

        await _collect(node, await node.open(since=since), {make_id(number) for number in numbers})


async def test_a_client_that_leaves_is_noticed_without_any_event(make_node: MakeNode) -> None:
    async with make_node(heartbeat_seconds=3600) as node:
        stream = await (await node.open()).until_id()
        assert node.metrics.clients == 1
        stream.response.close()
        await until(lambda: node.metrics.clients == 0)


async def test_heartbeats_keep_an_idle_stream_and_its_id_alive(make_node: MakeNode) -> None:
    async with make_node(heartbeat_seconds=0.1) as node:
        stream = await node.open({"query": "nothing has this"})
        numbers = fresh(3)
        reading = asyncio.create_task(stream.take(1))
        await node.publish(numbers)
        await until(lambda: stream.comments >= 3 and stream.id == node.end)
        await node.publish(numbers[:1], type_=VIDEO_REMOVED)
        assert ids_of(await reading) == [make_id(numbers[0])]
        assert stream.retry == b"2000"


async def test_three_hundred_clients_are_all_told_everything(make_node: MakeNode) -> None:
    async with make_node() as node:
        streams = await asyncio.gather(*(node.open() for _ in range(300)))
        await asyncio.gather(*(stream.until_id() for stream in streams))
        assert node.metrics.clients == 300
        reading = [asyncio.create_task(stream.take(200)) for stream in streams]
        numbers = fresh(200)
        for at in range(0, 200, 20):
            await node.publish(numbers[at : at + 20])
        told = await asyncio.gather(*reading)

    expected = sorted(map(make_id, numbers))
    assert all(sorted(ids_of(one)) == expected for one in told)
    assert node.metrics.live_events_sent._value.get() == 300 * 200
    assert node.metrics.clients == 0


async def test_streams_end_at_once_when_the_server_stops(make_node: MakeNode) -> None:
    async with aiohttp.ClientSession() as session:
        async with make_node() as node:
            stream = await Stream(await session.get(node.url)).until_id()
        told = (await stream.take(1))[0]

    assert (told.name, told.data) == ("dropped", "The server stops.")
    assert node.metrics.dropped("stopping") == 1


async def test_beyond_the_limit_a_client_is_refused_with_a_problem(make_node: MakeNode) -> None:
    async with make_node(most_clients=1) as node:
        stream = await (await node.open()).until_id()
        refused = (await node.open()).response
        problem = await refused.json(content_type="application/problem+json")

        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        assert problem["type"] == "urn:yousync:problem:too-many-live-clients"
        stream.response.close()
        await until(lambda: node.metrics.clients == 0)
        assert (await (await node.open()).until_id()).response.status == 200


async def test_wrong_parameters_are_all_named(make_node: MakeNode) -> None:
    async with make_node() as node:
        response = (await node.open({"last_event_id": "17", "search": "!", "published_after": "x"})).response
        problem = await response.json(content_type="application/problem+json")

    assert response.status == 400
    assert {fault["parameter"] for fault in problem["errors"]} == {"last_event_id", "search", "published_after"}


async def test_head_says_what_a_stream_would_be(make_node: MakeNode) -> None:
    async with make_node() as node, aiohttp.ClientSession() as session, session.head(node.url) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["Cache-Control"] == "no-store"
