"""What of a schema's new version would break somebody: the rules behind the promise of `docs/streams/README.md`.

Full compatibility: who knows only the old schema reads what is written by the new one, and the other way round. So
nothing may change but words for people, and a property may be added that nobody must have. That is stricter than
necessary (a wider type would not break a writer), and so needs no reasoning about who writes and who reads.
"""

from collections.abc import Iterator
from typing import Any, Final

Schema = dict[str, Any]

_WORDS: Final = frozenset({"$schema", "$comment", "$defs", "title", "description", "examples", "default", "deprecated"})
_IN_ANY_ORDER: Final = frozenset({"type", "enum", "required"})
_NESTED: Final = frozenset({"items", "additionalProperties", "propertyNames"})


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """One sentence for each, none when the new schema may take the place of the old one."""
    return list(_compare(old, new, old, new, "$"))


def _compare(old: Any, new: Any, old_root: Schema, new_root: Schema, path: str) -> Iterator[str]:
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield f"{path}: {old!r} became {new!r}"
        return
    for keyword in sorted((old.keys() | new.keys()) - _WORDS):
        before, after, here = old.get(keyword), new.get(keyword), f"{path}.{keyword}"
        if keyword == "properties":
            yield from _compare_properties(before or {}, after or {}, old_root, new_root, path)
        elif keyword in _NESTED and before is not None and after is not None:
            yield from _compare(before, after, old_root, new_root, here)
        elif keyword == "anyOf" and before and after and len(before) == len(after):
            for number, (one, other) in enumerate(zip(before, after, strict=True)):
                yield from _compare(one, other, old_root, new_root, f"{here}[{number}]")
        elif _comparable(keyword, before) != _comparable(keyword, after):
            yield f"{here}: {before!r} became {after!r}"


def _compare_properties(old: Schema, new: Schema, old_root: Schema, new_root: Schema, path: str) -> Iterator[str]:
    for name, before in old.items():
        if name in new:
            yield from _compare(before, new[name], old_root, new_root, f"{path}.{name}")
        else:
            yield f"{path}.{name}: removed"


def _resolved(schema: Any, root: Schema) -> Any:
    if not isinstance(schema, dict) or "$ref" not in schema:
        return schema
    beside = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
    return {**_resolved(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root), **beside}


def _comparable(keyword: str, value: Any) -> Any:
    if keyword not in _IN_ANY_ORDER:
        return value
    return set(value) if isinstance(value, list) else {value} - {None}
