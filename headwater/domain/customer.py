"""The customer document: as it is stored (compact) and as a client reads it (complete).

The compact form holds `externalId`, `base`, `consents`, `extended`, `extra`, `tags` and `enabled`,
without nulls; empty objects and lists inside `base` and `consents` are left out too. A section that
was set stays, even when emptied (`consents` {}, `extended` {}), since it then reads as an object.

Source: customer-model 1, 2 and 4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

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


class _Shape(NamedTuple):
    """Members of an object in a complete document: scalars (all null in `blank`), nested objects, lists.

    Members that are left out while unset (customer-model 1: those with an enum, inside elements of
    lists) are named nowhere. `lists` have the shape of their elements. As tuples: a customer is completed
    on each of its changes, and this is three times as fast as mappings.
    """

    blank: JsonObject
    objects: tuple[tuple[str, _Shape], ...]
    lists: tuple[tuple[str, _Shape], ...]


def _shape(
    *,
    scalars: tuple[str, ...] = (),
    objects: Mapping[str, _Shape] | None = None,
    lists: Mapping[str, _Shape] | None = None,
) -> _Shape:
    return _Shape(
        blank=dict.fromkeys(scalars),
        objects=tuple((objects or {}).items()),
        lists=tuple((lists or {}).items()),
    )


_CONTACTS = _shape(
    scalars=("email", "fax", "mobilePhone", "phone"),
    lists={
        "otherContacts": _shape(scalars=("name", "value")),
        "mobileDevices": _shape(scalars=("identifier", "appId", "name")),
    },
)
_ADDRESS = _shape(
    scalars=("street", "city", "country", "province", "region", "zip"),
    objects={"geo": _shape(scalars=("lat", "lon"))},
)
_SUBSCRIPTION = _shape(
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
        "subscribeContext": _shape(scalars=("ip", "userAgent")),
        "unsubscribeContext": _shape(
            scalars=("ip", "userAgent", "campaignId", "campaignMessageId")
        ),
    },
    lists={"preferences": _shape(scalars=("key", "value"))},
)
_BASE = _shape(
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
        "credential": _shape(scalars=("username", "password")),
        "socialProfile": _shape(
            scalars=("facebook", "google", "instagram", "linkedin", "qzone", "twitter")
        ),
    },
    lists={
        "educations": _shape(
            scalars=(
                "id",
                "schoolName",
                "schoolConcentration",
                "startYear",
                "endYear",
                "isCurrent",
            )
        ),
        "likes": _shape(scalars=("id", "category", "name", "createdTime")),
        "jobs": _shape(
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
    leaf = _shape(scalars=("status", "limitation", "objection"))
    return _shape(objects=dict.fromkeys(names, leaf))


_CONSENTS = _shape(
    objects={
        "disclaimer": _shape(scalars=("date", "version")),
        "marketing": _shape(
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
    full = shape.blank.copy()
    full.update(value)
    for name, inner in shape.objects:
        nested = value.get(name)
        full[name] = None if nested is None else _complete(nested, inner)
    for name, inner in shape.lists:
        elements = value.get(name)
        full[name] = [_complete(element, inner) for element in elements] if elements else []
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
