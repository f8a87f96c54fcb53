"""Raw records of every kind, at changing rates, written to a real Kafka from a thread of its own."""

import asyncio
import random
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from contract import events
from contract.topics import RAW
from processors.decode import Record
from tests.history import Acknowledged
from tests.raw_items import ITEM_MAKERS, NOW_MS, PARTITIONS, partition_of, record, video_id

TITLES: Final = ("A talk", "A better talk", "Another talk")
QUERIES: Final = ("tea", "coffee", "water", "cocoa", "milk")
RATES: Final = (0.0, 1.0, 5.0, 40.0, 150.0)
BURST: Final = 300
DAY_MS: Final = 86_400_000
RECENT: Final = 40
_FLUSH_SECONDS: Final = 60


class RecordSource:
    """An endless supply of records, the same for the same `chance`; most are about recent videos."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._now_ms = NOW_MS
        self._said: list[tuple[str, str]] = []
        """By video number, source and title of its last item."""

    def record(self) -> Record:
        self._now_ms += self._chance.randrange(1, 2_000)
        kinds: dict[Callable[[], Record], int] = {
            self._new: 25,
            self._repeat: 35,
            self._change: 15,
            self._other_source: 6,
            self._stale: 4,
            self._confirmation: 3,
            self._removal: 5,
            self._removal_of_nothing: 1,
            self._poison: 6,
        }
        return self._chance.choices(list(kinds), list(kinds.values()))[0]()

    def _new(self) -> Record:
        self._said.append((events.SEARCH, ""))
        return self._item(len(self._said) - 1, events.SEARCH, TITLES[0])

    def _known(self) -> int:
        if not self._said:
            self._said.append((events.SEARCH, TITLES[0]))
        count = len(self._said)
        recent = self._chance.random() < 0.7
        return self._chance.randrange(max(0, count - RECENT), count) if recent else self._chance.randrange(count)

    def _item(self, number: int, source: str, title: str, *, time_ms: int | None = None) -> Record:
        """An item that the others follow on; now and then another query, or an earlier sighting, comes with it."""
        self._said[number] = source, title
        at = self._now_ms if time_ms is None else time_ms
        queries = tuple(self._chance.sample(QUERIES, self._chance.choice([1, 1, 1, 2])))
        return record(
            number,
            0,
            ITEM_MAKERS[source](number, title=title),
            time_ms=at,
            source=source,
            queries=queries,
            first_seen_ms=at - self._chance.choice([0, 0, 0, 60_000]),
        )

    def _repeat(self) -> Record:
        number = self._known()
        return self._item(number, *self._said[number])

    def _change(self) -> Record:
        """Back and forth between a few titles, so that an old word may become the newest again."""
        number = self._known()
        return self._item(number, self._said[number][0], self._chance.choice(TITLES))

    def _other_source(self) -> Record:
        return self._item(self._known(), self._chance.choice(list(ITEM_MAKERS)), self._chance.choice(TITLES))

    def _stale(self) -> Record:
        number, title = self._known(), self._chance.choice(TITLES)
        return self._item(number, self._said[number][0], title, time_ms=self._now_ms - DAY_MS)

    def _confirmation(self) -> Record:
        self._now_ms += DAY_MS + 1
        return self._repeat()

    def _removal(self) -> Record:
        """What comes of the video afterwards is a rebirth, or the removal said again."""
        return record(self._known(), 0, None, time_ms=self._now_ms)

    def _removal_of_nothing(self) -> Record:
        return record(90_000_000 + self._chance.randrange(1000), 0, None, time_ms=self._now_ms)

    def _poison(self) -> Record:
        """One of the data errors that a record can have."""
        number = self._known()
        good = record(number, 0, ITEM_MAKERS[events.VIDEOS](number), time_ms=self._now_ms, source=events.VIDEOS)
        key, belongs = video_id(number).encode(), partition_of(video_id(number).encode())
        return self._chance.choice(
            [
                _with(good, value=b"{"),
                _with(good, value=b"\xff\xfe"),
                _with(good, value=b""),
                _with(good, value=orjson.dumps({"kind": "youtube#video", "id": 7})),
                _with(good, value=orjson.dumps(ITEM_MAKERS[events.VIDEOS](number + 1))),
                _with(good, key=None),
                _with(good, key=b"?" + key[1:]),
                _with(good, partition=(belongs + 1) % PARTITIONS),
                _with(good, headers=(("ce_type", b"io.yousync.item.fetched.v2"),)),
                _with(good, headers=(("ce_time", b"1999-01-01T00:00:00Z"),)),
            ]
        )


def _with(good: Record, **changes: Any) -> Record:
    return Record(
        **{
            "topic": good.topic,
            "partition": good.partition,
            "offset": good.offset,
            "timestamp_ms": good.timestamp_ms,
            "key": good.key,
            "value": good.value,
            "headers": good.headers,
            **changes,
        }
    )


class RecordWriter:
    """Writes between enter and exit; `acknowledged` is what Kafka confirmed until then."""

    def __init__(self, bootstrap: str, seed: int) -> None:
        self._bootstrap = bootstrap
        self._chance = random.Random(f"{seed}-records")
        self._source = RecordSource(self._chance)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="record-writer")
        self._error: BaseException | None = None
        self.acknowledged: list[Acknowledged] = []
        self.count = 0

    def check(self) -> None:
        """Raise what ended the writing, if anything did."""
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        if error is None:
            self.check()

    def _run(self) -> None:
        try:
            asyncio.run(self._write())
        except BaseException as error:  # noqa: BLE001  # told by `check` in the main thread
            self._error = error

    async def _write(self) -> None:
        while not self._stopping.is_set():
            producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, enable_idempotence=True, linger_ms=5)
            try:
                await producer.start()
                while not self._stopping.is_set():
                    await self._spell(producer)
            except KafkaError:  # the broker is away: what was not acknowledged may be there or not
                await asyncio.sleep(0.5)
            finally:
                await asyncio.wait_for(producer.stop(), _FLUSH_SECONDS)

    async def _spell(self, producer: AIOKafkaProducer) -> None:
        """Some seconds at one rate, after a burst now and then."""
        if self._chance.random() < 0.15:
            for _ in range(BURST):
                await self._send(producer)
        rate, seconds = self._chance.choice(RATES), self._chance.uniform(1, 5)
        if not rate:
            await asyncio.sleep(seconds)
        for _ in range(round(rate * seconds)):
            if self._stopping.is_set():
                return
            await self._send(producer)
            await asyncio.sleep(1 / rate)

    async def _send(self, producer: AIOKafkaProducer) -> None:
        one = self._source.record()
        sent = await producer.send(
            RAW, one.value, key=one.key, partition=one.partition, headers=list(one.headers), timestamp_ms=None
        )
        self.count += 1

        def settled(future: "asyncio.Future[RecordMetadata]") -> None:
            if not future.cancelled() and future.exception() is None:
                at = future.result()
                self.acknowledged.append(Acknowledged(at.partition, at.offset, one.key, one.value))

        sent.add_done_callback(settled)
