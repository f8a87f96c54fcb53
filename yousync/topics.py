"""`yousync topics`: create what is missing, and compare what is there with the contract."""

from collections.abc import Callable

from contract.settings import Settings
from contract.topics import topic_specs
from ops.kafka_topics import create_missing_topics, topic_faults, wait_for_kafka


async def create_and_verify(settings: Settings, tell: Callable[[str], None]) -> list[str]:
    """Faults that creating could not remove: wrong partition counts and drifted settings.

    Raises:
        TopicsError: Kafka refuses to create a topic.
    """
    bootstrap = settings.kafka_bootstrap_servers
    specs = topic_specs(settings.topic_partitions)
    await wait_for_kafka(bootstrap)
    created = await create_missing_topics(bootstrap, specs, settings.topic_replication)
    for name in created:
        tell(f"created {name}")
    faults = await topic_faults(bootstrap, specs)
    if not faults:
        tell(f"{len(specs)} topics at {bootstrap} are as they must be")
    return faults
