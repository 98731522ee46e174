"""One schema made ready: judge a value fast, report slowly, normalise what is good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import jsonschema_rs

from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.refusal import FieldError
from headwater.validation.compile import SpellingTree, compile_schema, derive, spelled_paths
from headwater.validation.formats import FORMATS
from headwater.validation.normalise import as_meant, spelled
from headwater.validation.report import report

Errors: TypeAlias = tuple[FieldError, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A derived schema, its validator, and where values stand that have one spelling on the wire.

    `digits`: texts of digits are read as the integers that they spell.
    """

    derived: JsonObject
    validator: jsonschema_rs.Draft7Validator
    spellings: SpellingTree | None
    digits: bool

    def __call__(self, value: JsonValue, root: str) -> tuple[JsonValue, Errors]:
        """The normalised value, and what is wrong with it; `root` is its pointer in the body."""
        if not self.validator.is_valid(value):
            value = as_meant(value, self.derived, digits=self.digits)
            errors = report(self.validator, self.derived, value, root)
            if errors:
                return value, errors
        if self.spellings is not None:
            value = spelled(value, self.spellings)
        return value, ()


def make_check(
    schema: JsonObject,
    definitions: Mapping[str, JsonObject] | None = None,
    *,
    formats: Mapping[str, Callable[[str], bool]] = FORMATS,
    digits: bool = False,
    integers: bool = False,
) -> Check:
    """The check of a public schema; `integers`: 2000.0 is stored as 2000 where an integer is meant."""
    derived = derive(schema, definitions or {})
    return Check(
        derived=derived,
        validator=compile_schema(derived, formats),
        spellings=spelled_paths(derived, integers=integers),
        digits=digits,
    )
