"""`extended` members, whose properties a workspace defines itself (customer-model 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headwater.domain.configuration import WorkspaceConfig
from headwater.domain.customer import string_list_length, string_list_limits
from headwater.domain.ids import WorkspaceId
from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.paths import pointer_of
from headwater.domain.refusal import FieldError
from headwater.validation.check import Check, Errors, make_check

DEFAULT_LENGTH = 255

REMEMBERED = 20_000
"""Beyond it all are compiled again: scopes of so many workspaces that none is of use for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """The definitions of one scope at one version of the configuration.

    `list_limits`: of arrays of strings, the length of all elements and one separator between them.
    """

    config_version: int
    check: Check
    disabled: frozenset[str]
    list_limits: Mapping[str, int]


class ExtendedChecks:
    """Judges `extended` members; compiled once per scope and version of the configuration."""

    def __init__(self) -> None:
        self._rules: dict[tuple[WorkspaceId, str], _Rules] = {}

    def customer(
        self, value: JsonObject, config: WorkspaceConfig, root: str
    ) -> tuple[JsonObject, Errors]:
        """The normalised `extended` of a customer, and what is wrong with it."""
        rules = self._rules_of(config, "", config.customer_extended)
        return _judge(value, rules, root)

    def event(
        self, value: JsonObject, config: WorkspaceConfig, event_type: str, root: str
    ) -> tuple[JsonObject, Errors]:
        """The same for an event of the type, or for a product in it."""
        rules = self._rules_of(config, event_type, config.event_extended.get(event_type, {}))
        return _judge(value, rules, root)

    def _rules_of(
        self, config: WorkspaceConfig, scope: str, definitions: Mapping[str, JsonObject]
    ) -> _Rules:
        key = (config.id, scope)
        rules = self._rules.get(key)
        if rules is None or rules.config_version != config.version:
            rules = _compile(config.version, definitions)
            if len(self._rules) >= REMEMBERED:
                self._rules.clear()
            self._rules[key] = rules
        return rules


def _compile(config_version: int, definitions: Mapping[str, JsonObject]) -> _Rules:
    limits = {
        name: definition.get("contactlabProperties") or {}
        for name, definition in definitions.items()
    }
    return _Rules(
        config_version=config_version,
        check=make_check(
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    name: _schema_of(definition, limits[name])
                    for name, definition in definitions.items()
                },
            },
            integers=True,
        ),
        disabled=frozenset(name for name, limit in limits.items() if limit.get("enabled") is False),
        list_limits=string_list_limits(definitions),
    )


def _schema_of(definition: JsonObject, limits: JsonObject) -> JsonObject:
    schema = {
        key: definition[key]
        for key in ("type", "format", "enum", "items")
        if definition.get(key) is not None
    }
    if definition.get("type") == "string":
        schema["maxLength"] = limits.get("maxLength") or DEFAULT_LENGTH
    return schema


def _judge(value: JsonObject, rules: _Rules, root: str) -> tuple[JsonObject, Errors]:
    if not rules.disabled.isdisjoint(value):
        # what is switched off is dropped without a word
        value = {name: inner for name, inner in value.items() if name not in rules.disabled}
    checked, errors = rules.check(value, root)
    if errors:
        return checked, errors
    for name, limit in rules.list_limits.items():
        elements: JsonValue = checked.get(name)
        if elements and string_list_length(elements) > limit:
            path = root + pointer_of([name])
            errors += (FieldError(message=f"max length is {limit}", path=path),)
    return checked, errors
