"""`yousync status`: what runs and how it is doing, as text or as JSON."""

import asyncio
from datetime import UTC, datetime
from typing import Final

import msgspec
from aiokafka.errors import KafkaError
from rich.console import Console

from contract.settings import Settings
from ops.kafka_connection import KafkaConnection, kafka_connection
from yousync.consumer_groups import GroupLag, find_groups, group_lines
from yousync.local.running_stack import RunningStack
from yousync.observer import Observation, observer
from yousync.screen import ProcessRow, process_faults, process_table, summary

_GROUPS_SECONDS: Final = 10.0


class Status(msgspec.Struct, frozen=True):
    """Everything that `status` says; `source` and `url` are None when no `yousync up` runs here.

    `groups` are of everybody who reads our topics, None when Kafka does not say.
    """

    source: str | None
    url: str | None
    simulator_url: str | None
    processes: list[ProcessRow]
    pipeline: Observation
    groups: list[GroupLag] | None


async def find_status(settings: Settings, stack: RunningStack | None) -> Status:
    """Look once.

    Raises:
        KafkaError: Kafka does not answer.
        SettingsError: MongoDB's driver cannot use the connection string.
    """
    async with observer(settings) as eyes:
        seen = await eyes.observe(datetime.now(UTC))
    groups = await _find_groups(kafka_connection(settings))
    return Status(
        source=stack.source if stack else None,
        url=stack.url if stack else None,
        simulator_url=stack.simulator_url if stack else None,
        processes=_rows(stack) if stack else [],
        pipeline=seen,
        groups=groups,
    )


async def _find_groups(connection: KafkaConnection) -> list[GroupLag] | None:
    try:
        async with asyncio.timeout(_GROUPS_SECONDS):
            return await find_groups(connection)
    except (KafkaError, OSError, TimeoutError):
        return None


def status_json(status: Status) -> str:
    return msgspec.json.format(msgspec.json.encode(status), indent=2).decode()


def print_status(status: Status, stack_folder: str) -> None:
    console = Console(highlight=False)
    if status.source is None:
        console.print(f"No `yousync up` runs in {stack_folder}; this is what Kafka and MongoDB say.", markup=False)
    else:
        console.print(f"YouSync is up: {status.url}\n{status.source}", markup=False, soft_wrap=True)
        console.print(process_table(status.processes))
    seen = status.pipeline
    groups = ["Consumer groups: Kafka does not say"] if status.groups is None else group_lines(status.groups)
    for line in (*process_faults(status.processes), summary(seen), *groups, *seen.notices, *seen.faults):
        console.print(line, markup=False, soft_wrap=True)


def _rows(stack: RunningStack) -> list[ProcessRow]:
    from yousync.local.memory import memory_bytes  # noqa: PLC0415 - psutil comes with the `local` requirements only

    return [
        ProcessRow(process.name, process.state, process.pid, process.restarts, memory_bytes(process.pid), process.fault)
        for process in stack.processes
    ]
