"""The detailed report of a refused document: exact sentences, pointers to the members meant.

Source: contacthub 2.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import jsonschema_rs

from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.paths import pointer_of
from headwater.domain.refusal import FieldError
from headwater.validation.compile import HIGHEST, LOWEST, at
from headwater.validation.formats import PREFIX

MAX_ERRORS = 100
"""A refusal names no more faults than this; a body can hold thousands."""

_NOT_IN_ENUM = "value not in enum"
_MISSING = "required property is missing"


def report(
    validator: jsonschema_rs.Draft7Validator, derived: JsonObject, value: JsonValue, root: str
) -> tuple[FieldError, ...]:
    """What is wrong with `value`, which stands at the pointer `root` of the body."""
    found = (
        fault
        for error in validator.iter_errors(value)
        for fault in _translate(error, derived, root)
    )
    errors = dict.fromkeys(islice(found, MAX_ERRORS))
    # a value of the wrong type is in no enum either; once is enough
    mistyped = {error.path for error in errors if error.message != _NOT_IN_ENUM}
    return tuple(
        error for error in errors if error.message != _NOT_IN_ENUM or error.path not in mistyped
    )


def undefined(names: Iterable[str]) -> tuple[FieldError, ...]:
    """The errors for members of the body that nobody knows."""
    return tuple(
        FieldError(message="property is not defined", path=pointer_of([name]))
        for name in islice(names, MAX_ERRORS)
    )


def _translate(
    error: jsonschema_rs.ValidationError, derived: JsonObject, root: str
) -> Iterator[FieldError]:
    steps = list(error.instance_path)
    path = root + pointer_of(steps)
    details = error.kind.as_dict()
    schema = at(derived, list(error.schema_path))
    declared = schema.get("declared", "")
    match error.kind.name:
        case "additionalProperties":
            for name in details["unexpected"]:
                yield FieldError(message="property is not defined", path=path + pointer_of([name]))
        case "required":
            yield FieldError(
                message=_MISSING,
                path=path + pointer_of([details["property"]]),
            )
        case "type" if error.instance is None and not (steps and isinstance(steps[-1], int)):
            # an element of an array is no member that could be missing
            yield FieldError(message=_MISSING, path=path)
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
            yield FieldError(message=_NOT_IN_ENUM, path=path)
        case "format":
            form = schema["format"].removeprefix(PREFIX)
            yield FieldError(message=f"invalid format {form}", path=path)
        case "pattern":
            yield FieldError(message="invalid format pattern", path=path)
        case _:
            yield FieldError(message=error.message, path=path)
