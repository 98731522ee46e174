"""Customers, sessions and events: normalised and judged.

Compiled once per process; what a workspace defines itself (extended properties) is compiled once per
version of its configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import jsonschema_rs

from headwater.domain.configuration import WorkspaceConfig
from headwater.domain.ids import WorkspaceId
from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.paths import pointer_of
from headwater.domain.refusal import FieldError
from headwater.validation.compile import compile_schema, derive, formatted_paths
from headwater.validation.normalise import as_meant, with_dates
from headwater.validation.report import report
from headwater.validation.schemas import Schemas

Errors: TypeAlias = tuple[FieldError, ...]

SYSTEM_MEMBERS = frozenset(
    {"id", "nodeId", "intId", "registeredAt", "updatedAt", "version", "deleted", "sourceInfo"}
)
"""Members of a customer that a body may hold and that are not written (contacthub 2.10)."""

_EVENT_IGNORED = frozenset(
    {
        "id", "nodeId", "mode", "origin", "prev", "next", "registeredAt", "updatedAt", "version",
        "idempotencyKey",
    }
)  # fmt: skip
_EVENT_MEMBERS = frozenset(
    {
        "customerId", "bringBackProperties", "type", "context", "properties", "contextInfo", "date",
        "tracking",
    }
)  # fmt: skip
_BRING_BACK = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "value", "nodeId"],
    "properties": {
        "type": {"type": "string", "enum": ["SESSION_ID", "EXTERNAL_ID"]},
        "value": {"type": "string", "minLength": 1, "maxLength": 255},
        "nodeId": {"type": "string", "minLength": 1},
    },
}
_TRACKING = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "ga": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: {"type": "string"}
                for name in ("utm_source", "utm_medium", "utm_term", "utm_content", "utm_campaign")
            },
        }
    },
}
_DATE = {"type": ["string", "null"], "format": "date-time"}
_SESSION = {
    "type": "object",
    "additionalProperties": False,
    "required": ["value"],
    "properties": {"value": {"type": "string", "minLength": 1, "maxLength": 255}},
}
MAX_TAGS = 1000
DEFAULT_LENGTH = 255
DEFAULT_LIST_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A derived schema, its validator, and where its dates stand."""

    derived: JsonObject
    validator: jsonschema_rs.Draft7Validator
    dates: JsonObject | None

    def check(self, value: JsonValue, root: str) -> tuple[JsonValue, Errors]:
        """The normalised value, and what is wrong with it."""
        if not self.validator.is_valid(value):
            value = as_meant(value, self.derived)
            errors = report(self.validator, self.derived, value, root)
            if errors:
                return value, errors
        if self.dates is not None:
            value = with_dates(value, self.dates)
        return value, ()


def _compiled(schema: JsonObject, definitions: JsonObject | None = None) -> _Compiled:
    derived = derive(schema, definitions or {})
    return _Compiled(derived, compile_schema(derived), formatted_paths(derived))


class Validator:
    """Judges documents by the schemas and by a workspace's configuration."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._customer = _compiled(schemas.customer, schemas.customer["definitions"])
        self._types: dict[str, _Compiled] = {}
        self._contexts = {
            name: _compiled(context.schema, schemas.context_definitions)
            for name, context in schemas.contexts.items()
        }
        self._bring_back = _compiled(_BRING_BACK)
        self._tracking = _compiled(_TRACKING)
        self._date = _compiled(_DATE)
        self._session = _compiled(_SESSION)
        self._extended: dict[tuple[WorkspaceId, str], tuple[int, _Compiled]] = {}

    def check_customer(
        self, document: JsonObject, config: WorkspaceConfig
    ) -> tuple[JsonObject | None, Errors]:
        """The writable members, normalised (absent stays absent, null stays null), or the errors.

        Unique and mandatory properties are not asked for here: that is `domain.matching`.
        """
        writable = {name: value for name, value in document.items() if name not in SYSTEM_MEMBERS}
        normalised, errors = self._customer.check(writable, "")
        if errors:
            return None, errors
        checked: JsonObject = normalised
        tags = checked.get("tags") or {}
        for name in ("auto", "manual"):
            if sum(len(tag) for tag in tags.get(name) or ()) > MAX_TAGS:
                errors += (FieldError(message=f"max length is {MAX_TAGS}", path=f"/tags/{name}"),)
        extended = checked.get("extended")
        if extended:
            extended, found = self._check_extended(
                extended, config, "customer", config.customer_extended, "/extended"
            )
            errors += found
            checked = {**checked, "extended": extended}
        return (None, errors) if errors else (_without(checked, config.disabled_base), ())

    def check_session(self, document: JsonValue) -> tuple[str | None, Errors]:
        """The session's value, or the errors."""
        normalised, errors = self._session.check(document, "")
        return (None, errors) if errors else (normalised["value"], ())

    def check_event(
        self, document: JsonObject, config: WorkspaceConfig
    ) -> tuple[JsonObject | None, Errors]:
        """An event with all its members, unset ones None, or the errors.

        Rules 1 to 3 of event-model 2; nodes, customers and sizes are the caller's.
        """
        errors: Errors = ()
        for name in document:
            if name not in _EVENT_MEMBERS and name not in _EVENT_IGNORED:
                errors += (FieldError(message="property is not defined", path=pointer_of([name])),)
        customer_id, bring_back, found = self._check_person(document)
        errors += found
        date, found = self._date.check(document.get("date"), "/date")
        errors += found
        tracking, found = self._tracking.check(document.get("tracking"), "/tracking")
        errors += found
        event_type = document.get("type")
        properties, found = self._check_properties(document, event_type, config)
        errors += found
        context = document.get("context")
        context_info, found = self._check_context(document, context)
        errors += found
        if errors:
            return None, errors
        return {
            "customerId": customer_id,
            "bringBackProperties": bring_back,
            "type": event_type,
            "context": context,
            "properties": properties,
            "contextInfo": context_info,
            "date": date,
            "tracking": tracking,
        }, ()

    def _check_person(self, document: JsonObject) -> tuple[JsonValue, JsonValue, Errors]:
        customer_id = document.get("customerId")
        bring_back = document.get("bringBackProperties")
        if bring_back == []:
            bring_back = {}
        if (customer_id is None) == (bring_back is None):
            message = "exactly one of customerId and bringBackProperties is expected"
            return None, None, (FieldError(message=message, path="/customerId"),)
        if customer_id is not None:
            if not isinstance(customer_id, str):
                fault = FieldError(message="expected type string or null", path="/customerId")
                return None, None, (fault,)
            return customer_id, None, ()
        checked, errors = self._bring_back.check(bring_back, "/bringBackProperties")
        return None, checked, errors

    def _check_properties(
        self, document: JsonObject, event_type: JsonValue, config: WorkspaceConfig
    ) -> tuple[JsonValue, Errors]:
        fault = _check_name(document, "type", event_type, self._schemas.event_types)
        if fault is not None:
            return None, (fault,)
        if event_type in config.disabled_event_types:
            return None, (FieldError(message="event type is disabled", path="/type"),)
        if document.get("properties") is None:
            missing = FieldError(message="required property is missing", path="/properties")
            return None, (missing,)
        compiled = self._types.get(event_type)
        if compiled is None:
            schema = self._schemas.event_types[event_type].schema
            compiled = _compiled(_with_open_extended(schema), self._schemas.event_definitions)
            self._types[event_type] = compiled
        properties, errors = compiled.check(document["properties"], "/properties")
        if errors:
            return None, errors
        extended = properties.get("extended")
        if extended:
            definitions = config.event_extended.get(event_type, {})
            extended, errors = self._check_extended(
                extended, config, f"event:{event_type}", definitions, "/properties/extended"
            )
            properties = {**properties, "extended": extended}
        for place, product in enumerate(properties.get("products") or ()):
            if product and product.get("extended"):
                _, found = self._check_extended(
                    product["extended"],
                    config,
                    "product",
                    {},
                    f"/properties/products/{place}/extended",
                )
                errors += found
        return properties, errors

    def _check_context(self, document: JsonObject, context: JsonValue) -> tuple[JsonValue, Errors]:
        fault = _check_name(document, "context", context, self._contexts)
        if fault is not None:
            return None, (fault,)
        info = document.get("contextInfo")
        if info is None:
            return None, ()
        return self._contexts[context].check(info, "/contextInfo")

    def _check_extended(
        self,
        value: JsonObject,
        config: WorkspaceConfig,
        scope: str,
        definitions: object,
        root: str,
    ) -> tuple[JsonValue, Errors]:
        key = (config.id, scope)
        cached = self._extended.get(key)
        if cached is None or cached[0] != config.version:
            assert hasattr(definitions, "items")
            compiled = _compiled(
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        name: _extended_schema(definition)
                        for name, definition in definitions.items()
                    },
                }
            )
            cached = (config.version, compiled)
            self._extended[key] = cached
        checked, errors = cached[1].check(value, root)
        if errors:
            return checked, errors
        return checked, _check_list_lengths(checked, definitions, root)


def _check_name(
    document: JsonObject, member: str, value: JsonValue, known: object
) -> FieldError | None:
    if document.get(member) is None:
        return FieldError(message="required property is missing", path=f"/{member}")
    if not isinstance(value, str):
        return FieldError(message="expected type string", path=f"/{member}")
    assert hasattr(known, "__contains__")
    if value not in known:
        return FieldError(message="value not in enum", path=f"/{member}")
    return None


def _with_open_extended(schema: JsonObject) -> JsonObject:
    """`extended` is checked by itself, against what the workspace defines."""
    properties = {**schema["properties"], "extended": {"type": ["object", "null"]}}
    return {**schema, "properties": properties}


def _extended_schema(definition: JsonObject) -> JsonObject:
    schema = {
        key: definition[key] for key in ("type", "format", "enum", "items") if key in definition
    }
    if definition.get("type") == "string":
        limits = definition.get("contactlabProperties", {})
        schema["maxLength"] = limits.get("maxLength", DEFAULT_LENGTH)
    return schema


def _check_list_lengths(value: JsonObject, definitions: object, root: str) -> Errors:
    """String arrays count the lengths of their elements and one separator between them."""
    assert hasattr(definitions, "get")
    errors: Errors = ()
    for name, inner in value.items():
        definition = definitions.get(name, {})
        if not isinstance(inner, list) or definition.get("items", {}).get("type") != "string":
            continue
        limit = definition.get("contactlabProperties", {}).get("maxLength", DEFAULT_LIST_LENGTH)
        if sum(len(element) for element in inner) + max(0, len(inner) - 1) > limit:
            path = root + pointer_of([name])
            errors += (FieldError(message=f"max length is {limit}", path=path),)
    return errors


def _without(document: JsonObject, disabled: frozenset[str]) -> JsonObject:
    """The document without the properties that the workspace has switched off."""
    for path in disabled:
        document = _without_path(document, ["base", *path.split(".")])
    return document


def _without_path(value: JsonObject, path: list[str]) -> JsonObject:
    name, rest = path[0], path[1:]
    if not isinstance(value, dict) or name not in value:
        return value
    if not rest:
        return {key: inner for key, inner in value.items() if key != name}
    return {**value, name: _without_path(value[name], rest)}
