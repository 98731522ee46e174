"""What a write makes of a stored customer. Pure, total on valid documents, mutates nothing.

Both inputs hold the writable members. `current` is compact (see `customer.py`), `incoming` normalised,
with its explicit nulls. What a write leaves alone is shared with `current`; only touched levels are
copied, and an unchanged level comes back as the very same object. So `changed` is an identity test.

Equality is that of JSON values: `true` is not 1, while 1 and 1.0 are the same number.

Readings of customer-model 5 that its text leaves open:
- A section (`consents`, `extended`, `tags`) becomes set by its first value; an empty list of tags is one.
  Clearing its last value leaves it set and empty, and only null, or its absence in a PUT, unsets it. So
  an object without a value (`{}`) sets nothing that never was set, and a client that puts back what it
  read changes nothing.
- The objects inside a subscription merge leaf by leaf; its `preferences` are replaced.
- `enabled: null` is read as absent.

Source: customer-model 5.2 to 5.7.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from headwater.domain.customer import MAX_TAGS_LENGTH, string_list_length
from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.paths import pointer_of
from headwater.domain.refusal import FieldError

_ID_COLLECTIONS = frozenset({"educations", "likes", "jobs", "subscriptions"})
_SCALARS = ("externalId", "extra")


class Mode(StrEnum):
    """The kind of write; STRICT switches off the exception for subscriptions."""

    POST = "POST"
    PATCH = "PATCH"
    PATCH_STRICT = "PATCH_STRICT"
    PUT = "PUT"
    PUT_STRICT = "PUT_STRICT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The compact document after the write; `changed` is False exactly when it equals the stored one."""

    document: JsonObject
    changed: bool


@dataclass(frozen=True, slots=True)
class _How:
    append: bool
    strict: bool


def merge(current: JsonObject | None, incoming: JsonObject, mode: Mode) -> Merged:
    """The customer after a write of `incoming`; `current` None creates it (always changed)."""
    if current is None:
        # nothing to append to: a first POST sets what it says, as a PATCH of an empty customer does
        document = _merge_sections({"enabled": True}, incoming, Mode.PATCH)
        return Merged(document=document, changed=True)
    if mode in {Mode.PUT, Mode.PUT_STRICT}:
        document = _replace_sections(current, incoming, strict=mode is Mode.PUT_STRICT)
    else:
        document = _merge_sections(current, incoming, mode)
    return Merged(document=document, changed=document is not current)


def check_merged(
    before: JsonObject, after: JsonObject, list_limits: Mapping[str, int]
) -> tuple[FieldError, ...]:
    """Errors that only show after the merge, in what the write changed.

    `address.geo` needs both its members (5.3). Lists of tags and extended lists of strings (`list_limits`
    by name) have a greatest length, also when a POST appends to them (contacthub 2.8).
    """
    errors: list[FieldError] = []
    geo = ((after.get("base") or {}).get("address") or {}).get("geo")
    if geo:
        errors += (
            FieldError(message="required property is missing", path=f"/base/address/geo/{name}")
            for name in ("lat", "lon")
            if geo.get(name) is None
        )
    for name, tags in _changed_lists(before.get("tags"), after.get("tags")):
        if sum(map(len, tags)) > MAX_TAGS_LENGTH:
            message = f"max length is {MAX_TAGS_LENGTH}"
            errors.append(FieldError(message=message, path=f"/tags/{name}"))
    for name, values in _changed_lists(before.get("extended"), after.get("extended")):
        if name in list_limits and string_list_length(values) > list_limits[name]:
            message = f"max length is {list_limits[name]}"
            errors.append(FieldError(message=message, path="/extended" + pointer_of([name])))
    return tuple(errors)


def _changed_lists(
    before: JsonObject | None, after: JsonObject | None
) -> Iterator[tuple[str, list[JsonValue]]]:
    if after is None or after is before:
        return
    for name, value in after.items():
        if isinstance(value, list) and (before is None or value is not before.get(name)):
            yield name, value


def _merge_sections(current: JsonObject, incoming: JsonObject, mode: Mode) -> JsonObject:
    how = _How(append=mode is Mode.POST, strict=mode is Mode.PATCH_STRICT)
    after: JsonObject = {}
    for name, value in incoming.items():
        before = current.get(name)
        if name in _SCALARS:
            after[name] = _keep(before, value)
        elif name == "enabled":
            after[name] = before if value is None else _keep(before, value)
        elif value is None:
            after[name] = before if how.append else None
        elif name == "base":
            after[name] = _merge_object(before or {}, value, how) or None
        elif name == "consents":
            merged = _merge_object({} if before is None else before, value, how)
            after[name] = merged if merged or before is not None else None
        elif name == "extended":
            after[name] = _merge_extended(before, value, how)
        elif name == "tags":
            after[name] = _merge_tags(before, value, how)
    return _apply(current, after)


def _replace_sections(current: JsonObject, incoming: JsonObject, *, strict: bool) -> JsonObject:
    how = _How(append=False, strict=True)
    after: JsonObject = {name: incoming.get(name) for name in _SCALARS}
    base = incoming.get("base")
    replaced = _merge_object({}, base or {}, how)
    if not strict and (not isinstance(base, dict) or base.get("subscriptions", ()) is not None):
        stored = (current.get("base") or {}).get("subscriptions") or []
        sent = (base or {}).get("subscriptions") or []
        subscriptions = _merge_subscriptions(stored, sent)
        if subscriptions:
            replaced["subscriptions"] = subscriptions
    after["base"] = replaced or None
    for name in ("consents", "extended", "tags"):
        value = incoming.get(name)
        if value is None:
            after[name] = None
            continue
        was_set = current.get(name) is not None
        if name == "consents":
            replaced = _merge_object({}, value, how)
            after[name] = replaced if replaced or was_set else None
        elif name == "extended":
            after[name] = _merge_extended({} if was_set else None, value, how)
        else:
            after[name] = _merge_tags({"auto": [], "manual": []} if was_set else None, value, how)
    if incoming.get("enabled") is not None:
        after["enabled"] = incoming["enabled"]
    kept = {name: _keep(current.get(name), value) for name, value in after.items()}
    return _apply(current, kept)


def _apply(current: JsonObject, after: JsonObject) -> JsonObject:
    """`current` with the members of `after` (None removes); `current` itself if nothing moves."""
    result = current
    for name, value in after.items():
        if value is current.get(name):
            continue
        if result is current:
            result = dict(current)
        if value is None:
            del result[name]
        else:
            result[name] = value
    return result


def _merge_object(current: JsonObject, incoming: JsonObject, how: _How) -> JsonObject:
    """Leaf by leaf: present replaces, null clears; objects that end up empty are unset."""
    result = current
    for name, value in incoming.items():
        before = current.get(name)
        after = _merge_member(name, before, value, how)
        if after is before:
            continue
        if result is current:
            result = dict(current)
        if after is None:
            del result[name]
        else:
            result[name] = after
    return result


def _merge_member(name: str, before: JsonValue, value: JsonValue, how: _How) -> JsonValue:
    if value is None:
        return None
    if isinstance(value, dict):
        return _merge_object(before if isinstance(before, dict) else {}, value, how) or None
    if not isinstance(value, list):
        return _keep(before, value)
    stored = before if isinstance(before, list) else []
    if name == "subscriptions" and not how.strict:
        after = _merge_subscriptions(stored, value)
    else:
        after = _combine(name, stored if how.append else [], value)
    return _keep(before, after) if after else None


def _merge_subscriptions(stored: list[JsonValue], incoming: list[JsonValue]) -> list[JsonValue]:
    """By `id`, member by member; what is not mentioned stays, unknown ids are appended."""
    elements = {_identity("subscriptions", element): element for element in stored}
    member_wise = _How(append=False, strict=True)
    for element in incoming:
        key = _identity("subscriptions", element)
        if isinstance(element, dict):
            elements[key] = _merge_members(elements.get(key) or {}, element, member_wise)
    return list(elements.values())


def _merge_members(current: JsonObject, incoming: JsonObject, how: _How) -> JsonObject:
    # `preferences` has no identities: it is replaced as it came, repetitions included
    preferences = incoming.get("preferences")
    merged = _merge_object(current, {**incoming, "preferences": None}, how)
    if "preferences" not in incoming:
        preferences = current.get("preferences")
    if preferences:
        merged = {**merged, "preferences": _compact(preferences)}
    return _keep_object(current, merged)


def _keep_object(before: JsonObject, after: JsonObject) -> JsonObject:
    return before if _same(before, after) else after


def _merge_extended(before: JsonObject | None, value: JsonObject, how: _How) -> JsonObject | None:
    current = before or {}
    after: JsonObject = {}
    for name, member in value.items():
        stored = current.get(name)
        if isinstance(member, list):
            known = stored if how.append and isinstance(stored, list) else []
            combined = _combine(name, known, member, deep=True)
            unset = how.append and not member
            after[name] = stored if unset else _keep(stored, combined)
        elif isinstance(member, dict):
            after[name] = _keep(stored, _compact(member))
        else:
            after[name] = _keep(stored, member)
    merged = _apply(current, after)
    if before is None:
        return merged or None
    return before if merged is current else merged


def _merge_tags(before: JsonObject | None, value: JsonObject, how: _How) -> JsonObject | None:
    after: JsonObject = dict(before) if before is not None else {"auto": [], "manual": []}
    is_set = before is not None
    for name in ("auto", "manual"):
        if name not in value:
            continue
        sent = value[name]
        stored = after.get(name) or []
        after[name] = [] if sent is None else _combine(name, stored if how.append else [], sent)
        is_set = is_set or bool(sent) or (sent is not None and not how.append)
    if before is not None and _same(before, after):
        return before
    return after if is_set else None


def _combine(
    name: str, stored: list[JsonValue], incoming: list[JsonValue], *, deep: bool = False
) -> list[JsonValue]:
    """Stored then incoming elements; of those with one identity the last, at the first's place."""
    elements: dict[Hashable, JsonValue] = {}
    for element in stored:
        elements[_value_key(element) if deep else _identity(name, element)] = element
    for sent in incoming:
        element = _compact(sent)
        key = _value_key(element) if deep else _identity(name, element)
        elements[key] = _keep(elements.get(key), element)
    return list(elements.values())


def _identity(name: str, element: JsonValue) -> Hashable:
    if isinstance(element, dict):
        if name in _ID_COLLECTIONS and element.get("id") is not None:
            return ("id", _value_key(element["id"]))
        if name == "mobileDevices" and element.get("identifier") is not None:
            return ("device", _value_key(element.get("appId")), _value_key(element["identifier"]))
    return _value_key(element)


def _value_key(value: JsonValue) -> Hashable:
    """Equal exactly for equal JSON values."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return ("true",) if value else ("false",)
    if isinstance(value, dict):
        return ("object", frozenset((name, _value_key(member)) for name, member in value.items()))
    if isinstance(value, list):
        return ("list", *[_value_key(element) for element in value])
    key: Hashable = value
    return key


def _compact(value: JsonValue) -> JsonValue:
    """A copy without nulls, without empty objects and lists as members; elements of lists stay."""
    if isinstance(value, dict):
        compact: JsonObject = {}
        for name, member in value.items():
            if isinstance(member, (dict, list)):
                inner = _compact(member)
                if inner:
                    compact[name] = inner
            elif member is not None:
                compact[name] = member
        return compact
    if isinstance(value, list):
        return [_compact(element) for element in value]
    return value


def _keep(before: JsonValue, after: JsonValue) -> JsonValue:
    """`before` itself if `after` is the same JSON value."""
    return before if _same(before, after) else after


def _same(one: JsonValue, other: JsonValue) -> bool:
    if one is other:
        return True
    if one != other:
        return False
    if isinstance(one, dict):
        return all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list):
        return all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool)
