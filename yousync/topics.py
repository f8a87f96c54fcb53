"""`yousync topics`: create what is missing, and compare what is there with the contract."""

from collections.abc import Callable

from contract.settings import Settings
from contract.topics import topic_specs
from ops.kafka_connection import kafka_connection
from ops.kafka_topics import create_missing_topics, enter_kafka, topic_faults


async def create_and_verify(settings: Settings, tell: Callable[[str], None]) -> list[str]:
    """Faults that creating could not remove: wrong partition counts and drifted settings.

    Raises:
        TopicsError: Kafka refuses to create a topic.
    """
    connection = kafka_connection(settings)
    specs = topic_specs(settings.topic_partitions)
    await enter_kafka(connection)
    created = await create_missing_topics(connection, specs, settings.topic_replication)
    for name in created:
        tell(f"created {name}")
    faults = await topic_faults(connection, specs)
    if not faults:
        tell(f"{len(specs)} topics at {connection.bootstrap_servers} are as they must be")
    return faults
