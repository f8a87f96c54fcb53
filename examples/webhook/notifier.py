"""Posts each new video of the topic `youtube.videos` to a URL: in order for each video, again until it is taken."""

import asyncio
import hashlib
import hmac
import logging
import os
import signal
from contextlib import suppress
from typing import Any

import aiohttp
import stamina
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError
from aiokafka.helpers import create_ssl_context
from aiokafka.structs import ConsumerRecord

TOPIC = "youtube.videos"
ANSWER_SECONDS = 10
LONGEST_PAUSE_SECONDS = 60
A_DAY_MS = 24 * 3_600_000

log = logging.getLogger("notifier")


class NotNow(Exception):
    """The receiver may take it later."""


class Seen:
    """The newest known of each video: its `ce_sequence`, and whether it is there."""

    def __init__(self) -> None:
        self._newest: dict[bytes, tuple[int, bool]] = {}

    def is_new(self, record: ConsumerRecord) -> bool:
        """Take a record; whether it brings a video that was not there.

        A video's events may come again: the highest sequence counts, and of equal ones the later. A null is a removal.
        """
        sequence = int(dict(record.headers)["ce_sequence"])
        known, was_there = self._newest.get(record.key, (0, False))
        if sequence < known:
            return False
        is_there = record.value is not None
        self._newest[record.key] = (sequence, is_there)
        return is_there and not was_there


def request_headers(record: ConsumerRecord, secret: str) -> dict[str, str]:
    """CloudEvents over HTTP (`ce_id` becomes `ce-id`), what tells a repeat by, and who it is from."""
    envelope = {name: value.decode() for name, value in record.headers if name.startswith("ce_")}
    headers = {name.replace("_", "-", 1): value for name, value in envelope.items()}
    headers |= {"Content-Type": "application/json", "Idempotency-Key": envelope["ce_id"]}
    if secret:
        digest = hmac.new(secret.encode(), record.value, hashlib.sha256).hexdigest()
        headers["X-Signature-256"] = f"sha256={digest}"
    return headers


def log_retry(details: stamina.instrumentation.RetryDetails) -> None:
    """In place of stamina's own line, which would have the whole record in it."""
    log.warning("not taken: %r; again in %.1f s", details.caused_by, details.wait_for)


class Receiver:
    """The URL that is told."""

    def __init__(self, session: aiohttp.ClientSession, url: str, secret: str) -> None:
        self._session = session
        self._url = url
        self._secret = secret

    @stamina.retry(
        on=(NotNow, aiohttp.ClientError, TimeoutError), attempts=None, timeout=None, wait_max=LONGEST_PAUSE_SECONDS
    )
    async def tell(self, record: ConsumerRecord) -> None:
        """Return when it was taken, or refused for good: that is logged, for the same request would fail again."""
        headers = request_headers(record, self._secret)
        async with self._session.post(self._url, data=record.value, headers=headers, allow_redirects=False) as answer:
            if answer.status in {408, 429} or answer.status >= 500:
                raise NotNow(f"HTTP {answer.status}")
            if answer.status >= 300:
                log.error("refused with HTTP %d: event %s", answer.status, headers["Idempotency-Key"])


async def deliver(
    consumer: AIOKafkaConsumer, place: TopicPartition, batch: list[ConsumerRecord], to: Receiver, seen: Seen
) -> None:
    """Tell of one partition's records in their order, then commit them."""
    for record in batch:
        try:
            if seen.is_new(record):
                await to.tell(record)
        except (ValueError, KeyError, TypeError) as error:
            log.error("skipped %s/%d/%d: %r", record.topic, record.partition, record.offset, error)
    try:
        await consumer.commit({place: batch[-1].offset + 1})
    except CommitFailedError:
        log.warning("partition %d has gone to another member of the group, which tells of these again", place.partition)


def connection() -> dict[str, Any]:
    """How to reach the brokers: the same variables as YouSync's own services take."""
    protocol = os.environ.get("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")
    return {
        "bootstrap_servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
        "security_protocol": protocol,
        "sasl_mechanism": os.environ.get("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
        "sasl_plain_username": os.environ.get("KAFKA_SASL_USERNAME"),
        "sasl_plain_password": os.environ.get("KAFKA_SASL_PASSWORD"),
        "ssl_context": create_ssl_context(cafile=os.environ.get("KAFKA_SSL_CAFILE")) if "SSL" in protocol else None,
    }


async def notify(url: str, secret: str) -> None:
    """Tell of what comes, until cancelled."""
    consumer = AIOKafkaConsumer(
        TOPIC,
        **connection(),
        group_id=os.environ.get("KAFKA_GROUP", "ext.example.webhook"),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        # A receiver that is away for hours is waited for; the heartbeats go on meanwhile.
        max_poll_interval_ms=A_DAY_MS,
    )
    seen = Seen()
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with consumer, aiohttp.ClientSession(timeout=timeout) as session:
        receiver = Receiver(session, url, secret)
        while True:
            batches = await consumer.getmany(timeout_ms=1000, max_records=100)
            async with asyncio.TaskGroup() as group:
                for place, batch in batches.items():
                    group.create_task(deliver(consumer, place, batch, receiver, seen))


async def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stamina.instrumentation.set_on_retry_hooks([log_retry])
    notifying = asyncio.create_task(notify(os.environ["WEBHOOK_URL"], os.environ.get("WEBHOOK_SECRET", "")))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, notifying.cancel)
    # Asked to stop: what was not delivered is not committed, and comes again.
    with suppress(asyncio.CancelledError):
        await notifying


if __name__ == "__main__":
    asyncio.run(main())
