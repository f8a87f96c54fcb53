"""Videos behind a real API: documents in MongoDB and events in Kafka, as the processors write them, in that order."""

import asyncio
import sys
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import msgspec
from aiokafka import AIOKafkaProducer
from pymongo import MongoClient

from contract.events import VIDEO_DISCOVERED, VIDEO_REMOVED, VIDEO_UPDATED, VideoEnvelope, video_headers
from contract.read_model import INDEXES, sort_key
from contract.read_model import VIDEOS as COLLECTION
from contract.times import format_millis, format_seconds, parse_rfc3339_ms
from contract.topics import VIDEOS, topic_specs
from contract.video import Channel, Live, Thumbnail, Video, encode, watch_url
from ops.kafka_connection import KafkaConnection
from ops.kafka_topics import create_missing_topics
from ops.partitioner import partitioner
from tests.api_process import api_process, becomes
from tests.conftest import Servers, start_servers
from tests.fakes.video_documents import video_document

PARTITIONS: Final = 4
NEWEST_MS: Final = 1_795_420_000_000
CHANNELS: Final = {"UC-slow-pour": "Slow Pour", "UC-late-night": "Late Night <b>Python</b>"}
TITLES: Final = (
    "How to make tea",
    "Latte art: the swan",
    "Asyncio without tears",
    "<script>window.ran = true</script><img src=x onerror='window.ran = true'>",
    "قهوة عربية أصيلة",
    "Déjà vu & other “quotes”",
)


def make_video(number: int, **changes: Any) -> Video:
    """Video `number`: the higher, the newer, a minute apart."""
    published = NEWEST_MS + number * 60_000
    channel = list(CHANNELS)[number % 2]
    lives: tuple[Live, ...] = ("none", "none", "none", "live", "none", "upcoming")
    video = Video(
        id=f"dash{number:07d}",
        title=f"{TITLES[number % len(TITLES)]} no{number}",
        description="",
        channel=Channel(channel, CHANNELS[channel]),
        published_at=format_seconds(published),
        live=lives[number % len(lives)],
        duration_seconds=61 + number,
        thumbnails={"medium": Thumbnail(f"https://i.ytimg.com/vi/dash{number:07d}/mqdefault.jpg", 320, 180)},
        queries=["coffee", "tea"] if number % 3 == 0 else ["tea"],
        first_seen_at=format_millis(published + 1000 * (1 + number % 90)),
        url=watch_url(f"dash{number:07d}"),
    )
    return msgspec.structs.replace(video, **changes)


class PublishedVideos:
    """What is stored now, and how to change it; usable beside a running event loop."""

    def __init__(self, servers: Servers, database: str) -> None:
        self.servers: Final = servers
        self.database: Final = database
        self._now: dict[str, Video] = {}
        self._sequence = 0
        self._client: MongoClient[dict[str, Any]] = MongoClient(servers.mongodb_uri)
        self._videos = self._client[database][COLLECTION]
        self._thread = ThreadPoolExecutor(1)
        self._run(create_missing_topics(KafkaConnection(servers.kafka_bootstrap), topic_specs(PARTITIONS), 1))
        for index in INDEXES:
            self._videos.create_index(index.keys, name=index.name, **index.options)

    @property
    def newest_first(self) -> list[Video]:
        return sorted(self._now.values(), key=_order, reverse=True)

    def next_number(self) -> int:
        """Of a video newer than all that were ever published here."""
        return 10_000 + self._sequence

    def store(self, videos: Iterable[Video]) -> None:
        """Without events: before anybody listens."""
        for video in videos:
            self._sequence += 1
            self._write(video)

    def publish(self, video: Video) -> None:
        """Store it, and tell who listens: new, or changed."""
        before = self._now.get(video.id)
        self._sequence += 1
        self._write(video)
        self._send(
            VIDEO_DISCOVERED if before is None else VIDEO_UPDATED,
            video.id,
            _order(video),
            None if before is None else _order(before),
            encode(video),
        )

    def remove(self, video_id: str) -> None:
        """Gone from YouTube."""
        self._sequence += 1
        video = self._now.pop(video_id)
        self._videos.delete_one({"_id": video_id})
        self._send(VIDEO_REMOVED, video_id, _order(video), _order(video), None)

    @contextmanager
    def api(self, folder: Path) -> Iterator[str]:
        """A process of the API over them, which has read them; yields its URL."""
        variables = {
            "KAFKA_BOOTSTRAP_SERVERS": self.servers.kafka_bootstrap,
            "MONGODB_URI": self.servers.mongodb_uri,
            "YOUSYNC_MONGODB_DATABASE": self.database,
        }
        command = (str(Path(sys.executable).with_name("yousync")), "api")
        with api_process(folder, command=command, variables=variables) as api:
            # Totals and searches wait for the counts.
            becomes(lambda: _answers(f"{api.url}/v1/videos?search=tea") and _answers(f"{api.admin_url}/readyz"))
            yield api.url

    def close(self) -> None:
        self._client.drop_database(self.database)
        self._client.close()
        self._thread.shutdown()

    def _write(self, video: Video) -> None:
        document = video_document(video, parse_rfc3339_ms(video.published_at), self._sequence)
        self._videos.replace_one({"_id": video.id}, document, upsert=True)
        self._now[video.id] = video

    def _send(self, type_: str, video_id: str, key: str, previous: str | None, body: bytes | None) -> None:
        envelope = VideoEnvelope(
            type=type_, partition=0, sequence=self._sequence, subject=video_id, sort_key=key, previous_sort_key=previous
        )

        async def send() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.servers.kafka_bootstrap)
            await producer.start()
            place = partitioner(PARTITIONS)(video_id.encode())
            headers = video_headers(envelope)
            await producer.send_and_wait(VIDEOS, body, video_id.encode(), partition=place, headers=headers)
            await producer.stop()

        self._run(send())

    def _run(self, work: Coroutine[Any, Any, object]) -> None:
        self._thread.submit(asyncio.run, work).result()


@contextmanager
def published_videos(folder: Path, count: int) -> Iterator[PublishedVideos]:
    """The first `count` videos behind servers of their own."""
    servers = start_servers(folder)
    try:
        videos = PublishedVideos(servers, "published")
        videos.store(make_video(number) for number in range(count))
        yield videos
        videos.close()
    finally:
        servers.stop()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):  # noqa: S310  # our own
            return True
    except OSError:
        return False


def _order(video: Video) -> str:
    return sort_key(parse_rfc3339_ms(video.published_at), video.id)
