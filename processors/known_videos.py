"""The Faust table `known_videos`, read in bulk and written with its changelog acknowledged.

Faust's own table write is fire and forget and needs a current event, which a batch does not have. So the changelog
records go through the service's producer, acknowledged, and are then applied to the store as recovery would apply
them: same keys, values, partitions and offset mark, so that Faust's recovery reads them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from faust.types import TP

from contract.topics import CHANGELOG
from processors.dedup import KnownVideo, decode_known, encode_known
from processors.kafka_output import KafkaOutput, Message
from processors.table_store import TableStore


class _ChangelogMessage(NamedTuple):
    tp: TP
    partition: int
    offset: int
    key: bytes
    value: bytes | None


class _ChangelogEvent(NamedTuple):
    message: _ChangelogMessage


class FaustKnownVideos:
    """`processors.projection.KnownVideos` on a Faust table with a RocksDB store."""

    def __init__(self, table: Any, output: KafkaOutput) -> None:
        self._table = table
        self._output = output

    @property
    def _store(self) -> TableStore:
        return cast("TableStore", self._table.data)

    def read(self, partition: int, video_ids: Sequence[str]) -> dict[str, KnownVideo]:
        """What the table knows of these ids."""
        values = self._store.entries(partition, [video_id.encode() for video_id in video_ids])
        known = {
            video_id: decode_known(value)
            for video_id, value in zip(video_ids, values, strict=True)
            if value is not None
        }
        return {video_id: entry for video_id, entry in known.items() if entry is not None}

    async def write(self, partition: int, entries: Mapping[str, KnownVideo | None]) -> None:
        """Set or (None) delete entries of one partition; returns when the changelog has them and the store too.

        Raises:
            Unavailable: Kafka did not acknowledge in time; the store is as it was.
        """
        messages = [
            Message(CHANGELOG, partition, video_id.encode(), None if entry is None else encode_known(entry))
            for video_id, entry in entries.items()
        ]
        name = self._store.name_record(partition)
        if name is not None:
            messages.insert(0, Message(CHANGELOG, partition, *name))
        written = await self._output.send(messages)
        changes = [
            _ChangelogEvent(
                _ChangelogMessage(TP(CHANGELOG, partition), partition, at.offset, message.key or b"", message.value)
            )
            for message, at in zip(messages, written, strict=True)
        ]
        self._store.apply_changelog_batch(changes, to_key=bytes, to_value=bytes)
