"""The properties of a customer by dotted path: what `sort` and `fields` may name, and the projection.

Source: customer-model 1 to 4, query-language 2, 6 and 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeAlias

from headwater.domain.configuration import WorkspaceConfig
from headwater.domain.json import JsonObject, JsonValue
from headwater.postgres.search import Kind, SortKey

Tree: TypeAlias = dict[str, "Tree"]
"""Names by level; an empty one is a leaf. In a projection a leaf includes all below it."""

_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "intId": "int_id",
        "nodeId": "node_id",
        "registeredAt": "registered_at",
        "updatedAt": "updated_at",
        "version": "version",
        "deleted": "deleted",
    }
)
_AUTHORS: Mapping[str, str] = MappingProxyType(
    {"sourceInfo.registeredBy": "registered_by", "sourceInfo.updatedBy": "updated_by"}
)
_TEXTS = (
    "extra",
    "base.pictureUrl", "base.title", "base.prefix", "base.firstName", "base.lastName",
    "base.middleName", "base.gender", "base.dob", "base.locale", "base.timezone",
    "base.contacts.email", "base.contacts.fax", "base.contacts.mobilePhone", "base.contacts.phone",
    "base.address.street", "base.address.city", "base.address.country", "base.address.province",
    "base.address.region", "base.address.zip",
    "base.credential.username", "base.credential.password",
    "base.socialProfile.facebook", "base.socialProfile.google", "base.socialProfile.instagram",
    "base.socialProfile.linkedin", "base.socialProfile.qzone", "base.socialProfile.twitter",
    "consents.disclaimer.date", "consents.disclaimer.version",
)  # fmt: skip
_NUMBERS = ("base.address.geo.lat", "base.address.geo.lon")
_CONSENTS = (
    "marketing.traditional.telephonic", "marketing.traditional.papery",
    "marketing.automatic.sms", "marketing.automatic.email", "marketing.automatic.push",
    "marketing.automatic.im", "marketing.automatic.telephonic",
    "profiling.classic", "profiling.online", "softSpam.email", "softSpam.papery",
    "thirdPartyTransfer.profiling", "thirdPartyTransfer.marketing",
)  # fmt: skip
_FLAGS = tuple(
    f"consents.{leaf}.{member}"
    for leaf in _CONSENTS
    for member in ("status", "limitation", "objection")
)
_LISTS: Mapping[str, str] = MappingProxyType(
    {
        "tags": "auto manual",
        "base.contacts.otherContacts": "name type value",
        "base.contacts.mobileDevices": "identifier appId name type notificationService",
        "base.educations": "id schoolType schoolName schoolConcentration startYear endYear isCurrent",
        "base.likes": "id category name createdTime",
        "base.jobs": "id companyIndustry companyName jobTitle startDate endDate isCurrent",
        "base.subscriptions": "id name type kind subscribed startDate endDate subscriberId registeredAt"
        " updatedAt subscribeContext.ip subscribeContext.userAgent unsubscribeContext.ip"
        " unsubscribeContext.userAgent unsubscribeContext.campaignId"
        " unsubscribeContext.campaignMessageId preferences.key preferences.value",
    }
)
_ARRAYS = _LISTS.keys() - {"tags"}


def _tree_of(paths: Iterable[str]) -> Tree:
    root: Tree = {}
    for path in paths:
        level = root
        for name in path.split("."):
            level = level.setdefault(name, {})
    return root


def _all_paths() -> Iterator[str]:
    yield from ("id", "externalId", "enabled", "extended")
    yield from _COLUMNS
    yield from _AUTHORS
    yield from _TEXTS
    yield from _NUMBERS
    yield from _FLAGS
    for path, members in _LISTS.items():
        yield from (f"{path}.{member}" for member in members.split())


_KNOWN = _tree_of(_all_paths())
_BASE = frozenset(_KNOWN["base"])


def _qualified(path: str) -> str:
    """The path with the `base.` that clients leave out (query-language 2)."""
    return f"base.{path}" if path.split(".", 1)[0] in _BASE else path


def find_sort_key(path: str, *, descending: bool, config: WorkspaceConfig) -> SortKey | None:
    """How to sort by a scalar property; None if there is no such one."""
    path = _qualified(path)
    steps = tuple(path.split("."))

    def key(kind: Kind, where: tuple[str, ...] = steps) -> SortKey:
        return SortKey(kind=kind, path=where, descending=descending)

    if path == "id":
        return key(Kind.ID)
    if path == "externalId":
        return key(Kind.EXTERNAL_ID)
    if path == "enabled":
        return key(Kind.ENABLED)
    if path in _COLUMNS:
        return key(Kind.COLUMN, (_COLUMNS[path],))
    if path in _AUTHORS:
        return key(Kind.TEXT_COLUMN, (_AUTHORS[path],))
    if path in _NUMBERS:
        return key(Kind.NUMBER)
    if path in _TEXTS or path in _FLAGS:
        return key(Kind.TEXT)
    if len(steps) == 2 and steps[0] == "extended" and steps[1] in config.customer_extended:
        match config.customer_extended[steps[1]].get("type"):
            case "integer" | "number":
                return key(Kind.NUMBER)
            case "string" | "boolean":
                return key(Kind.TEXT)
            case _:
                return None
    return None


def find_projection(paths: Iterable[str], config: WorkspaceConfig) -> Tree | str:
    """The tree that holds `paths`, or the first path that names nothing."""
    wanted: list[str] = []
    for path in paths:
        full = _qualified(path)
        steps = full.split(".")
        if steps[0] == "extended" and len(steps) == 2:
            if steps[1] not in config.customer_extended:
                return path
        else:
            level = _KNOWN
            for step in steps:
                if step not in level:
                    return path
                level = level[step]
        wanted.append(full)
    root: Tree = {}
    for path in sorted(wanted):  # a whole object stands before its members
        _include(root, path.split("."))
    return root


def _include(level: Tree, steps: list[str]) -> None:
    for place, step in enumerate(steps):
        is_last = place == len(steps) - 1
        if step in level and not level[step]:
            return  # all below is included already
        level = level.setdefault(step, {})
        if is_last:
            level.clear()


def project(document: JsonObject, wanted: Tree) -> JsonObject:
    """The part of a customer that `fields` names: `id` always, unset paths null.

    When something below `base` is wanted, `base` holds all its members, the others null: a client
    indexes them. An array stays one: of its elements what is wanted and there, as in a whole customer.
    """
    result: JsonObject = {"id": document["id"]}
    for name, below in wanted.items():
        value = document.get(name)
        if name == "base" and below:
            base = value or {}
            result[name] = {
                member: _pick(base.get(member), below[member], f"base.{member}")
                if member in below
                else None
                for member in _KNOWN["base"]
            }
        else:
            result[name] = _pick(value, below, name)
    return result


def _pick(value: JsonValue, wanted: Tree, path: str) -> JsonValue:
    if not wanted:
        return value
    if isinstance(value, list):
        return [
            {
                name: _pick(element[name], below, f"{path}.{name}")
                for name, below in wanted.items()
                if name in element
            }
            for element in value
        ]
    if value is None and path in _ARRAYS:
        return []
    members = value if isinstance(value, dict) else {}
    return {
        name: _pick(members.get(name), below, f"{path}.{name}") for name, below in wanted.items()
    }
