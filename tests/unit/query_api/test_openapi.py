"""The contract is valid, says what the code does, and its examples are what its schemas say."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from aiohttp import hdrs, web
from jsonschema import Draft202012Validator, FormatChecker  # type: ignore[import-untyped]
from openapi_spec_validator import validate

from contract import video
from contract.producer_state import Leader
from contract.video import Video
from ops.pipeline_observer import QuotaLeft
from query_api import filters, listing, live, live_client, pages, pagination, pipeline, problems, routes, summaries

CONTRACT: Final[dict[str, Any]] = json.loads((Path(pages.__file__).parent / "openapi.json").read_bytes())
COMPONENTS: Final = CONTRACT["components"]
ROUTES: Final = [*routes.ROUTES, *live.ROUTES, *pipeline.ROUTES]


def _resolved(node: Any) -> Any:
    """Without references, all the way down."""
    if isinstance(node, list):
        return [_resolved(each) for each in node]
    if not isinstance(node, dict):
        return node
    if isinstance(reference := node.get("$ref"), str):
        _, _, kind, name = reference.split("/")
        return _resolved(COMPONENTS[kind][name])
    return {name: _resolved(value) for name, value in node.items()}


PATHS: Final[dict[str, Any]] = _resolved(CONTRACT["paths"])


def _responses() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, item in PATHS.items():
        for status, response in item["get"]["responses"].items():
            yield path, status, response


def _examples() -> Iterator[Any]:
    for path, status, response in _responses():
        for content_type, content in response.get("content", {}).items():
            for name, example in content["examples"].items():
                yield pytest.param(content["schema"], example["value"], id=f"{path} {status} {content_type} {name}")
        for name, header in response["headers"].items():
            yield pytest.param(header["schema"], header["example"], id=f"{path} {status} {name}")
    for path, item in PATHS.items():
        for parameter in item["get"]["parameters"]:
            schema = parameter["schema"]
            for example in (parameter["example"],) if "example" in parameter else schema.get("examples", ()):
                yield pytest.param(schema, example, id=f"{path} {parameter['name']}")
    for name, schema in COMPONENTS["schemas"].items():
        for number, example in enumerate(schema.get("examples", [])):
            yield pytest.param(_resolved(schema), example, id=f"{name} {number}")


def _documented(path: str, where: str = "query") -> set[str]:
    return {parameter["name"] for parameter in PATHS[path]["get"]["parameters"] if parameter["in"] == where}


def _problem_types() -> set[str]:
    modules = (problems, live)
    return {
        each for module in modules for each in vars(module).values() if isinstance(each, str) and each[:4] == "urn:"
    }


def test_it_is_valid_openapi() -> None:
    assert CONTRACT["openapi"].startswith("3.1.")
    validate(CONTRACT)


@pytest.mark.parametrize(("schema", "example"), list(_examples()))
def test_examples_are_what_their_schemas_say(schema: Mapping[str, Any], example: Any) -> None:
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(example)


def test_every_component_is_used() -> None:
    text = json.dumps(CONTRACT)

    unused = [
        f"{kind}/{name}"
        for kind, components in COMPONENTS.items()
        for name in components
        if f'"#/components/{kind}/{name}"' not in text
    ]

    # Data of an event, which OpenAPI has no place for: the stream's description names it.
    assert unused == ["schemas/Removed"]


def test_its_paths_are_the_routes() -> None:
    app = web.Application()
    app.add_routes(ROUTES)
    served = {route.resource.canonical for route in app.router.routes() if route.resource is not None}
    methods = {route.method for route in app.router.routes()}

    assert set(PATHS) == served
    assert methods == {hdrs.METH_GET, hdrs.METH_HEAD}
    assert all(set(item) == {"get"} for item in PATHS.values())


def test_its_parameters_are_the_known_ones() -> None:
    assert _documented("/v1/videos") == set(pagination._KNOWN)
    assert _documented("/v1/live") == set(live_client._KNOWN)
    assert _documented("/v1/queries") == _documented("/v1/channels") == set(summaries._KNOWN)
    assert _documented("/v1/pipeline") == _documented("/v1/videos/{video_id}") == set()


def test_the_limits_of_its_parameters_are_the_code_s() -> None:
    schemas = {name: parameter["schema"] for name, parameter in COMPONENTS["parameters"].items()}

    assert schemas["limit"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": pagination.MAX_LIMIT,
        "default": pagination.DEFAULT_LIMIT,
    }
    assert (schemas["page"]["default"], schemas["page"]["maximum"]) == (
        pagination.DEFAULT_PAGE,
        pagination.LAST_COUNTABLE,
    )
    assert schemas["cursor"]["pattern"] == f"^{pagination._CURSOR.pattern}$"
    assert schemas["list_cursor"]["pattern"] == f"^{summaries._CURSOR.pattern}$"
    assert schemas["channel_id"]["pattern"] == f"^{filters._CHANNEL_ID.pattern}$"
    assert schemas["video_id"]["pattern"] == f"^{video.VIDEO_ID.pattern}$"
    assert schemas["search"]["maxLength"] == filters.MAX_SEARCH_CHARACTERS
    said = PATHS["/v1/videos"]["get"]["responses"]["400"]["description"]
    assert f"({filters.LAST_COUNTED:,} videos" in said
    assert "a quarter of a second" in COMPONENTS["schemas"]["Page"]["properties"]["complete"]["description"]
    assert listing._COUNT_SECONDS == 0.25


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        ("Video", Video),
        ("Channel", video.Channel),
        ("Thumbnail", video.Thumbnail),
        ("Problem", problems.Problem),
        ("ParameterFault", filters.ParameterFault),
        ("QuerySummary", summaries.QuerySummary),
        ("Pipeline", pipeline.PipelineHealth),
        ("QuotaLeft", QuotaLeft),
        ("Leader", Leader),
    ],
)
def test_its_schemas_have_the_fields_of_the_code(name: str, struct: type[msgspec.Struct]) -> None:
    schema = COMPONENTS["schemas"][name]
    written = msgspec.json.schema(struct)["$defs"][struct.__name__]

    assert list(schema["properties"]) == list(written["properties"])
    assert schema["required"] == written["required"]
    for field, said in written["properties"].items():
        documented = _resolved(schema["properties"][field])
        if "type" in said and "enum" not in said:
            assert documented["type"] == said["type"], field


def test_the_video_s_live_is_one_of_those_in_the_code() -> None:
    (live_field,) = (field for field in msgspec.structs.fields(Video) if field.name == "live")

    assert set(COMPONENTS["schemas"]["Video"]["properties"]["live"]["enum"]) == set(live_field.type.__args__)


def test_a_page_has_the_members_that_are_rendered() -> None:
    page = pagination.to_page(pagination.PageRequest(), [], pagination.Total(0))

    rendered = json.loads(pagination.render_page(page))

    assert list(COMPONENTS["schemas"]["Page"]["properties"]) == list(rendered)
    assert COMPONENTS["schemas"]["Page"]["required"] == list(rendered)


def test_every_type_of_problem_is_in_it_with_an_example() -> None:
    shown = {
        example["value"]["type"]
        for _, _, response in _responses()
        for example in response.get("content", {}).get("application/problem+json", {}).get("examples", {}).values()
    }

    assert set(COMPONENTS["schemas"]["Problem"]["properties"]["type"]["enum"]) == {problems.NO_TYPE, *_problem_types()}
    assert shown == {problems.NO_TYPE, *_problem_types()}


def test_examples_name_no_video_of_youtube() -> None:
    named = {example["id"] for example in COMPONENTS["schemas"]["Video"]["examples"]}

    assert all(video_id.startswith("sim-") for video_id in named)
