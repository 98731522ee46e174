"""The schema files: all of them there, and as the hub promises them."""

from __future__ import annotations

import pytest
from jsonschema import Draft4Validator

from headwater.validation import load_schemas

SCHEMAS = load_schemas()

CONTEXTS = {
    "WEB", "MOBILE", "ECOMMERCE", "RETAIL", "SOCIAL", "DIGITAL_CAMPAIGN", "CONTACT_CENTER", "IOT",
    "OTHER",
}  # fmt: skip
GROUPS = {
    "campaign", "cart", "order", "product", "page", "ticket", "event", "service", "reward",
    "account", "generic",
}  # fmt: skip
REQUIRED = {
    "addedReward": ["rewardAmount", "rewardTypeId"],
    "removedReward": ["rewardAmount", "rewardTypeId"],
}


def test_schemas_are_those_of_all_types_and_contexts() -> None:
    assert len(SCHEMAS.event_types) == 48
    assert set(SCHEMAS.contexts) == CONTEXTS
    assert {one.group for one in SCHEMAS.event_types.values()} == GROUPS
    assert {one.mode for one in SCHEMAS.event_types.values()} == {"ACTIVE", "PASSIVE"}
    assert {one.retention_months for one in SCHEMAS.event_types.values()} == {3, 12, 13}
    assert all(one.label and one.description for one in SCHEMAS.event_types.values())
    assert all(one.label and one.description for one in SCHEMAS.contexts.values())


@pytest.mark.parametrize("name", sorted(SCHEMAS.event_types))
def test_event_schema_is_closed_and_has_the_free_slots(name: str) -> None:
    schema = SCHEMAS.event_types[name].schema
    Draft4Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert schema["properties"]["extraProperties"] == {"type": "object"}
    assert schema["properties"]["extended"] == {"$ref": "#/definitions/EventExtended"}
    assert set(schema.get("required", ())) <= set(schema["properties"])


def test_reward_schemas_say_what_is_required() -> None:
    for name, members in REQUIRED.items():
        assert SCHEMAS.event_types[name].schema["required"] == members


@pytest.mark.parametrize("name", sorted(SCHEMAS.contexts))
def test_context_schema_is_closed_and_requires_nothing(name: str) -> None:
    schema = SCHEMAS.contexts[name].schema
    Draft4Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert "required" not in schema
    assert {"client", "user"} <= set(schema["properties"])


def test_customer_schema_has_the_writable_members() -> None:
    Draft4Validator.check_schema(SCHEMAS.customer)
    assert list(SCHEMAS.customer["properties"]) == [
        "externalId", "base", "consents", "extended", "extra", "tags", "enabled",
    ]  # fmt: skip
