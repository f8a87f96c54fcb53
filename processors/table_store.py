"""The table's RocksDB on disk, which is given up when it is not the changelog's or cannot be read.

The table is only a fast path: made anew from its changelog, or left empty, it costs time and nothing else. A table
of another changelog would cost records, for it calls duplicates what the documents no longer say. Faust compares
offsets alone, and ends the worker again and again when they do not fit; a changelog that was deleted and has grown
since then fits. So the first record of each partition's changelog names it, and the name is kept with the entries.
"""

import asyncio
import functools
import gc
import os
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faust.stores import STORES, rocksdb
from faust.types import TP

from ops.kafka_client import running_consumer
from ops.kafka_connection import KafkaConnection
from ops.logging import get_logger

log = get_logger(__name__)
T = TypeVar("T")

NAME_KEY: Final = b"\0changelog"
"""Key of the changelog's first record and of its copy in the store; no video id."""

_LOCKED: Final = re.compile(r"lock (file|hold)")
_ANSWER_SECONDS: Final = 10.0
_LONGEST_ANSWER_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 0.5


class _Changelog(NamedTuple):
    """One partition: the offset after its last record, and its name if its first record says one."""

    end: int
    name: bytes | None


class TableStore(rocksdb.Store):
    """Faust's RocksDB store, but what it finds on disk has to prove itself at each assignment."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._names: dict[int, bytes] = {}
        """New names of changelogs that are empty, by partition."""

    async def assign_partitions(self, table: Any, tps: set[TP], generation_id: int = 0) -> None:
        ours = {tp for tp in tps if tp.topic in table.changelog_topic.topics}
        for tp, changelog in (await _changelogs(cast("Any", self.app).kafka, ours)).items():
            self._settle(tp, changelog)
        await super().assign_partitions(table, tps, generation_id)

    def name_record(self, partition: int) -> tuple[bytes, bytes] | None:
        """Key and value to be written before all else when the partition's changelog is empty and has no name."""
        return (NAME_KEY, self._names[partition]) if partition in self._names else None

    def entries(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """The entries of these keys, None for each that is not there."""
        return cast("list[bytes | None]", self._or_end(partition, lambda: self._db_for_partition(partition).get(keys)))

    def apply_changelog_batch(
        self, batch: Iterable[Any], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        parts: dict[int, list[Any]] = {}
        for event in batch:
            parts.setdefault(event.message.partition, []).append(event)
        for partition, events in parts.items():
            self._or_end(partition, functools.partial(self._apply, partition, events, to_key, to_value))
            self._names.pop(partition, None)

    def _apply(self, partition: int, events: Sequence[Any], *converters: Callable[[Any], Any]) -> None:
        """As Faust does; but of several names the first holds, as it does in the changelog."""
        named = self._db_for_partition(partition).get(NAME_KEY) is not None
        kept = []
        for event in events:
            if event.message.key == NAME_KEY:
                if named:
                    continue
                named = True
            kept.append(event)
        super().apply_changelog_batch(kept, *converters)

    def _settle(self, tp: TP, changelog: _Changelog) -> None:
        """Keep the files if they are of this changelog."""
        try:
            offset = self.persisted_offset(tp)
            name = self._db_for_partition(tp.partition).get(NAME_KEY)
        except Exception as error:  # the driver knows no finer kind
            if _LOCKED.search(str(error)):
                raise
            self._discard(tp.partition, f"it cannot be read: {error}")
        else:
            if offset is not None and offset >= changelog.end:
                self._discard(tp.partition, f"it is at offset {offset}, its changelog ends at {changelog.end}")
            elif offset is not None and name != changelog.name:
                self._discard(tp.partition, "it was made from another changelog")
        if changelog.end:
            self._names.pop(tp.partition, None)
        else:
            self._names[tp.partition] = uuid.uuid4().hex.encode()

    def _open_for_partition(self, partition: int) -> Any:
        try:
            return super()._open_for_partition(partition)
        except Exception as error:
            if _LOCKED.search(str(error)):
                raise
            self._discard(partition, f"it cannot be opened: {error}")
            return super()._open_for_partition(partition)

    def _or_end(self, partition: int, call: Callable[[], T]) -> T:
        """The call's answer. Files that turn out to be damaged end the worker: the next one begins without them."""
        try:
            return call()
        except Exception as error:  # noqa: BLE001  # the driver knows no finer kind
            self._discard(partition, f"it is damaged: {error}")
            os._exit(1)

    def _discard(self, partition: int, reason: str) -> None:
        log.warning("the table on disk is made anew from its changelog", partition=partition, reason=reason)
        self._dbs.pop(partition, None)
        gc.collect()  # closes it: the driver does so when nobody holds it
        path = self.partition_path(partition)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


async def _changelogs(connection: KafkaConnection, places: Collection[TP]) -> dict[TP, _Changelog]:
    """Waits for Kafka, as all else does; each time for longer, for it may be slow and not away."""
    seconds = _ANSWER_SECONDS
    while places:
        try:
            async with asyncio.timeout(seconds):
                return await _read_changelogs(connection, places)
        except (KafkaError, OSError, TimeoutError) as error:
            reason = f"no answer in {seconds:g} s" if isinstance(error, TimeoutError) else repr(error)
            log.warning("waiting", part="Kafka", reason=f"the changelog cannot be read: {reason}")
            await asyncio.sleep(_RETRY_SECONDS)
        seconds = min(seconds + _ANSWER_SECONDS, _LONGEST_ANSWER_SECONDS)
    return {}


async def _read_changelogs(connection: KafkaConnection, places: Collection[TP]) -> dict[TP, _Changelog]:
    async with running_consumer(connection, auto_offset_reset="earliest") as consumer:
        wanted = {tp: TopicPartition(tp.topic, tp.partition) for tp in places}
        consumer.assign(list(wanted.values()))
        begins = await consumer.beginning_offsets(list(wanted.values()))
        ends = await consumer.end_offsets(list(wanted.values()))
        return {
            tp: _Changelog(ends[place], await _name(consumer, place, begins[place], ends[place]))
            for tp, place in wanted.items()
        }


async def _name(consumer: AIOKafkaConsumer, place: TopicPartition, begin: int, end: int) -> bytes | None:
    consumer.seek(place, begin)
    while await consumer.position(place) < end:
        for first in (await consumer.getmany(place, timeout_ms=500, max_records=1)).get(place, []):
            return first.value if first.key == NAME_KEY else None
    return None


def register() -> None:
    """Make this the store of every Faust table whose store is `rocksdb://`."""
    STORES.aliases["rocksdb"] = f"{__name__}:{TableStore.__name__}"
