"""The fast validator and the reference library give the same verdicts on the same documents.

Both get the derived schemas and our formats. Documents are generated from the schemas: good ones, and the
same with one place made worse.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
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
from headwater.validation.compile import named_formats
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
