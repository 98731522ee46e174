"""Schemas of what stands around the documents, which no file under `schemas/` describes."""

from __future__ import annotations

from headwater.domain.json import JsonObject
from headwater.validation.compile import derive

CUSTOMER_SYSTEM_MEMBERS = frozenset(
    {"id", "nodeId", "intId", "registeredAt", "updatedAt", "version", "deleted", "sourceInfo"}
)
"""Members of a customer that a body may hold and that are not written (contacthub 2.10)."""

EVENT_MEMBERS = frozenset(
    {
        # judged
        "customerId", "bringBackProperties", "type", "context", "properties", "contextInfo", "date",
        "tracking",
        # ignored here: the system's, and those that older clients send
        "id", "nodeId", "mode", "origin", "prev", "next", "registeredAt", "updatedAt", "version",
    }
)  # fmt: skip
"""Members that the body of an event may hold (event-model 1). A batch item's own key is taken out before."""

MAX_VALUE = 255
"""Longest session value or external id."""

BRING_BACK: JsonObject = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "value", "nodeId"],
    "properties": {
        "type": {"type": "string", "enum": ["SESSION_ID", "EXTERNAL_ID"]},
        "value": {"type": "string", "minLength": 1, "maxLength": MAX_VALUE},
        "nodeId": {"type": "string", "minLength": 1},
    },
}

TRACKING: JsonObject = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "ga": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: {"type": "string"}
                for name in ("utm_source", "utm_medium", "utm_term", "utm_content", "utm_campaign")
            },
        }
    },
}

SESSION: JsonObject = {
    "type": "object",
    "additionalProperties": False,
    "required": ["value"],
    "properties": {"value": {"type": "string", "minLength": 1, "maxLength": MAX_VALUE}},
}


_USUAL_MOMENT = (
    "^(19|20)[0-9]{2}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
    r"T([01][0-9]|2[0-3])(:[0-5][0-9]){2}(\.[0-9]{3})?(Z|\+0000)$"
)
"""Most moments, leap days and other spellings apart. A format costs a call of Python, a quarter of the whole look."""


def whole_event(properties: JsonObject) -> JsonObject:
    """The schema of most good events whose properties have this derived one. What depends on more than the schemas,
    as the context, may be anything.
    """
    return {
        "type": ["object"],
        "additionalProperties": False,
        "required": ["type", "context", "properties"],
        "properties": {
            **{member: {} for member in EVENT_MEMBERS},
            **derive(
                {
                    "properties": {
                        "customerId": {"type": "string"},
                        "bringBackProperties": BRING_BACK,
                        "date": {"type": "string", "pattern": _USUAL_MOMENT},
                        "tracking": TRACKING,
                    }
                },
                {},
            )["properties"],
            "properties": properties,
        },
    }
