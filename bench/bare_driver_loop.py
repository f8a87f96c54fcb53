"""The least that a page from MongoDB can cost: a loop around the driver, without HTTP.

`python -m bench.bare_driver_loop URI DATABASE BELOW LIMIT SECONDS TASKS` prints pages a second.
"""

import asyncio
import sys
import time
from typing import Any

import uvloop
from pymongo import AsyncMongoClient

from contract.read_model import BODY, INDEXES, SORT_KEY, VIDEOS


async def pages_a_second(uri: str, database: str, below: str, *, limit: int, seconds: float, tasks: int) -> float:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri)
    videos, newest_first = client[database][VIDEOS], INDEXES[0].keys
    await videos.find_one()
    began = time.perf_counter()

    async def keep_reading() -> int:
        count = 0
        while time.perf_counter() < began + seconds:
            found = videos.find(
                {SORT_KEY: {"$gt": "", "$lt": below}}, {"_id": 0, SORT_KEY: 1, BODY: 1}, sort=newest_first, limit=limit
            )
            assert len(await found.to_list()) == limit
            count += 1
        return count

    counts = await asyncio.gather(*(keep_reading() for _ in range(tasks)))
    rate = sum(counts) / (time.perf_counter() - began)
    await client.close()
    return rate


if __name__ == "__main__":
    uri, database, below, limit, seconds, tasks = sys.argv[1:]
    print(uvloop.run(pages_a_second(uri, database, below, limit=int(limit), seconds=float(seconds), tasks=int(tasks))))
