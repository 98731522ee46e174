"""The schema files as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType

import orjson

from headwater.domain.json import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """A built-in event type. `mode` is ACTIVE or PASSIVE; `schema` keeps its `$ref`s."""

    name: str
    label: str
    description: str
    mode: str
    group: str
    product_aware: bool
    retention_months: int
    schema: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """An event context and the schema of its `contextInfo`."""

    name: str
    label: str
    description: str
    schema: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Schemas:
    """Everything under `schemas/`; definitions are what the `$ref`s point to."""

    event_types: Mapping[str, EventType]
    contexts: Mapping[str, Context]
    event_definitions: JsonObject
    context_definitions: JsonObject
    customer: JsonObject


def load_schemas() -> Schemas:
    """Read the schema files; once per process is enough."""
    types = {}
    for name, content in _read_folder("event").items():
        types[name] = EventType(
            name=name,
            label=content["label"],
            description=content["description"],
            mode=content["mode"],
            group=content["group"],
            product_aware=content["productAware"],
            retention_months=content["retentionMonths"],
            schema=content["propertiesSchema"],
        )
    contexts = {
        name: Context(
            name=name,
            label=content["label"],
            description=content["description"],
            schema=content["propertiesSchema"],
        )
        for name, content in _read_folder("context").items()
    }
    return Schemas(
        event_types=MappingProxyType(types),
        contexts=MappingProxyType(contexts),
        event_definitions=_read("event", "definitions")["definitions"],
        context_definitions=_read("context", "definitions")["definitions"],
        customer=_read("customer", "customer"),
    )


def _read_folder(folder: str) -> dict[str, JsonObject]:
    names = sorted(
        entry.name.removesuffix(".json")
        for entry in files("schemas").joinpath(folder).iterdir()
        if entry.name.endswith(".json")
    )
    return {name: _read(folder, name) for name in names if name != "definitions"}


def _read(folder: str, name: str) -> JsonObject:
    raw = files("schemas").joinpath(folder).joinpath(f"{name}.json").read_bytes()
    # in the files a reference names the file too, so that any tool can follow it
    content: JsonObject = orjson.loads(raw.replace(b'"definitions.json#/', b'"#/'))
    return content
