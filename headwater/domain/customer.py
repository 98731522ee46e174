"""The customer document: as it is stored (compact) and as a client reads it (complete).

The compact form holds `externalId`, `base`, `consents`, `extended`, `extra`, `tags` and `enabled`,
without nulls; empty objects and lists inside `base` and `consents` are left out too. A section that
was set stays, even when emptied (`consents` {}, `extended` {}), since it then reads as an object.

Source: customer-model 1, 2 and 4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from headwater.domain.ids import CustomerId, NodeId
from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.moment import format_datetime

MAX_TAGS_LENGTH = 1000
"""Characters of all tags of one list (contacthub 2.8)."""

DEFAULT_LIST_LENGTH = 1000
"""Length of an extended list of strings unless its definition says another (customer-model 3)."""


@dataclass(slots=True, kw_only=True)  # not frozen: a third of the time, and each change makes one
class StoredCustomer:
    """A customer as it is stored; never mutated, as is `document`, the compact form."""

    id: CustomerId
    node_id: NodeId
    int_id: int
    version: int
    deleted: int
    registered_at: datetime
    updated_at: datetime
    registered_by: str
    updated_by: str
    document: JsonObject


def string_list_limits(definitions: Mapping[str, JsonObject]) -> dict[str, int]:
    """How long the extended lists of strings may be, by name (customer-model 3)."""
    return {
        name: (definition.get("contactlabProperties") or {}).get("maxLength") or DEFAULT_LIST_LENGTH
        for name, definition in definitions.items()
        if (definition.get("items") or {}).get("type") == "string"
    }


def string_list_length(values: Sequence[str]) -> int:
    """Characters of all strings and of one separator between two of them."""
    return sum(map(len, values)) + max(len(values) - 1, 0)


def compact_size(document: JsonObject) -> int:
    """Bytes of the compact JSON of `document`, nulls and empty lists left out (customer-model 5.7)."""
    text = json.dumps(_without_unset(document), ensure_ascii=False, separators=(",", ":"))
    return len(text.encode("utf-8", "surrogatepass"))


def _without_unset(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {
            name: _without_unset(member)
            for name, member in value.items()
            if member is not None and member != []
        }
    if isinstance(value, list):
        return [_without_unset(element) for element in value]
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """Members of an object in a complete document: scalars, nested objects, lists.

    Members that are left out while unset (customer-model 1: those with an enum, inside elements of
    lists) are named nowhere. `lists` maps to the shape of the elements.
    """

    scalars: tuple[str, ...] = ()
    objects: dict[str, _Shape] = field(default_factory=dict)
    lists: dict[str, _Shape] = field(default_factory=dict)


_CONTACTS = _Shape(
    scalars=("email", "fax", "mobilePhone", "phone"),
    lists={
        "otherContacts": _Shape(scalars=("name", "value")),
        "mobileDevices": _Shape(scalars=("identifier", "appId", "name")),
    },
)
_ADDRESS = _Shape(
    scalars=("street", "city", "country", "province", "region", "zip"),
    objects={"geo": _Shape(scalars=("lat", "lon"))},
)
_SUBSCRIPTION = _Shape(
    scalars=(
        "id",
        "name",
        "type",
        "subscribed",
        "startDate",
        "endDate",
        "subscriberId",
        "registeredAt",
        "updatedAt",
    ),
    objects={
        "subscribeContext": _Shape(scalars=("ip", "userAgent")),
        "unsubscribeContext": _Shape(
            scalars=("ip", "userAgent", "campaignId", "campaignMessageId")
        ),
    },
    lists={"preferences": _Shape(scalars=("key", "value"))},
)
_BASE = _Shape(
    scalars=(
        "pictureUrl",
        "title",
        "prefix",
        "firstName",
        "lastName",
        "middleName",
        "gender",
        "dob",
        "locale",
        "timezone",
    ),
    objects={
        "contacts": _CONTACTS,
        "address": _ADDRESS,
        "credential": _Shape(scalars=("username", "password")),
        "socialProfile": _Shape(
            scalars=("facebook", "google", "instagram", "linkedin", "qzone", "twitter")
        ),
    },
    lists={
        "educations": _Shape(
            scalars=(
                "id",
                "schoolName",
                "schoolConcentration",
                "startYear",
                "endYear",
                "isCurrent",
            )
        ),
        "likes": _Shape(scalars=("id", "category", "name", "createdTime")),
        "jobs": _Shape(
            scalars=(
                "id",
                "companyIndustry",
                "companyName",
                "jobTitle",
                "startDate",
                "endDate",
                "isCurrent",
            )
        ),
        "subscriptions": _SUBSCRIPTION,
    },
)


def _leaves(*names: str) -> _Shape:
    leaf = _Shape(scalars=("status", "limitation", "objection"))
    return _Shape(objects=dict.fromkeys(names, leaf))


_CONSENTS = _Shape(
    objects={
        "disclaimer": _Shape(scalars=("date", "version")),
        "marketing": _Shape(
            objects={
                "traditional": _leaves("telephonic", "papery"),
                "automatic": _leaves("sms", "email", "push", "im", "telephonic"),
            }
        ),
        "profiling": _leaves("classic", "online"),
        "softSpam": _leaves("email", "papery"),
        "thirdPartyTransfer": _leaves("profiling", "marketing"),
    }
)


def _complete(value: JsonObject, shape: _Shape) -> JsonObject:
    full: JsonObject = dict.fromkeys(shape.scalars)
    full.update(value)
    for name, inner in shape.objects.items():
        nested = value.get(name)
        full[name] = _complete(nested, inner) if isinstance(nested, dict) else nested
    for name, inner in shape.lists.items():
        elements = value.get(name) or []
        full[name] = [_complete(element, inner) for element in elements]
    return full


def render(stored: StoredCustomer) -> JsonObject:
    """The complete document that a client reads: every member, null where nothing is set."""
    document = stored.document
    consents = document.get("consents")
    extended = document.get("extended")
    tags = document.get("tags")
    return {
        "id": str(stored.id),
        "intId": stored.int_id,
        "externalId": document.get("externalId"),
        "nodeId": str(stored.node_id),
        "base": _complete(document.get("base") or {}, _BASE),
        "consents": None if consents is None else _complete(consents, _CONSENTS),
        "extended": None if extended is None else dict(extended),
        "extra": document.get("extra"),
        "tags": None
        if tags is None
        else {"auto": list(tags.get("auto") or ()), "manual": list(tags.get("manual") or ())},
        "enabled": document.get("enabled", True),
        "registeredAt": format_datetime(stored.registered_at),
        "updatedAt": format_datetime(stored.updated_at),
        "version": stored.version,
        "deleted": stored.deleted,
        "sourceInfo": {"registeredBy": stored.registered_by, "updatedBy": stored.updated_by},
    }
