"""The contract tried on the real server: whatever it allows is answered as it says, whatever it does not is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from query_api import pages
from tests.published_videos import published_videos

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

CONTRACT: Final = schemathesis.openapi.from_path(Path(pages.__file__).parent / "openapi.json")

WHAT_NO_SCHEMA_SAYS: Final = {"cursor", "page", "published_after", "query", "search"}
"""Parameters that are refused for more than a schema can say, which is why one of the library's checks is replaced.

A cursor is only what was given out, and never beside a page; a page has an end with some filters; after is not later
than before; a query is one query, and a search has one to ten words.
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API's process to hold to the contract."""
    with (
        published_videos(tmp_path_factory.mktemp("servers"), 300) as videos,
        videos.api(tmp_path_factory.mktemp("api")) as url,
    ):
        yield url


# The stream never ends by itself; tests/integration/test_live.py holds it to the contract.
@CONTRACT.exclude(path="/v1/live").parametrize()
@settings(max_examples=60, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_server_keeps_the_contract(case: "schemathesis.Case[Any]", url: str) -> None:
    answer = case.call_and_validate(base_url=url, excluded_checks=[positive_data_acceptance])

    if answer.status_code == 400 and case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE:
        faults = {fault["parameter"] for fault in answer.json()["errors"]}
        assert faults <= WHAT_NO_SCHEMA_SAYS, answer.json()


@pytest.mark.parametrize("path", sorted(CONTRACT.raw_schema["paths"]))
def test_an_unknown_parameter_is_refused_everywhere(path: str, url: str) -> None:
    answer = requests.get(url + path.format(video_id="dash0000001"), params={"tag": "tea"}, timeout=10)

    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert [fault["parameter"] for fault in answer.json()["errors"]] == ["tag"]
