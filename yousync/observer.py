"""How the pipeline is doing, seen from outside: lag, videos stored, dead letters, quota left."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any, Final

import msgspec
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import PyMongoError

from contract.read_model import (
    EVERY_VIDEO,
    PROJECTION_VERSION,
    READ_MODEL,
    READ_MODEL_ID,
    REPLAY_ID,
    VIDEOS,
    generation_name,
)
from contract.settings import Settings, SettingsError
from ops.pipeline_observer import PipelineObserver, QuotaLeft

_ANSWER_SECONDS: Final = 5.0


class Observation(msgspec.Struct, frozen=True):
    """The pipeline at one moment; None where a part does not answer, and then `faults` says so.

    `notices` are sentences about what is well but wants somebody to do something.
    """

    lag: int | None
    videos: int | None
    dead_letters: int | None
    quota_left: QuotaLeft | None
    faults: list[str]
    notices: list[str] = []


def replay_notices(generations: Mapping[str, Any] | None, run: Mapping[str, Any] | None, live: str | None) -> list[str]:
    """What the two documents about the read model ask for; `live` is the generation that readers read."""
    notices = []
    version = (generations or {}).get("versions", {}).get(live)
    if version is not None and version < PROJECTION_VERSION:
        notices.append(
            f"The store has projection version {version}, this is version {PROJECTION_VERSION}: upgrade all "
            "processors, then rebuild it with `yousync replay --execute`"
        )
    if run is not None and run.get("phase") != "done":
        notices.append(
            f"A replay that began at {run.get('started_at')} has not ended ({run.get('phase')}): "
            "`yousync replay` says more"
        )
    return notices


class Observer:
    """Keeps its connections, so that looking again is cheap; made by `observer`."""

    def __init__(self, settings: Settings, pipeline: PipelineObserver, database: Any) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._database = database

    async def observe(self, now: datetime) -> Observation:
        """Ask Kafka and MongoDB; a part that does not answer within 5 s leaves its figures None."""
        seen = await self._pipeline.observe(now)
        videos: int | None = None
        notices: list[str] = []
        faults: list[str] = []
        if seen.fault is not None:
            faults.append(f"Kafka at {self._settings.kafka_bootstrap_servers} does not say: {seen.fault}")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                videos = await self._database[VIDEOS].count_documents(dict(EVERY_VIDEO))
                notices = await self._replay_notices()
        except (PyMongoError, TimeoutError) as error:
            faults.append(f"MongoDB does not say: {str(error) or type(error).__name__}")
        return Observation(seen.lag, videos, seen.dead_letters, seen.quota_left, faults, notices)

    async def _replay_notices(self) -> list[str]:
        live = None
        async for found in await self._database.list_collections(filter={"name": VIDEOS}):
            live = generation_name(found["info"]["uuid"])
        said = self._database[READ_MODEL]
        return replay_notices(
            await said.find_one({"_id": READ_MODEL_ID}), await said.find_one({"_id": REPLAY_ID}), live
        )


@asynccontextmanager
async def observer(settings: Settings) -> AsyncIterator[Observer]:
    """An observer with its connections.

    Raises:
        KafkaError: Kafka does not answer.
        SettingsError: MongoDB's driver cannot use the connection string.
    """
    async with AsyncExitStack() as stack:
        pipeline = PipelineObserver(settings)
        stack.push_async_callback(pipeline.close)
        await pipeline.connect()
        client = _mongo_client(settings.mongodb_uri.get_secret_value())
        stack.callback(client.close)
        yield Observer(settings, pipeline, client[settings.mongodb_database])


def _mongo_client(uri: str) -> "AsyncIOMotorClient[dict[str, Any]]":
    try:
        return AsyncIOMotorClient(uri, serverSelectionTimeoutMS=2000)
    except (PyMongoError, OSError) as error:
        # Not the driver's words: they may repeat a password.
        raise SettingsError(
            f"MONGODB_URI: the driver cannot use this connection string: {type(error).__name__}"
        ) from None
