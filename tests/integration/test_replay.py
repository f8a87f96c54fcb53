"""`yousync replay` as a process on the real Kafka and MongoDB: plan, rebuild, stop, kill, resume, refuse, repair.

Most tests share one pair whose raw topic nobody writes to any more, each with a database of its own.
"""

import asyncio
import random
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pymongo
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from contract import events
from contract.read_model import PROJECTION_VERSION, READ_MODEL, REPLAY_ID, VIDEOS
from contract.topics import PROJECTOR_GROUP, RAW, projector_client_id, topic_specs
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from processors.decode import Record
from processors.document import Document, VideoDocument
from tests.conftest import MakeServers, Servers, start_servers
from tests.crashing_replay import BUFFER_BYTES, SILENT_SECONDS
from tests.fault.record_writer import RecordSource
from tests.history import (
    Expected,
    check_history,
    followed_stream,
    is_consumed,
    markers,
    produce,
    raw_records,
    read_topic,
    stored_documents,
)
from tests.raw_items import ITEM_MAKERS, NOW_MS, PARTITIONS, record
from tests.replay_process import ReplayProcess, check_tidied, generation_of, refusal, replayed
from tests.service_process import ServiceProcess, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

RECORDS = 2_000
SLOWLY = "200"
"""Records a second that leave time to do something during the load."""

Settings = Mapping[str, str]


def random_records(seed: int, count: int) -> list[Record]:
    """Items of all sources, repeats, changes, stale ones, removals, rebirths and poison."""
    source = RecordSource(random.Random(seed))
    return [source.record() for _ in range(count)]


def fill(servers: Servers, records: list[Record]) -> None:
    asyncio.run(create_missing_topics(KafkaConnection(servers.kafka_bootstrap), topic_specs(PARTITIONS), 1))
    asyncio.run(produce(servers.kafka_bootstrap, records))


def settings_of(servers: Servers, database: str = "yousync") -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": servers.kafka_bootstrap,
        "MONGODB_URI": servers.mongodb_uri,
        "YOUSYNC_MONGODB_DATABASE": database,
        "YOUSYNC_SESSION_TIMEOUT_SECONDS": "6",
    }


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A pair whose raw topic has its records, with no processor and no store."""
    servers = start_servers(tmp_path_factory.mktemp("filled"))
    fill(servers, random_records(7, RECORDS))
    yield servers
    servers.stop()


@pytest.fixture(scope="module")
def expected(filled: Servers) -> dict[str, Document]:
    """What the topic comes to, record by record."""
    documents = Expected(asyncio.run(raw_records(filled.kafka_bootstrap))).documents
    assert len(documents) > 400
    assert len(markers(documents)) > 10
    return documents


class Store:
    """A database of the test's own."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.database = f"replay_{uuid.uuid4().hex[:8]}"
        self.settings = settings_of(servers, self.database)

    @property
    def documents(self) -> dict[str, Document]:
        return stored_documents(self.servers.mongodb_uri, self.database)

    @property
    def generation(self) -> str | None:
        return generation_of(self.servers.mongodb_uri, self.database)

    def check(self, expected: Mapping[str, Document]) -> str:
        """The store is what it should be, and no replay has left anything else; its generation."""
        assert self.documents == expected
        return check_tidied(self.servers.mongodb_uri, self.database)

    def change(self, change: Callable[[Any], object], collection: str = VIDEOS) -> None:
        """Do something to a collection by hand."""
        with pymongo.MongoClient[dict[str, Any]](self.servers.mongodb_uri) as client:
            change(client[self.database][collection])

    def collections(self) -> set[str]:
        with pymongo.MongoClient[dict[str, Any]](self.servers.mongodb_uri) as client:
            return set(client[self.database].list_collection_names())

    def run(self) -> dict[str, Any]:
        """The run's document."""
        with pymongo.MongoClient[dict[str, Any]](self.servers.mongodb_uri) as client:
            return dict(client[self.database][READ_MODEL].find_one({"_id": REPLAY_ID}) or {})

    def records_to_load(self) -> int:
        """Of a run that loads: how many it would load if it ended here and another went on with it."""
        run = self.run()
        return sum(end - run["offsets"][partition] for partition, end in run.get("ends", {}).items())


@pytest.fixture
def store(filled: Servers) -> Store:
    return Store(filled)


def living(documents: Mapping[str, Document]) -> dict[str, bytes]:
    """The public bytes of all that readers see."""
    return {one: document.body for one, document in documents.items() if isinstance(document, VideoDocument)}


def test_the_plan_says_what_it_would_do_and_changes_nothing(store: Store, tmp_path: Path) -> None:
    bootstrap = store.servers.kafka_bootstrap
    before = len(asyncio.run(read_topic(bootstrap, "youtube.videos")))

    with ReplayProcess(tmp_path, store.settings) as text, ReplayProcess(tmp_path, store.settings, "--json") as json:
        assert (text.finish(), json.finish()) == (0, 0), text.words + json.words

    (plan,) = json.lines
    assert (plan["records"], plan["phase"], plan["faults"]) == (RECORDS, "plan", [])
    assert sum(one["end"] - one["start"] for one in plan["extents"]) == RECORDS
    assert (plan["live_documents"], plan["live_version"], plan["members"]) == (0, None, [])
    assert "Nothing is changed; add --execute to do it." in text.answer
    assert f"Records: {RECORDS:,}" in text.answer
    assert store.collections() == set()
    assert len(asyncio.run(read_topic(bootstrap, "youtube.videos"))) == before


def test_a_replay_gives_the_sequential_fold_hidden_fields_and_all(
    store: Store, expected: dict[str, Document], tmp_path: Path
) -> None:
    first = replayed(tmp_path, store.settings)
    generation = store.check(expected)
    assert (first["phase"], first["records"], first["videos"]) == ("done", RECORDS, len(living(expected)))
    assert first["verdicts"].pop("new") == len(living(expected))
    assert asyncio.run(followed_stream(store.servers.kafka_bootstrap)) == living(expected)

    again = replayed(tmp_path, store.settings)

    assert set(again["verdicts"]) == {"same"}
    assert store.check(expected) != generation
    assert "nothing to resume" in refusal(tmp_path, store.settings, "--execute", "--resume")
    store.check(expected)


@pytest.mark.parametrize(
    "options",
    [
        ["--resume"],
        ["--execute", "--from", "elsewhere"],
        ["--execute", "--rate", "0"],
        ["--execute", "--rate", "fast"],
        ["--execute", "now"],
    ],
    ids=" ".join,
)
def test_wrong_options_are_refused_before_anything_is_touched(store: Store, tmp_path: Path, options: list[str]) -> None:
    with ReplayProcess(tmp_path, store.settings, *options) as replay:
        assert replay.finish() == 2
    assert replay.words
    assert "Traceback" not in replay.words
    assert store.collections() == set()


def test_a_second_one_is_refused_and_a_stopped_one_goes_on(
    store: Store, expected: dict[str, Document], tmp_path: Path
) -> None:
    """SIGTERM and Ctrl-C end it in order; what was loaded is not loaded again."""
    settings = {**store.settings, BUFFER_BYTES: "20000"}
    slowly = ("--execute", "--json", "--rate", SLOWLY)
    with ReplayProcess(tmp_path, settings, *slowly) as first:
        first.wait_for_phase("loading")
        # On a busy machine the first may be silent for longer than tests wait before they take over.
        said = refusal(tmp_path, {**settings, SILENT_SECONDS: "60"}, "--execute")
        assert "a replay is running since" in said
        assert f"process {first.process.pid}" in said
        wait_for(lambda: 0 < store.records_to_load() < RECORDS, 60, lambda: f"{store.run()}\n{first.words}")
        first.process.terminate()
        assert first.finish() == 1
    assert "Go on with: yousync replay --execute --resume" in first.words
    assert VIDEOS not in store.collections()

    left = store.records_to_load()
    with ReplayProcess(tmp_path, settings, *slowly, "--resume") as second:
        second.wait_for_phase("loading")
        wait_for(lambda: 0 < store.records_to_load() < left, 60, lambda: f"{store.run()}\n{second.words}")
        second.process.send_signal(signal.SIGINT)
        assert second.finish() == 1
    assert "Go on with: yousync replay --execute --resume" in second.words
    with ReplayProcess(tmp_path, settings) as plan:
        assert plan.finish() == 0
    assert "--execute --resume goes on with it" in plan.answer

    left = store.records_to_load()
    assert replayed(tmp_path, settings, "--resume")["records"] == left
    store.check(expected)


@pytest.mark.parametrize(
    "point", ["loading", "loaded", "verifying", "announcing", "applied-said", "swapped", "tidying"]
)
def test_killed_at_any_moment_it_is_resumed_or_begun_again(
    filled: Servers, expected: dict[str, Document], tmp_path: Path, point: str
) -> None:
    stores = [Store(filled), Store(filled)]
    for one in stores:
        kill(one, tmp_path, point)
        assert (VIDEOS in one.collections()) == (point in {"swapped", "tidying"})

    how = ["--execute", "--json", "--resume"], ["--execute", "--json"]
    processes = [ReplayProcess(tmp_path, one.settings, *options) for one, options in zip(stores, how, strict=True)]
    for one, process in zip(stores, processes, strict=True):
        with process:
            assert process.finish() == 0, process.words
        one.check(expected)
    assert asyncio.run(followed_stream(filled.kafka_bootstrap)) == living(expected)


def kill(store: Store, tmp_path: Path, point: str) -> None:
    """A replay that is killed there."""
    if point != "loading":
        with ReplayProcess(tmp_path, store.settings, "--execute", "--json", point=point) as replay:
            assert replay.finish() == -signal.SIGKILL, replay.words
        return
    with ReplayProcess(tmp_path, store.settings, "--execute", "--json", "--rate", SLOWLY) as replay:
        wait_for(lambda: any(store.run().get("offsets", {}).values()), 60, lambda: replay.answer)
        replay.process.kill()


@pytest.mark.parametrize(
    ("point", "how"),
    [
        ("shadow-made", "begun-again"),
        ("loading", "begun-again"),
        ("loading", "resumed"),
        ("before-swap", "begun-again"),
        ("before-swap", "resumed"),
    ],
)
def test_a_paused_one_that_lost_its_run_says_so_and_harms_nothing(
    store: Store, expected: dict[str, Document], tmp_path: Path, point: str, how: str
) -> None:
    options = ["--resume"] if how == "resumed" else []
    with paused(store, tmp_path, point) as zombie:
        replayed(tmp_path, store.settings, *options)
        assert store.documents == expected
        generation = generation_of(store.servers.mongodb_uri, store.database)
        # Its load processes were not paused: what they still write, to a name of their own, goes when it ends.
        zombie.process.send_signal(signal.SIGCONT)
        assert zombie.finish() == 1
    assert_lost(zombie)
    assert store.check(expected) == generation


@pytest.mark.parametrize("point", ["swapped", "announced-again", "tidying"])
def test_one_that_was_paused_after_its_swap_leaves_the_next_one_alone(
    store: Store, expected: dict[str, Document], tmp_path: Path, point: str
) -> None:
    """It has only to tidy up, and what it finds is another one's work."""
    with (
        paused(store, tmp_path, point) as zombie,
        ReplayProcess(
            tmp_path, store.settings, "--execute", "--json", point="before-swap", deed=signal.SIGSTOP
        ) as next_,
    ):
        next_.wait_until_stopped()
        zombie.process.send_signal(signal.SIGCONT)
        assert zombie.finish() == 1
        assert_lost(zombie)
        next_.process.send_signal(signal.SIGCONT)
        assert next_.finish() == 0, next_.words
    store.check(expected)


def paused(store: Store, tmp_path: Path, point: str) -> ReplayProcess:
    """A replay that stands still there, silent for longer than it may be."""
    if point != "loading":
        replay = ReplayProcess(tmp_path, store.settings, "--execute", "--json", point=point, deed=signal.SIGSTOP)
        return replay.wait_until_stopped()
    replay = ReplayProcess(tmp_path, store.settings, "--execute", "--json", "--rate", SLOWLY)
    replay.wait_for_phase("loading")
    replay.process.send_signal(signal.SIGSTOP)
    return replay.wait_until_stopped()


def assert_lost(zombie: ReplayProcess) -> None:
    assert "another replay has taken over" in zombie.words
    assert "Traceback" not in zombie.words


def test_a_damaged_store_is_not_swapped_in_silence_and_can_be_repaired(
    store: Store, expected: dict[str, Document], tmp_path: Path
) -> None:
    replayed(tmp_path, store.settings)
    seen = sorted(living(expected))
    garbled, retitled, deleted, also_deleted, resurrected_from, bogus = *seen[:4], seen[4], "bogusbogus0"
    removed = min(markers(expected))

    def damage(videos: Any) -> None:
        videos.update_one({"_id": garbled}, {"$set": {"body": b'{"id":"nonsense"}'}})
        videos.update_one({"_id": retitled}, [{"$set": {"body": {"$concat": ["no", " bytes"]}}}])
        videos.update_one({"_id": retitled}, {"$set": {"body": b"other"}})
        videos.delete_many({"_id": {"$in": [deleted, also_deleted]}})
        model = videos.find_one({"_id": resurrected_from})
        for name in (removed, bogus):
            place = {"topic": RAW, "partition": 0, "offset": 0}
            fake = {**model, "_id": name, "k": f"{'1' * 13}{name}", "source": place}
            videos.replace_one({"_id": name}, fake, upsert=True)

    store.change(damage)
    damaged, generation = store.documents, store.generation

    said = refusal(tmp_path, store.settings, "--execute")

    assert f"({', '.join(sorted([garbled, retitled]))})" in said
    assert removed in said
    assert bogus in said
    assert "--accept-differences" in said
    assert "Readers still have the old store" in said
    assert (store.documents, store.generation) == (damaged, generation)

    ends = asyncio.run(count_events(store.servers.kafka_bootstrap))
    result = replayed(tmp_path, store.settings, "--resume", "--accept-differences")
    assert result["verdicts"]["new"] == 2
    store.check(expected)
    announced = asyncio.run(read_topic(store.servers.kafka_bootstrap, "youtube.videos"))
    said_again = {one.key.decode() for one in announced if one.offset >= ends[one.partition]}
    assert {garbled, retitled, deleted, also_deleted, removed} <= said_again
    assert len(said_again) <= 6
    assert asyncio.run(followed_stream(store.servers.kafka_bootstrap)) == living(expected)


async def count_events(bootstrap: str) -> dict[int, int]:
    """Per partition of the stream its end."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition("youtube.videos", one) for one in range(PARTITIONS)])
        return {place.partition: offset for place, offset in ends.items()}
    finally:
        await consumer.stop()


class Member:
    """A member of the processors' group that only holds its partitions."""

    def __init__(self, bootstrap: str, client_id: str) -> None:
        self._consumer = AIOKafkaConsumer(
            RAW, bootstrap_servers=bootstrap, group_id=PROJECTOR_GROUP, client_id=client_id, enable_auto_commit=False
        )

    async def __aenter__(self) -> None:
        await self._consumer.start()

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()


async def test_it_waits_for_processors_of_its_own_version(
    store: Store, expected: dict[str, Document], tmp_path: Path
) -> None:
    newer = projector_client_id(PROJECTION_VERSION + 1)
    in_thread = asyncio.to_thread
    with ReplayProcess(tmp_path, store.settings, "--execute", "--json", "--rate", SLOWLY) as begun_before:
        await in_thread(begun_before.wait_for_phase, "loading")
        async with Member(store.servers.kafka_bootstrap, newer):
            with ReplayProcess(tmp_path, store.settings) as plan:
                assert await in_thread(plan.finish) == 1
            assert "upgrade them first" in plan.answer
            said = await in_thread(refusal, tmp_path, Store(store.servers).settings, "--execute")
            assert "1 of 1 running processors have another projection version" in " ".join(said.split())
            assert await in_thread(begun_before.finish) == 1, begun_before.answer
    assert "upgrade them first" in begun_before.words
    assert VIDEOS not in store.collections()

    async with Member(store.servers.kafka_bootstrap, projector_client_id(PROJECTION_VERSION)):
        await in_thread(replayed, tmp_path, store.settings, "--resume")
    assert await in_thread(lambda: store.documents) == expected
    check_tidied(store.servers.mongodb_uri, store.database)


@pytest.fixture
def own(make_servers: MakeServers) -> Servers:
    """A pair of the test's own, with records in its topic."""
    servers = make_servers()
    fill(servers, random_records(8, RECORDS))
    return servers


def test_beside_a_processor_and_from_the_stream(own: Servers, tmp_path: Path) -> None:
    """Full store, processor running. Then from the stream: the public bytes, on which later items fold properly."""
    bootstrap, settings = own.kafka_bootstrap, settings_of(own)
    with ServiceProcess("processor", tmp_path, settings) as processor:
        wait_for(lambda: asyncio.run(is_consumed(bootstrap)), 90, processor.tail)
        old = generation_of(own.mongodb_uri)
        assert set(replayed(tmp_path, settings)["verdicts"]) == {"same"}
        assert check_tidied(own.mongodb_uri) != old
        expected = asyncio.run(check_history(bootstrap, own.mongodb_uri)).documents

        assert set(replayed(tmp_path, settings, "--from", "videos")["verdicts"]) == {"same"}
        assert living(stored_documents(own.mongodb_uri)) == living(expected)

        asyncio.run(produce(bootstrap, later_items()))
        wait_for(lambda: asyncio.run(is_consumed(bootstrap)), 60, processor.tail)
        expected = Expected(asyncio.run(raw_records(bootstrap))).documents
        assert living(stored_documents(own.mongodb_uri)) == living(expected)
        assert asyncio.run(followed_stream(bootstrap)) == living(expected)

        assert set(replayed(tmp_path, settings)["verdicts"]) == {"same"}
        asyncio.run(check_history(bootstrap, own.mongodb_uri))
        assert processor.terminate() == 0


def later_items() -> list[Record]:
    """Changed, new and removed videos, as `videos.list` says them, later than all of `random_records`."""
    later = NOW_MS + 365 * 86_400_000
    numbers = [*range(0, 60, 3), *range(100_000, 100_010)]
    items = [
        record(number, 0, ITEM_MAKERS[events.VIDEOS](number, title="Later"), time_ms=later, source=events.VIDEOS)
        for number in numbers
    ]
    return [*items, *(record(number, 0, None, time_ms=later + 1) for number in range(1, 60, 9))]


def test_what_retention_ate_is_missed_or_carried_over(own: Servers, tmp_path: Path) -> None:
    settings = settings_of(own)
    replayed(tmp_path, settings)
    before = stored_documents(own.mongodb_uri)
    asyncio.run(delete_records(own.kafka_bootstrap, RECORDS // PARTITIONS // 2))
    remaining = Expected(asyncio.run(raw_records(own.kafka_bootstrap))).documents
    missing = living(before).keys() - remaining.keys()
    assert len(missing) > 20

    with ReplayProcess(tmp_path, settings, "--json") as plan:
        assert plan.finish() == 0
    assert plan.lines[0]["eaten_records"] == RECORDS // PARTITIONS // 2 * PARTITIONS
    assert plan.lines[0]["only_in_store"] >= len(missing)
    said = refusal(tmp_path, settings, "--execute")
    assert f"{len(missing):,} videos in the store are no longer in the topic" in said
    assert "--carry-over keeps them" in said
    assert stored_documents(own.mongodb_uri) == before

    replayed(tmp_path, settings, "--resume", "--carry-over")

    check_tidied(own.mongodb_uri)
    assert stored_documents(own.mongodb_uri) == {**{one: before[one] for one in missing}, **remaining}


async def delete_records(bootstrap: str, offset: int) -> None:
    """What retention does, at once: nothing below the offset is left in any partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_records(
            {TopicPartition(RAW, one): RecordsToDelete(before_offset=offset) for one in range(PARTITIONS)}
        )
    finally:
        await admin.close()


@pytest.mark.parametrize("server", ["kafka", "mongod"])
def test_a_server_killed_during_the_load_is_waited_for(own: Servers, tmp_path: Path, server: str) -> None:
    broken = getattr(own, server)
    with ReplayProcess(tmp_path, settings_of(own), "--execute", "--json", "--rate", SLOWLY) as replay:
        replay.wait_for_phase("loading")
        broken.kill()
        time.sleep(0.5)
        broken.start()
        assert replay.finish() == 0, f"{replay.answer}\n{replay.words}"

    check_tidied(own.mongodb_uri)
    expected = Expected(asyncio.run(raw_records(own.kafka_bootstrap))).documents
    assert stored_documents(own.mongodb_uri) == expected
    assert asyncio.run(followed_stream(own.kafka_bootstrap)) == living(expected)
