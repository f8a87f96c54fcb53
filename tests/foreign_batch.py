r"""Batches as other clients write them: with any bytes for a header's name, which aiokafka's own builder refuses.

A name stands here as YouSync reads it: `caf\xe9` for the bytes of Latin-1.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

_ESCAPED_BYTE: Final = re.compile(rb"\\x([0-9a-f]{2})")


class ForeignBatchBuilder(_DefaultRecordBatchBuilderPy):  # type: ignore[misc]  # aiokafka ships no types
    r"""aiokafka's builder of one batch, in which `\xff` in a header's name is that byte."""

    def __init__(self, compression_type: int = 0, is_transactional: bool = False, producer_id: int = -1) -> None:
        super().__init__(
            magic=2,
            compression_type=compression_type,
            is_transactional=is_transactional,
            producer_id=producer_id,
            producer_epoch=0,
            base_sequence=0,
            batch_size=1 << 30,
        )

    def append(
        self,
        offset: int,
        timestamp: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
    ) -> Any:
        """Where the record came to stand, as aiokafka's own says it."""
        return super().append(offset, timestamp, key, value, [(_Name(name), said) for name, said in headers])


class _Name(str):
    """The builder writes what `encode` gives."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return _ESCAPED_BYTE.sub(lambda found: bytes.fromhex(found[1].decode()), super().encode(encoding, errors))
