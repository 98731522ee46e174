"""When two writes mean the same customer, and which properties a node asks for.

Source: customer-model 5.1 and 5.3.
"""

from __future__ import annotations

import hashlib
import json

from headwater.domain.configuration import Node, UniqueRule
from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.paths import find_value, pointer
from headwater.domain.refusal import FieldError


def match_key(document: JsonObject, rule: UniqueRule) -> str | None:
    """The SHA-256, in hexadecimal, of the values of the rule's properties together.

    Texts are case-folded unless the rule is case sensitive, never trimmed. None if the rule is empty
    (it never matches) or a value is missing.
    """
    if not rule.properties:
        return None
    values = []
    for path in rule.properties:
        value = find_value(document, path)
        if value is None or value == "":
            return None
        if isinstance(value, str) and not rule.case_sensitive:
            value = value.casefold()
        elif isinstance(value, float) and value.is_integer():
            value = int(value)  # 1 and 1.0 are one JSON number
        values.append(value)
    return hashlib.sha256(_text_of(values).encode()).hexdigest()


# `json.dumps` with options makes an encoder for each call
_text_of = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


def is_key_left_alone(before: JsonObject, after: JsonObject, rule: UniqueRule) -> bool:
    """Whether a merge has left the rule's properties as they were, so that no key has to be made of them.

    It shares what it leaves alone.
    """
    return all(find_value(before, path) is find_value(after, path) for path in rule.properties)


def missing_properties(document: JsonObject, node: Node) -> tuple[FieldError, ...]:
    """One error per unique and per mandatory property of the node that has no value.

    For a document that must have them all: the body of a POST or PUT. Null, "", an empty list and an
    object that holds nothing are no values.
    """
    errors: dict[str, str] = {}
    for message, paths in (
        ("unique customer property is required", node.unique.properties),
        ("mandatory property is required", node.mandatory),
    ):
        for path in paths:
            if _is_empty(find_value(document, path)):
                errors.setdefault(path, message)
    return tuple(FieldError(message=text, path=pointer(path)) for path, text in errors.items())


def emptied_by_patch(before: JsonObject, after: JsonObject, node: Node) -> tuple[FieldError, ...]:
    """The errors of what a PATCH empties: missing in `after`, but not yet in `before`."""
    missing = missing_properties(after, node)
    if not missing:
        return ()
    already = set(missing_properties(before, node))
    return tuple(error for error in missing if error not in already)


def _is_empty(value: JsonValue) -> bool:
    if isinstance(value, dict):
        return all(map(_is_empty, value.values()))
    return value is None or value in ("", [])
