"""Reading what clients mean: dates and integers in one spelling, PHP's empty arrays as objects.

Nothing here changes its argument; what needs no change is returned as it is.
"""

from __future__ import annotations

from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.moment import find_date, find_datetime, format_datetime
from headwater.validation.compile import SpellingTree


def spelled(value: JsonValue, tree: SpellingTree) -> JsonValue:
    """`value` with dates and integers at the places of `tree` in the wire's spelling.

    Source: contacthub 2.7; sdk-expectations 6 (a typed client reads no 2000.0 where an integer is meant).
    """
    if isinstance(tree, str):
        if isinstance(value, float) and tree == "integer":
            return int(value)
        return _spell_date(value, tree) if isinstance(value, str) else value
    if isinstance(value, list):
        inner = tree.get("[]")
        return value if inner is None else [spelled(element, inner) for element in value]
    if not isinstance(value, dict):
        return value
    result = value
    for name, inner in tree.items():
        before = value.get(name)
        if before is None:
            continue
        after = spelled(before, inner)
        if after is not before:
            if result is value:
                result = dict(value)
            result[name] = after
    return result


def _spell_date(text: str, form: str) -> str:
    if form == "date":
        return find_date(text) or text
    moment = find_datetime(text)
    return text if moment is None else format_datetime(moment)


def as_meant(value: JsonValue, derived: JsonObject, *, digits: bool = False) -> JsonValue:
    """`[]` where an object is meant becomes `{}`; an object with integer-like keys where an array of
    strings is meant becomes the array of its values in key order; with `digits`, texts of digits where
    an integer is meant become numbers (the years of an education).

    Source: contacthub 2.10, customer-model 2.
    """
    types = derived.get("type", ())
    if value == [] and isinstance(value, list) and "object" in types and "array" not in types:
        return {}
    if isinstance(value, dict) and "array" in types and "object" not in types:
        if derived.get("items", {}).get("type") == ["string"] and all(
            name.isascii() and name.isdigit() for name in value
        ):
            return [value[name] for name in sorted(value, key=int)]
        return value
    if digits and isinstance(value, str) and "integer" in types:
        return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else value
    if isinstance(value, dict) and "properties" in derived:
        properties = derived["properties"]
        return {
            name: as_meant(inner, properties[name], digits=digits) if name in properties else inner
            for name, inner in value.items()
        }
    if isinstance(value, list) and "items" in derived:
        return [as_meant(element, derived["items"], digits=digits) for element in value]
    return value
