"""A record on its way to Kafka."""

import msgspec


class KafkaRecord(msgspec.Struct, frozen=True):
    """What is written to a topic; the partition follows from the key."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
