"""From a public schema to what is compiled.

- `$ref`s are inlined, so that an error's place in the schema can be looked up;
- an optional member accepts null at any depth, a required one does not (contacthub 2.10);
- `integer` is bounded to what fits 64 bits (contacthub 2.11); 1.0 is an integer, as in every draft
  since the sixth;
- formats get names of our own; `declared` keeps the type that the public schema names, for the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import jsonschema_rs

from headwater.domain.json import JsonObject, JsonValue
from headwater.validation.formats import FORMATS, PREFIX

LOWEST = -(2**63)
HIGHEST = 2**64 - 1

_KEPT = ("enum", "minimum", "maximum", "minLength", "maxLength", "pattern", "required")


def derive(
    schema: JsonObject, definitions: Mapping[str, JsonObject], *, nullable: bool = False
) -> JsonObject:
    """The schema that is compiled for a public one."""
    resolved = _resolve(schema, definitions)
    derived: JsonObject = {key: resolved[key] for key in _KEPT if key in resolved}
    declared = resolved.get("type")
    types = [declared] if isinstance(declared, str) else list(declared or ())
    derived["declared"] = " or ".join(types)
    if types:
        derived["type"] = [*types, "null"] if nullable and "null" not in types else types
    if nullable and "enum" in derived and None not in derived["enum"]:
        derived["enum"] = [*derived["enum"], None]
    if "integer" in types:
        derived.setdefault("minimum", LOWEST)
        derived.setdefault("maximum", HIGHEST)
    if "format" in resolved:
        derived["format"] = PREFIX + resolved["format"]
    if "properties" in resolved:
        required = resolved.get("required", ())
        derived["properties"] = {
            name: derive(inner, definitions, nullable=name not in required)
            for name, inner in resolved["properties"].items()
        }
    if "additionalProperties" in resolved:
        derived["additionalProperties"] = resolved["additionalProperties"]
    if "items" in resolved:
        derived["items"] = derive(resolved["items"], definitions)
    return derived


def _resolve(schema: JsonObject, definitions: Mapping[str, JsonObject]) -> JsonObject:
    if "$ref" in schema:
        return _resolve(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "oneOf" in schema:
        # the only form in use: null or one other
        (other,) = [branch for branch in schema["oneOf"] if branch.get("type") != "null"]
        resolved = dict(_resolve(other, definitions))
        named = resolved["type"]
        resolved["type"] = [*([named] if isinstance(named, str) else named), "null"]
        return resolved
    return schema


def compile_schema(
    derived: JsonObject, formats: Mapping[str, Callable[[str], bool]] = FORMATS
) -> jsonschema_rs.Draft7Validator:
    """A compiled validator of a derived schema."""
    return jsonschema_rs.Draft7Validator(
        derived, validate_formats=True, formats=named_formats(formats)
    )


def named_formats(
    formats: Mapping[str, Callable[[str], bool]],
) -> dict[str, Callable[[str], bool]]:
    """The formats under the names that derived schemas use."""
    return {PREFIX + name: check for name, check in formats.items()}


SpellingTree: TypeAlias = JsonObject | str
"""`date-time`, `date` or `integer` where such a value stands; else an object of members and `[]` for
elements.
"""


def spelled_paths(derived: JsonObject, *, integers: bool = False) -> SpellingTree | None:
    """Where dates, and `integers`, stand in documents of a schema; None if nowhere.

    Walking only this keeps normalising cheap.
    """
    form = derived.get("format", "").removeprefix(PREFIX)
    if form in {"date-time", "date"}:
        return str(form)
    if integers and "integer" in derived.get("type", ()):
        return "integer"
    tree: JsonObject = {}
    for name, inner in derived.get("properties", {}).items():
        found = spelled_paths(inner, integers=integers)
        if found is not None:
            tree[name] = found
    if "items" in derived:
        found = spelled_paths(derived["items"], integers=integers)
        if found is not None:
            tree["[]"] = found
    return tree or None


def at(derived: JsonObject, schema_path: list[JsonValue]) -> JsonObject:
    """The part of a derived schema that an error's schema path leads to, without its keyword."""
    node: JsonValue = derived
    for step in schema_path[:-1]:
        node = node[step]
    part: JsonObject = node
    return part
