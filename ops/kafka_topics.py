"""Topics on the brokers: wait for Kafka, create what is missing, and say what differs from the contract."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from contract.topics import TopicSpec
from ops.kafka_client import running_admin
from ops.kafka_connection import KafkaConnection, KafkaRefusal, find_refusal
from ops.logging import get_logger

_RETRY_SECONDS: Final = 0.25
_REMIND_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 2.0
_REFUSED_SECONDS: Final = 5.0
"""Between two tries of a password that was refused."""

_AWAY: Final = "it does not answer"
_ANSWER_MS: Final = 5000

_log = get_logger(__name__)


class TopicsError(Exception):
    """Topics are missing or cannot be used; one sentence that names the remedy."""


class FoundTopic(msgspec.Struct, frozen=True):
    """One topic as the brokers have it."""

    partitions: int
    config: Mapping[str, str]


async def wait_for_kafka(connection: KafkaConnection) -> None:
    """Return when the brokers answer metadata; waits for ever, with a line at first and every 10 s.

    For whoever has been served before: brokers that refuse us now are waited for, too.
    """
    await _wait(connection, kafka_fault)


async def enter_kafka(connection: KafkaConnection) -> None:
    """As `wait_for_kafka`, at a start.

    Raises:
        KafkaRefusal: the brokers answer and refuse us, which waiting does not mend.
    """
    await _wait(connection, _fault)


async def _wait(connection: KafkaConnection, find_fault: Callable[[KafkaConnection], Awaitable[str | None]]) -> None:
    reminded_at: float | None = None
    while (fault := await find_fault(connection)) is not None:
        now = time.monotonic()
        if reminded_at is None or now - reminded_at >= _REMIND_SECONDS:
            reminded_at = now
            _log.warning(
                f"waiting for Kafka: {fault}",
                setting="KAFKA_BOOTSTRAP_SERVERS",
                address=connection.bootstrap_servers,
                security=connection.security_protocol,
            )
        await asyncio.sleep(_RETRY_SECONDS if fault == _AWAY else _REFUSED_SECONDS)
    if reminded_at is not None:
        _log.info("Kafka answers", address=connection.bootstrap_servers)


async def kafka_fault(connection: KafkaConnection) -> str | None:
    """Why the brokers cannot be used, None when they answer metadata now; takes a few seconds at most."""
    try:
        return await _fault(connection)
    except KafkaRefusal as refused:
        return str(refused)


async def _fault(connection: KafkaConnection) -> str | None:
    # The plain connection first: aiokafka logs an error for each address that does not let it in.
    if not await _accepts_connection(connection):
        return _AWAY
    if (refused := await find_refusal(connection)) is not None:
        raise refused
    try:
        async with running_admin(connection, request_timeout_ms=_ANSWER_MS) as admin:
            return None if (await admin.describe_cluster())["brokers"] else _AWAY
    except KafkaRefusal:
        raise
    except (KafkaError, OSError, TimeoutError):
        return _AWAY


async def create_missing_topics(connection: KafkaConnection, specs: Sequence[TopicSpec], replication: int) -> list[str]:
    """Create the topics that are not there, and return their names once the brokers show them.

    Raises:
        TopicsError: the brokers refuse one.
    """
    async with running_admin(connection) as admin:
        existing = await admin.list_topics()
        missing = [spec for spec in specs if spec.name not in existing]
        if not missing:
            return []
        response = await admin.create_topics(
            [NewTopic(spec.name, spec.partitions, replication, topic_configs=spec.config) for spec in missing]
        )
        for name, code, message in response.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise TopicsError(f"Kafka refuses to create topic {name}: {message or for_code(code).__name__}")
        await _wait_until_listed(admin, [spec.name for spec in missing])
    return [spec.name for spec in missing]


async def topic_faults(connection: KafkaConnection, specs: Sequence[TopicSpec]) -> list[str]:
    """One sentence for each topic that is missing or has another partition count, and each drifted setting."""
    found = await _find_topics(connection, specs)
    return [
        fault
        for spec in specs
        for fault in [*size_faults(spec, found.get(spec.name)), *drift_faults(spec, found.get(spec.name))]
    ]


async def require_topics(connection: KafkaConnection, specs: Sequence[TopicSpec]) -> None:
    """Return when every topic exists with its partition count; drifted settings are not looked at.

    Raises:
        TopicsError: one is missing or has another partition count.
    """
    async with running_admin(connection) as admin:
        sizes = await _sizes(admin, specs)
    found = {name: FoundTopic(size, {}) for name, size in sizes.items()}
    faults = [fault for spec in specs for fault in size_faults(spec, found.get(spec.name))]
    if faults:
        # Brokers that may not show a topic say that there is none.
        rights = f", or grant DESCRIBE of them to {connection.username}" if connection.username else ""
        raise TopicsError(
            f"The topics at {connection.bootstrap_servers} (KAFKA_BOOTSTRAP_SERVERS) cannot be used: "
            f"{'; '.join(faults)}. Create the missing ones with `yousync topics`{rights}; "
            "a partition count must equal YOUSYNC_TOPIC_PARTITIONS (the dead letters and the state have one)."
        )


def size_faults(spec: TopicSpec, found: FoundTopic | None) -> list[str]:
    """What makes a topic unusable, in sentences without a full stop."""
    if found is None:
        return [f"topic {spec.name} is missing"]
    if found.partitions != spec.partitions:
        return [f"topic {spec.name} has {found.partitions} partitions, wanted are {spec.partitions}"]
    return []


def drift_faults(spec: TopicSpec, found: FoundTopic | None) -> list[str]:
    """Settings of an existing topic that differ from the contract's."""
    if found is None:
        return []
    return [
        f"topic {spec.name}: {name} is {found.config.get(name, 'not set')}, wanted is {wanted}"
        for name, wanted in spec.config.items()
        if found.config.get(name) != wanted
    ]


async def _accepts_connection(connection: KafkaConnection) -> bool:
    for address in connection.bootstrap_servers.split(","):
        host, _, port = address.rpartition(":")
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), _CONNECT_SECONDS)
        except (OSError, TimeoutError):
            continue
        writer.close()
        return True
    return False


async def _wait_until_listed(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """A created topic is shown by every broker a moment later, and led a moment after that."""
    for _ in range(100):
        topics = await admin.describe_topics()
        ready = {
            topic["topic"]
            for topic in topics
            if topic["partitions"] and all(partition["error_code"] == 0 for partition in topic["partitions"])
        }
        if ready.issuperset(names):
            return
        await asyncio.sleep(0.1)
    raise TopicsError("Kafka created the topics but does not show them after 10 s: try `yousync topics` again")


async def _find_topics(connection: KafkaConnection, specs: Sequence[TopicSpec]) -> dict[str, FoundTopic]:
    async with running_admin(connection) as admin:
        sizes = await _sizes(admin, specs)
        configs = await _configs(admin, sorted(sizes)) if sizes else {}
    return {name: FoundTopic(size, configs.get(name, {})) for name, size in sizes.items()}


async def _sizes(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> dict[str, int]:
    """Partitions of the topics that are there, and that we may see."""
    # All topics are asked for: naming a missing one could create it on brokers that allow that.
    wanted = {spec.name for spec in specs}
    return {
        topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics() if topic["topic"] in wanted
    }


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    configs: dict[str, dict[str, str]] = {}
    for response in responses:
        for resource in response.to_object()["resources"]:
            if resource["error_code"]:
                raise TopicsError(
                    f"Kafka does not tell the settings of {resource['resource_name']}: "
                    f"{resource['error_message'] or for_code(resource['error_code']).__name__}"
                )
            configs[resource["resource_name"]] = _values(resource["config_entries"])
    return configs


def _values(entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {entry["config_names"]: entry["config_value"] for entry in entries}
