"""`yousync dead-letters`: reads the dead-letter topic, and puts records back onto the raw topic.

Topics are read in a stream, without a group, to the end that they had at the beginning. What is kept is one small
entry for each origin; values pass through.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from contract.events import EnvelopeError, first_failure, read_dead_letter_headers, retried_headers
from contract.settings import Settings
from contract.topics import DEAD_LETTER, RAW, topic_specs
from ops.kafka_client import pace_metadata_requests, running_consumer, stop_client
from ops.kafka_connection import KafkaConnection, kafka_connection
from ops.kafka_topics import require_topics
from ops.partitioner import partitioner
from ops.record_reader import tolerate_header_names
from processors.decode import Record, Refusal, decode
from yousync.dead_letter_selection import (
    DeadLetter,
    Later,
    Letter,
    PutBack,
    Wanted,
    Word,
    decide_put_back,
    matching,
    merged,
    overtaken,
    size_of,
    with_word,
    word_of,
)

_POLL_MS: Final = 500
_POLL_RECORDS: Final = 500
_SILENCE_SECONDS: Final = 30.0
_SEND_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 5.0
_REMIND_SECONDS: Final = 10.0
_CHUNK_RECORDS: Final = 100
_CHUNK_BYTES: Final = 4 << 20

Place = tuple[int, int]
"""Partition and offset in the dead-letter topic."""

Sent = Callable[[int], None]
"""Told how many records are put back by now."""


class NoSuchDeadLetter(Exception):
    """No dead letter has this origin; the sentence names it."""


class Unfinished(Exception):
    """Kafka stopped taking records in the middle; the sentence says how many it took."""


class FoundDeadLetters(msgspec.Struct, frozen=True):
    """What the topic held: those that match, the last failure first, and how many records are no dead letters."""

    letters: list[DeadLetter]
    strangers: int


class Staying(msgspec.Struct, frozen=True):
    """A dead letter that is not put back, with a clause that says why."""

    origin: str
    why: str


class Going(msgspec.Struct, frozen=True):
    """A dead letter to be put back; `fails_again` is the reason for which this version would refuse it once more."""

    origin: str
    partition: int
    timestamp_ms: int
    fails_again: str | None


class RetryPlan(msgspec.Struct, frozen=True):
    """What a retry would do, `going` by place in the dead-letter topic.

    `waiting` were put back before and have not failed since: they succeeded, or a processor will come to them.
    """

    going: dict[Place, Going]
    staying: list[Staying]
    waiting: list[Staying]

    @property
    def failing_again(self) -> Counter[str]:
        """How many would fail again, by reason."""
        return Counter(each.fails_again for each in self.going.values() if each.fails_again is not None)


async def find(connection: KafkaConnection, wanted: Wanted) -> FoundDeadLetters:
    """The dead letters that match; the limit is left to the caller, who may want to count.

    Raises:
        NoSuchDeadLetter: an origin that is asked for is not there.
        KafkaError: Kafka does not answer.
        TopicsError: the topic cannot be used.
    """
    async with _dead_letter_consumer(connection) as consumer:
        return await _find(consumer, wanted)


async def read(connection: KafkaConnection, wanted: Wanted) -> AsyncIterator[tuple[DeadLetter, Letter]]:
    """Every dead letter that matches with the newest record of it, in the order of the topic.

    Raises:
        NoSuchDeadLetter: an origin that is asked for is not there.
        KafkaError: Kafka does not answer.
        TopicsError: the topic cannot be used.
    """
    async with _dead_letter_consumer(connection) as consumer:
        chosen = _by_place((await _find(consumer, wanted)).letters[: wanted.limit])
        async for letter in _letters_at(consumer, chosen):
            yield chosen[letter.partition, letter.offset], letter


async def attempts(connection: KafkaConnection, origin: str) -> list[Letter]:
    """Every record of one dead letter, in the order of the topic; only the newest has its value.

    Raises:
        NoSuchDeadLetter: it is not there.
        KafkaError: Kafka does not answer.
        TopicsError: the topic cannot be used.
    """
    async with _dead_letter_consumer(connection) as consumer:
        newest = (await _find(consumer, Wanted(origins=frozenset({origin})))).letters[0]
        found = []
        async for letter in _letters(consumer):
            if letter is not None and letter.said.origin == origin:
                is_newest = (letter.partition, letter.offset) == (newest.partition, newest.offset)
                found.append(letter if is_newest else msgspec.structs.replace(letter, value=None))
        return found


async def plan_retry(settings: Settings, wanted: Wanted, now_ms: int) -> RetryPlan:
    """What putting back those that match comes to; writes nothing.

    The raw topic is read from the time of the oldest of them, for what was said of their videos since, and for
    records that were put back before.

    Raises:
        NoSuchDeadLetter: an origin that is asked for is not there.
        KafkaError: Kafka does not answer.
        TopicsError: the topics cannot be used.
    """
    connection, partitions = kafka_connection(settings), settings.topic_partitions
    await require_topics(connection, [spec for spec in topic_specs(partitions) if spec.name == RAW])
    async with _dead_letter_consumer(connection) as consumer:
        chosen = _by_place((await _find(consumer, wanted)).letters[: wanted.limit])
        planner = _RetryPlanner(partitions, now_ms)
        async for letter in _letters_at(consumer, chosen):
            planner.take(letter)
        if planner.oldest_ms is not None:
            async for record in _raw_records_since(consumer, partitions, planner.oldest_ms):
                planner.take_raw(record)
        return planner.plan()


async def put_back(settings: Settings, plan: RetryPlan, rate: float | None, sent: Sent) -> None:
    """Put the plan's records back, each once, at most `rate` a second; returns when all are acknowledged.

    Raises:
        Unfinished: Kafka did not take all; what it took is found by the next plan.
        KafkaError: Kafka does not answer.
    """
    connection = kafka_connection(settings)
    async with _dead_letter_consumer(connection) as consumer, _producer(connection) as producer:
        sender = _Sender(producer, len(plan.going), rate, sent)
        async for letter in _letters_at(consumer, plan.going):
            await sender.send(letter, plan.going[letter.partition, letter.offset])
        await sender.finish()


@contextmanager
def progress(total: int) -> Iterator[Sent]:
    """Shows how far it is, on standard error: a bar on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(total)
        return
    with Progress(
        TextColumn("putting back"), BarColumn(), MofNCompleteColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda sent: bar.update(task, completed=sent)


def _lines(total: int) -> Sent:
    told_at = time.monotonic()

    def tell(sent: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= _REMIND_SECONDS:
            told_at = time.monotonic()
            sys.stderr.write(f"{sent:,} of {total:,} records put back\n")

    return tell


class _RetryPlanner:
    """Takes the chosen dead letters, then what the raw topic says since; keeps a few words of each."""

    def __init__(self, partitions: int, now_ms: int) -> None:
        self._partitions = partitions
        self._partition_of = partitioner(partitions)
        self._now_ms = now_ms
        self._candidates: dict[Place, tuple[str, PutBack]] = {}
        self._attempts: dict[str, int] = {}
        self._staying: list[Staying] = []
        self._later: dict[str, Later] = {}
        self._put_back_at: dict[str, str] = {}
        self.oldest_ms: int | None = None

    def take(self, letter: Letter) -> None:
        origin = letter.said.origin
        decided = decide_put_back(letter, self._partitions, self._partition_of, self._now_ms)
        if isinstance(decided, str):
            self._staying.append(Staying(origin, decided))
            return
        times = [decided.timestamp_ms]
        if decided.word is not None:
            times.append(decided.word.time_ms)
            self._later[decided.word.video_id] = Later()
        self.oldest_ms = min(times if self.oldest_ms is None else [*times, self.oldest_ms])
        self._attempts[origin] = letter.said.attempt
        self._candidates[letter.partition, letter.offset] = origin, decided

    def take_raw(self, record: Record) -> None:
        origin, attempt = first_failure(record.headers, "")
        if self._attempts.get(origin) == attempt - 1:
            self._put_back_at[origin] = f"{record.topic}/{record.partition}/{record.offset}"
        if record.key is not None and record.key.decode(errors="replace") in self._later:
            said = decode(record, self._partition_of)
            if not isinstance(said, Refusal):
                self._hear(word_of(said))

    def plan(self) -> RetryPlan:
        for _, each in self._candidates.values():
            if each.word is not None:
                self._hear(each.word)
        plan = RetryPlan({}, [*self._staying], [])
        for place, (origin, each) in self._candidates.items():
            late = None if each.word is None else overtaken(each.word, self._later[each.word.video_id])
            if origin in self._put_back_at:
                plan.waiting.append(Staying(origin, f"put back as {self._put_back_at[origin]}"))
            elif late is not None:
                plan.staying.append(Staying(origin, late))
            else:
                plan.going[place] = Going(origin, each.partition, each.timestamp_ms, each.fails_again)
        return plan

    def _hear(self, word: Word) -> None:
        self._later[word.video_id] = with_word(self._later[word.video_id], word)


class _Sender:
    """Sends in chunks, each acknowledged before the next begins."""

    def __init__(self, producer: AIOKafkaProducer, total: int, rate: float | None, sent: Sent) -> None:
        self._producer = producer
        self._total = total
        self._rate = rate
        # With a rate about a second's worth, so that progress is told.
        self._chunk = _CHUNK_RECORDS if rate is None else max(1, min(_CHUNK_RECORDS, int(rate)))
        self._tell = sent
        self._started = time.monotonic()
        self._pending: list[asyncio.Future[Any]] = []
        self._pending_bytes = 0
        self._begun = 0
        self._acknowledged = 0

    async def send(self, letter: Letter, going: Going) -> None:
        if self._rate is not None:
            await asyncio.sleep(self._started + self._begun / self._rate - time.monotonic())
        headers = retried_headers(letter.headers, letter.said)
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                self._pending.append(
                    await self._producer.send(
                        RAW,
                        letter.value,
                        key=letter.key,
                        partition=going.partition,
                        timestamp_ms=going.timestamp_ms,
                        headers=headers,
                    )
                )
        except (KafkaError, TimeoutError) as error:
            raise self._unfinished(error) from error
        self._begun += 1
        self._pending_bytes += size_of(letter.key, letter.value, headers)
        if len(self._pending) >= self._chunk or self._pending_bytes >= _CHUNK_BYTES:
            await self.finish()

    async def finish(self) -> None:
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await asyncio.gather(*self._pending)
        except (KafkaError, TimeoutError) as error:
            raise self._unfinished(error) from error
        self._acknowledged += len(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        self._tell(self._acknowledged)

    def _unfinished(self, error: BaseException) -> Unfinished:
        why = f"no acknowledgement within {_SEND_SECONDS:g} s" if isinstance(error, TimeoutError) else str(error)
        return Unfinished(
            f"Kafka acknowledged {self._acknowledged:,} of {self._total:,} records, and then no more: {why}. "
            "Run the same command again: what was put back is left out."
        )


async def _find(consumer: AIOKafkaConsumer, wanted: Wanted) -> FoundDeadLetters:
    found: dict[str, DeadLetter] = {}
    strangers = 0
    async for letter in _letters(consumer):
        if letter is None:
            strangers += 1
        elif not wanted.origins or letter.said.origin in wanted.origins:
            found[letter.said.origin] = merged(found.get(letter.said.origin), letter)
    missing = sorted(wanted.origins.difference(found))
    if missing:
        raise NoSuchDeadLetter(
            f"No dead letter has the origin {', '.join(map(repr, missing))}: `yousync dead-letters list` shows all."
        )
    return FoundDeadLetters(matching(found.values(), wanted), strangers)


def _by_place(letters: Sequence[DeadLetter]) -> dict[Place, DeadLetter]:
    return {(each.partition, each.offset): each for each in letters}


async def _letters_at(consumer: AIOKafkaConsumer, places: Mapping[Place, object]) -> AsyncIterator[Letter]:
    """The records at these places of the dead-letter topic."""
    if places:
        async for letter in _letters(consumer):
            if letter is not None and (letter.partition, letter.offset) in places:
                yield letter


async def _letters(consumer: AIOKafkaConsumer) -> AsyncIterator[Letter | None]:
    """The whole dead-letter topic; None for a record that is no dead letter."""
    place = TopicPartition(DEAD_LETTER, 0)
    begins = await consumer.beginning_offsets([place])
    async for record in _records(consumer, begins):
        try:
            said = read_dead_letter_headers(record.headers)
        except EnvelopeError:
            yield None
            continue
        yield Letter(
            partition=record.partition,
            offset=record.offset,
            timestamp_ms=record.timestamp,
            key=record.key,
            value=record.value,
            headers=tuple(record.headers),
            said=said,
        )


async def _raw_records_since(consumer: AIOKafkaConsumer, partitions: int, since_ms: int) -> AsyncIterator[Record]:
    places = [TopicPartition(RAW, number) for number in range(partitions)]
    starts = await consumer.offsets_for_times(dict.fromkeys(places, max(0, since_ms)))
    async for record in _records(consumer, {place: start.offset for place, start in starts.items() if start}):
        yield Record(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            tuple(record.headers),
        )


async def _records(consumer: AIOKafkaConsumer, starts: Mapping[TopicPartition, int]) -> AsyncIterator[Any]:
    """Records from these offsets to the ends that the partitions have now."""
    ends = await consumer.end_offsets(list(starts))
    unread = {place for place, start in starts.items() if start < ends[place]}
    if not unread:
        return
    consumer.assign(sorted(unread))
    for place in unread:
        consumer.seek(place, starts[place])
    heard_at = time.monotonic()
    while unread:
        batches = await consumer.getmany(*unread, timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        for place, batch in batches.items():
            for record in batch:
                if record.offset < ends[place]:
                    yield record
        if batches:
            heard_at = time.monotonic()
        elif time.monotonic() - heard_at > _SILENCE_SECONDS:
            raise KafkaConnectionError(f"no records for {_SILENCE_SECONDS:g} s")
        unread = {place for place in unread if await consumer.position(place) < ends[place]}


@asynccontextmanager
async def _dead_letter_consumer(connection: KafkaConnection) -> AsyncIterator[AIOKafkaConsumer]:
    await require_topics(connection, [spec for spec in topic_specs(1) if spec.name == DEAD_LETTER])
    tolerate_header_names()
    async with running_consumer(connection, auto_offset_reset="earliest", request_timeout_ms=10_000) as consumer:
        yield consumer


@asynccontextmanager
async def _producer(connection: KafkaConnection) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        **connection.options(),
        client_id="yousync-dead-letters",
        enable_idempotence=True,
        acks="all",
        request_timeout_ms=10_000,
    )
    try:
        await producer.start()
        pace_metadata_requests(producer.client)
        yield producer
    finally:
        await stop_client(producer)
