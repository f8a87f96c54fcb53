"""What every client of aiokafka needs for its brokers to be able to go away, to come back and to refuse it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError

from ops.kafka_connection import KafkaConnection, find_refusal

RETRY_BACKOFF_MS: Final = 500
"""How long a client waits before it asks brokers again that did not answer."""

_METADATA_PAUSE_SECONDS: Final = 0.25


_STOP_SECONDS: Final = 10.0


async def stop_client(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Stop it also with Kafka away, when a producer flushes for ever and a consumer raises that it was cancelled."""
    stopping = asyncio.create_task(client.stop())
    await asyncio.wait([stopping], timeout=_STOP_SECONDS)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)


@asynccontextmanager
async def running_consumer(connection: KafkaConnection, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that commits nothing by itself, to ask and to read with; `options` are aiokafka's.

    Raises:
        KafkaError: the brokers cannot be reached.
    """
    consumer = AIOKafkaConsumer(**connection.options(), enable_auto_commit=False, **options)
    try:
        await _started(consumer, connection)
        pace_metadata_requests(consumer._client)  # noqa: SLF001  # no public way: ADR 3
        yield consumer
    finally:
        await stop_client(consumer)


@asynccontextmanager
async def running_admin(connection: KafkaConnection, **options: Any) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client that asks about the cluster and changes it; `options` are aiokafka's.

    Raises:
        KafkaError: the brokers cannot be reached.
    """
    admin = AIOKafkaAdminClient(**connection.options(), **options)
    try:
        await _started(admin, connection)
        yield admin
    finally:
        await admin.close()


async def _started(client: Any, connection: KafkaConnection) -> None:
    try:
        await client.start()
    except KafkaConnectionError as error:
        refused = await find_refusal(connection)
        if refused is not None:
            raise refused from error
        raise


def pace_metadata_requests(client: Any) -> None:
    """Keep a started client (the `client` of an AIOKafkaProducer, say) from asking for metadata without a pause.

    aiokafka does so while a partition has no leader, once the brokers have said that they go away: a busy loop that
    logs a thousand errors a second (measured with 0.14.0), for as long as they are away.
    """
    ask = client.force_metadata_update
    loop = asyncio.get_running_loop()

    def ask_and_pause() -> "asyncio.Future[bool]":
        paused: asyncio.Future[bool] = loop.create_future()

        def settle(updated: bool) -> None:
            if not paused.done():
                paused.set_result(updated)

        def answered(asked: "asyncio.Future[bool]") -> None:
            if asked.cancelled():
                paused.cancel()
            else:
                loop.call_later(_METADATA_PAUSE_SECONDS, settle, asked.result())

        ask().add_done_callback(answered)
        return paused

    client.force_metadata_update = ask_and_pause
