"""The detailed report of a refused document: exact sentences, pointers to the members meant.

Source: contacthub 2.4.
"""

from __future__ import annotations

from collections.abc import Iterator

import jsonschema_rs

from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.paths import pointer_of
from headwater.domain.refusal import FieldError
from headwater.validation.compile import HIGHEST, LOWEST, at
from headwater.validation.formats import PREFIX

MAX_ERRORS = 100


def report(
    validator: jsonschema_rs.Draft7Validator, derived: JsonObject, value: JsonValue, root: str
) -> tuple[FieldError, ...]:
    """What is wrong with `value`, which stands at the pointer `root` of the body."""
    errors: list[FieldError] = []
    for error in validator.iter_errors(value):
        for found in _translate(error, derived, root):
            if found not in errors:
                errors.append(found)
        if len(errors) >= MAX_ERRORS:
            break
    return tuple(errors[:MAX_ERRORS])


def _translate(
    error: jsonschema_rs.ValidationError, derived: JsonObject, root: str
) -> Iterator[FieldError]:
    path = root + pointer_of(list(error.instance_path))
    details = error.kind.as_dict()
    schema = at(derived, list(error.schema_path))
    declared = schema.get("declared", "")
    match error.kind.name:
        case "additionalProperties":
            for name in details["unexpected"]:
                yield FieldError(message="property is not defined", path=path + pointer_of([name]))
        case "required":
            yield FieldError(
                message="required property is missing",
                path=path + pointer_of([details["property"]]),
            )
        case "type" if error.instance is None:
            yield FieldError(message="required property is missing", path=path)
        case "type":
            yield FieldError(message=f"expected type {declared}", path=path)
        case "minimum" | "maximum" if "integer" in declared and details["limit"] in {
            LOWEST,
            HIGHEST,
        }:
            yield FieldError(message=f"expected type {declared}", path=path)
        case "minimum":
            yield FieldError(message=f"minimum is {details['limit']}", path=path)
        case "maximum":
            yield FieldError(message=f"maximum is {details['limit']}", path=path)
        case "maxLength":
            yield FieldError(message=f"max length is {details['limit']}", path=path)
        case "minLength":
            yield FieldError(message=f"min length is {details['limit']}", path=path)
        case "enum":
            yield FieldError(message="value not in enum", path=path)
        case "format":
            form = schema["format"].removeprefix(PREFIX)
            yield FieldError(message=f"invalid format {form}", path=path)
        case "pattern":
            yield FieldError(message="invalid format pattern", path=path)
        case _:
            yield FieldError(message=error.message, path=path)
