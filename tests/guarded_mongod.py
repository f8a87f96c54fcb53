"""A real MongoDB that asks who one is, with the users of `deploy/mongodb/users.json`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient

from yousync.local.mongod import MongodServer, find_mongod
from yousync.local.server import free_port

_USERS: Final = Path(__file__).parents[1] / "deploy" / "mongodb" / "users.json"


class GuardedMongod(MongodServer):
    """With `--auth`; its first user comes in by the exception that MongoDB makes for this machine."""

    def command(self) -> list[str]:
        return [*super().command(), "--auth"]

    def uri_of(self, user: str, password: str = "") -> str:
        return f"mongodb://{user}:{password or f'{user}-secret-3141'}@{self.address}/?authSource=admin"


@contextmanager
def guarded_mongod(folder: Path) -> Iterator[GuardedMongod]:
    """Running, with its users; gone at the end."""
    mongod = GuardedMongod(folder / "mongod", folder / "mongod.log", free_port(), find_mongod(None))
    try:
        mongod.start()
        with MongoClient[dict[str, Any]](mongod.uri) as anybody:
            anybody.admin.command({"createUser": "root", "pwd": "root-secret-3141", "roles": ["root"]})
        with MongoClient[dict[str, Any]](mongod.uri_of("root")) as root:
            for user in json.loads(_USERS.read_text()):
                root.admin.command({**user, "pwd": f"{user['createUser']}-secret-3141"})
        yield mongod
    finally:
        mongod.stop()
