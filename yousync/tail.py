"""`yousync tail`: show the records of a topic as they come, without joining any group."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import ConsumerRecord

from contract.topics import DEAD_LETTER, PRODUCER_STATE, RAW, VIDEOS
from ops.kafka_client import running_consumer
from ops.kafka_topics import TopicsError
from ops.pipeline_observer import partitions_of
from ops.record_reader import tolerate_header_names

SHORT_NAMES: Final = {"raw": RAW, "videos": VIDEOS, "dead-letter": DEAD_LETTER, "state": PRODUCER_STATE}
_VALUE_CHARACTERS: Final = 200


def topic_of(name: str) -> str:
    """The topic of a short name, or the name itself."""
    return SHORT_NAMES.get(name, name)


async def records(bootstrap: str, topic: str, *, from_beginning: bool) -> AsyncIterator[ConsumerRecord[bytes, bytes]]:
    """Records of all partitions for ever, those fetched together in the order of their times.

    Raises:
        TopicsError: there is no such topic.
    """
    async with _consumer(bootstrap, topic, from_beginning=from_beginning) as consumer:
        while True:
            batches = await consumer.getmany(timeout_ms=500)
            fetched = [record for batch in batches.values() for record in batch]
            for record in sorted(fetched, key=lambda record: record.timestamp):
                yield record


@asynccontextmanager
async def _consumer(bootstrap: str, topic: str, *, from_beginning: bool) -> AsyncIterator[AIOKafkaConsumer]:
    tolerate_header_names()
    partitions = await _find_partitions(bootstrap, topic)
    async with running_consumer(bootstrap) as consumer:
        consumer.assign(partitions)
        if from_beginning:
            await consumer.seek_to_beginning(*partitions)
        else:
            await consumer.seek_to_end(*partitions)
        yield consumer


async def _find_partitions(bootstrap: str, topic: str) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        return await partitions_of(admin, topic)
    except LookupError:
        raise TopicsError(
            f"There is no topic {topic} at {bootstrap}: name a topic, or one of {', '.join(SHORT_NAMES)}"
        ) from None
    finally:
        await admin.close()


def readable(record: ConsumerRecord[bytes, bytes]) -> str:
    """One line for people: when, where, key, what kind, and the beginning of the value."""
    kind = _text(dict(record.headers).get("ce_type")) or ""
    value = "(null)" if record.value is None else record.value.decode(errors="replace")
    if len(value) > _VALUE_CHARACTERS:
        value = f"{value[:_VALUE_CHARACTERS]}…"
    parts = [_time(record), f"{record.partition}/{record.offset}", _text(record.key) or "(no key)", kind, value]
    # A control character in somebody's title must not reach the terminal.
    return " ".join("".join(c if c.isprintable() else " " for c in part) for part in parts if part)


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


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")


def _time(record: ConsumerRecord[bytes, bytes]) -> str:
    moment = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def follow(bootstrap: str, topic: str, *, from_beginning: bool, limit: int | None, as_json: bool) -> None:
    """Print records until `limit` of them, or for ever.

    Raises:
        TopicsError: there is no such topic.
        BrokenPipeError: nobody reads on.
    """
    shown = 0
    async for record in records(bootstrap, topic, from_beginning=from_beginning):
        print(json_line(record) if as_json else readable(record), flush=True)  # noqa: T201 - it is what was asked for
        shown += 1
        if limit is not None and shown >= limit:
            return
