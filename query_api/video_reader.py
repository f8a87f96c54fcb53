"""Reads of the read model, and the one module of the API that knows the MongoDB driver.

Every read names the index that it goes by, so that no planner's mistake becomes a scan of everything, and ends within
a bounded time, so that readers of the API get an answer while MongoDB is away. What fails is a `ReadModelUnavailable`.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec
from pymongo import AsyncMongoClient
from pymongo.errors import (
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from contract.read_model import (
    BODY,
    BY_CHANNEL,
    BY_QUERY,
    BY_SEARCH,
    CHANNEL_ID,
    EVERY_VIDEO,
    NEWEST_FIRST,
    QUERIES,
    READ_MODEL,
    READ_MODEL_ID,
    SEARCH,
    SORT_KEY,
    VIDEOS,
    IndexSpec,
    generation_name,
    version_field,
)
from contract.settings import SettingsError, mongodb_refusal
from ops.logging import get_logger
from query_api.filters import EVERYTHING, Filters
from query_api.stored import Generation, StoredVideo, WindowRow
from query_api.summaries import ChannelSummary

log = get_logger(__name__)
Answer = TypeVar("Answer")

CLIENT: Final[Callable[..., Any]] = AsyncMongoClient
"""The driver (docs/adr/0014). `motor.motor_asyncio.AsyncIOMotorClient` in its place does the same, slower."""

_SELECTION_MS: Final = 1_000
"""How long a read looks for a server: this is how fast a missing one is noticed."""

_OPERATION_SECONDS: Final = 2.0
"""How long the server may take for a read, unless the caller says."""

_GRACE_SECONDS: Final = 0.5
"""What the way there and back may add before a read is given up."""

_SILENCE_MS: Final = 10_000
"""A connection that was silent for so long is dead: no read may take as long."""

_QUERY_PLAN_KILLED: Final = 175
"""What MongoDB answers to a read whose collection a replay swaps meanwhile: the only such code that was found."""

_REPEATS: Final = 2
"""So many times a read is begun again that a swap or a closed connection has ended."""

_RARITY_SKIP: Final = 99
_RARITY_SECONDS: Final = 60.0
_RARITY_WORDS: Final = 10_000
"""How rare words are is asked again once a minute, and after so many words."""

_PAGE: Final = {"_id": False, SORT_KEY: True, BODY: True}
_CHANNEL: Final = {"_id": False, "channel": True, "published_at": True}
_WINDOW_ROW: Final = {SORT_KEY: True, BODY: True, QUERIES: True, "source.offset": True}


class ReadModelUnavailable(Exception):
    """The read model cannot be read now; a later try may succeed. The message says why, for operators."""


class SlowRead(Exception):
    """The read took longer than its caller allowed the server."""


class VideoReader(Protocol):
    """What the API asks of the read model. Everything may raise `ReadModelUnavailable`; no collection is an empty one.

    `seconds` is how long the server may take; past that, `SlowRead` is raised.
    """

    async def list_videos(
        self,
        filters: Filters = EVERYTHING,
        *,
        limit: int,
        skip: int = 0,
        at_least: str = "",
        below: str | None = None,
        seconds: float | None = None,
    ) -> list[StoredVideo]:
        """Up to `limit` videos that pass, newest first, after the first `skip` of them.

        `at_least` and `below` bound their sort keys, beside the filters' own time range.
        """

    async def count_videos(
        self,
        filters: Filters = EVERYTHING,
        *,
        at_least: str = "",
        below: str | None = None,
        cap: int | None = None,
        seconds: float | None = None,
    ) -> int:
        """How many videos pass, exactly; no further than `cap`."""

    async def find_video(self, video_id: str) -> bytes | None:
        """The video's bytes; None when it is unknown or removed."""

    async def newest_rows(self, query: str | None, *, limit: int, below: str | None = None) -> list[WindowRow]:
        """The newest videos of everything, or of one followed query, as a hot window keeps them."""

    async def list_queries(self) -> list[str]:
        """The queries that any video was found by, in order."""

    async def list_channels(self, *, limit: int, after: str | None = None) -> list[ChannelSummary]:
        """Up to `limit` channels by id, of those after `after`."""

    async def summarise_query(self, query: str) -> str | None:
        """The sort key of the newest video that was found by `query`."""

    async def generation(self) -> Generation | None:
        """What is read now; None when there is nothing to read."""

    async def close(self) -> None:
        """Let go of all connections."""


class MongoVideoReader:
    """The read model in MongoDB."""

    def __init__(self, uri: str, database: str) -> None:
        """Connect at the first read, not before.

        Raises:
            SettingsError: `uri` cannot be used; it is not repeated, for it may hold a password.
        """
        try:
            self._client = CLIENT(
                uri,
                serverSelectionTimeoutMS=_SELECTION_MS,
                connectTimeoutMS=_SELECTION_MS,
                socketTimeoutMS=_SILENCE_MS,
                retryReads=False,  # done here, for all kinds of reads
                appname="yousync-api",
            )
        except (PyMongoError, OSError) as error:
            raise SettingsError(
                f"MONGODB_URI: the driver cannot use this connection string: {type(error).__name__}"
            ) from None
        self._database = self._client[database]
        self._videos = self._database[VIDEOS]
        self._away = False
        self._rarity: dict[str, str] = {}
        self._rarity_since = 0.0

    async def close(self) -> None:
        """As in `VideoReader`."""
        closed = self._client.close()
        if inspect.isawaitable(closed):
            await closed

    async def list_videos(
        self,
        filters: Filters = EVERYTHING,
        *,
        limit: int,
        skip: int = 0,
        at_least: str = "",
        below: str | None = None,
        seconds: float | None = None,
    ) -> list[StoredVideo]:
        """As in `VideoReader`."""

        async def read() -> list[StoredVideo]:
            wanted = _wanted(await self._rarest_first(filters, seconds), at_least, below)
            rows = await self._page(wanted, index_for(filters), limit, skip, seconds)
            return [StoredVideo(row[SORT_KEY], row[BODY]) for row in rows]

        return await self._answer(read, seconds)

    async def count_videos(
        self,
        filters: Filters = EVERYTHING,
        *,
        at_least: str = "",
        below: str | None = None,
        cap: int | None = None,
        seconds: float | None = None,
    ) -> int:
        """As in `VideoReader`."""

        async def read() -> int:
            wanted = _wanted(await self._rarest_first(filters, seconds), at_least, below)
            return await self._count(wanted, index_for(filters), cap, seconds)

        return await self._answer(read, seconds)

    async def find_video(self, video_id: str) -> bytes | None:
        """As in `VideoReader`."""

        async def read() -> bytes | None:
            # Hinted, for the planner would also try the other indexes that the filter allows.
            found = self._videos.find(
                {"_id": video_id, **EVERY_VIDEO},
                {"_id": False, BODY: True},
                hint="_id_",
                limit=1,
                max_time_ms=_milliseconds(None),
            )
            rows = await found.to_list(None)
            return rows[0][BODY] if rows else None

        return await self._answer(read)

    async def newest_rows(self, query: str | None, *, limit: int, below: str | None = None) -> list[WindowRow]:
        """As in `VideoReader`."""
        filters = Filters(query=query)

        async def read() -> list[WindowRow]:
            rows = await self._find(_wanted(filters, "", below), _WINDOW_ROW, index_for(filters), limit)
            return [
                WindowRow(row["_id"], row[SORT_KEY], row[BODY], row["source"]["offset"], tuple(row[QUERIES]))
                for row in rows
            ]

        return await self._answer(read)

    async def list_queries(self) -> list[str]:
        """As in `VideoReader`."""

        async def read() -> list[str]:
            queries: list[str] = []
            while (following := await self._first_query_after(queries[-1] if queries else "")) is not None:
                queries.append(following)
            return queries

        return await self._answer(read)

    async def _first_query_after(self, query: str) -> str | None:
        """From one query to the next by the index: `distinct` would go through all documents.

        There is no index order to be asked for where a document lies in several places of it, but what is read by the
        hinted index comes in its order.
        """
        found = self._videos.find(
            {QUERIES: {"$gt": query}, **EVERY_VIDEO},
            hint=BY_QUERY.name,
            return_key=True,
            limit=1,
            max_time_ms=_milliseconds(None),
        )
        keys: list[dict[str, str]] = await found.to_list(None)
        return keys[0][QUERIES] if keys else None

    async def list_channels(self, *, limit: int, after: str | None = None) -> list[ChannelSummary]:
        """As in `VideoReader`."""

        async def read() -> list[ChannelSummary]:
            newest: list[dict[str, Any]] = []
            last = after or ""
            while len(newest) < limit:
                wanted = {CHANNEL_ID: {"$gt": last}, **EVERY_VIDEO}
                found = await self._find(wanted, _CHANNEL, BY_CHANNEL, 1, order=BY_CHANNEL)
                if not found:
                    break
                newest += found
                last = found[0]["channel"]["id"]
            totals = await self._totals_of_channels(after or "", last)
            return [
                ChannelSummary(
                    row["channel"]["id"],
                    row["channel"]["title"],
                    totals.get(row["channel"]["id"], 0),
                    row["published_at"],
                )
                for row in newest
            ]

        return await self._answer(read)

    async def _totals_of_channels(self, after: str, last: str) -> dict[str, int]:
        cursor = self._videos.aggregate(
            [
                {"$match": {CHANNEL_ID: {"$gt": after, "$lte": last}, **EVERY_VIDEO}},
                {"$group": {"_id": f"${CHANNEL_ID}", "videos": {"$sum": 1}}},
            ],
            hint=BY_CHANNEL.name,
            maxTimeMS=_milliseconds(None),
        )
        if inspect.isawaitable(cursor):  # the drivers differ
            cursor = await cursor
        return {row["_id"]: row["videos"] for row in await cursor.to_list(None)}

    async def summarise_query(self, query: str) -> str | None:
        """As in `VideoReader`."""
        filters = Filters(query=query)

        async def read() -> str | None:
            rows = await self._find(_wanted(filters), {"_id": False, SORT_KEY: True}, index_for(filters), 1)
            return rows[0][SORT_KEY] if rows else None

        return await self._answer(read)

    async def require_rights(self) -> None:
        """Return when MongoDB lets us read, or is away.

        Raises:
            SettingsError: it answers, and refuses us.
        """
        try:
            async with asyncio.timeout(_OPERATION_SECONDS):
                await self._generation()
        except OperationFailure as error:
            refused = mongodb_refusal(error.code, self._database.name)
            if refused is not None:
                raise SettingsError(refused) from error
        except (PyMongoError, TimeoutError):
            return

    async def generation(self) -> Generation | None:
        """As in `VideoReader`."""
        return await self._answer(self._generation)

    async def _generation(self) -> Generation | None:
        async for found in await self._database.list_collections(filter={"name": VIDEOS}):
            name = generation_name(found["info"]["uuid"])
            said = await self._database[READ_MODEL].find_one({"_id": READ_MODEL_ID}, [version_field(name)])
            return Generation(name, (said or {}).get("versions", {}).get(name))
        return None

    async def _rarest_first(self, filters: Filters, seconds: float | None) -> Filters:
        """The same filters, the words of the search in the order in which they are best looked for.

        The index is gone along for one word, and the others looked at in the documents it leads to. The server does
        not know which word is rare: it tries, and keeps what it found for other words too. So it is told.
        """
        if len(filters.search) < 2:
            return filters
        now = time.monotonic()
        if now - self._rarity_since > _RARITY_SECONDS or len(self._rarity) > _RARITY_WORDS:
            self._rarity, self._rarity_since = {}, now
        known = self._rarity
        unknown = [word for word in filters.search if word not in known]
        known |= zip(unknown, await asyncio.gather(*(self._rarity_of(word, seconds) for word in unknown)), strict=True)
        return msgspec.structs.replace(filters, search=tuple(sorted(filters.search, key=lambda word: known[word])))

    async def _rarity_of(self, word: str, seconds: float | None) -> str:
        """The sort key of the word's hundredth newest title, by the index alone: the lower, the rarer the word."""
        filters = Filters(search=(word,))
        fields = {"_id": False, SORT_KEY: True}
        rows = await self._find(_wanted(filters), fields, BY_SEARCH, 1, skip=_RARITY_SKIP, seconds=seconds)
        return str(rows[0][SORT_KEY]) if rows else ""

    async def _page(
        self, wanted: Mapping[str, Any], index: IndexSpec, limit: int, skip: int, seconds: float | None
    ) -> list[dict[str, Any]]:
        """The same as `_find`, in one command: a sixth less work here than a cursor's."""
        if limit == 0:  # no limit, to MongoDB
            return []
        order = dict(NEWEST_FIRST.keys)
        reply = await self._database.command(
            {
                "find": VIDEOS,
                "filter": wanted,
                "projection": _PAGE,
                "sort": order,
                "hint": index.name,
                "skip": skip,
                "limit": limit,
                "batchSize": limit,
                "maxTimeMS": _milliseconds(seconds),
            },
            read_preference=self._videos.read_preference,
        )
        cursor: dict[str, Any] = reply["cursor"]
        rows: list[dict[str, Any]] = cursor["firstBatch"]
        if cursor["id"] == 0:
            return rows
        # More than the 16 MiB of one reply.
        await self._database.command({"killCursors": VIDEOS, "cursors": [cursor["id"]]})
        return await self._find(wanted, _PAGE, index, limit, skip=skip, seconds=seconds)

    async def _find(
        self,
        wanted: Mapping[str, Any],
        fields: Mapping[str, bool],
        index: IndexSpec,
        limit: int,
        *,
        order: IndexSpec = NEWEST_FIRST,
        skip: int = 0,
        seconds: float | None = None,
    ) -> list[dict[str, Any]]:
        if limit == 0:  # no limit, to MongoDB
            return []
        found = self._videos.find(
            wanted, fields, sort=order.keys, hint=index.name, max_time_ms=_milliseconds(seconds), skip=skip, limit=limit
        )
        rows: list[dict[str, Any]] = await found.to_list(None)
        return rows

    async def _count(
        self, wanted: Mapping[str, Any], index: IndexSpec, cap: int | None = None, seconds: float | None = None
    ) -> int:
        if cap == 0:  # no limit, to MongoDB
            return 0
        # Not `count_documents`: that one makes a document of each key.
        command = {"count": VIDEOS, "query": wanted, "hint": index.name, "maxTimeMS": _milliseconds(seconds)}
        command |= {} if cap is None else {"limit": cap}
        answer = await self._database.command(command, read_preference=self._videos.read_preference)
        return int(answer["n"])

    async def _answer(self, read: Callable[[], Awaitable[Answer]], seconds: float | None = None) -> Answer:
        patience = (_OPERATION_SECONDS if seconds is None else seconds) + _GRACE_SECONDS
        try:
            async with asyncio.timeout(patience):
                answer = await _in_spite_of_swaps(read)
        except ExecutionTimeout as error:
            if seconds is None:
                raise self._unavailable(error, patience) from error
            raise SlowRead(f"not within {seconds} s") from error
        except (PyMongoError, TimeoutError) as error:
            raise self._unavailable(error, patience) from error
        if self._away:
            log.info("read model back")
        self._away = False
        return answer

    def _unavailable(self, error: Exception, patience: float) -> ReadModelUnavailable:
        """The error for callers; the log gets one line when it begins, however many reads fail."""
        unavailable = ReadModelUnavailable(f"MongoDB does not answer: {_reason(error, patience)}")
        if not self._away:
            log.error("read model away", reason=str(unavailable))
        self._away = True
        return unavailable


def index_for(filters: Filters) -> IndexSpec:
    """The index that leaves the least to look through, of those that keep the order."""
    if filters.search:
        return BY_SEARCH
    if filters.channel_id is not None:
        return BY_CHANNEL
    return NEWEST_FIRST if filters.query is None else BY_QUERY


def _wanted(filters: Filters, at_least: str = "", below: str | None = None) -> dict[str, Any]:
    """What MongoDB is asked for; it always names the sort key, or the partial indexes could not be used."""
    keys = {"$gt": "", "$gte": max(filters.at_least, at_least)}
    bounds = [bound for bound in (filters.below, below) if bound is not None]
    wanted: dict[str, Any] = {SORT_KEY: {**keys, "$lt": min(bounds)} if bounds else keys}
    if filters.query is not None:
        wanted[QUERIES] = filters.query
    if filters.channel_id is not None:
        wanted[CHANNEL_ID] = filters.channel_id
    if filters.search:
        wanted[SEARCH], *others = filters.search
        # Said so that the index is of no use for them, or the server would try all words against each other.
        wanted |= {"$and": [{SEARCH: {"$not": {"$ne": word}}} for word in others]} if others else {}
    return wanted


def _milliseconds(seconds: float | None) -> int:
    return max(1, int((_OPERATION_SECONDS if seconds is None else seconds) * 1000))


async def _in_spite_of_swaps(read: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer to a read, which is begun again when a replay's swap has ended it: then it reads what is new.

    Or when a server that was started anew meanwhile has closed the connection.
    """
    for _ in range(_REPEATS):
        try:
            return await read()
        except ConnectionFailure as error:
            if isinstance(error, ServerSelectionTimeoutError):
                raise
        except OperationFailure as error:
            if error.code != _QUERY_PLAN_KILLED:
                raise
    return await read()


def _reason(error: Exception, patience: float) -> str:
    """The first part of a driver's message: the rest describes timeouts and topology at length."""
    text = str(error).split(" (configured timeouts", 1)[0].split(", Timeout:", 1)[0]
    return text[:200] or f"no answer within {patience} s"
