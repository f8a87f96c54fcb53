"""The read model in MongoDB, as the processors write it: the only module of this service that knows the driver."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ReplaceOne
from pymongo.errors import (
    BulkWriteError,
    CollectionInvalid,
    DocumentTooLarge,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from contract import read_model
from contract.settings import SettingsError, mongodb_refusal
from processors.document import Document, from_stored, to_stored
from processors.projection import WriteResult
from processors.waiting import Unavailable

DUPLICATE_KEY: Final = 11000
_PART: Final = "MongoDB"

_UNSENDABLE: Final = (BSONError, OverflowError, DocumentTooLarge)
"""What the driver raises for a document that it cannot send."""

# Errors of one write that speak of the server, not of the document: the write is tried again. HostUnreachable,
# HostNotFound, ExceededTimeLimit, WriteConcernFailed, NetworkTimeout, ShutdownInProgress, WriteConflict,
# PrimarySteppedDown, QueryPlanKilled, InterruptedDueToReplStateChange, SocketException, NotWritablePrimary,
# InterruptedAtShutdown, Interrupted, NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary, OutOfDiskSpace.
# From MongoDB's error_codes.yml.
RETRIED_CODES: Final = frozenset(
    {6, 7, 50, 64, 89, 91, 112, 175, 189, 262, 9001, 10107, 11600, 11601, 11602, 13435, 13436, 14031}
)


class MongoDocuments:
    """Documents of videos in one collection of a real MongoDB."""

    def __init__(self, client: "AsyncIOMotorClient[dict[str, Any]]", database: str, collection: str) -> None:
        self._database = client[database]
        self._videos = self._database.get_collection(
            collection,
            codec_options=CodecOptions(tz_aware=True, tzinfo=UTC),
            write_concern=WriteConcern("majority", j=True),
            read_concern=ReadConcern("majority"),
        )

    async def create_indexes(self) -> None:
        """Make the indexes that are missing.

        Raises:
            Unavailable: MongoDB is away or refuses.
        """
        with waited_for():
            for index in read_model.INDEXES:
                await self._videos.create_index(index.keys, name=index.name, **index.options)

    async def documents(self, video_ids: Sequence[str]) -> dict[str, Document]:
        """The documents and markers of these ids, those that are there."""
        with waited_for():
            stored = await self._videos.find({"_id": {"$in": list(video_ids)}}).to_list(None)
        return {found["_id"]: from_stored(found) for found in stored}

    async def insert(self, documents: Sequence[Document]) -> WriteResult:
        """Insert documents that are most likely new; `overtaken` are the ids that are there already."""
        now = datetime.now(UTC)
        stored = [to_stored(document, now) for document in documents]
        return await self._send(stored, self._insert)

    async def write(self, documents: Sequence[Document], absent: Collection[str] = ()) -> WriteResult:
        """Each document in one piece, where what is stored stands below its position; in no particular order.

        `absent`: ids of which nothing was stored a moment ago. Inserting them costs the server a sixth of an upsert;
        where something is there by now, the condition on the position decides as for all others.
        """
        now = datetime.now(UTC)
        new = [to_stored(document, now) for document in documents if document.id in absent]
        known = [to_stored(document, now) for document in documents if document.id not in absent]
        inserted = await self._send(new, self._insert)
        known += [document for document in new if document["_id"] in inserted.overtaken]
        replaced = await self._send(known, self._replace)
        return WriteResult(replaced.overtaken, {**inserted.rejected, **replaced.rejected})

    async def _insert(self, stored: Sequence[dict[str, Any]]) -> None:
        await self._videos.insert_many(stored, ordered=False)

    async def _replace(self, stored: Sequence[dict[str, Any]]) -> None:
        await self._videos.bulk_write(
            [
                ReplaceOne(
                    {"_id": document["_id"], "source.offset": {"$lt": document["source"]["offset"]}},
                    document,
                    upsert=True,
                )
                for document in stored
            ],
            ordered=False,
        )

    async def _send(
        self, stored: Sequence[dict[str, Any]], send: Callable[[Sequence[dict[str, Any]]], Awaitable[object]]
    ) -> WriteResult:
        rejected: dict[str, str] = {}
        try:
            return await self._send_all(stored, send, rejected)
        except _UNSENDABLE:
            # One bad document must not fail the others of its bulk.
            faults = {document["_id"]: _fault(document) for document in stored}
            rejected |= {video_id: fault for video_id, fault in faults.items() if fault is not None}
        sendable = [document for document in stored if document["_id"] not in rejected]
        return await self._send_all(sendable, send, rejected)

    async def _send_all(
        self,
        stored: Sequence[dict[str, Any]],
        send: Callable[[Sequence[dict[str, Any]]], Awaitable[object]],
        rejected: dict[str, str],
    ) -> WriteResult:
        if stored:
            with waited_for():
                try:
                    await send(stored)
                except BulkWriteError as error:
                    return _read_errors(error, [document["_id"] for document in stored], rejected)
        return WriteResult(frozenset(), rejected)


class MongoReadModel(MongoDocuments):
    """`processors.projection.ReadModel`: the collection that readers read."""

    def __init__(self, client: "AsyncIOMotorClient[dict[str, Any]]", database: str) -> None:
        super().__init__(client, database, read_model.VIDEOS)
        self._state = self._database.get_collection(
            read_model.READ_MODEL,
            write_concern=WriteConcern("majority", j=True),
            read_concern=ReadConcern("majority"),
        )

    async def require_rights(self) -> None:
        """Return when MongoDB lets us in and write, or is away.

        Raises:
            SettingsError: it answers, and refuses us.
        """
        try:
            await self._state.update_one({"_id": read_model.READ_MODEL_ID}, {"$unset": {"never_set": ""}})
        except OperationFailure as error:
            refused = mongodb_refusal(error.code, self._database.name)
            if refused is not None:
                raise SettingsError(refused) from error
        except PyMongoError:
            return

    async def prepare(self) -> None:
        """Create collection, indexes and the generation document where they are missing.

        Raises:
            Unavailable: MongoDB is away or refuses.
        """
        with waited_for():
            with suppress(CollectionInvalid):  # it is there already
                await self._database.create_collection(read_model.VIDEOS)
            await self.create_indexes()
            await self._prepare_state()

    async def _prepare_state(self) -> None:
        generation = await self._generation()
        if generation is None:
            return  # dropped at this moment: the next look at the generation prepares again
        version = read_model.version_field(generation)
        with suppress(DuplicateKeyError):  # the generation has its version, or another worker said it at this moment
            await self._state.update_one(
                {"_id": read_model.READ_MODEL_ID, version: {"$exists": False}},
                {"$set": {version: read_model.PROJECTION_VERSION}},
                upsert=True,
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
        with waited_for():
            return await uuid_of(self._database, read_model.VIDEOS)

    async def applied(self, generation: str) -> dict[int, int] | None:
        """Per partition the raw offset below which all is in the generation; None for one that no replay made."""
        with waited_for():
            said = await self._state.find_one({"_id": read_model.READ_MODEL_ID}, [read_model.applied_field(generation)])
        applied = (said or {}).get("applied", {}).get(generation)
        return None if applied is None else {int(partition): offset for partition, offset in applied.items()}

    async def raise_applied(self, generation: str, partition: int, offset: int) -> None:
        """Say that all below `offset` is applied in a generation that a replay made, unless more was said before."""
        with waited_for():
            await self._state.update_one(
                {"_id": read_model.READ_MODEL_ID, read_model.applied_field(generation): {"$exists": True}},
                {"$max": {read_model.applied_field(generation, partition): offset}},
            )


def _fault(document: Mapping[str, Any]) -> str | None:
    """Why the driver would refuse to send the document; one bad document must not fail the others of its bulk."""
    try:
        size = len(bson.encode(document))
    except _UNSENDABLE as error:
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


async def uuid_of(database: Any, collection: str) -> str | None:
    """The identity of a collection, which a rename takes along; None if there is none of that name."""
    async for found in await database.list_collections(filter={"name": collection}):
        return read_model.generation_name(found["info"]["uuid"])
    return None


@contextmanager
def waited_for() -> Iterator[None]:
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
