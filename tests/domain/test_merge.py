from __future__ import annotations

import copy
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.domain.customer import StoredCustomer, compact_size, render
from headwater.domain.ids import CustomerId, NodeId
from headwater.domain.json import JsonObject
from headwater.domain.merge import Mode, check_merged, merge
from headwater.domain.moment import format_datetime

NEWS: JsonObject = {"id": "n", "subscribed": True, "name": "News"}
OTHER: JsonObject = {"id": "m", "subscribed": True}


def test_merge_post_is_the_example_of_the_contract() -> None:
    stored: JsonObject = {
        "enabled": True,
        "base": {"firstName": "Ann", "subscriptions": [NEWS]},
        "tags": {"auto": [], "manual": ["a", "b"]},
    }
    sent: JsonObject = {
        "base": {
            "lastName": "Lee",
            "subscriptions": [{"id": "n", "subscribed": False}, OTHER],
        },
        "tags": {"manual": ["b", "c"]},
    }
    assert merge(stored, sent, Mode.POST).document == {
        "enabled": True,
        "base": {
            "firstName": "Ann",
            "lastName": "Lee",
            "subscriptions": [{"id": "n", "subscribed": False, "name": "News"}, OTHER],
        },
        "tags": {"auto": [], "manual": ["a", "b", "c"]},
    }


def test_merge_patch_is_the_example_of_the_contract() -> None:
    stored: JsonObject = {
        "base": {"jobs": [{"id": "j1"}, {"id": "j2"}], "subscriptions": [NEWS, OTHER]},
        "tags": {"auto": ["x"], "manual": ["a", "b"]},
    }
    changed: JsonObject = {"id": "j2", "jobTitle": "Cook"}
    sent: JsonObject = {
        "base": {
            "jobs": [changed, {"id": "j3"}, {"id": "j3"}],
            "subscriptions": [{"id": "n", "subscribed": False}],
        },
        "tags": {"manual": ["a"]},
    }
    assert merge(stored, sent, Mode.PATCH).document == {
        "base": {
            "jobs": [changed, {"id": "j3"}],
            "subscriptions": [{"id": "n", "subscribed": False, "name": "News"}, OTHER],
        },
        "tags": {"auto": ["x"], "manual": ["a"]},
    }


def test_merge_put_is_the_example_of_the_contract() -> None:
    stored: JsonObject = {
        "base": {"firstName": "Ann", "lastName": "Lee"},
        "tags": {"auto": [], "manual": ["a", "b"]},
    }
    sent: JsonObject = {
        "base": {"firstName": "Ann", "contacts": {"email": "a@x.it"}},
        "tags": {"auto": ["x"], "manual": ["a"]},
    }
    assert merge(stored, sent, Mode.PUT).document == sent


def test_merge_strict_patch_is_the_example_of_the_contract() -> None:
    stored: JsonObject = {"base": {"subscriptions": [NEWS, OTHER]}}
    sent: JsonObject = {"base": {"subscriptions": [{"id": "n", "subscribed": False}]}}
    assert merge(stored, sent, Mode.PATCH_STRICT).document == sent


_ABSENT = "absent"
_TABLE = [  # customer-model 5.7: mode, what is sent for the leaf, does the stored leaf stay
    (Mode.POST, _ABSENT, True),
    (Mode.POST, None, False),
    (Mode.PATCH, _ABSENT, True),
    (Mode.PATCH, None, False),
    (Mode.PUT, _ABSENT, False),
    (Mode.PUT, None, False),
]


@pytest.mark.parametrize(("mode", "sent", "stays"), _TABLE)
def test_merge_of_a_leaf_follows_the_table(mode: Mode, sent: str | None, stays: bool) -> None:
    body: JsonObject = {"base": {} if sent == _ABSENT else {"firstName": sent}}
    result = merge({"base": {"firstName": "Ann"}}, body, mode).document
    assert result == ({"base": {"firstName": "Ann"}} if stays else {})


@pytest.mark.parametrize(
    ("mode", "stays"),
    [(Mode.POST, True), (Mode.PATCH, False), (Mode.PUT, False), (Mode.PUT_STRICT, False)],
)
def test_merge_of_a_null_section_follows_the_table(mode: Mode, stays: bool) -> None:
    stored: JsonObject = {
        "base": {"firstName": "Ann"},
        "extended": {"a": 1},
        "consents": {"softSpam": {"email": {"status": True}}},
        "tags": {"auto": [], "manual": ["a"]},
    }
    body = dict.fromkeys(stored)
    assert merge(stored, body, mode).document == (stored if stays else {})


@pytest.mark.parametrize(
    ("mode", "jobs_stay", "subscriptions_stay"),
    [
        (Mode.POST, True, True),
        (Mode.PATCH, False, True),
        (Mode.PATCH_STRICT, False, False),
        (Mode.PUT, False, True),
        (Mode.PUT_STRICT, False, False),
    ],
)
def test_merge_of_an_empty_list_follows_the_table(
    mode: Mode, jobs_stay: bool, subscriptions_stay: bool
) -> None:
    stored: JsonObject = {"base": {"jobs": [{"id": "j"}], "subscriptions": [NEWS]}}
    base = merge(stored, {"base": {"jobs": [], "subscriptions": []}}, mode).document.get("base", {})
    assert ("jobs" in base, "subscriptions" in base) == (jobs_stay, subscriptions_stay)


@pytest.mark.parametrize("body", [{}, {"base": None}, {"base": {}}])
def test_merge_put_keeps_subscriptions_it_does_not_name(body: JsonObject) -> None:
    stored: JsonObject = {"base": {"firstName": "Ann", "subscriptions": [NEWS]}}
    assert merge(stored, body, Mode.PUT).document == {"base": {"subscriptions": [NEWS]}}
    assert merge(stored, body, Mode.PUT_STRICT).document == {}


def test_merge_tells_true_from_one() -> None:
    assert merge({"extended": {"a": 1}}, {"extended": {"a": True}}, Mode.PATCH).changed
    assert not merge({"extended": {"a": 1}}, {"extended": {"a": 1.0}}, Mode.PATCH).changed
    both = merge(None, {"extended": {"a": [1, True, 1.0]}}, Mode.POST).document["extended"]["a"]
    assert [type(value) for value in both] == [int, bool]


def test_check_merged_wants_both_coordinates() -> None:
    (error,) = check_merged({}, {"base": {"address": {"geo": {"lat": 1}}}}, {})
    assert (error.message, error.path) == (
        "required property is missing",
        "/base/address/geo/lon",
    )


def test_check_merged_counts_what_a_post_appends() -> None:
    stored: JsonObject = {"tags": {"auto": [], "manual": ["a" * 900]}, "extended": {"w": ["b" * 8]}}
    more: JsonObject = {"tags": {"manual": ["c" * 101]}, "extended": {"w": ["d"]}}
    both = merge(stored, more, Mode.POST).document
    assert [(e.path, e.message) for e in check_merged(stored, both, {"w": 9})] == [
        ("/tags/manual", "max length is 1000"),
        ("/extended/w", "max length is 9"),
    ]
    assert check_merged(stored, both, {"w": 10})[1:] == ()
    # what is too long already, since the limit was lowered, is nothing that this write did
    assert check_merged(stored, {**stored, "extra": "x"}, {"w": 1}) == ()


_text = st.sampled_from(["", "a", "b"])
_leaf = st.none() | _text
_tags = st.fixed_dictionaries(
    {}, optional={n: st.none() | st.lists(_text, max_size=3) for n in ("auto", "manual")}
)
_jobs = st.lists(st.fixed_dictionaries({"id": _text}, optional={"jobTitle": _leaf}), max_size=3)
_base = st.fixed_dictionaries(
    {},
    optional={
        "firstName": _leaf,
        "contacts": st.none() | st.fixed_dictionaries({}, optional={"email": _leaf, "fax": _leaf}),
        "jobs": st.none() | _jobs,
        "subscriptions": st.none() | _jobs,
    },
)
_extended = st.dictionaries(
    _text, st.none() | st.booleans() | st.integers(0, 1) | st.lists(st.booleans() | st.just(1))
)
_documents: st.SearchStrategy[JsonObject] = st.fixed_dictionaries(
    {},
    optional={
        "externalId": _leaf,
        "base": st.none() | _base,
        "extended": st.none() | _extended,
        "tags": st.none() | _tags,
        "enabled": st.none() | st.booleans(),
    },
)


@given(_documents, _documents, st.sampled_from(Mode))
def test_merge_is_idempotent_and_says_exactly_when_it_changes(
    first: JsonObject, sent: JsonObject, mode: Mode
) -> None:
    stored = merge(None, first, Mode.POST).document
    before, body = copy.deepcopy(stored), copy.deepcopy(sent)
    once = merge(stored, sent, mode)
    again = merge(once.document, sent, mode)
    assert (again.document, again.changed) == (once.document, False)
    assert once.changed == (repr(_sorted(once.document)) != repr(_sorted(stored)))
    assert (stored, sent) == (before, body)


@given(_documents, _documents)
def test_merge_never_loses_an_element_on_post(first: JsonObject, sent: JsonObject) -> None:
    stored = merge(None, first, Mode.POST).document
    sent = {**sent, "tags": {"manual": ["z"]}}
    after = merge(stored, sent, Mode.POST).document["tags"]["manual"]
    assert after[: len(after) - 1] == stored.get("tags", {}).get("manual", [])


@given(_documents)
def test_rendered_customer_has_every_member_and_put_of_it_changes_nothing(
    first: JsonObject,
) -> None:
    document = merge(None, first, Mode.POST).document
    moment = datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC)
    full = render(
        StoredCustomer(
            id=CustomerId(UUID(int=1)),
            node_id=NodeId(UUID(int=2)),
            int_id=1,
            version=0,
            deleted=0,
            registered_at=moment,
            updated_at=moment,
            registered_by="s",
            updated_by="s",
            document=document,
        )
    )
    assert format_datetime(moment) == "2026-01-02T03:04:05.006+0000"
    assert full["registeredAt"] == format_datetime(moment)
    assert full["base"].keys() >= {"pictureUrl", "address", "jobs", "subscriptions"}
    assert not merge(document, full, Mode.PUT_STRICT).changed
    assert compact_size(document) > 0


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return sorted((name, _sorted(member)) for name, member in value.items())
    return [_sorted(element) for element in value] if isinstance(value, list) else value
