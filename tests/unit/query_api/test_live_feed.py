"""The ring of live events, what a client takes from it, and how clients are woken; and the talk with one client."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import msgspec
import pytest

from contract.events import VIDEO_DISCOVERED, VIDEO_REMOVED, VIDEO_UPDATED
from contract.video import encode
from query_api import live_client
from query_api.filters import EVERYTHING, Filters
from query_api.live_client import (
    Block,
    Conversation,
    History,
    HistoryLost,
    HistoryUnavailable,
    LiveRequest,
    parse_live_request,
)
from query_api.live_feed import LastEvents, LiveFeed, Ring, passes, to_live_event, traits_of
from query_api.live_id import Offsets
from query_api.video_event import VideoEvent
from tests.fakes.video_documents import make_video

HEARTBEAT_SECONDS = 3600.0


def event(offset: int, *, partition: int = 0, number: int | None = None, sequence: int | None = None) -> VideoEvent:
    """A video of its own at each place, unless told which."""
    video = make_video(100 * offset + partition if number is None else number)
    return VideoEvent(
        partition=partition,
        offset=offset,
        video_id=video.id,
        type=VIDEO_DISCOVERED,
        sequence=offset if sequence is None else sequence,
        sort_key="k",
        previous_sort_key=None,
        body=encode(video),
    )


def removal(offset: int, *, partition: int = 0, number: int = 1) -> VideoEvent:
    return msgspec.structs.replace(
        event(offset, partition=partition, number=number), type=VIDEO_REMOVED, body=None, sequence=offset
    )


def ring_of(*events: VideoEvent, begin: Offsets = (0, 0), entries: int = 100, size: int = 1 << 20) -> Ring:
    ring = Ring(begin, entries=entries, size=size)
    for at, one in enumerate(events):
        assert ring.pass_over(one)
        ring.append(one, at)
    return ring


def offsets_in(text: bytes) -> list[bytes]:
    return [line.removeprefix(b"id: ") for line in text.splitlines() if line.startswith(b"id: ")]


# --- what an event looks like ---------------------------------------------------------------------------------------


def test_an_event_carries_the_video_as_it_is_served_and_the_id_after_it() -> None:
    one = event(11)

    assert one.body is not None
    assert to_live_event(one, (12, 7), 0.0).text == b"id: s1.12-7\nevent: discovered\ndata: " + one.body + b"\n\n"
    updated = msgspec.structs.replace(one, type=VIDEO_UPDATED)
    assert b"\nevent: updated\n" in to_live_event(updated, (12, 7), 0.0).text


def test_a_removal_names_the_video() -> None:
    text = to_live_event(removal(11), (12, 7), 0.0).text

    assert text == b'id: s1.12-7\nevent: removed\ndata: {"id":"vid-0000001"}\n\n'


def test_line_ends_in_a_foreign_body_cannot_end_the_event() -> None:
    one = msgspec.structs.replace(event(11), body=b'{\r\n"id":1\r,\n\n"event":2}')

    text = to_live_event(one, (12,), 0.0).text

    assert text.endswith(b'\ndata: {\ndata: "id":1\ndata: ,\ndata: \ndata: "event":2}\n\n')


# --- filters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "passed"),
    [
        (EVERYTHING, True),
        (Filters(query="tea"), True),
        (Filters(query="te"), False),
        (Filters(channel_id="UC-tea"), True),
        (Filters(channel_id="UC"), False),
        (Filters(search=("te", "best")), True),
        (Filters(search=("tea", "worst")), False),
        (Filters(query="tea", channel_id="UC-tea", search=("tea",)), True),
        (Filters(query="tea", channel_id="UC-milk"), False),
    ],
)
def test_a_client_is_told_what_passes_its_filters(filters: Filters, passed: bool) -> None:
    assert passes(traits_of(event(0).body), filters) is passed


def test_a_removal_is_told_to_everybody() -> None:
    assert passes(traits_of(None), Filters(query="x", channel_id="x", search=("x",)))


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"title":7}', b'{"channel":null}'])
def test_a_body_that_cannot_be_read_passes_no_filter_but_is_told(body: bytes) -> None:
    assert passes(traits_of(body), EVERYTHING)
    assert not passes(traits_of(body), Filters(query="tea"))
    assert not passes(traits_of(body), Filters(search=("tea",)))


# --- repeats --------------------------------------------------------------------------------------------------------


def test_a_repeat_is_no_news_and_a_later_one_of_equal_sequence_is_when_it_says_something_else() -> None:
    last_events = LastEvents()

    assert last_events.is_news(event(0, number=1, sequence=5))
    assert not last_events.is_news(event(1, number=1, sequence=5))
    assert not last_events.is_news(event(1, number=1, sequence=4))
    assert last_events.is_news(event(1, number=2, sequence=4))
    changed = msgspec.structs.replace(event(2, number=1, sequence=5), body=b"{}")
    assert last_events.is_news(changed)
    assert not last_events.is_news(changed)
    assert last_events.is_news(event(3, number=1, sequence=6))
    assert last_events.is_news(msgspec.structs.replace(removal(4), sequence=7))
    assert not last_events.is_news(msgspec.structs.replace(removal(5), sequence=7))


def test_what_is_remembered_of_videos_is_bounded_and_the_latest_stay() -> None:
    last_events = LastEvents(videos=100)
    for number in range(1000):
        last_events.is_news(event(number, number=number))
        last_events.is_news(event(number, number=0, sequence=10_000))

    assert len(last_events._young) + len(last_events._old) <= 100
    assert not last_events.is_news(event(0, number=999, sequence=5))
    assert not last_events.is_news(event(0, number=960, sequence=5))


# --- the ring -------------------------------------------------------------------------------------------------------


def test_a_ring_counts_what_it_was_given_by_partition() -> None:
    ring = ring_of(event(5), event(2, partition=1), event(9), begin=(5, 0))

    assert (ring.begin, ring.end) == ((5, 0), (10, 3))
    assert ring.known_at(0) == (5, 0)
    assert ring.known_at(1) == (6, 0)
    assert ring.known_at(3) == (10, 3)
    taken = ring.take(0)
    assert taken is not None
    assert offsets_in(taken.text) == [b"s1.6-0", b"s1.6-3", b"s1.10-3"]
    assert (taken.events, taken.place) == (3, 3)
    assert ring.take(3) == type(taken)(b"", 0, 3)


def test_a_ring_keeps_so_many_events_and_begins_after_those_that_went() -> None:
    ring = ring_of(*map(event, range(10)), entries=4)

    assert (ring.first, ring.last, ring.begin) == (6, 10, (6, 0))
    assert ring.take(5) is None
    taken = ring.take(6)
    assert taken is not None
    assert taken.events == 4


def test_a_ring_keeps_so_many_bytes_but_always_the_newest_event() -> None:
    length = len(to_live_event(event(10), (11, 0), 0.0).text)

    assert ring_of(*map(event, range(10, 20)), size=3 * length).first == 7
    assert ring_of(*map(event, range(10, 20)), size=1).first == 9


def test_what_the_ring_is_behind_of_is_not_passed_over_again() -> None:
    ring = ring_of(event(5), begin=(5, 0))

    assert not ring.pass_over(event(5))
    assert not ring.pass_over(event(4))
    assert ring.pass_over(event(8))
    assert ring.end == (9, 0)


@pytest.mark.parametrize(
    ("known", "place"),
    [
        ((5, 0), 0),
        ((6, 0), 1),
        ((5, 1), 0),  # has more of one partition than this ring told by then
        ((6, 1), 2),
        ((7, 1), 3),
        ((7, 2), 4),
        ((99, 99), 4),
        ((99, 1), 3),
        ((4, 9), None),
        ((0, 0), None),
    ],
)
def test_a_client_goes_on_at_the_first_event_that_it_does_not_have(known: Offsets, place: int | None) -> None:
    ring = ring_of(event(5), event(0, partition=1), event(6), event(1, partition=1), begin=(5, 0))

    assert ring.place_of(known) == place


def test_what_a_client_has_of_what_follows_is_not_told_again() -> None:
    ring = ring_of(event(5), event(0, partition=1), event(6), event(1, partition=1), begin=(5, 0))

    taken = ring.take(0, EVERYTHING, (5, 1))

    assert taken is not None
    assert offsets_in(taken.text) == [b"s1.6-0", b"s1.7-1", b"s1.7-2"]


def test_a_client_takes_no_more_at_once_than_its_share() -> None:
    ring = ring_of(*map(event, range(2000)), entries=5000, size=1 << 30)
    big = msgspec.structs.replace(event(0), body=b"x" * 100_000)
    large = ring_of(*(msgspec.structs.replace(big, offset=offset) for offset in range(9)), size=1 << 30)

    taken, one = ring.take(0), large.take(0)

    assert taken is not None
    assert taken.events == taken.place == len(offsets_in(taken.text)) < 500
    assert len(taken.text) < 70_000
    assert one is not None
    assert one.events == 1
    nothing = ring.take(0, Filters(query="none"))
    assert nothing is not None
    assert (nothing.text, nothing.place) == (b"", 500)


def test_clients_at_one_place_share_their_bytes_until_more_is_added() -> None:
    ring = ring_of(event(0))
    first, second, filtered = ring.take(0), ring.take(0), ring.take(0, Filters(query="none"))
    ring.pass_over(event(1))
    ring.append(event(1), 1.0)
    third = ring.take(0)

    assert first is second
    assert filtered is not None
    assert not filtered.text
    assert third is not None
    assert third.events == 2


# --- the feed -------------------------------------------------------------------------------------------------------


def new_feed(*, tick_seconds: float = 3600) -> LiveFeed:
    feed = LiveFeed(overlap_seconds=0, tick_seconds=tick_seconds)
    feed.start_at({1: 0, 0: 5})
    return feed


async def test_repeats_are_left_out_but_ids_go_on_behind_them() -> None:
    feed = new_feed()
    feed.publish([event(5, number=1), event(6, number=1, sequence=5), event(7, number=1, sequence=6)])

    assert feed.ring is not None
    taken = feed.ring.take(0)
    assert taken is not None
    assert offsets_in(taken.text) == [b"s1.6-0", b"s1.8-0"]
    feed.publish([event(8, number=1, sequence=2)])
    assert (feed.ring.end, feed.ring.last) == ((9, 0), 2)


async def test_events_before_the_begin_are_only_remembered() -> None:
    feed = new_feed()
    feed.publish([event(3, number=1, sequence=9), event(5, number=1, sequence=8)])

    assert feed.ring is not None
    assert (feed.ring.end, feed.ring.last) == ((6, 0), 0)


async def test_following_again_where_it_ended_leaves_no_gap_and_elsewhere_begins_anew() -> None:
    feed = new_feed()
    feed.publish([event(5)])
    ring = feed.ring
    feed.start_at({0: 6, 1: 0})

    assert feed.ring is ring
    for elsewhere in ({0: 7, 1: 0}, {0: 5, 1: 0}, {0: 6}, {0: 6, 1: 0, 2: 0}):
        before = feed.ring
        feed.start_at(elsewhere)
        assert feed.ring is not before
        assert feed.ring is not None
        assert feed.ring.last == 0


async def test_a_feed_that_begins_anew_forgets_what_it_knew_for_the_topic_may_be_another() -> None:
    feed = new_feed()
    feed.publish([event(5, number=1, sequence=900)])
    feed.start_at({0: 0, 1: 0})
    feed.publish([event(0, number=1, sequence=0)])

    assert feed.ring is not None
    assert feed.ring.last == 1


async def test_nothing_is_published_before_it_is_known_where_the_feed_begins() -> None:
    with pytest.raises(RuntimeError, match="start_at"):
        LiveFeed().publish([event(0)])


async def test_all_that_wait_are_woken_and_those_that_wait_again_within_the_wave_by_a_next_one() -> None:
    feed = new_feed()
    waiting = [feed.woken() for _ in range(1000)]
    feed.publish([event(5)])
    await waiting[0]

    assert not waiting[-1].done(), "between slices of a wave others have their turn"
    again = feed.woken()
    feed.publish([event(6)])
    await asyncio.wait([*waiting, again])


async def test_repeats_wake_nobody() -> None:
    feed = new_feed()
    feed.publish([event(5, number=1)])
    waiting = feed.woken()
    feed.publish([event(6, number=1, sequence=5)])
    await asyncio.sleep(0.05)

    assert not waiting.done()
    feed.publish([event(7, number=1, sequence=6)])
    await waiting


async def test_a_wait_ends_without_any_event_too() -> None:
    feed = new_feed(tick_seconds=0.01)

    for _ in range(3):
        await feed.woken()


async def test_a_waiter_that_was_cancelled_stops_no_wave() -> None:
    feed = new_feed()
    gone, there = feed.woken(), feed.woken()
    gone.cancel()
    feed.publish([event(5)])

    await there


# --- the talk -------------------------------------------------------------------------------------------------------


class NoHistory:
    """Nothing is kept that is older than the ring."""

    async def read(self, since: Offsets, until: Offsets) -> AsyncGenerator[Sequence[VideoEvent]]:
        if since:
            raise HistoryLost("No history here.")
        yield []


class SlowHistory:
    """Event after event, each when it is let; the end, or a failure, after the last."""

    def __init__(self, events: Sequence[VideoEvent], failure: Exception | None = None) -> None:
        self.events = events
        self.failure = failure
        self.let = asyncio.Semaphore(0)
        self.closed = False

    async def read(self, since: Offsets, until: Offsets) -> AsyncGenerator[Sequence[VideoEvent]]:
        try:
            for one in self.events:
                await self.let.acquire()
                yield [one]
            if self.failure is not None:
                raise self.failure
        finally:
            self.closed = True


def talk(
    feed: LiveFeed,
    asked: LiveRequest,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
    history: History | None = None,
) -> AsyncGenerator[Block]:
    return Conversation(feed, history or NoHistory(), asked, heartbeat_seconds).blocks()


async def said(blocks: AsyncGenerator[Block]) -> bytes:
    """The next thing that is said."""
    while not (block := await anext(blocks)).text:
        pass
    return block.text


async def test_a_new_client_is_told_where_it_is_and_then_what_comes() -> None:
    feed = new_feed()
    feed.publish([event(5)])
    await asyncio.sleep(0.001)
    blocks = talk(feed, LiveRequest(EVERYTHING))

    assert await said(blocks) == b"retry: 2000\n\n"
    assert await said(blocks) == b"id: s1.6-0\n\n"
    feed.publish([event(6), event(0, partition=1)])
    assert offsets_in(await said(blocks)) == [b"s1.7-0", b"s1.7-1"]
    await blocks.aclose()


async def test_a_new_client_begins_a_moment_back_for_pages_are_a_moment_behind() -> None:
    feed = LiveFeed(overlap_seconds=60)
    feed.start_at({0: 0, 1: 0})
    feed.publish([event(5)])
    blocks = talk(feed, LiveRequest(EVERYTHING))
    await said(blocks)

    assert await said(blocks) == b"id: s1.0-0\n\n"
    assert offsets_in(await said(blocks)) == [b"s1.6-0"]
    await blocks.aclose()


async def test_but_not_before_all_that_a_start_filled_the_ring_with() -> None:
    feed = LiveFeed(overlap_seconds=60)
    feed.start_at({0: 0, 1: 0})
    feed.publish([event(offset) for offset in range(3000)])
    blocks = talk(feed, LiveRequest(EVERYTHING))
    await said(blocks)

    assert await said(blocks) == b"id: s1.2000-0\n\n"
    await blocks.aclose()


async def test_a_client_before_the_feed_begins_waits_and_then_loads_again() -> None:
    feed = LiveFeed(tick_seconds=0.01)
    blocks = talk(feed, LiveRequest(EVERYTHING), heartbeat_seconds=0)
    assert await said(blocks) == b"retry: 2000\n\n"
    assert await said(blocks) == b": \n\n"
    feed.start_at({0: 5, 1: 0})

    assert await said(blocks) == (
        b"id: s1.5-0\nevent: reset\ndata: The server has only now begun to follow the videos.\n\n"
    )
    await blocks.aclose()


async def test_a_client_with_an_id_waits_for_the_feed_and_needs_not_load_again() -> None:
    feed = LiveFeed(tick_seconds=0.01)
    blocks = talk(feed, LiveRequest(EVERYTHING, known=(6, 0)))
    assert await said(blocks) == b"retry: 2000\n\n"
    feed.start_at({0: 5, 1: 0})
    feed.publish([event(5), event(6)])

    assert offsets_in(await said(blocks)) == [b"s1.7-0"]
    await blocks.aclose()


async def test_a_client_that_goes_on_is_told_what_the_ring_has_since() -> None:
    feed = new_feed()
    feed.publish([event(5), event(6), event(7)])
    blocks = talk(feed, LiveRequest(EVERYTHING, known=(6, 0)))
    await said(blocks)

    assert offsets_in(await said(blocks)) == [b"s1.7-0", b"s1.8-0"]
    await blocks.aclose()


@pytest.mark.parametrize("known", [(4, 0), (6,), (6, 0, 0), (6, 1)])
async def test_a_client_whose_id_cannot_be_followed_loads_again(known: Offsets) -> None:
    feed = new_feed()
    feed.publish([event(5)])
    await asyncio.sleep(0.001)
    blocks = talk(feed, LiveRequest(EVERYTHING, known))
    await said(blocks)

    assert (await said(blocks)).startswith(b"id: s1.6-0\nevent: reset\ndata: ")
    feed.publish([event(6)])
    assert offsets_in(await said(blocks)) == [b"s1.7-0"]
    await blocks.aclose()


async def test_a_header_that_is_no_id_leads_to_a_reset() -> None:
    asked = parse_live_request([], "17")
    assert isinstance(asked, LiveRequest)
    blocks = talk(new_feed(), asked)
    await said(blocks)

    assert await said(blocks) == b"id: s1.5-0\nevent: reset\ndata: Last-Event-ID is no id of this stream.\n\n"
    await blocks.aclose()


async def test_clients_load_again_when_the_feed_begins_anew() -> None:
    feed = new_feed()
    blocks = talk(feed, LiveRequest(EVERYTHING))
    await said(blocks)
    await said(blocks)
    waiting = asyncio.ensure_future(said(blocks))
    await asyncio.sleep(0)
    feed.start_at({0: 50, 1: 0})

    assert (await waiting).startswith(b"id: s1.50-0\nevent: reset\ndata: ")
    feed.publish([event(50)])
    assert offsets_in(await said(blocks)) == [b"s1.51-0"]
    await blocks.aclose()


async def test_a_client_that_the_ring_has_left_behind_is_dropped_with_the_reason() -> None:
    feed = LiveFeed(entries=3, overlap_seconds=0)
    feed.start_at({0: 0, 1: 0})
    blocks = talk(feed, LiveRequest(EVERYTHING))
    await said(blocks)
    await said(blocks)
    feed.publish([event(offset) for offset in range(4)])

    last = await anext(blocks)

    assert last == Block(b"event: dropped\ndata: The client is too slow.\n\n", dropped="slow")
    with pytest.raises(StopAsyncIteration):
        await anext(blocks)


@pytest.mark.parametrize("known", [None, (5, 0)])
async def test_streams_end_when_the_server_stops(known: Offsets | None) -> None:
    feed = new_feed()
    blocks = talk(feed, LiveRequest(EVERYTHING, known))
    await said(blocks)
    if known is None:
        await said(blocks)
    waiting = asyncio.ensure_future(anext(blocks))
    await asyncio.sleep(0)
    feed.stop()

    assert (await waiting) == Block(b"event: dropped\ndata: The server stops.\n\n", dropped="stopping")
    later = [block async for block in talk(feed, LiveRequest(EVERYTHING))]
    assert later[-1].dropped == "stopping"


async def test_a_stream_ends_before_the_feed_began_when_the_server_stops() -> None:
    feed = LiveFeed()
    blocks = talk(feed, LiveRequest(EVERYTHING))
    await said(blocks)
    waiting = asyncio.ensure_future(anext(blocks))
    await asyncio.sleep(0)
    feed.stop()

    assert (await waiting).dropped == "stopping"


async def test_heartbeats_carry_the_id_so_that_one_who_is_told_little_can_go_on() -> None:
    feed = new_feed(tick_seconds=0.01)
    blocks = talk(feed, LiveRequest(Filters(query="none")), heartbeat_seconds=0.02)
    await said(blocks)
    await said(blocks)
    feed.publish([event(5)])

    assert await said(blocks) == b": \nid: s1.6-0\n\n"
    await blocks.aclose()


async def test_much_that_does_not_pass_keeps_nobody_waiting() -> None:
    feed = LiveFeed(overlap_seconds=0)
    feed.start_at({0: 0, 1: 0})
    feed.publish([*(event(offset) for offset in range(3000)), removal(3000)])
    blocks = talk(feed, LiveRequest(Filters(query="none"), known=(0, 0)))
    await said(blocks)

    assert (await said(blocks)).startswith(b"id: s1.3001-0\nevent: removed\n")
    await blocks.aclose()


async def test_what_is_older_than_the_ring_is_told_first_with_ids_to_go_on_from_and_then_the_ring() -> None:
    feed = new_feed()
    feed.publish([event(5), event(6)])
    history = SlowHistory([event(2), event(0, partition=1), event(6)])
    blocks = talk(feed, LiveRequest(EVERYTHING, (1, 0)), history=history)
    await said(blocks)

    for id_ in (b"s1.3-0", b"s1.3-1", b"s1.7-1"):
        history.let.release()
        assert offsets_in(await said(blocks)) == [id_]
    feed.publish([event(7)])
    assert offsets_in(await said(blocks)) == [b"s1.8-0"]
    assert history.closed
    await blocks.aclose()


async def test_what_was_missed_may_all_be_repeats() -> None:
    feed = new_feed()
    blocks = talk(feed, LiveRequest(EVERYTHING, (4, 0)), history=SlowHistory([]))
    await said(blocks)
    waiting = asyncio.ensure_future(said(blocks))
    await asyncio.sleep(0.01)
    feed.publish([event(5)])

    assert offsets_in(await waiting) == [b"s1.6-0"]
    await blocks.aclose()


async def test_what_another_process_told_already_is_not_told_again_behind_what_is_older() -> None:
    feed = new_feed()
    blocks = talk(feed, LiveRequest(EVERYTHING, (4, 1)), history=SlowHistory([]))
    await said(blocks)
    waiting = asyncio.ensure_future(said(blocks))
    await asyncio.sleep(0.01)
    feed.publish([event(0, partition=1), event(5), event(1, partition=1)])

    assert offsets_in(await waiting) == [b"s1.6-1", b"s1.6-2"]
    await blocks.aclose()


async def test_who_waits_for_what_is_older_hears_heartbeats_and_can_be_cut_off() -> None:
    feed = new_feed(tick_seconds=0.01)
    history = SlowHistory([event(4)])
    blocks = talk(feed, LiveRequest(EVERYTHING, (4, 0)), heartbeat_seconds=0.02, history=history)
    await said(blocks)

    assert await said(blocks) == b": \nid: s1.4-0\n\n"
    assert await said(blocks) == b": \nid: s1.4-0\n\n"
    await blocks.aclose()
    assert history.closed


async def test_who_waits_for_what_is_older_is_let_go_when_the_server_stops() -> None:
    feed = new_feed()
    history = SlowHistory([event(4)])
    blocks = talk(feed, LiveRequest(EVERYTHING, (4, 0)), history=history)
    await said(blocks)
    waiting = asyncio.ensure_future(anext(blocks))
    await asyncio.sleep(0.01)
    feed.stop()

    assert (await waiting).dropped == "stopping"
    assert history.closed


async def test_a_client_is_dropped_when_what_is_older_cannot_be_read() -> None:
    history = SlowHistory([], HistoryUnavailable("away"))
    blocks = talk(new_feed(), LiveRequest(EVERYTHING, (4, 0)), history=history)
    await said(blocks)

    assert await anext(blocks) == Block(
        b"event: dropped\ndata: What was missed cannot be read at the moment.\n\n", dropped="history"
    )


async def test_a_slow_client_does_not_keep_its_reader_of_what_is_older(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_client, "_READING_SECONDS", 0.01)
    history = SlowHistory([event(offset) for offset in range(5)])
    for _ in range(5):
        history.let.release()
    blocks = talk(new_feed(), LiveRequest(EVERYTHING, (0, 0)), history=history)
    await said(blocks)
    await said(blocks)
    await asyncio.sleep(0.02)

    assert (await anext(blocks)).dropped == "slow"
    assert history.closed


async def test_a_client_loads_again_when_the_feed_begins_anew_while_it_is_told_what_is_older() -> None:
    feed = new_feed()
    history = SlowHistory([event(4)])
    blocks = talk(feed, LiveRequest(EVERYTHING, (4, 0)), history=history)
    await said(blocks)
    waiting = asyncio.ensure_future(said(blocks))
    await asyncio.sleep(0)
    feed.start_at({0: 2, 1: 0})
    history.let.release()
    await waiting

    assert (await said(blocks)).startswith(b"id: s1.2-0\nevent: reset\n")
    await blocks.aclose()


# --- what is asked for ----------------------------------------------------------------------------------------------


def test_filters_and_the_id_are_read() -> None:
    given = [("query", " Tea  Time "), ("channel_id", "UC1"), ("search", "Té ho"), ("last_event_id", "s1.1-2")]

    assert parse_live_request(given, None) == LiveRequest(Filters("Tea Time", "UC1", search=("te", "ho")), (1, 2))


def test_the_header_counts_more_than_the_parameter_for_the_address_stays_as_it_was() -> None:
    assert parse_live_request([("last_event_id", "s1.1")], "s1.2") == LiveRequest(EVERYTHING, (2,))
    assert parse_live_request([("last_event_id", "s1.1")], "") == LiveRequest(EVERYTHING, (1,))


def test_all_faults_are_told_at_once() -> None:
    given = [
        ("last_event_id", "12"),
        ("search", "!"),
        ("published_after", "x"),
        ("page", "1"),
        ("query", ""),
        ("query", ""),
    ]

    faults = parse_live_request(given, "s1.1")

    assert isinstance(faults, list)
    assert sorted(fault.parameter for fault in faults) == sorted(
        ["published_after", "page", "query", "query", "search", "last_event_id"]
    )
