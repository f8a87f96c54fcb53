"""Faust's consumer, less a race after a rebalance that stalls a partition for good.

When recovery ends, Faust resumes the source partitions, seeks them to their committed offsets, and only some turns of
the loop later resumes the flow, which clears the queues. What was delivered in between is dropped although the read
offset moved on: those records are not seen again and no later offset is committed (faust-streaming issue 596). Here the
raw topic is not fetched before the rebalance has ended, no fetch straddles a seek, and what was fetched before a seek
is not delivered after it.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from faust.transport.drivers import aiokafka as driver

from contract.topics import RAW

_IDLE_SECONDS = 0.05


class SteadyConsumer(driver.Consumer):
    """Delivers each raw record after the position that it will be acknowledged against is settled."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._fetch_or_seek = asyncio.Lock()
        self._seeks = 0
        self._seeks_at_fetch = 0

    async def perform_seek(self) -> None:
        async with self._fetch_or_seek:
            self._seeks += 1
            await super().perform_seek()

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109  # Faust's signature
        wanted = active_partitions
        if wanted is not None and self.app.rebalancing:
            wanted = {tp for tp in wanted if tp.topic != RAW}
            if not wanted:  # the driver takes an empty set for all partitions
                await asyncio.sleep(_IDLE_SECONDS)
                return {}
        async with self._fetch_or_seek:
            self._seeks_at_fetch = self._seeks
            return await super()._getmany(wanted, timeout)

    async def getmany(self, timeout: float) -> AsyncIterator[Any]:  # noqa: ASYNC109  # Faust's signature
        async for tp, message in super().getmany(timeout):
            if self._seeks != self._seeks_at_fetch:
                return
            yield tp, message


class SteadyTransport(driver.Transport):
    """Faust's Kafka transport with that consumer."""

    Consumer = SteadyConsumer
