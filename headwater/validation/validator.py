"""Customers, sessions and events: normalised and judged.

Schemas are compiled once per process, those of event types when the first event of the type comes;
what a workspace defines itself is in `extended.py`.
"""

from __future__ import annotations

from collections.abc import Container

import jsonschema_rs

from headwater.domain.configuration import WorkspaceConfig
from headwater.domain.customer import MAX_TAGS_LENGTH
from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.moment import find_datetime, format_datetime
from headwater.domain.refusal import FieldError
from headwater.validation.check import Check, Errors, make_check
from headwater.validation.compile import compile_schema
from headwater.validation.envelopes import (
    BRING_BACK,
    CUSTOMER_SYSTEM_MEMBERS,
    EVENT_MEMBERS,
    SESSION,
    TRACKING,
    whole_event,
)
from headwater.validation.extended import ExtendedChecks
from headwater.validation.formats import CONTEXT_FORMATS
from headwater.validation.report import undefined
from headwater.validation.schemas import Schemas


class Validator:
    """Judges documents by the schemas and by a workspace's configuration."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        # years of educations are its only integers; clients send them as text
        self._customer = make_check(
            schemas.customer, schemas.customer["definitions"], digits=True, integers=True
        )
        self._types: dict[str, Check] = {}
        self._whole: dict[str, jsonschema_rs.Draft7Validator] = {}
        """Validators of whole events, by type."""
        self._contexts = {
            name: make_check(context.schema, schemas.context_definitions, formats=CONTEXT_FORMATS)
            for name, context in schemas.contexts.items()
        }
        self._bring_back = make_check(BRING_BACK)
        self._tracking = make_check(TRACKING)
        self._session = make_check(SESSION)
        self._extended = ExtendedChecks()

    def check_customer(
        self, document: JsonObject, config: WorkspaceConfig
    ) -> tuple[JsonObject | None, Errors]:
        """The writable members, normalised (absent stays absent, null stays null), or the errors.

        Unique and mandatory properties are not asked for here: that is `domain.matching`.
        """
        writable = {
            name: value for name, value in document.items() if name not in CUSTOMER_SYSTEM_MEMBERS
        }
        for path in config.disabled_base:
            writable = _without(writable, ["base", *path.split(".")])
        checked, errors = self._customer(writable, "")
        if errors:
            return None, errors
        tags = checked.get("tags") or {}
        for name, tag_list in tags.items():
            if sum(map(len, tag_list or ())) > MAX_TAGS_LENGTH:
                message = f"max length is {MAX_TAGS_LENGTH}"
                errors += (FieldError(message=message, path=f"/tags/{name}"),)
        extended = checked.get("extended")
        if extended:
            extended, found = self._extended.customer(extended, config, "/extended")
            errors += found
            checked = {**checked, "extended": extended}
        return (None, errors) if errors else (checked, ())

    def check_session(self, document: JsonValue) -> tuple[str | None, Errors]:
        """The session's value, or the errors."""
        normalised, errors = self._session(document, "")
        return (None, errors) if errors else (normalised["value"], ())

    def check_event(
        self, document: JsonObject, config: WorkspaceConfig
    ) -> tuple[JsonObject | None, Errors]:
        """An event with all its members, unset ones None, or the errors.

        Rules 1 to 3 of event-model 2; nodes, customers and sizes are the caller's.
        """
        errors: Errors = ()
        if not EVENT_MEMBERS.issuperset(document):
            errors = undefined(name for name in document if name not in EVENT_MEMBERS)
        customer_id, bring_back, found = self._check_person(document)
        errors += found
        date, found = _check_date(document.get("date"))
        errors += found
        tracking = document.get("tracking")
        if tracking is not None:
            tracking, found = self._tracking(tracking, "/tracking")
            errors += found
        properties, found = self._check_properties(document, config)
        errors += found
        context_info, found = self._check_context(document)
        errors += found
        if errors:
            return None, errors
        return {
            "customerId": customer_id,
            "bringBackProperties": bring_back,
            "type": document["type"],
            "context": document["context"],
            "properties": properties,
            "contextInfo": context_info,
            "date": date,
            "tracking": tracking,
        }, ()

    def accepts_event(self, document: JsonObject, config: WorkspaceConfig) -> bool:
        """Whether `check_event` finds nothing wrong; False: ask it.

        In half of its time: one look at the whole event, and nothing is normalised. Most events are good and
        written as the schemas say; what is only meant well, and what a workspace defines itself, is left to it.
        """
        event_type, context = document.get("type"), document.get("context")
        if (
            not isinstance(event_type, str)
            or event_type not in self._schemas.event_types
            or event_type in config.disabled_event_types
            or not isinstance(context, str)
            or context not in self._contexts
            or (document.get("customerId") is None) == (document.get("bringBackProperties") is None)
            or not self._whole_check(event_type).is_valid(document)
        ):
            return False
        info = document.get("contextInfo")
        if info is not None and not self._contexts[context].validator.is_valid(info):
            return False
        properties = document["properties"]
        products = properties.get("products") or ()
        return not properties.get("extended") and not [
            None for product in products if product.get("extended")
        ]

    def _whole_check(self, event_type: str) -> jsonschema_rs.Draft7Validator:
        check = self._whole.get(event_type)
        if check is None:
            properties = self._type_check(event_type).derived
            check = self._whole[event_type] = compile_schema(whole_event(properties))
        return check

    def _check_person(self, document: JsonObject) -> tuple[JsonValue, JsonValue, Errors]:
        """Rule 1: the customer's id, or how to bring the event back to one."""
        customer_id = document.get("customerId")
        bring_back = document.get("bringBackProperties")
        if (customer_id is None) == (bring_back is None):
            message = "exactly one of customerId and bringBackProperties is expected"
            return None, None, (FieldError(message=message, path="/customerId"),)
        if bring_back is not None:
            checked, errors = self._bring_back(bring_back, "/bringBackProperties")
            return None, checked, errors
        if not isinstance(customer_id, str):
            fault = FieldError(message="expected type string or null", path="/customerId")
            return None, None, (fault,)
        return customer_id, None, ()

    def _check_properties(
        self, document: JsonObject, config: WorkspaceConfig
    ) -> tuple[JsonValue, Errors]:
        """Rules 2 and 3 for the type and its properties."""
        fault = _check_name("type", document.get("type"), self._schemas.event_types)
        if fault is not None:
            return None, (fault,)
        event_type: str = document["type"]
        if event_type in config.disabled_event_types:
            return None, (FieldError(message="event type is disabled", path="/type"),)
        properties = document.get("properties")
        if properties is None:
            missing = FieldError(message="required property is missing", path="/properties")
            return None, (missing,)
        properties, errors = self._type_check(event_type)(properties, "/properties")
        if errors:
            return None, errors
        return self._check_extended(properties, event_type, config)

    def _type_check(self, event_type: str) -> Check:
        check = self._types.get(event_type)
        if check is None:
            schema = self._schemas.event_types[event_type].schema
            check = make_check(schema, self._schemas.event_definitions)
            self._types[event_type] = check
        return check

    def _check_extended(
        self, properties: JsonObject, event_type: str, config: WorkspaceConfig
    ) -> tuple[JsonObject, Errors]:
        """The slots for the workspace's own properties: the event's, and those of its products."""
        errors: Errors = ()
        extended = properties.get("extended")
        if extended:
            root = "/properties/extended"
            extended, errors = self._extended.event(extended, config, event_type, root)
            properties = {**properties, "extended": extended}
        products = properties.get("products")
        if products and [None for product in products if product.get("extended")]:
            products = list(products)
            for place, product in enumerate(products):
                if product.get("extended"):
                    root = f"/properties/products/{place}/extended"
                    extended, found = self._extended.event(
                        product["extended"], config, event_type, root
                    )
                    errors += found
                    products[place] = {**product, "extended": extended}
            properties = {**properties, "products": products}
        return properties, errors

    def _check_context(self, document: JsonObject) -> tuple[JsonValue, Errors]:
        """Rules 2 and 3 for the context and its information."""
        fault = _check_name("context", document.get("context"), self._contexts)
        if fault is not None:
            return None, (fault,)
        context: str = document["context"]
        info = document.get("contextInfo")
        if info is None:
            return None, ()
        return self._contexts[context](info, "/contextInfo")


def _check_name(member: str, value: JsonValue, known: Container[str]) -> FieldError | None:
    if value is None:
        return FieldError(message="required property is missing", path=f"/{member}")
    if not isinstance(value, str):
        return FieldError(message="expected type string", path=f"/{member}")
    if value not in known:
        return FieldError(message="value not in enum", path=f"/{member}")
    return None


def _check_date(value: JsonValue) -> tuple[str | None, Errors]:
    if value is None:
        return None, ()
    if not isinstance(value, str):
        return None, (FieldError(message="expected type string or null", path="/date"),)
    moment = find_datetime(value)
    if moment is None:
        return None, (FieldError(message="invalid format date-time", path="/date"),)
    return format_datetime(moment), ()


def _without(value: JsonObject, path: list[str]) -> JsonObject:
    """`value` without the member at the path; a property that is switched off."""
    name, rest = path[0], path[1:]
    if not isinstance(value, dict) or name not in value:
        return value
    if not rest:
        return {key: inner for key, inner in value.items() if key != name}
    return {**value, name: _without(value[name], rest)}
