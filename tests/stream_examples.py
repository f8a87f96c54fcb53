"""What is published of the streams under `docs/streams/`: schemas, their earlier versions, and examples."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from contract.topics import DEAD_LETTER, RAW, VIDEOS
from tests.stream_schemas import stream_schemas

STREAMS: Final = Path(__file__).parents[1] / "docs/streams"
PUBLISHED: Final = sorted((STREAMS / "schemas/published").glob("*.json"))
EXAMPLES: Final = sorted((STREAMS / "examples").glob("*/*.json"))

SCHEMAS_OF: Final[dict[str, tuple[str, str | None]]] = {
    VIDEOS: ("video-headers", "video"),
    RAW: ("raw-item-headers", "raw-item"),
    DEAD_LETTER: ("dead-letter-headers", None),
}
"""By topic: the schemas of its headers and of a value that is not null."""


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record in a file; one of the three values, the last two for what is not JSON (or need not be)."""

    topic: str
    about: str
    key: str | None
    headers: dict[str, str]
    value: dict[str, Any] | None = None
    value_text: str | None = None
    value_base64: str | None = None

    @property
    def record_key(self) -> bytes | None:
        return None if self.key is None else self.key.encode()

    @property
    def record_headers(self) -> list[tuple[str, bytes]]:
        return [(name, text.encode()) for name, text in self.headers.items()]

    @property
    def record_value(self) -> bytes | None:
        if self.value_text is not None:
            return self.value_text.encode()
        if self.value_base64 is not None:
            return base64.b64decode(self.value_base64)
        return None if self.value is None else msgspec.json.encode(self.value)


def read_example(path: Path) -> Example:
    return msgspec.json.decode(path.read_bytes(), type=Example)


def schema_name(published: Path) -> str:
    """`video` of `video.v1.0.schema.json`."""
    return published.name.partition(".v1")[0]


def minor_version(published: Path) -> int:
    """1 of `video.v1.1.schema.json`."""
    return int(published.name.partition(".v1.")[2].partition(".")[0])


def faults(name: str, value: Any, schema: dict[str, Any] | None = None) -> list[str]:
    """What is wrong with a value by the schema of that name, as it is now or as given."""
    validator = _validator_of(name) if schema is None else _validator(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


@cache
def _validator_of(name: str) -> Draft202012Validator:
    return _validator(stream_schemas()[name])


def _validator(schema: dict[str, Any]) -> Draft202012Validator:
    Draft202012Validator.check_schema(schema)
    checker = Draft202012Validator.FORMAT_CHECKER
    assert "date-time" in checker.checkers
    return Draft202012Validator(schema, format_checker=checker)


def read_schema(path: Path) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(path.read_text())
    return schema
