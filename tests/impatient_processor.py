"""The processor with an impatient watchdog, and with a fault that the watchdog is there for: started by tests.

    IMPATIENT_STALL_SECONDS=10 IMPATIENT_FAULT=hang python -m tests.impatient_processor processor

`hang`: the write of a document whose title is `STUCK` never comes back. `gap`: a record with that title is projected
but never acknowledged. `recovery`: the table's recovery never reads a record.
"""

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from faust.streams import Stream
from faust.tables.recovery import Recovery

from processors import service
from processors.document import Document, VideoDocument
from processors.projection import WriteResult
from processors.read_model_writer import MongoReadModel
from yousync.cli import main

STUCK = "stuck"


def hang() -> None:
    write = MongoReadModel.write

    async def hanging(self: MongoReadModel, documents: Sequence[Document], *args: Any, **said: Any) -> WriteResult:
        if any(isinstance(one, VideoDocument) and one.video.title == STUCK for one in documents):
            await asyncio.Event().wait()
        return await write(self, documents, *args, **said)

    setattr(MongoReadModel, "write", hanging)  # noqa: B010  # not for mypy to see


def gap() -> None:
    acknowledge = Stream.ack

    async def forgetting(self: Any, event: Any) -> bool:
        if STUCK.encode() in event.message.value:
            return False
        return bool(await acknowledge(self, event))

    setattr(Stream, "ack", forgetting)  # noqa: B010  # as above


def recovery() -> None:
    async def deaf(self: Any) -> None:
        await asyncio.Event().wait()

    Recovery._slurp_changelogs.fun = deaf


FAULTS = {"hang": hang, "gap": gap, "recovery": recovery}

if __name__ == "__main__":
    vars(service)["STALL_SECONDS"] = float(os.environ["IMPATIENT_STALL_SECONDS"])
    if "IMPATIENT_FAULT" in os.environ:
        FAULTS[os.environ["IMPATIENT_FAULT"]]()
    main()
