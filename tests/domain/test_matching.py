from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from headwater.domain.configuration import Node, UniqueRule
from headwater.domain.ids import NodeId
from headwater.domain.matching import emptied_by_patch, match_key, missing_properties
from headwater.domain.refusal import FieldError

_RULE = UniqueRule(properties=("externalId", "base.contacts.email"))
_NODE = Node(id=NodeId(UUID(int=1)), name="shop", unique=_RULE, mandatory=("base.firstName",))


def _document(external_id: str, email: str) -> dict[str, object]:
    return {"externalId": external_id, "base": {"contacts": {"email": email}}}


def test_match_key_is_the_example_of_the_contract() -> None:
    stored = match_key(_document("A1", "joe@x.it"), _RULE)
    assert match_key(_document("a1", "JOE@X.IT"), _RULE) == stored
    assert match_key(_document("A1", "jim@x.it"), _RULE) != stored
    assert match_key({"externalId": "A1"}, _RULE) is None
    assert match_key(_document("A1", "joe@x.it"), UniqueRule(properties=())) is None


def test_missing_properties_names_each_path() -> None:
    unique = "unique customer property is required"
    email = FieldError(message=unique, path="/base/contacts/email")
    name = FieldError(message="mandatory property is required", path="/base/firstName")
    assert missing_properties({"externalId": "A1"}, _NODE) == (email, name)
    assert missing_properties(_document("", "a@x.it"), _NODE) == (
        FieldError(message=unique, path="/externalId"),
        name,
    )
    assert emptied_by_patch(_document("A1", "a@x.it"), {"externalId": "A1"}, _NODE) == (email,)


@pytest.mark.parametrize("value", [None, [], {}, {"email": None}, {"geo": {"lat": None}}, ""])
def test_missing_properties_takes_what_holds_nothing_for_missing(value: object) -> None:
    node = replace(_NODE, unique=UniqueRule(properties=()), mandatory=("base.jobs",))
    error = FieldError(message="mandatory property is required", path="/base/jobs")
    assert missing_properties({"base": {"jobs": value}}, node) == (error,)
    assert missing_properties({"base": {"jobs": [{"id": "j"}]}}, node) == ()
    assert missing_properties({"base": {"jobs": False}}, node) == ()
