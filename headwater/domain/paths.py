"""Dotted paths into documents (`base.contacts.email`), and the JSON Pointers of the same members."""

from __future__ import annotations

from headwater.domain.json import JsonObject, JsonValue


def find_value(document: JsonObject, path: str) -> JsonValue:
    """The value at a dotted path; None if any member on the way is absent or no object."""
    value: JsonValue = document
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def pointer(path: str) -> str:
    """The JSON Pointer (RFC 6901) of a dotted path: `base.contacts.email` -> `/base/contacts/email`."""
    return "".join(
        "/" + name.replace("~", "~0").replace("/", "~1") for name in path.split(".") if name
    )


def pointer_of(steps: list[JsonValue]) -> str:
    """The JSON Pointer of member names and array positions; "" for none."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
