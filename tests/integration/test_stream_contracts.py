"""What the services really write to the public topics is what `docs/streams/` says: keys, headers, values, partitions.

The simulator, a producer and a processor as processes on a real Kafka; removals by an operator's purge, dead letters by
records that a broken producer may write.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

from contract import events
from contract.producer_state import PurgeRequest
from contract.times import format_millis
from contract.topics import DEAD_LETTER, PRODUCER_STATE, RAW, VIDEOS
from ops.clock import now_ms
from ops.partitioner import partitioner
from processors.decode import Record
from tests.conftest import MakeServers
from tests.history import is_consumed, produce, read_topic
from tests.producer_stage import Stage, producer_stage
from tests.raw_items import PARTITIONS, record, search_item
from tests.service_process import ServiceProcess, wait_for
from tests.stream_examples import SCHEMAS_OF, faults
from yousync.producer_log import purge_entry

pytestmark = pytest.mark.integration

BACKLOG = 120


def test_what_the_services_write_is_what_the_contracts_say(make_servers: MakeServers, tmp_path: Path) -> None:
    with producer_stage(make_servers(), tmp_path, backlog=BACKLOG) as stage:
        bootstrap = stage.servers.kafka_bootstrap
        settings = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap, "MONGODB_URI": stage.servers.mongodb_uri}
        with ServiceProcess("processor", tmp_path, settings) as processor:
            with stage.producer() as producer:
                stage.wait_until_complete(producer)
                wait_for(lambda: sources(stage) >= {events.SEARCH, events.VIDEOS}, 30, producer.tail)
                asyncio.run(purge_all(bootstrap))
                wait_for(lambda: any(one.value is None for one in stage.raw()), 30, producer.tail)
                assert producer.terminate() == 0
            written = asyncio.run(read_topic(bootstrap, RAW))
            asyncio.run(produce(bootstrap, poison()))
            wait_for(lambda: asyncio.run(is_consumed(bootstrap)), 60, processor.tail)
            assert processor.terminate() == 0
        videos = asyncio.run(read_topic(bootstrap, VIDEOS))
        dead_letters = asyncio.run(read_topic(bootstrap, DEAD_LETTER))

    assert types(written) == {events.ITEM_FETCHED, events.ITEM_GONE}
    assert types(videos) >= {events.VIDEO_DISCOVERED, events.VIDEO_REMOVED}
    for one in (*written, *videos):
        check(one)
        assert text_headers(one)["ce_subject"].encode() == one.key
        assert one.partition == partitioner(PARTITIONS)(one.key)
        assert (one.value is None) == (text_headers(one)["ce_type"] in {events.ITEM_GONE, events.VIDEO_REMOVED})
    reasons = {text_headers(one)["dl_reason"] for one in dead_letters}
    assert reasons == {"not_json", "not_utf8", "no_key", "key_mismatch", "bad_id"}
    for one in dead_letters:
        check(one)
        assert one.partition == 0


def check(one: ConsumerRecord) -> None:
    """A record by its topic's schemas."""
    headers, value = SCHEMAS_OF[one.topic]
    assert faults(headers, text_headers(one)) == [], one
    assert len(one.headers) == len(text_headers(one)), "a header that is there twice"
    if value is not None and one.value is not None:
        assert faults(value, msgspec.json.decode(one.value)) == [], one


def text_headers(one: ConsumerRecord) -> dict[str, str]:
    return {name: value.decode() for name, value in one.headers}


def types(records: Sequence[ConsumerRecord]) -> set[str]:
    return {text_headers(one)["ce_type"] for one in records}


def sources(stage: Stage) -> set[str]:
    """The calls whose items are in the raw topic."""
    return {text_headers(one)["ce_source"] for one in stage.raw()}


async def purge_all(bootstrap: str) -> None:
    """As `yousync purge` does, of all that was fetched until now."""
    key, value = purge_entry(PurgeRequest(format_millis(now_ms()), not_fetched_since=format_millis(now_ms())))
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(PRODUCER_STATE, value, key)


def poison() -> list[Record]:
    replace = msgspec.structs.replace
    good = [record(number, 0, search_item(number)) for number in range(5)]
    return [
        replace(good[0], value=b"nonsense"),
        replace(good[1], value=b'{"kind":"youtube#searchResult","id":"\xff"}'),
        replace(good[2], key=None),
        record(3, 0, search_item(4)),
        replace(good[4], key=b"not-an-id"),
    ]
