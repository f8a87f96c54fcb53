"""`yousync tail`: show the records of a topic as they come, without joining any group."""

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from contract.topics import DEAD_LETTER, PRODUCER_STATE, RAW, VIDEOS
from ops.kafka_client import running_admin, running_consumer
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import TopicsError
from ops.pipeline_observer import partitions_of
from ops.record_reader import tolerate_header_names
from yousync.printable import printable

SHORT_NAMES: Final = {"raw": RAW, "videos": VIDEOS, "dead-letter": DEAD_LETTER, "state": PRODUCER_STATE}
_VALUE_CHARACTERS: Final = 200

Begin = Literal["beginning", "end"] | int
"""Where to begin in every partition: at its oldest record, behind its newest, or at a time in ms since 1970."""


class Filters(msgspec.Struct, frozen=True):
    """Only records of this key, query, channel (its id) and kind; what is None is not asked for.

    The kind is a `ce_type`, or the word in it that counts: `discovered`, `removed`, `gone` and so on.
    """

    key: str | None = None
    query: str | None = None
    channel: str | None = None
    type: str | None = None

    def take(self, record: ConsumerRecord[bytes, bytes]) -> bool:
        """Whether the record is wanted; one that does not say what is asked for is not."""
        kind = _text(dict(record.headers).get("ce_type")) or ""
        return (
            (self.key is None or _text(record.key) == self.key)
            and (self.type is None or self.type == kind or self.type in kind.split("."))
            and (self.query is None or self.query in _queries(record))
            and (self.channel is None or self.channel == _channel(record))
        )


def topic_of(name: str) -> str:
    """The topic of a short name, or the name itself."""
    return SHORT_NAMES.get(name, name)


async def records(
    connection: KafkaConnection, topic: str, begin: Begin
) -> AsyncGenerator[ConsumerRecord[bytes, bytes], None]:
    """Records of all partitions for ever, those fetched together in the order of their times.

    Raises:
        TopicsError: there is no such topic.
    """
    async with _consumer(connection, topic, begin) as consumer:
        while True:
            batches = await consumer.getmany(timeout_ms=500)
            fetched = [record for batch in batches.values() for record in batch]
            for record in sorted(fetched, key=lambda record: record.timestamp):
                yield record


@asynccontextmanager
async def _consumer(connection: KafkaConnection, topic: str, begin: Begin) -> AsyncIterator[AIOKafkaConsumer]:
    tolerate_header_names()
    partitions = await _find_partitions(connection, topic)
    async with running_consumer(connection) as consumer:
        consumer.assign(partitions)
        if begin == "beginning":
            await consumer.seek_to_beginning(*partitions)
        else:
            await consumer.seek_to_end(*partitions)
        if isinstance(begin, int):
            for place, found in (await consumer.offsets_for_times(dict.fromkeys(partitions, begin))).items():
                if found is not None:  # None: all its records are older
                    consumer.seek(place, found.offset)
        yield consumer


async def _find_partitions(connection: KafkaConnection, topic: str) -> list[TopicPartition]:
    async with running_admin(connection) as admin:
        try:
            return await partitions_of(admin, topic)
        except LookupError:
            rights = f" that {connection.username} may see" if connection.username else ""
            raise TopicsError(
                f"There is no topic {topic}{rights} at {connection.bootstrap_servers}: name a topic, "
                f"or one of {', '.join(SHORT_NAMES)}"
            ) from None


def readable(record: ConsumerRecord[bytes, bytes]) -> str:
    """One line for people: when, where, key, what kind, and the beginning of the value."""
    kind = _text(dict(record.headers).get("ce_type")) or ""
    value = "(null)" if record.value is None else record.value.decode(errors="replace")
    if len(value) > _VALUE_CHARACTERS:
        value = f"{value[:_VALUE_CHARACTERS]}…"
    parts = [_time(record), f"{record.partition}/{record.offset}", _text(record.key) or "(no key)", kind, value]
    # A control character in somebody's title must not reach the terminal.
    return " ".join(printable(part) for part in parts if part)


def json_line(record: ConsumerRecord[bytes, bytes]) -> str:
    """One JSON object: a value that is JSON as it is, other text as a string, other bytes as base64."""
    line: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "time": _time(record),
        "key": _text(record.key),
        "headers": {name: _text(value) for name, value in record.headers},
        **_value(record.value),
    }
    return orjson.dumps(line).decode()


def _value(value: bytes | None) -> dict[str, Any]:
    if value is None:
        return {"value": None}
    try:
        return {"value": orjson.Fragment(orjson.dumps(orjson.loads(value)))}
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # no JSON, or nested deeper than can be written
        pass
    try:
        return {"value_text": value.decode()}
    except UnicodeDecodeError:
        return {"value_base64": base64.b64encode(value).decode()}


def _queries(record: ConsumerRecord[bytes, bytes]) -> list[Any]:
    """The queries that the record names: a video in its value, a raw item in a header."""
    header = dict(record.headers).get("ce_queries")
    found = _json(record.value).get("queries") if header is None else _loads(header)
    return found if isinstance(found, list) else []


def _channel(record: ConsumerRecord[bytes, bytes]) -> Any:
    """The id of the channel: a video's, or a raw item's, whichever call gave it."""
    value = _json(record.value)
    for part, name in (("channel", "id"), ("snippet", "videoOwnerChannelId"), ("snippet", "channelId")):
        holder = value.get(part)
        if isinstance(holder, dict) and name in holder:
            return holder[name]
    return None


def _json(value: bytes | None) -> dict[str, Any]:
    """The value if it is a JSON object; an empty one otherwise."""
    found = None if value is None else _loads(value)
    return found if isinstance(found, dict) else {}


def _loads(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")


def _time(record: ConsumerRecord[bytes, bytes]) -> str:
    moment = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def follow(
    connection: KafkaConnection, topic: str, begin: Begin, filters: Filters, *, limit: int | None, as_json: bool
) -> None:
    """Print records until `limit` of them, or for ever.

    Raises:
        TopicsError: there is no such topic.
        BrokenPipeError: nobody reads on.
    """
    shown = 0
    async with aclosing(records(connection, topic, begin)) as coming:
        async for record in coming:
            if not filters.take(record):
                continue
            print(json_line(record) if as_json else readable(record), flush=True)  # noqa: T201 - it was asked for
            shown += 1
            if limit is not None and shown >= limit:
                return
