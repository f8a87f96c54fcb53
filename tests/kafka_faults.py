"""Faults of topics on a real broker of one node."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from contract.topics import TopicSpec


async def refuse_writes(bootstrap: str, topic: TopicSpec) -> None:
    """Have the broker refuse every acks=all write (NOT_ENOUGH_REPLICAS): it wants two replicas where there is one."""
    await _configure(bootstrap, topic.name, {**topic.config, "min.insync.replicas": "2"})


async def accept_writes(bootstrap: str, topic: TopicSpec) -> None:
    await _configure(bootstrap, topic.name, topic.config)


async def delete_topic(bootstrap: str, topic: str) -> None:
    """Delete it; returns when the broker no longer shows it."""
    async with _admin(bootstrap) as admin:
        await admin.delete_topics([topic])
        deadline = time.monotonic() + 20
        while topic in await admin.list_topics():
            assert time.monotonic() < deadline, f"{topic} does not go away"
            await asyncio.sleep(0.1)


async def _configure(bootstrap: str, topic: str, config: Mapping[str, str]) -> None:
    async with _admin(bootstrap) as admin:
        for response in await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict(config))]
        ):
            for code, message, *_ in response.resources:
                assert code == 0, message


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()
