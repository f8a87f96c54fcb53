"""A record on its way to Kafka."""

import msgspec


class KafkaRecord(msgspec.Struct, frozen=True):
    """What is written to a topic; the partition follows from the key. No value removes what the key had."""

    topic: str
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
