"""The JSON Schemas of the public topics, made from the types that the services read and write with.

`python -m tests.stream_schemas` writes them to `docs/streams/schemas/`; a test compares them with what is there. What a
type cannot say and the code enforces (a video id's form, a time's form, a thumbnail's name) is added here.
"""

import json
from pathlib import Path
from typing import Any, Final

import msgspec

from contract import events
from contract.video import VIDEO_ID, WATCH_URL, Video
from processors.decode import _DECODER_OF, _PlaylistItem, _SearchItem, _VideoItem

Schema = dict[str, Any]

FOLDER: Final = Path(__file__).parents[1] / "docs/streams/schemas"

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_REF: Final = "#/$defs/{name}"
_SECONDS: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"
_MILLIS: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"
_SORT_KEY: Final = rf"^\d{{13}}{VIDEO_ID.pattern}$"
_VIDEO_ID: Final[Schema] = {"pattern": f"^{VIDEO_ID.pattern}$"}
_TIME: Final[Schema] = {"format": "date-time"}
_THUMBNAIL_NAME: Final[Schema] = {"propertyNames": {"pattern": r"^[^.$\u0000][^.\u0000]*$"}}

_VIDEO_FIELDS: Final[dict[str, dict[str, Schema]]] = {
    "Video": {
        "id": {**_VIDEO_ID, "description": "YouTube's id, also the record's key."},
        "title": {"description": "As YouTube shows it, nothing escaped."},
        "description": {"description": "All of it, or the excerpt of a search until the whole was fetched."},
        "published_at": {**_TIME, "pattern": _SECONDS, "description": "UTC, whole seconds."},
        "live": {"description": "`none` also for a broadcast that is over."},
        "duration_seconds": {"minimum": 1, "description": "Left out when unknown, as while it is live."},
        "thumbnails": {**_THUMBNAIL_NAME, "description": "By YouTube's name of the size."},
        "queries": {"uniqueItems": True, "description": "Every followed query that found the video, sorted."},
        "first_seen_at": {**_TIME, "pattern": _MILLIS, "description": "When YouSync first saw it; UTC, milliseconds."},
        "url": {"pattern": f"^{WATCH_URL.replace('.', '[.]').replace('?', '[?]')}{VIDEO_ID.pattern}$"},
    },
    "Thumbnail": {
        "width": {"minimum": 0, "maximum": 2**31 - 1},
        "height": {"minimum": 0, "maximum": 2**31 - 1},
    },
}

_RAW_FIELDS: Final[dict[str, dict[str, Schema]]] = {
    "SearchId": {"videoId": _VIDEO_ID},
    "SearchSnippet": {"publishedAt": _TIME, "thumbnails": _THUMBNAIL_NAME},
    "PlaylistSnippet": {"thumbnails": _THUMBNAIL_NAME},
    "PlaylistDetails": {"videoId": _VIDEO_ID, "videoPublishedAt": _TIME},
    "VideoItem": {"id": _VIDEO_ID},
}
_RAW_ITEMS: Final = {"SearchItem": _SearchItem, "PlaylistItem": _PlaylistItem, "VideoItem": _VideoItem}


def stream_schemas() -> dict[str, Schema]:
    """Every schema by name: values, and headers as an object of UTF-8 texts."""
    return {
        "video": _video(),
        "video-headers": _video_headers(),
        "raw-item": _raw_item(),
        "raw-item-headers": _raw_item_headers(),
        "dead-letter-headers": _dead_letter_headers(),
    }


def to_text(schema: Schema) -> str:
    """A schema as its file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def file_name(name: str) -> str:
    return f"{name}.v1.schema.json"


def _video() -> Schema:
    _, components = msgspec.json.schema_components([Video], ref_template=_REF)
    defs = _with_fields(components, _VIDEO_FIELDS)
    return {"$schema": _DRAFT, **defs.pop("Video"), "$defs": defs}


def _raw_item() -> Schema:
    _, components = msgspec.json.schema_components(list(_RAW_ITEMS.values()), ref_template=_REF)
    text = json.dumps(components)
    for private in components:
        text = text.replace(f'"{private}"', f'"{private.lstrip("_")}"').replace(
            f"/{private}", f"/{private.lstrip('_')}"
        )
    defs = _with_fields(json.loads(text), _RAW_FIELDS)
    for name, item in _RAW_ITEMS.items():
        defs[name]["properties"]["kind"]["enum"] = [_kind_of(item)]
    return {
        "$schema": _DRAFT,
        "title": "Raw item",
        "description": "An item of YouTube's API as it came. Here is what the processors rely on; there is more in it.",
        "anyOf": [{"$ref": _REF.format(name=name)} for name in _RAW_ITEMS],
        "$defs": defs,
    }


def _kind_of(item: type) -> str:
    [kind] = [one for one, decoder in _DECODER_OF.items() if decoder.type is item and one.startswith("youtube#")]
    return kind


def _with_fields(components: Schema, fields: dict[str, dict[str, Schema]]) -> Schema:
    for struct, more in fields.items():
        for name, said in more.items():
            components[struct]["properties"][name] |= said
    return components


def _video_headers() -> Schema:
    return _headers(
        "Headers of a youtube.videos record",
        required={
            **_spec(events.PROCESSORS_SOURCE),
            "ce_type": _event_type(events.VIDEO_DISCOVERED, events.VIDEO_UPDATED, events.VIDEO_REMOVED),
            "ce_id": _text(r"^\d+-\d+$", "Partition and offset of the raw record that caused it."),
            "ce_subject": _text(f"^{VIDEO_ID.pattern}$", "The video id, also the key."),
            "ce_sequence": _text(
                r"^\d{20}$", "Within a key the highest counts, and of two equal ones the later record: drop the others."
            ),
        },
        optional={
            "ce_sortkey": _text(
                _SORT_KEY,
                "Publish time in ms and video id: the public order is descending by it. "
                "Of a removal, that of the video; left out when it was never stored.",
            ),
            "ce_previoussortkey": _text(_SORT_KEY, "A hint: what it was before the change. Only on updates."),
        },
    )


def _raw_item_headers() -> Schema:
    calls = [events.SEARCH, events.PLAYLIST_ITEMS, events.VIDEOS]
    return _headers(
        "Headers of a youtube.videos.raw record",
        required={
            **_spec(*calls),
            "ce_type": _event_type(events.ITEM_FETCHED, events.ITEM_GONE),
            "ce_id": _text("^.+$", "Another for every record that the producer makes."),
            "ce_time": _text(_MILLIS, "When it was fetched."),
            "ce_subject": _text(f"^{VIDEO_ID.pattern}$", "The video id, also the key."),
            "ce_queries": _text(
                r"^\[[\s\S]*\]$", "JSON array of texts: every followed query known to match the video."
            ),
            "ce_firstseen": _text(_MILLIS, "When YouSync first saw the video."),
        },
        optional=_put_back(),
    )


def _dead_letter_headers() -> Schema:
    return _headers(
        "Headers that a youtube.videos.dead-letter record has beside the original ones",
        required={
            "dl_reason": _text("^[a-z0-9_]+$", "A word; new ones may come."),
            "dl_detail": _text("", "A sentence for people."),
            **_put_back(),
            "dl_version": _text("^.+$", "YouSync's version that refused it."),
            "dl_failed_at": _text(_MILLIS, "When it failed last."),
        },
        optional={"dl_timestamp_ms": _text(r"^-?\d+$", "Kafka's timestamp of the original record.")},
    )


def _put_back() -> dict[str, Schema]:
    return {
        "dl_origin": _text(events._ORIGIN.pattern.join("^$"), "Topic, partition and offset of the first failure."),
        "dl_attempt": _text(r"^[1-9]\d*$", "How often it has failed."),
    }


def _spec(*sources: str) -> dict[str, Schema]:
    return {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "content-type": {"type": "string", "const": "application/json"},
        "ce_source": {"type": "string", "enum": list(sources)},
    }


def _event_type(*types: str) -> Schema:
    return {"type": "string", "enum": list(types)}


def _text(pattern: str, description: str) -> Schema:
    return {"type": "string", **({"pattern": pattern} if pattern else {}), "description": description}


def _headers(title: str, *, required: dict[str, Schema], optional: dict[str, Schema]) -> Schema:
    return {
        "$schema": _DRAFT,
        "title": title,
        "description": "Names are Kafka's, values are UTF-8 text. Others may come: pass over what you do not know.",
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
    }


if __name__ == "__main__":
    for name, schema in stream_schemas().items():
        (FOLDER / file_name(name)).write_text(to_text(schema))
