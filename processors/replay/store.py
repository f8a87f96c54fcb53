"""What a replay does in MongoDB: its run and the right to it, the shadow collection, and the swap."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import DuplicateKeyError, OperationFailure
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from contract import read_model
from contract.read_model import BODY, EVERY_VIDEO, PROJECTION_VERSION, SHADOW_PREFIX, SORT_KEY
from processors.document import OwedEvent, SourcePosition
from processors.read_model_writer import MongoDocuments, MongoReadModel, uuid_of, waited_for
from processors.replay.comparison import Row
from processors.replay.run_state import Run, Source, shadow_name

BEAT_SECONDS: Final = 0.5
_SILENT_SECONDS: Final = 5.0
"""A run whose beat stands still for so long has no process any more, or one that was paused and may not go on."""

_NAMESPACE_NOT_FOUND: Final = 26
_COMPARED: Final = {
    SORT_KEY: True,
    BODY: True,
    "source": True,
    "event": True,
    "projection_version": True,
    "first_seen_at": True,
}
_NOTED_SUFFIX: Final = "_announced"
_NOTED_CHUNK: Final = 2_000
_ROWS: Final = 2_000


class ReplayRefused(Exception):
    """The replay does not begin, or does not swap; the message says why and what to do."""


class RunLost(ReplayRefused):
    """Another replay has taken the run: this one was silent for too long."""


class ReplayStore:
    """The run document, the shadow and the live collection. Its methods raise `Unavailable` when to be tried again."""

    def __init__(self, client: "AsyncIOMotorClient[dict[str, Any]]", database: str) -> None:
        self._client = client
        self._name = database
        # What was acknowledged must survive a MongoDB that is killed: nothing here is done twice.
        self._database = client.get_database(database, write_concern=WriteConcern("majority", j=True))
        self._state = self._database.get_collection(
            read_model.READ_MODEL,
            write_concern=WriteConcern("majority", j=True),
            read_concern=ReadConcern("majority"),
        )
        self.live = MongoReadModel(client, database)

    def shadow(self, run: Run) -> MongoDocuments:
        """The documents of the run's shadow."""
        return MongoDocuments(self._client, self._name, run.shadow)

    # The run, and the right to it.

    async def find_run(self) -> Run | None:
        """The last run."""
        with waited_for():
            found = await self._state.find_one({"_id": read_model.REPLAY_ID}, {"_id": False})
        return None if found is None else msgspec.convert(found, Run)

    async def take(self, attempt: str, found: Run | None, fields: Mapping[str, Any]) -> Run:
        """Make `attempt` the one that works, with these fields in place of those of `found`, the run as it was read.

        Raises:
            ReplayRefused: somebody else works on it.
        """
        if found is not None and found.owner is not None:
            await self._wait_until_silent(found)
        taken: dict[str, Any] = {
            **(msgspec.to_builtins(found) if found else {}),
            **fields,
            "owner": attempt,
            "beat": 1,
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        as_found = {"_id": read_model.REPLAY_ID}
        if found is not None:
            as_found |= {"owner": found.owner, "beat": found.beat}  # type: ignore[dict-item]
        with waited_for():
            try:
                if found is None:
                    await self._state.insert_one({"_id": read_model.REPLAY_ID, **taken})
                elif (await self._state.replace_one(as_found, taken)).matched_count == 0:
                    raise ReplayRefused("another replay began at the same moment")
            except DuplicateKeyError:
                raise ReplayRefused("another replay began at the same moment") from None
        return msgspec.convert(taken, Run)

    async def _wait_until_silent(self, found: Run) -> None:
        deadline = asyncio.get_running_loop().time() + _SILENT_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(BEAT_SECONDS)
            now = await self.find_run()
            if now is None or (now.owner, now.beat) != (found.owner, found.beat):
                if now is not None and now.owner is None:
                    raise ReplayRefused("the replay that was running has just ended: look at `yousync replay` again")
                raise ReplayRefused(
                    f"a replay is running since {found.started_at} on {found.host}, process {found.pid}: wait for it, "
                    "or stop it"
                )

    async def beat(self, attempt: str) -> None:
        """Say that the attempt lives.

        Raises:
            RunLost: it no longer has the run.
        """
        await self.save(attempt, {})

    async def save(self, attempt: str, fields: Mapping[str, Any]) -> None:
        """Keep these fields of the run, which is a beat, too.

        Raises:
            RunLost: the attempt no longer has the run.
        """
        change: dict[str, Any] = {"$inc": {"beat": 1}, **({"$set": dict(fields)} if fields else {})}
        with waited_for():
            kept = await self._state.update_one({"_id": read_model.REPLAY_ID, "owner": attempt}, change)
        if kept.matched_count == 0:
            raise RunLost("another replay has taken over: this one was silent for too long")

    async def leave(self, attempt: str) -> None:
        """Whoever comes next sees that nothing beats; what an attempt wrote after it had lost the run is removed."""
        try:
            await self.save(attempt, {"owner": None})
        except RunLost:
            with waited_for():
                for name in (shadow_name(attempt), shadow_name(attempt) + _NOTED_SUFFIX):
                    await self._database.drop_collection(name)

    # The shadow.

    async def new_shadow(self, attempt: str, source: Source) -> dict[str, Any]:
        """Make an empty shadow for the attempt; what the run's document is to say of it."""
        name = shadow_name(attempt)
        with waited_for():
            await self._database.create_collection(name)
            generation = await uuid_of(self._database, name)
        return {
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "phase": "loading",
            "source": source,
            "shadow": name,
            "generation": generation,
            "projection_version": PROJECTION_VERSION,
            "offsets": {},
            "ends": {},
            "tail": {},
        }

    async def adopt_shadow(self, attempt: str, found: Run) -> dict[str, Any]:
        """Give the shadow of an earlier attempt a name of this one's, so that the earlier one cannot touch it."""
        name = shadow_name(attempt)
        with waited_for():
            await self._database[found.shadow].rename(name)
            with suppress(OperationFailure):  # nothing was announced yet
                await self._database[found.shadow + _NOTED_SUFFIX].rename(name + _NOTED_SUFFIX)
        return {"shadow": name}

    async def drop_shadows(self, *, but: str = "") -> None:
        """Remove what other runs left; `but` is the shadow of this one."""
        with waited_for():
            for name in await self._database.list_collection_names(filter={"name": {"$regex": f"^{SHADOW_PREFIX}"}}):
                if not but or not name.startswith(but):
                    await self._database.drop_collection(name)

    async def shadow_generation(self, run: Run) -> str | None:
        """UUID of the collection that has the shadow's name; None when it has vanished."""
        with waited_for():
            return await uuid_of(self._database, run.shadow)

    async def live_generation(self) -> str | None:
        """UUID of the collection that readers read; None when there is none."""
        with waited_for():
            return await uuid_of(self._database, read_model.VIDEOS)

    async def count_living(self, collection: str) -> int:
        """Videos in a collection, removed ones not counted."""
        with waited_for():
            return int(await self._database[collection].count_documents(dict(EVERY_VIDEO)))

    async def sizes(self, collection: str) -> tuple[int, int]:
        """Documents in a collection, and bytes on the disk with its indexes; zeros if there is none."""
        with waited_for():
            try:
                said = await self._database.command("collStats", collection)
            except OperationFailure as error:
                if error.code == _NAMESPACE_NOT_FOUND:
                    return 0, 0
                raise
        return int(said.get("count", 0)), int(said.get("storageSize", 0)) + int(said.get("totalIndexSize", 0))

    async def count_below(self, begins: Mapping[int, int]) -> int:
        """Living documents whose last record retention has removed from the topic."""
        live = self._database[read_model.VIDEOS]
        eaten = [
            {"source.partition": partition, "source.offset": {"$lt": begin}}
            for partition, begin in begins.items()
            if begin
        ]
        with waited_for():
            return int(await live.count_documents({**EVERY_VIDEO, "$or": eaten})) if eaten else 0

    async def rows(self, collection: str) -> AsyncGenerator[Row]:
        """Every document and marker of a collection by ascending id, as much of it as is compared."""
        found = self._compared(collection, {}).sort("_id", 1).hint("_id_").batch_size(_ROWS)
        with waited_for():
            async for one in found:
                yield _row(one)

    async def rows_of(self, collection: str, video_ids: Sequence[str]) -> list[Row]:
        """The same of these ids, those that are there."""
        with waited_for():
            found = await self._compared(collection, {"_id": {"$in": list(video_ids)}}).to_list(None)
        return [_row(one) for one in found]

    async def owed_events(self, collection: str, video_ids: Sequence[str]) -> dict[str, OwedEvent]:
        """The last event that each of these documents owes, of those that are there."""
        with waited_for():
            found = await self._database[collection].find({"_id": {"$in": list(video_ids)}}, ["event"]).to_list(None)
        return {one["_id"]: msgspec.convert(one["event"], OwedEvent) for one in found}

    def _compared(self, collection: str, wanted: Mapping[str, Any]) -> Any:
        return self._database.get_collection(collection, read_concern=ReadConcern("majority")).find(wanted, _COMPARED)

    async def newest(self, collection: str, limit: int) -> list[str]:
        """The newest sort keys, as a reader would get them."""
        with waited_for():
            found = self._database[collection].find(
                dict(EVERY_VIDEO), {"_id": False, SORT_KEY: True}, sort=[(SORT_KEY, -1)], hint=[(SORT_KEY, -1)]
            )
            return [one[SORT_KEY] for one in await found.limit(limit).to_list(None)]

    async def copy_from_live(self, run: Run, video_ids: Sequence[str]) -> int:
        """Carry these documents over as they are, where the shadow has none; how many of them are living."""
        living = 0
        with waited_for():
            found = await self._database[read_model.VIDEOS].find({"_id": {"$in": list(video_ids)}}).to_list(None)
            for one in found:
                try:
                    await self._database[run.shadow].insert_one(one)
                except DuplicateKeyError:
                    continue
                living += SORT_KEY in one
        return living

    # What is announced, kept until it has been said again after the swap.

    async def note_announced(self, run: Run, noted: Mapping[str, bool]) -> None:
        """Keep these ids, each with whether it is new to readers; none of them was kept before."""
        with waited_for():
            await self._database[run.shadow + _NOTED_SUFFIX].insert_many(
                [{"_id": one, "new": new} for one, new in noted.items()], ordered=False
            )

    async def forget_announced(self, run: Run) -> None:
        """Keep none."""
        with waited_for():
            await self._database.drop_collection(run.shadow + _NOTED_SUFFIX)

    async def announced(self, run: Run) -> AsyncGenerator[dict[str, bool]]:
        """What was kept, some at a time."""
        kept = self._database[run.shadow + _NOTED_SUFFIX].find({}, sort=[("_id", 1)])
        while True:
            with waited_for():
                chunk = await kept.to_list(_NOTED_CHUNK)
            if not chunk:
                return
            yield {one["_id"]: one["new"] for one in chunk}

    # The swap.

    async def say_applied(self, run: Run, offsets: Mapping[int, int]) -> None:
        """Say of the shadow's generation what is in it, before anybody reads it."""
        with waited_for():
            await self._state.update_one(
                {"_id": read_model.READ_MODEL_ID},
                {
                    "$set": {
                        read_model.applied_field(run.generation): {str(one): offset for one, offset in offsets.items()},
                        read_model.version_field(run.generation): run.projection_version,
                    }
                },
                upsert=True,
            )

    async def swap(self, run: Run) -> None:
        """Put the shadow in the place of the live collection, in one step."""
        with waited_for():
            await self._database[run.shadow].rename(read_model.VIDEOS, dropTarget=True)

    async def forget_old_generations(self) -> None:
        """Remove what is said about generations that are no longer there, as live collection or as anybody's shadow."""
        with waited_for():
            said = await self._state.find_one({"_id": read_model.READ_MODEL_ID}) or {}
            found = await self._database.list_collections(filter={"type": "collection"})
            there = {read_model.generation_name(one["info"]["uuid"]) async for one in found}
            old = {
                f"{field}.{generation}": ""
                for field in ("applied", "versions")
                for generation in said.get(field, {})
                if generation not in there
            }
            if old:
                await self._state.update_one({"_id": read_model.READ_MODEL_ID}, {"$unset": old})

    async def projection_version(self) -> int | None:
        """Of what readers read now; None if nothing says."""
        live = await self.live_generation()
        with waited_for():
            said = await self._state.find_one({"_id": read_model.READ_MODEL_ID}) or {}
        version = said.get("versions", {}).get(live)
        return None if version is None else int(version)


class CollectionRows:
    """`processors.replay.announcement.Announced` on one collection."""

    def __init__(self, store: ReplayStore, collection: str) -> None:
        self._store = store
        self._collection = collection

    async def rows(self, video_ids: Sequence[str]) -> list[Row]:
        return await self._store.rows_of(self._collection, video_ids)

    async def owed_events(self, video_ids: Sequence[str]) -> dict[str, OwedEvent]:
        return await self._store.owed_events(self._collection, video_ids)


def _row(found: Mapping[str, Any]) -> Row:
    return Row(
        found["_id"],
        found.get(SORT_KEY),
        found.get(BODY),
        msgspec.convert(found["source"], SourcePosition),
        msgspec.convert(found["event"], OwedEvent),
        found.get("projection_version"),
        found.get("first_seen_at"),
    )
