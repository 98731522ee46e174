"""Laws of merging, and the slow reference beside the fast merge."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import example, given, settings
from hypothesis import strategies as st

from headwater.domain.configuration import UniqueRule
from headwater.domain.customer import StoredCustomer, render
from headwater.domain.ids import CustomerId, NodeId
from headwater.domain.matching import match_key
from headwater.domain.merge import Mode, merge
from tests.domain import reference
from tests.strategies import writes

_MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
_WRITABLE = ("externalId", "base", "consents", "extended", "extra", "tags", "enabled")

modes = st.sampled_from(Mode)
Body = dict[str, Any]


def _shown(document: Body) -> Body:
    """What a client reads of a compact document: its writable members."""
    stored = StoredCustomer(
        id=CustomerId(UUID(int=1)),
        node_id=NodeId(UUID(int=2)),
        int_id=1,
        version=0,
        deleted=0,
        registered_at=_MOMENT,
        updated_at=_MOMENT,
        registered_by="s",
        updated_by="s",
        document=document,
    )
    whole = render(stored)
    return {name: whole[name] for name in _WRITABLE}


def _same(one: object, other: object) -> bool:
    return reference.spelled(one) == reference.spelled(other)


def _stored(history: list[tuple[Mode, Body]], first: Body) -> Body:
    document = merge(None, first, Mode.POST).document
    for mode, body in history:
        document = merge(document, body, mode).document
    return document


histories = st.lists(st.tuples(modes, writes), max_size=2)


@settings(max_examples=200, deadline=None)
@given(writes, st.lists(st.tuples(modes, writes), min_size=1, max_size=3))
@example(
    {"consents": {"disclaimer": {"version": ""}}},
    [(Mode.POST, {"consents": {"disclaimer": None}}), (Mode.POST, {"consents": {}})],
)
@example({"extended": {"number": 1}}, [(Mode.PATCH, {"extended": {"number": True}})])
@example({}, [(Mode.PUT, {"tags": {}, "consents": {}, "extended": {}})])
@example({"extended": {"words": ["a"]}}, [(Mode.PATCH, {"extended": {"words": []}})])
def test_merge_shows_what_the_reference_shows(first: Body, then: list[tuple[Mode, Body]]) -> None:
    fast = merge(None, first, Mode.POST).document
    slow = reference.created(first)
    assert _same(_shown(fast), slow)
    for mode, body in then:
        merged = merge(fast, body, mode)
        after = reference.written(slow, body, mode.value)
        assert _same(_shown(merged.document), after)
        assert merged.changed == (not _same(after, slow))
        fast, slow = merged.document, after


_PATHS = (
    "externalId",
    "extra",
    "base.contacts.email",
    "base.lastName",
    "base.address.geo.lat",
    "extended.number",
    "extended.flag",
)
_paths = st.lists(
    st.sampled_from(_PATHS),
    max_size=3,
    unique=True,
)


@settings(max_examples=200, deadline=None)
@given(writes, writes, _paths, st.booleans())
@example({"externalId": "ß"}, {"externalId": "SS"}, ["externalId"], False)
@example({"extended": {"number": 1}}, {"extended": {"number": 1.0}}, ["extended.number"], True)
@example({"extended": {"flag": True}}, {"extended": {"number": 1}}, ["extended.flag"], True)
def test_match_keys_are_equal_when_those_of_the_reference_are(
    one: Body, other: Body, paths: list[str], case_sensitive: bool
) -> None:
    rule = UniqueRule(properties=tuple(paths), case_sensitive=case_sensitive)
    fast = [match_key(document, rule) for document in (one, other)]
    slow = [reference.key_of(d, paths, case_sensitive=case_sensitive) for d in (one, other)]
    assert [key is None for key in fast] == [key is None for key in slow]
    assert (fast[0] == fast[1]) == (slow[0] == slow[1])


@settings(max_examples=200, deadline=None)
@given(writes, histories, writes, modes)
def test_merge_is_idempotent_total_and_mutates_nothing(
    first: Body, history: list[tuple[Mode, Body]], sent: Body, mode: Mode
) -> None:
    stored = _stored(history, first)
    before, body = copy.deepcopy(stored), copy.deepcopy(sent)
    once = merge(stored, sent, mode)
    after = copy.deepcopy(once.document)
    again = merge(once.document, sent, mode)
    assert (again.document, again.changed) == (after, False)
    assert once.changed == (not _same(after, before))
    assert (repr(stored), repr(sent)) == (repr(before), repr(body))


def _leaves(body: Body, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, value in body.items():
        here = (*path, name)
        found += _leaves(value, here) if isinstance(value, dict) and value else [here]
    return found


def _only(body: Body, paths: list[tuple[str, ...]]) -> Body:
    """`body` with these of its members alone."""
    part: Body = {}
    for path in paths:
        value: Any = body
        place = part
        for name in path[:-1]:
            value = value[name]
            place = place.setdefault(name, {})
        place[path[-1]] = value[path[-1]]
    return part


@settings(max_examples=200, deadline=None)
@given(
    writes,
    histories,
    writes,
    st.sampled_from([Mode.POST, Mode.PATCH, Mode.PATCH_STRICT]),
    st.data(),
)
def test_merge_of_independent_members_has_no_order(
    first: Body, history: list[tuple[Mode, Body]], sent: Body, mode: Mode, data: st.DataObject
) -> None:
    stored = _stored(history, first)
    leaves = _leaves(sent)
    one = [path for path in leaves if data.draw(st.booleans())]
    other = [path for path in leaves if path not in one]
    parts = [_only(sent, one), _only(sent, other)]
    left = merge(merge(stored, parts[0], mode).document, parts[1], mode).document
    right = merge(merge(stored, parts[1], mode).document, parts[0], mode).document
    at_once = merge(stored, sent, mode).document
    assert _same(_shown(left), _shown(right))
    assert _same(_shown(left), _shown(at_once))


def _collections(shown: Body) -> dict[str, list[Any]]:
    """Every collection of a whole document, by its path."""
    base = shown["base"]
    contacts = base["contacts"] or {}
    found = {name: base[name] for name in ("educations", "likes", "jobs", "subscriptions")}
    found |= {name: contacts.get(name) or [] for name in ("otherContacts", "mobileDevices")}
    found |= {f"tags {name}": value for name, value in (shown["tags"] or {}).items()}
    lists = {n: v for n, v in (shown["extended"] or {}).items() if isinstance(v, list)}
    return found | {f"extended {name}": value for name, value in lists.items()}


def _clears(body: Body, collection: str) -> bool:
    """Whether a POST says null where the collection stands, or above it."""
    kind, _, name = collection.partition(" ")
    if name:
        section = body.get(kind) or {}
        return name in section and section[name] is None
    base = body.get("base") or {}
    contacts = base.get("contacts", {})
    if kind in {"otherContacts", "mobileDevices"}:
        return contacts is None or (kind in contacts and contacts[kind] is None)
    return kind in base and base[kind] is None


@settings(max_examples=200, deadline=None)
@given(writes, histories, writes)
def test_merge_of_a_post_loses_no_element_and_no_member_that_it_does_not_name(
    first: Body, history: list[tuple[Mode, Body]], sent: Body
) -> None:
    stored = _stored(history, first)
    before, after = _shown(stored), _shown(merge(stored, sent, Mode.POST).document)
    kept = _collections(after)
    for name, elements in _collections(before).items():
        if _clears(sent, name):
            continue
        identities = [reference.identity(name, element) for element in elements]
        now = [reference.identity(name, element) for element in kept[name]]
        assert now[: len(identities)] == identities
        assert len(now) == len(set(now))
    named = set(_leaves(sent))
    for path in _leaves(before):
        # an empty object is a leaf too, and what is sent may name something in it
        if any(path[: len(other)] == other[: len(path)] for other in named):
            continue
        value = reference.value_at(before, ".".join(path))
        if value is not None and not isinstance(value, list):
            assert _same(reference.value_at(after, ".".join(path)), value)


@settings(max_examples=200, deadline=None)
@given(writes, histories, modes)
def test_writing_back_what_is_read_changes_nothing(
    first: Body, history: list[tuple[Mode, Body]], mode: Mode
) -> None:
    stored = _stored(history, first)
    assert not merge(stored, _shown(stored), mode).changed


def _says(sent: Any, shown: Any) -> bool:
    """Whether `shown` holds what was sent: order kept, explicit false kept, unset as null."""
    if isinstance(sent, dict):
        if shown is None:
            return reference.is_unset(sent)
        return all(_says(value, shown.get(name)) for name, value in sent.items())
    if isinstance(sent, list) and isinstance(shown, list) and len(sent) == len(shown):
        return all(map(_says, sent, shown))
    return _same(sent, shown) or (reference.is_unset(sent) and reference.is_unset(shown))


@settings(max_examples=200, deadline=None)
@given(writes)
def test_a_customer_that_is_created_reads_back_as_it_was_sent(sent: Body) -> None:
    sent = _without_repetitions(sent)
    shown = _shown(merge(None, sent, Mode.POST).document)
    if sent.get("enabled") is None:
        sent = {name: value for name, value in sent.items() if name != "enabled"}
        assert shown["enabled"] is True
    assert _says(sent, shown)


def _without_repetitions(value: Any, name: str = "") -> Any:
    """What the hub drops by its own rules, left out of what is sent."""
    if isinstance(value, dict):
        return {inner: _without_repetitions(member, inner) for inner, member in value.items()}
    if not isinstance(value, list):
        # null in a list that can be unset reads as an empty one
        lists = ("educations", "likes", "jobs", "subscriptions", "otherContacts", "mobileDevices")
        return [] if value is None and name in {*lists, "auto", "manual", "preferences"} else value
    seen: dict[str, Any] = {}
    for place, element in enumerate(value):
        kind: dict[str, Any] = (
            {"identifier": None, **element} if name == "mobileDevices" else element
        )
        if name == "mobileDevices":
            kind = {"appId": None, **kind}
        key = str(place) if name == "preferences" else reference.identity(name, kind)
        compact = reference.spelled(_set_only(element))
        unique = key if not key.startswith("whole") else compact
        seen.setdefault(unique, _without_repetitions(element))
    return list(seen.values())


def _set_only(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _set_only(v) for name, v in value.items() if not reference.is_unset(v)}
    return value
