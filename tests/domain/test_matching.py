from __future__ import annotations

from uuid import UUID

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
    assert missing_properties({"externalId": "A1"}, _NODE, whole=True) == (email, name)
    assert missing_properties({"base": {"contacts": None}}, _NODE, whole=False) == (email,)
    assert emptied_by_patch(_document("A1", "a@x.it"), {"externalId": "A1"}, _NODE) == (email,)
