"""Merging and matching, told slowly: customer-model 2, 4 and 5.1 to 5.7 read aloud, rule by rule.

A customer is the *whole* document here: every member, null where nothing is set. Nothing is shared with
`headwater.domain.merge`, which works on compact documents; the tests want both to show the same. The chaos
campaign replays its log with it (`reference_hub.py`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

Json = Any
LEAF = "leaf"
ENUM = "enum"  # a leaf that elements of lists leave out while it is unset

Shape = dict[str, Any]
"""Of an object: `LEAF`, `ENUM`, the shape of an object, or [the shape of the elements of a list]."""

BASE: Shape = {
    **dict.fromkeys(
        ("pictureUrl", "title", "prefix", "firstName", "lastName", "middleName", "gender"), LEAF
    ),
    **dict.fromkeys(("dob", "locale", "timezone"), LEAF),
    "contacts": {
        **dict.fromkeys(("email", "fax", "mobilePhone", "phone"), LEAF),
        "otherContacts": [{"name": LEAF, "type": ENUM, "value": LEAF}],
        "mobileDevices": [
            {
                "identifier": LEAF,
                "appId": LEAF,
                "name": LEAF,
                "type": ENUM,
                "notificationService": ENUM,
            }
        ],
    },
    "address": {
        **dict.fromkeys(("street", "city", "country", "province", "region", "zip"), LEAF),
        "geo": {"lat": LEAF, "lon": LEAF},
    },
    "credential": {"username": LEAF, "password": LEAF},
    "educations": [
        {
            "id": LEAF,
            "schoolType": ENUM,
            **dict.fromkeys(("schoolName", "schoolConcentration"), LEAF),
            **dict.fromkeys(("startYear", "endYear", "isCurrent"), LEAF),
        }
    ],
    "likes": [dict.fromkeys(("id", "category", "name", "createdTime"), LEAF)],
    "socialProfile": dict.fromkeys(
        ("facebook", "google", "instagram", "linkedin", "qzone", "twitter"), LEAF
    ),
    "jobs": [
        {
            **dict.fromkeys(("id", "companyIndustry", "companyName", "jobTitle"), LEAF),
            **dict.fromkeys(("startDate", "endDate", "isCurrent"), LEAF),
        }
    ],
    "subscriptions": [
        {
            **dict.fromkeys(("id", "name", "type", "subscriberId", "subscribed"), LEAF),
            "kind": ENUM,
            **dict.fromkeys(("startDate", "endDate", "registeredAt", "updatedAt"), LEAF),
            "subscribeContext": {"ip": LEAF, "userAgent": LEAF},
            "unsubscribeContext": dict.fromkeys(
                ("ip", "userAgent", "campaignId", "campaignMessageId"), LEAF
            ),
            "preferences": [{"key": LEAF, "value": LEAF}],
        }
    ],
}

_CONSENT: Shape = dict.fromkeys(("status", "limitation", "objection"), LEAF)
CONSENTS: Shape = {
    "disclaimer": {"date": LEAF, "version": LEAF},
    "marketing": {
        "traditional": dict.fromkeys(("telephonic", "papery"), _CONSENT),
        "automatic": dict.fromkeys(("sms", "email", "push", "im", "telephonic"), _CONSENT),
    },
    "profiling": dict.fromkeys(("classic", "online"), _CONSENT),
    "softSpam": dict.fromkeys(("email", "papery"), _CONSENT),
    "thirdPartyTransfer": dict.fromkeys(("profiling", "marketing"), _CONSENT),
}

NEW: dict[str, Json] = {
    "externalId": None,
    "base": None,  # filled in below
    "consents": None,
    "extended": None,
    "extra": None,
    "tags": None,
    "enabled": True,
}
"""What a customer shows of whom nothing is known."""


def spelled(value: Json) -> str:
    """Equal exactly for equal JSON values: `true` is not 1, 1.0 is, and members have no order."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, dict):
        members = sorted(f"{json.dumps(name)}:{spelled(inner)}" for name, inner in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(spelled(element) for element in value) + "]"
    return json.dumps(value)


def blank(shape: Shape) -> dict[str, Json]:
    """An object of which nothing is set: scalars and objects null, lists empty (customer-model 1)."""
    return {name: [] if isinstance(inner, list) else None for name, inner in shape.items()}


NEW["base"] = blank(BASE)


def element_of(sent: dict[str, Json], shape: Shape) -> dict[str, Json]:
    """An element of a list as it is shown: whole, but for unset enums, which are left out."""
    whole = _written(blank(shape), sent, shape, _replaced)
    return {
        name: value for name, value in whole.items() if not (shape[name] == ENUM and value is None)
    }


def is_unset(value: Json) -> bool:
    """Whether a value of a whole document says nothing at all."""
    if isinstance(value, dict):
        return all(is_unset(inner) for inner in value.values())
    return value is None or value == []


# Collections: identity, and what becomes of the stored list

ListRule = Callable[[str, list[Json], list[Json], Shape], list[Json]]


def identity(name: str, element: Json) -> str:
    """What makes two elements of a collection the same (5.2 rule 3)."""
    if name in {"educations", "likes", "jobs", "subscriptions"}:
        return spelled(element["id"])
    if name == "mobileDevices" and element["identifier"] is not None:
        return spelled([element["appId"], element["identifier"]])
    return "whole " + spelled(element)


def _appended(name: str, stored: list[Json], sent: list[Json], shape: Shape) -> list[Json]:
    """5.2 rule 3: append, then drop duplicates; first position kept, the last element counts."""
    result = list(stored)
    for raw in sent:
        element = element_of(raw, shape)
        for place, other in enumerate(result):
            if identity(name, other) == identity(name, element):
                result[place] = element
                break
        else:
            result.append(element)
    return result


def _replaced(name: str, _stored: list[Json], sent: list[Json], shape: Shape) -> list[Json]:
    """5.3 rule 2, 5.4 rule 2: the incoming list, deduplicated."""
    if name == "preferences":  # no identities: as it came
        return [element_of(raw, shape) for raw in sent]
    return _appended(name, [], sent, shape)


def _merged_by_id(_name: str, stored: list[Json], sent: list[Json], shape: Shape) -> list[Json]:
    """5.2 rule 3 and 5.3 rule 3: member by member; elements and members not mentioned stay."""
    result = copy.deepcopy(stored)
    for raw in sent:
        for place, other in enumerate(result):
            if spelled(other["id"]) == spelled(raw["id"]):
                known = {**blank(shape), **other}
                merged = _written(known, raw, shape, _replaced)
                result[place] = element_of(merged, shape)
                break
        else:
            result.append(element_of(raw, shape))
    return result


def _list_rule(mode: str) -> ListRule:
    """What a list in the body does to the stored one, by the kind of write."""

    def rule(name: str, stored: list[Json], sent: list[Json], shape: Shape) -> list[Json]:
        if name == "subscriptions" and not mode.endswith("STRICT"):
            return _merged_by_id(name, stored, sent, shape)
        if mode == "POST":
            return _appended(name, stored, sent, shape)
        return _replaced(name, stored, sent, shape)

    return rule


# Objects


def _written(
    stored: dict[str, Json], sent: dict[str, Json], shape: Shape, lists: ListRule
) -> dict[str, Json]:
    """Present replaces, absent stays, null clears, leaf by leaf (5.2 rules 1 and 2, 5.3 rule 1)."""
    result = copy.deepcopy(stored)
    for name, value in sent.items():
        inner = shape[name]
        if isinstance(inner, list):
            result[name] = [] if value is None else lists(name, result[name], value, inner[0])
        elif isinstance(inner, dict) and value is not None:
            before = result[name] if result[name] is not None else blank(inner)
            after = _written(before, value, inner, lists)
            result[name] = None if is_unset(after) else after
        else:
            result[name] = value
    return result


def _distinct(values: list[Json]) -> list[Json]:
    result: list[Json] = []
    for value in values:
        if spelled(value) not in [spelled(other) for other in result]:
            result.append(value)
    return result


# The five kinds of writes


def created(sent: dict[str, Json]) -> dict[str, Json]:
    """The whole document of a customer that a POST creates (5.7, first row)."""
    return _merged(NEW, sent, "POST", new=True)


def written(stored: dict[str, Json], sent: dict[str, Json], mode: str) -> dict[str, Json]:
    """The whole document after POST, PATCH, PATCH_STRICT, PUT or PUT_STRICT of `sent`."""
    if mode.startswith("PUT"):
        return _put(stored, sent, mode)
    return _merged(stored, sent, mode, new=False)


def _merged(
    stored: dict[str, Json], sent: dict[str, Json], mode: str, *, new: bool
) -> dict[str, Json]:
    result = copy.deepcopy(stored)
    lists = _list_rule(mode)
    for name in ("externalId", "extra"):
        if name in sent:
            result[name] = sent[name]
    if sent.get("enabled") is not None:
        result["enabled"] = sent["enabled"]
    for name in ("base", "consents", "extended", "tags"):
        if name not in sent:
            continue
        section = sent[name]
        if section is None:
            # 5.2 rule 2: read as absent; 5.3 rule 1: clears the section
            if mode != "POST":
                result[name] = blank(BASE) if name == "base" else None
        elif name == "base":
            result[name] = _written(result[name], section, BASE, lists)
        elif name == "consents":
            result[name] = _consents(result[name], section)
        elif name == "extended":
            result[name] = _extended(result[name], section, append=mode == "POST" and not new)
        else:
            result[name] = _tags(result[name], section, append=mode == "POST" and not new)
    return result


def _put(stored: dict[str, Json], sent: dict[str, Json], mode: str) -> dict[str, Json]:
    """5.4: what the body doesn't say is cleared; `enabled` and, unless STRICT, subscriptions stay."""
    result = copy.deepcopy(NEW)
    result["enabled"] = stored["enabled"] if sent.get("enabled") is None else sent["enabled"]
    result["externalId"], result["extra"] = sent.get("externalId"), sent.get("extra")
    base = sent.get("base") or {}
    if mode == "PUT":
        result["base"]["subscriptions"] = copy.deepcopy(stored["base"]["subscriptions"])
    result["base"] = _written(result["base"], base, BASE, _list_rule(mode))
    for name, empty in (("consents", blank(CONSENTS)), ("extended", {}), ("tags", _no_tags())):
        section = sent.get(name)
        if section is None:
            continue
        if name == "consents":
            after = _consents(None, section)
        elif name == "extended":
            after = _extended(None, section, append=False)
        else:
            after = _tags(None, section, append=False)
        # an object without a value clears; it doesn't set a section that never was set
        was_set = stored[name] is not None
        result[name] = empty if after is None and was_set else after
    return result


def _consents(stored: Json, sent: dict[str, Json]) -> Json:
    before = stored if stored is not None else blank(CONSENTS)
    after = _written(before, sent, CONSENTS, _replaced)
    return None if stored is None and is_unset(after) else after


def _extended(stored: Json, sent: dict[str, Json], *, append: bool) -> Json:
    after = dict(stored or {})
    for name, value in sent.items():
        if value is None:
            after.pop(name, None)
        elif isinstance(value, list) and append:
            if value:
                before = after.get(name)
                after[name] = _distinct([*(before if isinstance(before, list) else []), *value])
        elif isinstance(value, list):
            after[name] = _distinct(value)
        else:
            after[name] = value
    return None if stored is None and not after else after


def _no_tags() -> dict[str, Json]:
    return {"auto": [], "manual": []}


def _tags(stored: Json, sent: dict[str, Json], *, append: bool) -> Json:
    after = copy.deepcopy(stored) if stored is not None else _no_tags()
    is_set = stored is not None
    for name, value in sent.items():
        if value is None:
            after[name] = []
        elif append:
            after[name] = _distinct([*after[name], *value])
            is_set = is_set or value != []
        else:
            after[name] = _distinct(value)
            is_set = True
    return after if is_set else None


# Matching


def value_at(document: dict[str, Json], path: str) -> Json:
    """The value at a dotted path; null if nothing is there."""
    value: Json = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def has_value(document: dict[str, Json], path: str) -> bool:
    """Present, non-null and non-empty (5.1)."""
    value = value_at(document, path)
    return value != "" and not is_unset(value)


def key_of(document: dict[str, Json], properties: list[str], *, case_sensitive: bool) -> Json:
    """The values that name a customer, all together; null if the rule is empty or one is missing."""
    if not properties or not all(has_value(document, path) for path in properties):
        return None
    values = [value_at(document, path) for path in properties]
    if not case_sensitive:
        values = [value.casefold() if isinstance(value, str) else value for value in values]
    return spelled(values)
