"""A hot window against the store that it is a window of, whatever the order in which it hears of things.

The machine writes to a store and then to the log of the video's partition, as a processor does. Windows are read from
the store at any moment, with any number of writes between a reading's beginning, the look at the store and its end;
events are delivered late, partition by partition in any interleaving, and again.

What must hold at every moment: a video of which no event is under way is in the window exactly when the store has it
there at the window's floor or above. So once all is delivered the window is the newest of the store.
"""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from contract.events import VIDEO_REMOVED, VIDEO_UPDATED
from query_api.hot_window import HotWindow, LastSequences
from query_api.stored import WindowRow
from query_api.video_event import VideoEvent
from tests.fakes.video_documents import make_id

PARTITIONS = 2
VIDEOS = 14
SIZE, ENOUGH = 4, 4
LISTS = (None, "tea", "ice")

numbers = st.integers(0, VIDEOS - 1)
moments = st.integers(0, 15)
some_queries = st.sets(st.sampled_from(["tea", "ice"])).map(lambda found: tuple(sorted(found)))


@dataclass
class Written:
    """An event in a partition's log; `lists` are those whose videos it changed, `step` is when it was written."""

    event: VideoEvent
    queries: tuple[str, ...]
    lists: frozenset[str | None]
    step: int


@dataclass
class Kept:
    """One window, and the reading that is under way: `found` once the store was looked at."""

    window: HotWindow
    reading: bool = False
    below: str | None = None
    asked: int = 0
    found: list[WindowRow] | None = None
    looked_at: int = -1
    ever_read: bool = False


@dataclass
class Log:
    """One partition: what was written to it, and up to where it was delivered."""

    written: list[Written] = field(default_factory=list)
    delivered: int = 0


class HotWindows(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store: dict[str, WindowRow] = {}
        self.logs = [Log() for _ in range(PARTITIONS)]
        self.sequence = 0
        self.step = 0
        self.sequences = LastSequences()
        self.kept = {query: Kept(HotWindow(query, size=SIZE, enough=ENOUGH)) for query in LISTS}

    @initialize(found=st.dictionaries(numbers, st.tuples(moments, some_queries), min_size=SIZE + 2))
    def begin_with_what_is_stored(self, found: dict[int, tuple[int, tuple[str, ...]]]) -> None:
        """Videos whose events lie before the place from which events are read."""
        for number, (moment, queries) in found.items():
            self.sequence += 1
            video_id = make_id(number)
            row = WindowRow(video_id, f"{moment:013d}{video_id}", b"as it began", self.sequence, queries)
            self.store[video_id] = row

    def write(self, number: int, row: WindowRow | None) -> None:
        """To the store, then to the log."""
        video_id, before = make_id(number), self.store.pop(make_id(number), None)
        if row is not None:
            self.store[video_id] = row
        self.step += 1
        said = [each for each in (before, row) if each is not None]
        log = self.logs[number % PARTITIONS]
        event = VideoEvent(
            partition=number % PARTITIONS,
            offset=len(log.written),
            video_id=video_id,
            type=VIDEO_REMOVED if row is None else VIDEO_UPDATED,
            sequence=self.sequence,
            sort_key=said[-1].sort_key if said else None,
            previous_sort_key=None if before is None else before.sort_key,
            body=None if row is None else row.body,
        )
        lists = frozenset(query for query in LISTS if any(query is None or query in each.queries for each in said))
        log.written.append(Written(event, () if row is None else row.queries, lists, self.step))

    @rule(numbers=st.lists(numbers, min_size=1, max_size=3), moment=moments, queries=some_queries)
    def discover_or_update(self, numbers: list[int], moment: int, queries: tuple[str, ...]) -> None:
        for number in numbers:
            self.put(number, moment, queries)

    def put(self, number: int, moment: int, queries: tuple[str, ...]) -> None:
        self.sequence += 1
        known = self.store.get(make_id(number))
        found_by = tuple(sorted({*queries, *(known.queries if known else ())}))
        body = b"%d at %d" % (number, self.sequence)
        self.write(
            number,
            WindowRow(make_id(number), f"{moment:013d}{make_id(number)}", body, self.sequence, found_by),
        )

    @rule(number=numbers)
    def remove(self, number: int) -> None:
        self.sequence += 1
        self.write(number, None)

    @rule(partition=st.integers(0, PARTITIONS - 1), ago=st.integers(1, 10))
    def send_again(self, partition: int, ago: int) -> None:
        """An event comes again, behind what came after it."""
        log = self.logs[partition]
        if ago <= len(log.written):
            again = log.written[-ago]
            log.written.append(Written(again.event, again.queries, again.lists, 0))

    @rule(partition=st.integers(0, PARTITIONS - 1), most=st.integers(1, 5))
    def deliver(self, partition: int, most: int) -> None:
        log = self.logs[partition]
        for written in log.written[log.delivered : log.delivered + most]:
            log.delivered += 1
            self.take(written)

    def take(self, written: Written) -> None:
        """As a node does."""
        news = self.sequences.is_news(written.event)
        for query, kept in self.kept.items():
            concerns = kept.window.concerns(written.event, written.queries)
            # What was written before the store was looked at is counted with it.
            assert concerns or query not in written.lists or written.step <= kept.looked_at
            if news and concerns:
                kept.window.apply(written.event, written.queries)

    @rule(queries=st.sets(st.sampled_from(LISTS), min_size=1))
    def go_on_reading(self, queries: set[str | None]) -> None:
        """Begin a reading where one is due, look at the store, or end it."""
        for query in queries:
            kept = self.kept[query]
            if kept.reading and kept.found is not None:
                kept.window.end_reading(kept.found, asked=kept.asked)
                kept.reading, kept.ever_read = False, True
            elif kept.reading:
                kept.found = [row for row in self.newest(query) if kept.below is None or row.sort_key < kept.below]
                del kept.found[kept.asked :]
                kept.looked_at = self.step
            elif not kept.ever_read or kept.window.missing:
                kept.below, kept.asked = kept.window.floor, kept.window.missing
                kept.window.begin_reading()
                kept.reading, kept.found = True, None

    @rule(query=st.sampled_from(LISTS))
    def fail_to_read(self, query: str | None) -> None:
        kept = self.kept[query]
        if kept.reading and kept.ever_read:
            kept.window.abandon_reading()
            kept.reading = False

    @rule()
    def deliver_all(self) -> None:
        for partition, log in enumerate(self.logs):
            self.deliver(partition, len(log.written))
        for query, kept in self.kept.items():
            if kept.ever_read and not kept.reading:
                snapshot = kept.window.snapshot()
                assert snapshot is not None
                stored = self.newest(query)
                shown = list(reversed(snapshot.rows))
                assert shown == stored[: len(shown)]
                assert not snapshot.whole or shown == stored
                # What pages see, at every place and size.
                for skip in range(len(stored) + 2):
                    for limit in range(1, SIZE + 2):
                        page = snapshot.newest_after(None, skip, limit)
                        assert page == stored[skip : skip + limit] or (page is None and not snapshot.whole)
                        assert page is not None or skip + limit > len(shown)
                for row in stored:
                    page = snapshot.newest_after(row.sort_key, 0, 2)
                    assert page is None or page == [each for each in stored if each.sort_key < row.sort_key][:2]

    @invariant()
    def a_window_knows_all_down_to_its_floor(self) -> None:
        under_way = {each.event.video_id for log in self.logs for each in log.written[log.delivered :]}
        for query, kept in self.kept.items():
            snapshot = kept.window.snapshot()
            if snapshot is None:
                continue
            keys = [row.sort_key for row in snapshot.rows]
            assert keys == snapshot.sort_keys
            assert keys == sorted(set(keys))
            assert kept.reading or len(keys) <= SIZE
            assert all(key >= snapshot.floor for key in keys)
            settled = {row.video_id: row for row in snapshot.rows if row.video_id not in under_way}
            assert settled == {
                row.video_id: row
                for row in self.newest(query)
                if row.video_id not in under_way and row.sort_key >= snapshot.floor
            }

    def newest(self, query: str | None) -> list[WindowRow]:
        found = [row for row in self.store.values() if query is None or query in row.queries]
        return sorted(found, key=lambda row: row.sort_key, reverse=True)


TestHotWindows = HotWindows.TestCase
TestHotWindows.settings = settings(max_examples=200, stateful_step_count=100)
