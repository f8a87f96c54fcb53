"""The read model in MongoDB, as the processors write it: the only module of this service that knows the driver."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError, CollectionInvalid, DocumentTooLarge, DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from contract import read_model
from contract.settings import SettingsError
from processors.document import Document, from_stored, to_stored
from processors.projection import Unavailable, WriteResult

DUPLICATE_KEY: Final = 11000
_PART: Final = "MongoDB"

# Errors of one write that speak of the server, not of the document: the write is tried again. HostUnreachable,
# HostNotFound, ExceededTimeLimit, WriteConcernFailed, NetworkTimeout, ShutdownInProgress, WriteConflict,
# PrimarySteppedDown, QueryPlanKilled, InterruptedDueToReplStateChange, SocketException, NotWritablePrimary,
# InterruptedAtShutdown, Interrupted, NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary, OutOfDiskSpace.
# From MongoDB's error_codes.yml.
RETRIED_CODES: Final = frozenset(
    {6, 7, 50, 64, 89, 91, 112, 175, 189, 262, 9001, 10107, 11600, 11601, 11602, 13435, 13436, 14031}
)


class MongoReadModel:
    """`processors.projection.ReadModel` on a real MongoDB."""

    def __init__(self, client: "AsyncIOMotorClient[dict[str, Any]]", database: str) -> None:
        self._database = client[database]
        self._videos = self._database.get_collection(
            read_model.VIDEOS,
            codec_options=CodecOptions(tz_aware=True, tzinfo=UTC),
            write_concern=WriteConcern("majority", j=True),
            read_concern=ReadConcern("majority"),
        )

    async def prepare(self) -> None:
        """Create collection, indexes and the generation document where they are missing.

        Raises:
            Unavailable: MongoDB is away or refuses.
        """
        with _waiting():
            with suppress(CollectionInvalid):  # it is there already
                await self._database.create_collection(read_model.VIDEOS)
            for index in read_model.INDEXES:
                await self._videos.create_index(index.keys, name=index.name, **index.options)
            await self._prepare_state()

    async def _prepare_state(self) -> None:
        state = {"projection_version": read_model.PROJECTION_VERSION, "applied": {}}
        with suppress(DuplicateKeyError):  # another worker made it at the same moment
            await self._database[read_model.READ_MODEL].update_one(
                {"_id": read_model.READ_MODEL_ID}, {"$setOnInsert": state}, upsert=True
            )

    async def generation(self) -> str:
        """UUID of the collection that readers read; it changes with the rename of a replay."""
        generation = await self._generation()
        if generation is None:
            await self.prepare()
            generation = await self._generation()
        if generation is None:
            raise Unavailable(_PART, f"the collection {read_model.VIDEOS!r} vanished as it was made")
        return generation

    async def _generation(self) -> str | None:
        with _waiting():
            async for found in await self._database.list_collections(filter={"name": read_model.VIDEOS}):
                return str(found["info"]["uuid"])
        return None

    async def documents(self, video_ids: Sequence[str]) -> dict[str, Document]:
        """The documents and markers of these ids, those that are there."""
        with _waiting():
            stored = await self._videos.find({"_id": {"$in": list(video_ids)}}).to_list(None)
        return {found["_id"]: from_stored(found) for found in stored}

    async def write(self, documents: Sequence[Document]) -> WriteResult:
        """Each document in one piece, where what is stored stands below its position; in no particular order."""
        now = datetime.now(UTC)
        stored = [to_stored(document, now) for document in documents]
        sendable = {document["_id"]: _fault(document) for document in stored}
        rejected = {video_id: fault for video_id, fault in sendable.items() if fault is not None}
        operations = [
            ReplaceOne(
                {"_id": document["_id"], "source.offset": {"$lt": document["source"]["offset"]}}, document, upsert=True
            )
            for document in stored
            if document["_id"] not in rejected
        ]
        ids = [document["_id"] for document in stored if document["_id"] not in rejected]
        if not operations:
            return WriteResult(frozenset(), rejected)
        with _waiting():
            try:
                await self._videos.bulk_write(operations, ordered=False)
            except BulkWriteError as error:
                return _read_errors(error, ids, rejected)
        return WriteResult(frozenset(), rejected)


def _fault(document: Mapping[str, Any]) -> str | None:
    """Why the driver would refuse to send the document; one bad document must not fail the others of its bulk."""
    try:
        size = len(bson.encode(document))
    except (BSONError, OverflowError, DocumentTooLarge) as error:
        return str(error)
    return None if size <= 16 << 20 else f"{size} bytes, more than MongoDB's 16 MiB"


def _read_errors(error: BulkWriteError, ids: Sequence[str], rejected: dict[str, str]) -> WriteResult:
    details = error.details or {}
    if details.get("writeConcernErrors"):
        raise Unavailable(_PART, details["writeConcernErrors"][0]) from error
    overtaken = set()
    for fault in details["writeErrors"]:
        video_id, code = ids[fault["index"]], fault["code"]
        if code in RETRIED_CODES:
            raise Unavailable(_PART, fault["errmsg"]) from error
        if code == DUPLICATE_KEY and "_id" in fault.get("keyPattern", {}):
            overtaken.add(video_id)
        else:
            rejected[video_id] = f"code {code}: {fault['errmsg']}"
    return WriteResult(frozenset(overtaken), rejected)


@contextmanager
def _waiting() -> Iterator[None]:
    """What the driver says of the server, rather than of one document, is to be waited out."""
    try:
        yield
    except BulkWriteError:
        raise
    except PyMongoError as error:
        raise Unavailable(_PART, error) from error


@asynccontextmanager
async def mongo_client(uri: str) -> AsyncIterator["AsyncIOMotorClient[dict[str, Any]]"]:
    """A client whose calls fail within seconds when the server is away, so that the caller can say that it waits.

    Raises:
        SettingsError: the driver refuses the connection string.
    """
    try:
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
            uri,
            serverSelectionTimeoutMS=2_000,
            connectTimeoutMS=2_000,
            socketTimeoutMS=30_000,
            appname="yousync-processor",
        )
    except (PyMongoError, OSError) as error:
        # The driver's text may repeat the password.
        raise SettingsError(
            f"MONGODB_URI: the driver refuses it ({type(error).__name__}): look at its options"
        ) from None
    try:
        yield client
    finally:
        client.close()
