"""Reads of the read model, and the one module of the API that knows the MongoDB driver.

Only the sort key and the bytes to serve are ever fetched. Every read ends within `_PATIENCE_SECONDS`, so that
readers of the API get an answer while MongoDB is away, and every failure is a `ReadModelUnavailable`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import OperationFailure, PyMongoError

from contract.read_model import BODY, EVERY_VIDEO, INDEXES, SORT_KEY, VIDEOS
from contract.settings import SettingsError
from ops.logging import get_logger
from query_api.pagination import StoredVideo

log = get_logger(__name__)
Answer = TypeVar("Answer")

_SELECTION_MS: Final = 1_000
"""How long a read looks for a server: this is how fast a missing one is noticed."""

_OPERATION_MS: Final = 2_000
"""How long one operation may take as a whole; the driver sends the rest of it along as `maxTimeMS`."""

_PATIENCE_SECONDS: Final = 2.5
"""The same for the caller: the driver's threads are few, and a read may have waited for one."""

_QUERY_PLAN_KILLED: Final = 175
"""What MongoDB answers to a read whose collection a replay swaps meanwhile: the only such code that was found."""

_SWAPS: Final = 2
"""So many swaps in a row one read is begun again after."""

NEWEST_FIRST: Final = INDEXES[0].keys
"""Order and index of every list: twins (see `contract.read_model`)."""

_BY_ID: Final = [("_id", 1)]


class ReadModelUnavailable(Exception):
    """The read model cannot be read now; a later try may succeed. The message says why, for operators."""


class VideoReader(Protocol):
    """What the API asks of the read model. Everything may raise `ReadModelUnavailable`."""

    async def list_videos(self, *, limit: int, skip: int = 0, after: str | None = None) -> list[StoredVideo]:
        """Up to `limit` videos, newest first, after the first `skip` or after the sort key `after`."""

    async def count_videos(self) -> int:
        """How many videos there are, exactly."""

    async def find_video(self, video_id: str) -> bytes | None:
        """The video's bytes; None when it is unknown or removed."""


class MongoVideoReader:
    """The read model in MongoDB. A missing collection is an empty one."""

    def __init__(self, uri: str, database: str) -> None:
        """Connect at the first read, not before.

        Raises:
            SettingsError: `uri` cannot be used; it is not repeated, for it may hold a password.
        """
        try:
            self._client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
                uri, serverSelectionTimeoutMS=_SELECTION_MS, timeoutMS=_OPERATION_MS, appname="yousync-api"
            )
        except (PyMongoError, OSError) as error:
            raise SettingsError(
                f"MONGODB_URI: the driver cannot use this connection string: {type(error).__name__}"
            ) from None
        self._videos = self._client[database][VIDEOS]
        self._away = False

    def close(self) -> None:
        self._client.close()

    async def list_videos(self, *, limit: int, skip: int = 0, after: str | None = None) -> list[StoredVideo]:
        wanted = EVERY_VIDEO if after is None else {SORT_KEY: {**EVERY_VIDEO[SORT_KEY], "$lt": after}}
        found = self._videos.find(
            wanted, {"_id": False, SORT_KEY: True, BODY: True}, sort=NEWEST_FIRST, hint=NEWEST_FIRST
        )
        rows = await self._answer(lambda: found.clone().skip(skip).limit(limit).to_list(None))
        return [StoredVideo(row[SORT_KEY], row[BODY]) for row in rows]

    async def count_videos(self) -> int:
        return await self._answer(lambda: self._videos.count_documents(EVERY_VIDEO, hint=NEWEST_FIRST))

    async def find_video(self, video_id: str) -> bytes | None:
        # Hinted, for the planner would also try the other index that the filter allows.
        wanted = {"_id": video_id, **EVERY_VIDEO}
        row = await self._answer(lambda: self._videos.find_one(wanted, {"_id": False, BODY: True}, hint=_BY_ID))
        return None if row is None else row[BODY]

    async def readiness_fault(self) -> str | None:
        """Why the read model cannot be read, None if it can."""
        try:
            await self._answer(lambda: self._client.admin.command("ping"))
        except ReadModelUnavailable as error:
            return str(error)
        return None

    async def _answer(self, read: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                answer = await _through_swaps(read)
        except (PyMongoError, TimeoutError) as error:
            raise self._unavailable(error) from error
        if self._away:
            log.info("read model back")
        self._away = False
        return answer

    def _unavailable(self, error: Exception) -> ReadModelUnavailable:
        """The error for callers; the log gets one line when it begins, however many reads fail."""
        unavailable = ReadModelUnavailable(f"MongoDB does not answer: {_reason(error)}")
        if not self._away:
            log.error("read model away", reason=str(unavailable))
        self._away = True
        return unavailable


async def _through_swaps(read: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer to a read, which is begun again when a replay's swap has ended it: then it reads what is new."""
    for _ in range(_SWAPS):
        try:
            return await read()
        except OperationFailure as error:
            if error.code != _QUERY_PLAN_KILLED:
                raise
    return await read()


def _reason(error: Exception) -> str:
    """The first part of a driver's message: the rest describes timeouts and topology at length."""
    text = str(error).split(" (configured timeouts", 1)[0].split(", Timeout:", 1)[0]
    return text[:200] or f"no answer within {_PATIENCE_SECONDS} s"
