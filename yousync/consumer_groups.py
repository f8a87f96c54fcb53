"""How far every consumer group is behind on our topics, other people's groups among them: part of `yousync status`.

Joins no group and writes nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code

from contract.topics import topic_specs
from ops.kafka_client import running_admin, running_consumer
from ops.kafka_connection import KafkaConnection
from ops.pipeline_observer import partitions_of, total_lag
from yousync.printable import printable

_TITLES: Final = ("group", "topic", "lag", "members", "state")
_DEAD: Final = "Dead"


class GroupLag(msgspec.Struct, frozen=True):
    """A group on one topic that it has committed to.

    A group that may not be read has a `fault` and nothing else. `members` and `state` are of the whole group, and None
    for one of the newer protocol (KIP-848), of which aiokafka's client is told nothing.
    """

    group: str
    topic: str | None = None
    lag: int | None = None
    members: int | None = None
    state: str | None = None
    fault: str | None = None


class _Group(msgspec.Struct, frozen=True):
    """What the brokers say of a group; `committed` per topic and partition."""

    state: str | None
    members: int | None
    committed: Mapping[str, Mapping[int, int]]


async def find_groups(connection: KafkaConnection) -> list[GroupLag]:
    """Every group that has committed to one of our topics, and those that may not be read, by name and topic.

    Raises:
        KafkaError: Kafka does not answer, or does not list its groups.
    """
    async with running_admin(connection) as admin, running_consumer(connection) as consumer:
        names = sorted(name for name, _ in await admin.list_consumer_groups())
        found = dict(zip(names, await asyncio.gather(*(_describe(admin, name) for name in names)), strict=True))
        topics = {topic for group in found.values() if isinstance(group, _Group) for topic in group.committed}
        ranges = {topic: await _ranges(admin, consumer, topic) for topic in sorted(topics & _our_topics())}
    return [lag for name in names for lag in _lags(name, found[name], ranges)]


def _our_topics() -> set[str]:
    return {spec.name for spec in topic_specs(1)}


async def _describe(admin: AIOKafkaAdminClient, name: str) -> _Group | str:
    """The group, or why it cannot be read."""
    try:
        coordinator = await admin.find_coordinator(name)
        (answer,) = await admin.describe_consumer_groups([name], coordinator)
        code, _, state, _, _, members, *_ = answer.groups[0]
        if code:
            return _reason(for_code(code)())
        offsets = await admin.list_consumer_group_offsets(name, coordinator)
    except KafkaError as error:
        return _reason(error)
    committed: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for place, said in offsets.items():
        committed[place.topic][place.partition] = said.offset
    known = state != _DEAD  # it was listed just now: only the classic protocol does not know it
    return _Group(state if known else None, len(members) if known else None, committed)


def _reason(error: KafkaError) -> str:
    return str(error) or type(error).__name__


async def _ranges(
    admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, topic: str
) -> tuple[dict[int, int], dict[int, int]] | None:
    """First and next offset of each partition; None for a topic that is gone, whatever was committed to it."""
    try:
        partitions = await partitions_of(admin, topic)
    except LookupError:
        return None
    begins: dict[TopicPartition, int] = await consumer.beginning_offsets(partitions)
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    return {place.partition: at for place, at in begins.items()}, {place.partition: at for place, at in ends.items()}


def _lags(
    name: str, group: _Group | str, ranges: Mapping[str, tuple[dict[int, int], dict[int, int]] | None]
) -> list[GroupLag]:
    if isinstance(group, str):
        return [GroupLag(name, fault=group)]
    return [
        GroupLag(name, topic, total_lag(*found, dict(group.committed[topic])), group.members, group.state)
        for topic, found in ranges.items()
        if found is not None and topic in group.committed
    ]


def group_lines(groups: Iterable[GroupLag]) -> list[str]:
    """A table with its titles, then a line for each group that cannot be read; nothing without groups."""
    listed = list(groups)
    rows = [_row(group) for group in listed if group.fault is None]
    lines = [f"{_shown(group.group)}: cannot be read: {_shown(group.fault)}" for group in listed if group.fault]
    if not rows:
        return lines
    widths = [max(map(len, column)) for column in zip(_TITLES, *rows, strict=True)]
    return [_aligned(row, widths) for row in (_TITLES, *rows)] + lines


def _row(group: GroupLag) -> tuple[str, ...]:
    lag = "?" if group.lag is None else f"{group.lag:,}"
    members = "?" if group.members is None else str(group.members)
    return _shown(group.group), group.topic or "", lag, members, group.state or "?"


def _aligned(row: Iterable[str], widths: Iterable[int]) -> str:
    cells = [
        f"{cell:>{width}}" if title in {"lag", "members"} else f"{cell:<{width}}"
        for title, cell, width in zip(_TITLES, row, widths, strict=True)
    ]
    return "  ".join(cells).rstrip()


def _shown(name: str) -> str:
    """Anybody may name a group: no control character of it must reach the terminal."""
    return printable(name, instead="?")
