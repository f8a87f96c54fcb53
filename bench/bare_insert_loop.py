"""The baseline of `bench_replay`: an aiokafka consumer that inserts a topic's documents, and does no more.

The first record of each key is decoded and inserted, the rest are passed over; batches are unordered and a few are in
flight. No fold, no checks, no indexes (the benchmark builds them afterwards), and nothing that a crash would leave
consistent. Prints one line of JSON when it has read to the topic's end: messages, documents, and the monotonic
seconds at which the first batch was there and the last was written.
"""

import argparse
import asyncio
import json
import time
from typing import Any, Final

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from motor.motor_asyncio import AsyncIOMotorClient

READ_AT_ONCE: Final = 4000
BATCH: Final = 1000


async def insert_topic(options: argparse.Namespace) -> None:
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(options.mongodb)
    videos = client[options.database][options.collection]
    consumer = AIOKafkaConsumer(bootstrap_servers=options.kafka, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    partitions = [TopicPartition(options.topic, number) for number in options.partitions]
    consumer.assign(partitions)
    left = sum((await consumer.end_offsets(partitions)).values())
    messages, began, seen = left, 0.0, set[bytes]()
    waiting: list[dict[str, Any]] = []
    writing: set[asyncio.Future[Any]] = set()
    while left:
        fetched = await consumer.getmany(timeout_ms=1000, max_records=READ_AT_ONCE)
        began = began or time.monotonic()
        for record in (record for records in fetched.values() for record in records):
            left -= 1
            if record.key not in seen:
                seen.add(record.key)
                waiting.append({"_id": record.key.decode(), **orjson.loads(record.value)})
        while len(waiting) >= BATCH or (waiting and not left):
            batch, waiting = waiting[:BATCH], waiting[BATCH:]
            writing.add(asyncio.ensure_future(videos.insert_many(batch, ordered=False)))
            if len(writing) >= options.in_flight:
                done, writing = await asyncio.wait(writing, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.gather(*done)
    await asyncio.gather(*writing)
    ended = time.monotonic()
    await consumer.stop()
    print(json.dumps({"messages": messages, "documents": len(seen), "began": began, "ended": ended}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("kafka", "mongodb", "database", "collection", "topic"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--partitions", type=int, nargs="+", required=True)
    parser.add_argument("--in-flight", type=int, default=3, help="batches in flight (default 3)")
    uvloop.run(insert_topic(parser.parse_args()))


if __name__ == "__main__":
    main()
