"""The users of deploy/mongodb/users.json: what the API's and the processors' may do, and what they may not.

That the services and a replay work with them is shown in test_kafka_security.py, where nobody is let in for nothing.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from contract.read_model import VIDEOS
from contract.settings import SettingsError
from processors.read_model_writer import MongoReadModel, mongo_client
from query_api.video_reader import MongoVideoReader
from tests.guarded_mongod import GuardedMongod, guarded_mongod

Documents = Collection[dict[str, Any]]
DATABASE = "yousync"


@pytest.fixture(scope="module")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedMongod]:
    with guarded_mongod(tmp_path_factory.mktemp("guarded")) as running:
        yield running


def write(documents: Documents) -> None:
    documents.insert_one({"title": "forged"})


def delete(documents: Documents) -> None:
    documents.delete_many({})


def drop(documents: Documents) -> None:
    documents.drop()


def swap(documents: Documents) -> None:
    documents.rename("swapped", dropTarget=True)


def index(documents: Documents) -> None:
    documents.create_index("title")


@pytest.mark.parametrize("forbidden", [write, delete, drop, swap, index])
def test_the_apis_user_reads_and_cannot_write(mongod: GuardedMongod, forbidden: Any) -> None:
    with (
        MongoClient[dict[str, Any]](mongod.uri_of("yousync-processor")) as writing,
        MongoClient[dict[str, Any]](mongod.uri_of("yousync-api")) as reading,
    ):
        writing[DATABASE][VIDEOS].insert_one({"title": "kept"})

        with pytest.raises(OperationFailure, match="not authorized"):
            forbidden(reading[DATABASE][VIDEOS])

        assert reading[DATABASE][VIDEOS].count_documents({"title": "kept"}) > 0


def test_the_processors_user_has_no_other_database(mongod: GuardedMongod) -> None:
    with MongoClient[dict[str, Any]](mongod.uri_of("yousync-processor")) as client:
        for forbidden in (write, drop):
            with pytest.raises(OperationFailure, match="not authorized"):
                forbidden(client["another"][VIDEOS])
        with pytest.raises(OperationFailure, match="not authorized"):
            client.admin.command({"usersInfo": 1})


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ("yousync-api:wrong@", "MONGODB_URI: MongoDB refuses this user or its password"),
        ("", "MONGODB_URI: MongoDB lets this user not do that in the database yousync"),
    ],
)
async def test_who_is_refused_is_told_which_setting_to_mend(mongod: GuardedMongod, user: str, told: str) -> None:
    uri = f"mongodb://{user}{mongod.address}/?authSource=admin"
    reader = MongoVideoReader(uri, DATABASE)
    try:
        with pytest.raises(SettingsError, match=told):
            await reader.require_rights()
    finally:
        await reader.close()
    async with mongo_client(uri) as client:
        with pytest.raises(SettingsError, match=told):
            await MongoReadModel(client, DATABASE).require_rights()
