"""The streams as a product: what is published under `docs/streams/` is what the code does, and stays so.

Schemas are those of the types, a change that breaks somebody is refused, published files never change, every example
is valid and readable for ever, and the pages' and AsyncAPI's settings are those of `contract.topics`.
"""

import copy
import json
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, get_args

import pytest
import yaml

from contract import events, video
from contract.events import first_failure, read_dead_letter_headers, read_raw_headers, read_video_headers
from contract.settings import Settings
from contract.topics import CHANGELOG, DAY_MS, DEAD_LETTER, HOUR_MS, MIB, PRODUCER_STATE, RAW, VIDEOS, topic_specs
from processors.decode import Gone, Item, Reason, Record, decode
from tests.schema_changes import breaking_changes
from tests.stream_examples import (
    EXAMPLES,
    PUBLISHED,
    SCHEMAS_OF,
    STREAMS,
    Example,
    faults,
    minor_version,
    read_example,
    read_schema,
    schema_name,
)
from tests.stream_schemas import FOLDER, file_name, stream_schemas, to_text

PARTITIONS: Final = Settings.model_fields["topic_partitions"].default
SPECS: Final = {spec.name: spec for spec in topic_specs(PARTITIONS)}
SOME_DAY_MS: Final = 1_795_420_000_000
PUBLIC: Final = (RAW, VIDEOS, DEAD_LETTER)
NAMES: Final = sorted(stream_schemas())
SETTINGS: Final = re.compile(r"<!-- settings of (\S+) -->\n(.*?)\n<!-- /settings -->", re.DOTALL)

Schema = dict[str, Any]
Change = Callable[[Schema], object]


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_files_are_those_of_the_types(name: str) -> None:
    assert (FOLDER / file_name(name)).read_text() == to_text(stream_schemas()[name]), (
        "the types and the published schema differ: see docs/streams/README.md, Changing a schema"
    )


def test_there_are_no_other_schemas_and_each_was_published() -> None:
    assert sorted(path.name for path in FOLDER.glob("*.json")) == sorted(map(file_name, NAMES))
    assert sorted({schema_name(path) for path in PUBLISHED}) == NAMES


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.name)
def test_no_schema_breaks_who_knows_an_earlier_one(path: Path) -> None:
    now = stream_schemas()[schema_name(path)]

    assert breaking_changes(read_schema(path), now) == []


@pytest.mark.parametrize("name", NAMES)
def test_what_a_schema_says_now_is_published(name: str) -> None:
    """So that nobody may take it back."""
    newest = max((path for path in PUBLISHED if schema_name(path) == name), key=minor_version)

    assert breaking_changes(stream_schemas()[name], read_schema(newest)) == []


def test_what_was_published_never_changes() -> None:
    lines = (STREAMS / "published.sha256").read_text().splitlines()
    published = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}

    found = {str(path.relative_to(STREAMS)): sha256(path.read_bytes()).hexdigest() for path in (*PUBLISHED, *EXAMPLES)}
    assert found == published


# The rules of what breaks, on the schema of a video.


def _add(name: str, *, required: bool = False) -> Change:
    def change(schema: Schema) -> None:
        schema["properties"][name] = {"type": "string"}
        schema["required"] += [name] if required else []

    return change


HARMLESS: Final[dict[str, Change]] = {
    "an optional field": _add("caption"),
    "a nested optional field": lambda schema: schema["$defs"]["Channel"]["properties"].update(handle={"type": "null"}),
    "words": lambda schema: schema["properties"]["title"].update(description="Other words", examples=["a"]),
    "the order of required fields": lambda schema: schema["required"].reverse(),
}
BREAKING: Final[dict[str, tuple[Change, str]]] = {
    "a removed field": (lambda schema: schema["properties"].pop("duration_seconds"), "$.duration_seconds: removed"),
    "a removed nested field": (
        lambda schema: schema["$defs"]["Thumbnail"]["properties"].pop("width"),
        "$.thumbnails.additionalProperties.width: removed",
    ),
    "a renamed field": (
        lambda schema: schema["properties"].update(name=schema["properties"].pop("title")),
        "$.title: removed",
    ),
    "a new field that must be there": (_add("caption", required=True), "$.required"),
    "a field that may be missing now": (lambda schema: schema["required"].remove("url"), "$.required"),
    "a field that must be there now": (lambda schema: schema["required"].append("duration_seconds"), "$.required"),
    "another type": (lambda schema: schema["properties"]["duration_seconds"].update(type="number"), "$.duration_se"),
    "a wider type": (lambda schema: schema["properties"]["title"].update(type=["string", "null"]), "$.title.type"),
    "a new word in an enumeration": (lambda schema: schema["properties"]["live"]["enum"].append("ended"), "$.live."),
    "a word less": (lambda schema: schema["properties"]["live"]["enum"].remove("upcoming"), "$.live.enum"),
    "another pattern": (lambda schema: schema["properties"]["id"].update(pattern="^.*$"), "$.id.pattern"),
    "a new limit": (lambda schema: schema["properties"]["title"].update(maxLength=100), "$.title.maxLength"),
    "other elements": (lambda schema: schema["properties"]["queries"]["items"].update(type="object"), "$.queries.it"),
    "a closed object": (lambda schema: schema.update(additionalProperties=False), "$.additionalProperties"),
    "a map for a list": (lambda schema: schema["properties"].update(queries={"type": "object"}), "$.queries"),
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_harmless_changes_of_a_schema_pass(change: Change) -> None:
    old, new = stream_schemas()["video"], copy.deepcopy(stream_schemas()["video"])
    change(new)

    assert breaking_changes(old, new) == []


@pytest.mark.parametrize(("change", "path"), BREAKING.values(), ids=BREAKING)
def test_breaking_changes_of_a_schema_are_named(change: Change, path: str) -> None:
    old, new = stream_schemas()["video"], copy.deepcopy(stream_schemas()["video"])
    change(new)

    assert [one for one in breaking_changes(old, new) if one.startswith(path)]


def test_a_branch_less_or_another_one_breaks() -> None:
    old, fewer, other = (copy.deepcopy(stream_schemas()["raw-item"]) for _ in range(3))
    fewer["anyOf"].pop()
    other["$defs"]["VideoItem"]["properties"]["kind"]["enum"] = ["youtube#clip"]

    assert breaking_changes(old, fewer)
    assert breaking_changes(old, other) == ["$.anyOf[2].kind.enum: ['youtube#video'] became ['youtube#clip']"]


# Examples.


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_example_is_valid_by_every_version_and_our_own_code_reads_it(path: Path) -> None:
    example = read_example(path)
    assert example.topic == path.parent.name

    headers, value = SCHEMAS_OF[example.topic]
    assert faults(headers, example.headers) == []
    assert value is None or example.value is None or faults(value, example.value) == []
    for published in PUBLISHED:
        if schema_name(published) == headers:
            assert faults(headers, example.headers, read_schema(published)) == []
        if schema_name(published) == value and example.value is not None:
            assert faults(value, example.value, read_schema(published)) == []
    READ[example.topic](example)


def test_every_topic_has_examples_of_every_event() -> None:
    types = {example.headers["ce_type"] for example in map(read_example, EXAMPLES) if example.topic != DEAD_LETTER}
    assert types == {
        events.ITEM_FETCHED,
        events.ITEM_GONE,
        events.VIDEO_DISCOVERED,
        events.VIDEO_UPDATED,
        events.VIDEO_REMOVED,
    }
    assert {example.topic for example in map(read_example, EXAMPLES)} == set(PUBLIC)


def _read_video(example: Example) -> None:
    envelope = read_video_headers(example.record_headers)
    assert envelope.subject == example.key
    assert (envelope.type == events.VIDEO_REMOVED) == (example.value is None)
    body = example.record_value
    if body is not None:
        read = video.decode(body)
        assert read.id == example.key


def _read_raw(example: Example) -> None:
    key, value, headers = example.record_key, example.record_value, tuple(example.record_headers)
    record = Record(RAW, 0, 0, SOME_DAY_MS, key, value, headers)
    said = decode(record, lambda _: 0)
    assert isinstance(said, Gone if value is None else Item), said
    envelope = read_raw_headers(headers, gone=value is None, timestamp_ms=0)
    assert (said.video_id, said.time_ms) == (example.key, envelope.time_ms)
    assert envelope.queries


def _read_dead_letter(example: Example) -> None:
    """What is said of it, and what a retry of it would go on from."""
    said = read_dead_letter_headers(example.record_headers)
    assert first_failure(example.record_headers, "") == (said.origin, said.attempt + 1)


READ: Final = {VIDEOS: _read_video, RAW: _read_raw, DEAD_LETTER: _read_dead_letter}


def test_a_video_example_is_byte_by_byte_what_the_services_write() -> None:
    for path in (STREAMS / "examples" / VIDEOS).glob("*.json"):
        body = read_example(path).record_value
        if body is not None:
            unknown = path.stem == "with-unknown-fields"
            assert (video.encode(video.decode(body)) == body) is not unknown, path.stem


# The pages.


def settings_table(topic: str) -> str:
    """A topic's settings as Markdown."""
    spec = SPECS[topic]
    rows = [f"| partitions | `{spec.partitions}`{' (`YOUSYNC_TOPIC_PARTITIONS`)' if spec.partitions > 1 else ''} |"]
    rows += [f"| `{name}` | `{value}`{_spoken(name, value)} |" for name, value in spec.config.items()]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def _spoken(name: str, value: str) -> str:
    if name.endswith(".ms"):
        days, hours = divmod(int(value), DAY_MS)
        return f" ({days} d)" if days else f" ({hours // HOUR_MS} h)"
    return f" ({int(value) // MIB} MiB)" if name.endswith("bytes") else ""


def test_the_pages_show_the_settings_of_every_topic() -> None:
    shown: dict[str, tuple[str, str]] = {}
    for page in (STREAMS / "README.md", *(STREAMS / f"{topic}.md" for topic in PUBLIC)):
        shown |= {topic: (page.stem, table) for topic, table in SETTINGS.findall(page.read_text())}

    assert shown == {
        **{topic: (topic, settings_table(topic)) for topic in PUBLIC},
        **{topic: ("README", settings_table(topic)) for topic in (PRODUCER_STATE, CHANGELOG)},
    }
    assert shown.keys() == SPECS.keys()


@pytest.mark.parametrize("topic", PUBLIC)
def test_a_page_names_every_header_and_every_field(topic: str) -> None:
    page = (STREAMS / f"{topic}.md").read_text()
    headers, value = SCHEMAS_OF[topic]

    named = set(stream_schemas()[headers]["properties"])
    if value == "video":
        named |= set(stream_schemas()[value]["properties"])
    assert {name for name in named if f"`{name}`" not in page} == set()


def test_the_page_of_dead_letters_names_every_reason() -> None:
    _, _, reasons = (STREAMS / f"{DEAD_LETTER}.md").read_text().partition("## Reasons")

    assert set(re.findall(r"^\| `(\w+)` \|", reasons, re.MULTILINE)) == set(get_args(Reason))


# AsyncAPI: what its own parser cannot know. That it is AsyncAPI is test_asyncapi's.


def test_asyncapi_has_the_public_topics_with_their_settings_and_events() -> None:
    api = yaml.safe_load((STREAMS.parent / "asyncapi.yaml").read_text())
    channels = {channel["address"]: channel for channel in api["channels"].values()}
    assert set(channels) == set(PUBLIC)
    types = set()
    for topic, channel in channels.items():
        binding = channel["bindings"]["kafka"]
        assert binding["topic"] == topic
        assert binding["partitions"] == SPECS[topic].partitions
        assert binding["topicConfiguration"] == _asyncapi_config(SPECS[topic].config)
        for reference in channel["messages"].values():
            message = api["components"]["messages"][reference["$ref"].rpartition("/")[2]]
            headers, value = SCHEMAS_OF[topic]
            assert message["headers"]["$ref"] == f"./streams/schemas/{file_name(headers)}"
            assert message["payload"] in [{"type": "null"}, {}] or (
                value is not None and message["payload"]["$ref"] == f"./streams/schemas/{file_name(value)}"
            )
            assert message["bindings"]["kafka"]["key"]
            assert {example["headers"]["ce_type"] for example in _examples(message)} <= {message["name"]}
            types.add(message["name"])
    assert types == {
        events.ITEM_FETCHED,
        events.ITEM_GONE,
        events.VIDEO_DISCOVERED,
        events.VIDEO_UPDATED,
        events.VIDEO_REMOVED,
        "dead-letter",
    }


def _asyncapi_config(config: dict[str, str]) -> dict[str, Any]:
    return {name: [value] if name == "cleanup.policy" else int(value) for name, value in config.items()}


def _examples(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The files that a message's examples are taken from."""
    files = [STREAMS.parent / one["payload"]["$ref"].removesuffix("#/value") for one in message.get("examples", [])]
    return [json.loads(file.read_text()) for file in files]
