"""The fast validator and the reference library give the same verdicts on the same documents.

Both get the derived schemas and our formats. Documents are generated from the schemas: good ones, and the
same with one place made worse.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import FormatChecker
from jsonschema.protocols import Validator as Reference

from headwater.domain.json import JsonObject, JsonValue
from headwater.validation import load_schemas
from headwater.validation.check import Check, make_check
from headwater.validation.compile import compile_schema, named_formats
from headwater.validation.formats import CONTEXT_FORMATS, FORMATS

SCHEMAS = load_schemas()
DOCUMENTS_EACH = 120

GOOD_TEXTS = {
    "hub-date-time": ["2024-03-01T10:20:30Z", "2024-03-01T10:20:30.5+02", "2024-03-01"],
    "hub-date": ["2024-03-01", "2024-03-01T10:20:30Z"],
    "hub-email": ["ann@lee.it", "josé@example.com"],
    "hub-uri": ["https://x.it/a", "/relative"],
    "hub-ipv4": ["10.1.2.3", "255.0.0.1"],
    "hub-timezone": ["Europe/Rome", "UTC"],
}
GOOD_PATTERNS = {
    "^[A-Z]{3}$": ["EUR", "USD"],
    "^[a-z]{2}(_([a-zA-Z]{2}){1,2})?_[A-Z]{2}$": ["it_IT", "zh_Hans_CN"],
}
TEXTS = ["", "x", "Ann Lee", "é€😀", "a b@c.com", "a@@b.com", "2024-02-30", "x" * 255]
BAD_VALUES: list[JsonValue] = [
    None, True, False, 0, 1, -1, 1.0, 1.5, -90, 90.000001, 181, 2**63, 2**64 - 1, -(2**63),
    18446744073709551616.0, -9223372036854777856.0, 1e300, "", "x", "x" * 256, "x" * 1001,
    "😀" * 255, "😀" * 256, "a@@b.com", "a b@c.com", "josé@example.com", "2024-02-30",
    "2016-12-31T23:59:60Z", "2024-03-01T10:20:30+0000", "::1", "10.1.2.3", "EUR", "EURO", "EUR\n",
    "IT_it", "Europe/Atlantis", "http://a b", [], [None], [1], ["x"], {}, {"unknown": 1},
    {"id": None}, {"lat": 91}, {"": ""},
]  # fmt: skip


def _pattern(
    _validator: Reference, pattern: str, instance: JsonValue, _schema: JsonObject
) -> Iterator[jsonschema.ValidationError]:
    # JSON Schema's `$` is the end; Python's also stands before a final newline
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match")


def _reference(derived: JsonObject, formats: Mapping[str, Callable[[str], bool]]) -> Reference:
    checker = FormatChecker(formats=())
    for name, accepts in named_formats(formats).items():
        checker.checks(name)(_for_texts(accepts))
    extend: Callable[..., Any] = jsonschema.validators.extend
    kind = extend(jsonschema.Draft7Validator, {"pattern": _pattern})
    reference: Reference = kind(derived, format_checker=checker)
    return reference


def _for_texts(accepts: Callable[[str], bool]) -> Callable[[object], bool]:
    return lambda value: not isinstance(value, str) or accepts(value)


def _checks() -> dict[str, tuple[Check, Reference]]:
    made = {
        **{
            name: (make_check(one.schema, SCHEMAS.event_definitions), FORMATS)
            for name, one in SCHEMAS.event_types.items()
        },
        **{
            name: (
                make_check(one.schema, SCHEMAS.context_definitions, formats=CONTEXT_FORMATS),
                CONTEXT_FORMATS,
            )
            for name, one in SCHEMAS.contexts.items()
        },
        "customer": (make_check(SCHEMAS.customer, SCHEMAS.customer["definitions"]), FORMATS),
    }
    return {
        name: (check, _reference(check.derived, formats)) for name, (check, formats) in made.items()
    }


CHECKS = _checks()


def _good(schema: JsonObject, chance: random.Random) -> JsonValue:
    """A document that the schema accepts."""
    if "enum" in schema:
        return chance.choice(schema["enum"])
    types = schema.get("type", ["object", "string", "null"])
    match chance.choice(types):
        case "null":
            return None
        case "boolean":
            return chance.random() < 0.5
        case "integer":
            return chance.choice([0, -5, 7.0, 2**63, 2**64 - 1, -(2**63)])
        case "number":
            low, high = schema.get("minimum", -(10**6)), schema.get("maximum", 10**6)
            return chance.choice([low, high, chance.uniform(low, high)])
        case "string":
            texts = GOOD_TEXTS.get(schema.get("format", ""))
            return chance.choice(texts or GOOD_PATTERNS.get(schema.get("pattern", "")) or TEXTS[1:])
        case "array":
            items = schema.get("items", {})
            return [_good(items, chance) for _ in range(chance.choice([0, 1, 1, 2]))]
        case _:
            properties = schema.get("properties", {})
            document: JsonObject = {
                name: _good(inner, chance)
                for name, inner in properties.items()
                if name in schema.get("required", ()) or chance.random() < 0.4
            }
            if schema.get("additionalProperties") is not False and chance.random() < 0.3:
                document["anything"] = {"of": ["any", 1, None]}
            return document


def _places(value: JsonValue) -> list[tuple[Any, Any]]:
    """Every container in a value with each of its keys."""
    found: list[tuple[Any, Any]] = []
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            found += [(value, key), *_places(value[key])]
    return found


def _worse(document: JsonValue, chance: random.Random) -> JsonValue:
    """The document with one place replaced, removed, or a stranger beside it."""
    worse: JsonValue = orjson.loads(orjson.dumps(document))
    places = _places(worse)
    if not places:
        return chance.choice([{"unknown": 1}, *BAD_VALUES])
    container, key = chance.choice(places)
    match chance.randrange(4):
        case 0 if isinstance(container, dict):
            del container[key]
        case 1 if isinstance(container, dict):
            container["unknown"] = 1
        case _:
            container[key] = chance.choice(BAD_VALUES)
    return worse


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_fast_validator_agrees_with_the_reference(name: str) -> None:
    check, reference = CHECKS[name]
    chance = random.Random(f"{name} 1")
    verdicts = []
    for _ in range(DOCUMENTS_EACH):
        good = _good(check.derived, chance)
        assert check.validator.is_valid(good), good
        assert reference.is_valid(good), good
        worse = _worse(good, chance)
        verdict = check.validator.is_valid(worse)
        assert verdict == reference.is_valid(worse), worse
        verdicts.append(verdict)
    assert verdicts.count(False) >= DOCUMENTS_EACH // 6


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(
    st.sampled_from(sorted(CHECKS)),
    st.randoms(use_true_random=False),
    JSON,
)
def test_fast_validator_agrees_with_the_reference_on_any_json(
    name: str, chance: random.Random, foreign: JsonValue
) -> None:
    check, reference = CHECKS[name]
    assert check.validator.is_valid(foreign) == reference.is_valid(foreign)
    document = _good(check.derived, chance)
    places = _places(document)
    if places:
        container, key = chance.choice(places)
        container[key] = foreign
    verdict = check.validator.is_valid(document)
    assert verdict == reference.is_valid(document)
    # a refusal always has a reason, and acceptance none, after PHP's empty arrays are read as meant
    _, errors = check(document, "")
    assert not (verdict and errors)


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (0, True), (1.0, True), (-(2**63), True), (2**64 - 1, True), (None, True),
        (1.5, False), (2.0**64, False), (-(2.0**63) * 1.5, False), (1e300, False), (True, False),
        ("1", False), ([], False),
    ],
)  # fmt: skip
def test_integer_fits_64_bits(value: JsonValue, good: bool) -> None:
    check, reference = CHECKS["campaignSent"]
    document = {"userdbId": value}
    assert check.validator.is_valid(document) is good
    assert reference.is_valid(document) is good


# Every fault that a schema can have, at every place of every schema

WRONG_TYPES: dict[str, JsonValue] = {
    "string": "text",
    "number": 1.5,
    "boolean": True,
    "array": [1],
    "object": {"unknown": 1},
}
BAD_TEXTS = {
    "hub-date-time": "2024-02-30T00:00:00Z",
    "hub-date": "2024-13-01",
    "hub-email": "ann@",
    "hub-uri": "a b",
    "hub-ipv4": "10.1.2.256",
    "hub-timezone": "Europe/Atlantis",
}
KINDS = {
    "type", "null", "enum", "minimum", "maximum", "minLength", "maxLength", "format", "pattern",
    "additionalProperties", "required",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A document with one fault, and the same document without it."""

    kind: str
    path: str
    bad: JsonValue
    good: JsonValue


def _witness(schema: JsonObject) -> JsonValue:
    """The plainest value that a derived schema accepts, not null."""
    if "enum" in schema:
        return schema["enum"][0]
    types = [name for name in schema.get("type", ["object"]) if name != "null"]
    match types[0]:
        case "string":
            texts = GOOD_TEXTS.get(schema.get("format", ""))
            return (texts or GOOD_PATTERNS.get(schema.get("pattern", "")) or ["x"])[0]
        case "boolean":
            return False
        case "integer":
            return 1
        case "number":
            return schema.get("minimum", 0)
        case "array":
            return []
        case _:
            return {
                name: _witness(schema["properties"][name]) for name in schema.get("required", ())
            }


def _values_with_faults(schema: JsonObject) -> Iterator[tuple[str, JsonValue]]:
    types = set(schema.get("type", ()))
    meant = types | ({"number"} if "integer" in types else set())
    for name, value in WRONG_TYPES.items():
        if types and name not in meant:
            yield "type", value
    if "integer" in types:
        yield "type", 1.5
    if types and "null" not in types:
        yield "null", None
    if "enum" in schema:
        yield "enum", "no such value"
    if "integer" not in types and "minimum" in schema:
        yield "minimum", schema["minimum"] - 0.5
    if "integer" not in types and "maximum" in schema:
        yield "maximum", schema["maximum"] + 0.5
    if "minLength" in schema:
        yield "minLength", "x" * (schema["minLength"] - 1)
    if "maxLength" in schema and "format" not in schema:
        yield "maxLength", "\N{GRINNING FACE}" * (schema["maxLength"] + 1)
    if "format" in schema:
        yield "format", BAD_TEXTS[schema["format"]]
    if "pattern" in schema:
        yield "pattern", "?"
    if schema.get("additionalProperties") is False:
        yield "additionalProperties", {**_witness(schema), "unknown": None}
    for name in schema.get("required", ()):
        rest = {n: inner for n, inner in _witness(schema).items() if n != name}
        yield "required", rest


def _faults(
    schema: JsonObject,
    path: str = "",
    inside: Callable[[JsonValue], JsonValue] = lambda value: value,
) -> Iterator[Fault]:
    good = inside(_witness(schema))
    for kind, value in _values_with_faults(schema):
        yield Fault(kind=kind, path=path, bad=inside(value), good=good)
    for name, inner in schema.get("properties", {}).items():

        def member(value: JsonValue, name: str = name) -> JsonValue:
            return inside({**_witness(schema), name: value})

        yield from _faults(inner, f"{path}/{name}", member)
    if "items" in schema:
        yield from _faults(schema["items"], f"{path}/0", lambda value: inside([value]))


def _public(name: str) -> Reference:
    """The reference for the schema as it is published: no null that it doesn't name."""
    if name in SCHEMAS.event_types:
        schema, definitions = SCHEMAS.event_types[name].schema, SCHEMAS.event_definitions
    elif name in SCHEMAS.contexts:
        schema, definitions = SCHEMAS.contexts[name].schema, SCHEMAS.context_definitions
    else:
        schema, definitions = SCHEMAS.customer, SCHEMAS.customer["definitions"]
    formats = CONTEXT_FORMATS if name in SCHEMAS.contexts else FORMATS
    checker = FormatChecker(formats=())
    for form, accepts in formats.items():
        checker.checks(form)(_for_texts(accepts))
    return jsonschema.Draft7Validator(
        {
            **schema,
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": definitions,
        },
        format_checker=checker,
    )


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_every_fault_at_every_place_is_refused_by_all(name: str) -> None:
    check, reference = CHECKS[name]
    public = _public(name)
    for fault in _faults(check.derived):
        assert check.validator.is_valid(fault.good), fault
        assert reference.is_valid(fault.good), fault
        assert public.is_valid(fault.good), fault
        assert not check.validator.is_valid(fault.bad), fault
        assert not reference.is_valid(fault.bad), fault
        assert not public.is_valid(fault.bad), fault
        _, errors = check(fault.bad, "")
        meant = [error for error in errors if error.path.startswith(fault.path)]
        # `[]` and `{}` may be read as meant; a fault that stays is told where it is
        assert meant or not errors, fault


def test_every_kind_of_fault_is_tried() -> None:
    tried = {fault.kind for check, _ in CHECKS.values() for fault in _faults(check.derived)}
    assert tried == KINDS


def _without(schema: JsonValue, keyword: str) -> JsonValue:
    """A derived schema that forgets a keyword wherever it stands."""
    if isinstance(schema, list):
        return [_without(inner, keyword) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    left = {name: inner for name, inner in schema.items() if name != keyword}
    if "properties" in left:
        members = left["properties"].items()
        left["properties"] = {name: _without(inner, keyword) for name, inner in members}
    if "items" in left:
        left["items"] = _without(left["items"], keyword)
    return left


@pytest.mark.parametrize("keyword", sorted(KINDS - {"null"}))
def test_a_validator_that_forgets_a_keyword_is_found_out(keyword: str) -> None:
    found = 0
    for check, reference in CHECKS.values():
        forgetful = compile_schema(_without(check.derived, keyword))
        for fault in _faults(check.derived):
            found += forgetful.is_valid(fault.bad) != reference.is_valid(fault.bad)
    assert found > 0
