"""Prints new videos from the topic `youtube.videos`: when published, title, address."""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError
from aiokafka.helpers import create_ssl_context
from aiokafka.structs import ConsumerRecord

TOPIC = "youtube.videos"


class Seen:
    """The newest known of each video: its `ce_sequence`, and whether it is there."""

    def __init__(self) -> None:
        self._newest: dict[bytes, tuple[int, bool]] = {}

    def is_new(self, record: ConsumerRecord) -> bool:
        """Take a record; whether it brings a video that was not there.

        A video's events may come again: the highest sequence counts, and of equal ones the later. A null is a removal.
        """
        sequence = int(dict(record.headers)["ce_sequence"])
        known, was_there = self._newest.get(record.key, (0, False))
        if sequence < known:
            return False
        is_there = record.value is not None
        self._newest[record.key] = (sequence, is_there)
        return is_there and not was_there


def line(value: bytes) -> str:
    """A title is a stranger's text: what could steer a terminal is left out."""
    video = json.loads(value)
    text = f"{video['published_at']}  {video['title']}  {video['url']}"
    return "".join(character for character in text if character.isprintable())


def show(record: ConsumerRecord, seen: Seen) -> None:
    """Print the record if it is news; one that cannot be read is named and does not stop the others."""
    try:
        if seen.is_new(record):
            print(line(record.value), flush=True)
    except (ValueError, KeyError, TypeError) as error:
        print(f"skipped {record.topic}/{record.partition}/{record.offset}: {error!r}", file=sys.stderr)


def connection() -> dict[str, Any]:
    """How to reach the brokers: the same variables as YouSync's own services take."""
    protocol = os.environ.get("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")
    return {
        "bootstrap_servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
        "security_protocol": protocol,
        "sasl_mechanism": os.environ.get("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
        "sasl_plain_username": os.environ.get("KAFKA_SASL_USERNAME"),
        "sasl_plain_password": os.environ.get("KAFKA_SASL_PASSWORD"),
        "ssl_context": create_ssl_context(cafile=os.environ.get("KAFKA_SSL_CAFILE")) if "SSL" in protocol else None,
    }


async def main() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    consumer = AIOKafkaConsumer(
        TOPIC,
        **connection(),
        group_id=os.environ.get("KAFKA_GROUP", "ext.example.python"),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    seen = Seen()
    async with consumer:
        while not stop.is_set():
            batches = await consumer.getmany(timeout_ms=500)
            for record in (record for batch in batches.values() for record in batch):
                show(record, seen)
            if batches:
                # It fails when the partitions have gone to another member of the group, which shows these again.
                with suppress(CommitFailedError):
                    await consumer.commit()


if __name__ == "__main__":
    asyncio.run(main())
