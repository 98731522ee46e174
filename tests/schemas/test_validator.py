"""What the hub says of customers, sessions and events: normalised documents, exact sentences and pointers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any
from uuid import UUID

import pytest

from headwater.domain.configuration import WorkspaceConfig
from headwater.domain.ids import WorkspaceId
from headwater.domain.json import JsonObject, JsonValue
from headwater.domain.moment import find_date
from headwater.validation import Validator, load_schemas
from headwater.validation.report import MAX_ERRORS

VALIDATOR = Validator(load_schemas())
CONFIG = WorkspaceConfig(id=WorkspaceId(UUID(int=1)), version=1, name="demo", nodes={}, sources={})
EVENT: JsonObject = {
    "customerId": "018e0000-0000-7000-8000-000000000001",
    "type": "completedOrder",
    "context": "RETAIL",
    "properties": {},
}
BRING_BACK: JsonObject = {"type": "SESSION_ID", "value": "s1", "nodeId": "n"}
DEFINITIONS: Mapping[str, JsonObject] = {
    "size": {"type": "string", "enum": ["S", "M"]},
    "note": {"type": "string", "contactlabProperties": {"maxLength": 3}},
    "text": {"type": "string"},
    "born": {"type": "string", "format": "date"},
    "host": {"type": "string", "format": "ipv4"},
    "count": {"type": "integer"},
    "ratio": {"type": "number"},
    "flag": {"type": "boolean"},
    "words": {"type": "array", "items": {"type": "string"}},
    "short": {
        "type": "array",
        "items": {"type": "string"},
        "contactlabProperties": {"maxLength": 5},
    },
    "off": {"type": "string", "contactlabProperties": {"enabled": False}},
    "a/b": {"type": "integer"},
}
EXTENDED = replace(
    CONFIG,
    version=2,
    customer_extended=DEFINITIONS,
    event_extended={"completedOrder": DEFINITIONS},
)


def _event(**members: JsonValue) -> JsonObject:
    return {**copy.deepcopy(EVENT), **members}


def _said(errors: Any) -> list[tuple[str, str]]:
    return [(error.path, error.message) for error in errors]


def _event_said(document: JsonObject, config: WorkspaceConfig = CONFIG) -> list[tuple[str, str]]:
    before = copy.deepcopy(document)
    checked, errors = VALIDATOR.check_event(document, config)
    assert (checked is None) == bool(errors)
    assert checked is not None or not VALIDATOR.accepts_event(document, config)
    assert document == before
    return _said(errors)


def _customer_said(document: JsonObject, config: WorkspaceConfig = CONFIG) -> list[tuple[str, str]]:
    before = copy.deepcopy(document)
    checked, errors = VALIDATOR.check_customer(document, config)
    assert document == before
    assert (checked is None) == bool(errors)
    return _said(errors)


def _customer(document: JsonObject, config: WorkspaceConfig = CONFIG) -> JsonObject | None:
    checked, errors = VALIDATOR.check_customer(document, config)
    assert errors == ()
    return checked


def _event_checked(document: JsonObject, config: WorkspaceConfig = CONFIG) -> JsonObject:
    checked, errors = VALIDATOR.check_event(document, config)
    assert errors == ()
    assert checked is not None
    return checked


def test_event_comes_out_with_all_its_members() -> None:
    assert _event_checked(EVENT) == {
        "customerId": "018e0000-0000-7000-8000-000000000001",
        "bringBackProperties": None,
        "type": "completedOrder",
        "context": "RETAIL",
        "properties": {},
        "contextInfo": None,
        "date": None,
        "tracking": None,
    }


def test_event_is_normalised() -> None:
    checked = _event_checked(
        {
            "customerId": None,
            "bringBackProperties": BRING_BACK,
            "type": "serviceSubscribed",
            "context": "WEB",
            "properties": {
                "startDate": "2024-03-01T10:20:30+02",
                "endDate": None,
                "serviceId": None,
                "extraProperties": [],
                "extended": [],
            },
            "contextInfo": {"client": [], "user": None},
            "date": "2024-03-01",
            "tracking": {"ga": []},
        }
    )
    assert checked == {
        "customerId": None,
        "bringBackProperties": BRING_BACK,
        "type": "serviceSubscribed",
        "context": "WEB",
        "properties": {
            "startDate": "2024-03-01T08:20:30.000+0000",
            "endDate": None,
            "serviceId": None,
            "extraProperties": {},
            "extended": {},
        },
        "contextInfo": {"client": {}, "user": None},
        "date": "2024-03-01T00:00:00.000+0000",
        "tracking": {"ga": {}},
    }


@pytest.mark.parametrize(
    "member",
    ["id", "mode", "nodeId", "origin", "prev", "next", "registeredAt", "updatedAt", "version"],
)
def test_event_members_of_the_system_are_ignored(member: str) -> None:
    assert _event_checked(_event(**{member: 7})) == _event_checked(EVENT)


@pytest.mark.parametrize(
    "members",
    [
        {"tracking": {}}, {"tracking": {"ga": {"utm_source": ""}}}, {"tracking": None},
        {"contextInfo": {}}, {"contextInfo": []}, {"properties": []}, {"date": None},
        {"contextInfo": {"client": {"ip": "::1"}}},
        {"contextInfo": {"client": {"ip": None, "localization": {"geo": {"lat": 1}}}}},
        {"properties": {"type": None, "amount": None, "products": None, "extended": {}}},
        {"properties": {"extraProperties": {"of": {"any": ["kind"]}}}},
    ],
)  # fmt: skip
def test_event_is_accepted(members: JsonObject) -> None:
    assert _event_said(_event(**members)) == []


EXACTLY_ONE = "exactly one of customerId and bringBackProperties is expected"
MISSING = "required property is missing"
UNDEFINED = "property is not defined"


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"customerId": None}, [("/customerId", EXACTLY_ONE)]),
        ({"bringBackProperties": BRING_BACK}, [("/customerId", EXACTLY_ONE)]),
        ({"customerId": 1}, [("/customerId", "expected type string or null")]),
        ({"foo/b~r": 1}, [("/foo~1b~0r", UNDEFINED)]),
        ({"type": None}, [("/type", MISSING)]),
        ({"type": 1}, [("/type", "expected type string")]),
        ({"type": "eventNotShow"}, [("/type", "value not in enum")]),
        ({"context": None}, [("/context", MISSING)]),
        ({"context": "web"}, [("/context", "value not in enum")]),
        ({"properties": None}, [("/properties", MISSING)]),
        ({"properties": "x"}, [("/properties", "expected type object")]),
        ({"properties": [1]}, [("/properties", "expected type object")]),
        ({"properties": {"x": 1}}, [("/properties/x", UNDEFINED)]),
        ({"properties": {"orderId": 1}}, [("/properties/orderId", "expected type string")]),
        ({"properties": {"type": "gift"}}, [("/properties/type", "value not in enum")]),
        ({"properties": {"type": 1}}, [("/properties/type", "expected type string")]),
        (
            {"properties": {"products": [{"vendor": 1, "imageUrl": "a b"}]}},
            [
                ("/properties/products/0/imageUrl", "invalid format uri"),
                ("/properties/products/0/vendor", "expected type string or null"),
            ],
        ),
        (
            {"properties": {"products": [{"orderLineId": 2.0**64}]}},
            [("/properties/products/0/orderLineId", "expected type integer")],
        ),
        (
            {"properties": {"products": [{"orderLineId": "12"}]}},
            [("/properties/products/0/orderLineId", "expected type integer")],
        ),
        (
            {"properties": {"products": [{"classifications": [{"key": None}]}]}},
            [
                ("/properties/products/0/classifications/0/key", MISSING),
                ("/properties/products/0/classifications/0/value", MISSING),
            ],
        ),
        (
            {"properties": {"products": [{"category": [None]}]}},
            [("/properties/products/0/category/0", "expected type string")],
        ),
        (
            {"properties": {"amount": {"local": {"currency": "euro"}}}},
            [("/properties/amount/local/currency", "invalid format pattern")],
        ),
        (
            {"properties": {"extended": {"size": "S"}}},
            [("/properties/extended/size", UNDEFINED)],
        ),
        (
            {"type": "addedReward", "properties": {"rewardAmount": -1}},
            [
                ("/properties/rewardAmount", "minimum is 0"),
                ("/properties/rewardTypeId", MISSING),
            ],
        ),
        ({"contextInfo": {"device": {}}}, [("/contextInfo/device", UNDEFINED)]),
        ({"contextInfo": {"user": {}}}, [("/contextInfo/user/id", MISSING)]),
        ({"contextInfo": {"store": {"geo": {"lat": 91, "lon": -181}}}}, [
            ("/contextInfo/store/geo/lat", "maximum is 90"),
            ("/contextInfo/store/geo/lon", "minimum is -180"),
        ]),
        (
            {"contextInfo": {"client": {"ip": "10.1.2"}}},
            [("/contextInfo/client/ip", "invalid format ipv4")],
        ),
        ({"contextInfo": 1}, [("/contextInfo", "expected type object")]),
        ({"date": "yesterday"}, [("/date", "invalid format date-time")]),
        ({"date": 1}, [("/date", "expected type string or null")]),
        ({"tracking": {"ga": {"x": "y"}}}, [("/tracking/ga/x", UNDEFINED)]),
        ({"tracking": {"fb": {}}}, [("/tracking/fb", UNDEFINED)]),
        ({"tracking": {"ga": {"utm_term": 1}}}, [("/tracking/ga/utm_term", "expected type string")]),
        ({"tracking": "x"}, [("/tracking", "expected type object or null")]),
        (
            {"date": "x", "type": "x", "other": 1},
            [
                ("/date", "invalid format date-time"),
                ("/other", UNDEFINED),
                ("/type", "value not in enum"),
            ],
        ),
    ],
)  # fmt: skip
def test_event_is_refused_with_reasons(members: JsonObject, said: list[tuple[str, str]]) -> None:
    assert sorted(_event_said(_event(**members))) == said


@pytest.mark.parametrize("member", ["type", "context", "properties"])
def test_event_needs_its_members(member: str) -> None:
    document = {name: value for name, value in EVENT.items() if name != member}
    assert _event_said(document) == [(f"/{member}", MISSING)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "externalId"}, [("/bringBackProperties/type", "value not in enum")]),
        ({"value": ""}, [("/bringBackProperties/value", "min length is 1")]),
        ({"value": "x" * 256}, [("/bringBackProperties/value", "max length is 255")]),
        ({"nodeId": None}, [("/bringBackProperties/nodeId", MISSING)]),
        ({"other": 1}, [("/bringBackProperties/other", UNDEFINED)]),
    ],
)
def test_event_bring_back_is_refused_with_reasons(
    change: JsonObject, said: list[tuple[str, str]]
) -> None:
    document = _event(customerId=None, bringBackProperties={**BRING_BACK, **change})
    assert _event_said(document) == said


def test_event_bring_back_needs_all_its_members() -> None:
    assert _event_said(_event(customerId=None, bringBackProperties=[])) == [
        (f"/bringBackProperties/{name}", MISSING) for name in ("type", "value", "nodeId")
    ]


def test_event_of_a_disabled_type_is_refused() -> None:
    config = replace(CONFIG, disabled_event_types=frozenset({"completedOrder"}))
    assert _event_said(EVENT, config) == [("/type", "event type is disabled")]


def test_event_extended_and_those_of_its_products_follow_the_configuration() -> None:
    extended = {"born": "2024-03-01T10:20:30Z", "off": 1, "flag": None}
    properties = {"extended": extended, "products": [{"id": "a"}, {"extended": extended}]}
    checked = _event_checked(_event(properties=properties), EXTENDED)
    kept = {"born": "2024-03-01", "flag": None}
    assert checked["properties"] == {
        "extended": kept,
        "products": [{"id": "a"}, {"extended": kept}],
    }
    wrong = {"extended": {"x": 1}, "products": [{"id": "a"}, {"extended": {"count": "1"}}]}
    assert _event_said(_event(properties=wrong), EXTENDED) == [
        ("/properties/extended/x", UNDEFINED),
        ("/properties/products/1/extended/count", "expected type integer"),
    ]


def test_refusal_of_thousands_of_faults_names_some() -> None:
    strangers = {f"x{number}": 1 for number in range(5000)}
    assert len(_event_said(_event(properties=strangers))) == MAX_ERRORS
    assert len(_event_said(_event(**strangers))) == MAX_ERRORS


def test_customer_keeps_nulls_and_leaves_out_what_was_not_sent() -> None:
    document: JsonObject = {"externalId": None, "base": {"firstName": None}, "tags": None}
    assert _customer({**document, "nodeId": "n", "id": "x", "version": 3}) == document


def test_customer_is_normalised() -> None:
    assert _customer(
        {
            "base": {
                "dob": "1980-05-06T00:00:00+02:00",
                "contacts": [],
                "educations": [{"id": "e", "startYear": "2000", "endYear": 2004}],
                "jobs": [{"id": "j", "startDate": "2020-01-02T03:04:05Z"}],
                "likes": [{"id": "l", "createdTime": "2020-01-02"}],
                "subscriptions": [
                    {"id": "s", "registeredAt": "2020-01-02T03:04:05Z", "subscribeContext": []}
                ],
            },
            "consents": {"disclaimer": {"date": "2020-01-02T03:04:05+0100"}, "softSpam": []},
            "extended": [],
            "tags": {"auto": [], "manual": {"0": "a", "10": "c", "2": "b"}},
        }
    ) == {
        "base": {
            "dob": "1980-05-06",
            "contacts": {},
            "educations": [{"id": "e", "startYear": 2000, "endYear": 2004}],
            "jobs": [{"id": "j", "startDate": "2020-01-02"}],
            "likes": [{"id": "l", "createdTime": "2020-01-02T00:00:00.000+0000"}],
            "subscriptions": [
                {"id": "s", "registeredAt": "2020-01-02T03:04:05.000+0000", "subscribeContext": {}}
            ],
        },
        "consents": {"disclaimer": {"date": "2020-01-02T02:04:05.000+0000"}, "softSpam": {}},
        "extended": {},
        "tags": {"auto": [], "manual": ["a", "b", "c"]},
    }


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"name": "x"}, [("/name", UNDEFINED)]),
        ({"externalId": 1}, [("/externalId", "expected type string or null")]),
        ({"externalId": "x" * 256}, [("/externalId", "max length is 255")]),
        ({"base": 1}, [("/base", "expected type object or null")]),
        ({"base": {"x": 1}}, [("/base/x", UNDEFINED)]),
        ({"base": {"dob": "1980"}}, [("/base/dob", "invalid format date")]),
        ({"base": {"locale": "it"}}, [("/base/locale", "invalid format pattern")]),
        ({"base": {"locale": "it_IT\n"}}, [("/base/locale", "invalid format pattern")]),
        ({"base": {"timezone": "Mars"}}, [("/base/timezone", "invalid format timezone")]),
        ({"base": {"pictureUrl": "x" * 1001}}, [("/base/pictureUrl", "max length is 1000")]),
        ({"base": {"address": {"street": "x" * 501}}}, [("/base/address/street", "max length is 500")]),
        ({"base": {"contacts": {"email": "x"}}}, [("/base/contacts/email", "invalid format email")]),
        (
            {"base": {"contacts": {"otherContacts": [{"type": "TELEX"}]}}},
            [("/base/contacts/otherContacts/0/type", "value not in enum")],
        ),
        ({"base": {"jobs": [{}]}}, [("/base/jobs/0/id", MISSING)]),
        ({"base": {"educations": [{"id": None}]}}, [("/base/educations/0/id", MISSING)]),
        (
            {"base": {"educations": [{"id": "e", "startYear": "MM"}]}},
            [("/base/educations/0/startYear", "expected type integer or null")],
        ),
        (
            {"consents": {"softSpam": {"email": {"status": "yes"}}}},
            [("/consents/softSpam/email/status", "expected type boolean or null")],
        ),
        ({"consents": {"other": {}}}, [("/consents/other", UNDEFINED)]),
        ({"extended": {"x": 1}}, [("/extended/x", UNDEFINED)]),
        ({"tags": {"manual": "a"}}, [("/tags/manual", "expected type array or null")]),
        ({"tags": {"manual": [None]}}, [("/tags/manual/0", "expected type string")]),
        ({"tags": {"auto": ["x" * 999, "yz"]}}, [("/tags/auto", "max length is 1000")]),
        ({"enabled": "true"}, [("/enabled", "expected type boolean or null")]),
    ],
)  # fmt: skip
def test_customer_is_refused_with_reasons(
    document: JsonObject, said: list[tuple[str, str]]
) -> None:
    assert _customer_said(document) == said


def test_customer_tags_count_the_characters_of_a_list() -> None:
    tags = {"auto": ["x" * 999, "y"], "manual": ["x" * 1000]}
    assert _customer({"tags": tags}) == {"tags": tags}


@pytest.mark.parametrize(
    ("extended", "said"),
    [
        ({"size": "L"}, [("/extended/size", "value not in enum")]),
        ({"note": "four"}, [("/extended/note", "max length is 3")]),
        ({"text": "x" * 256}, [("/extended/text", "max length is 255")]),
        ({"born": "x"}, [("/extended/born", "invalid format date")]),
        ({"host": "::1"}, [("/extended/host", "invalid format ipv4")]),
        ({"count": 1.5}, [("/extended/count", "expected type integer")]),
        ({"ratio": True}, [("/extended/ratio", "expected type number")]),
        ({"flag": 0}, [("/extended/flag", "expected type boolean")]),
        ({"words": ["x" * 500, "x" * 500]}, [("/extended/words", "max length is 1000")]),
        ({"words": [1]}, [("/extended/words/0", "expected type string")]),
        ({"short": ["ab", "cde"]}, [("/extended/short", "max length is 5")]),
        ({"a/b": "x"}, [("/extended/a~1b", "expected type integer")]),
        ({"other": None}, [("/extended/other", UNDEFINED)]),
    ],
)
def test_customer_extended_is_refused_with_reasons(
    extended: JsonObject, said: list[tuple[str, str]]
) -> None:
    assert _customer_said({"extended": extended}, EXTENDED) == said


def test_customer_extended_follows_the_configuration() -> None:
    extended = {
        "size": "S", "note": "abc", "text": "", "born": "2024-03-01", "host": "10.1.2.3", "count": 1,
        "ratio": 2, "flag": False, "words": ["x" * 500, "x" * 499], "short": ["ab", "cd"],
    }  # fmt: skip
    assert _customer({"extended": {**extended, "off": 1}}, EXTENDED) == {"extended": extended}
    nothing = dict.fromkeys(extended)
    assert _customer({"extended": nothing}, EXTENDED) == {"extended": nothing}


def test_customer_integers_have_one_spelling() -> None:
    def document(year: JsonValue, count: JsonValue) -> JsonObject:
        educations = [{"id": "e", "startYear": year, "endYear": None}]
        return {"base": {"educations": educations}, "extended": {"count": count, "ratio": 2.0}}

    # as text: to Python 2 and 2.0 are equal
    assert str(_customer(document(2e3, 1.0), EXTENDED)) == str(document(2000, 1))


def test_customer_extended_follows_the_next_version_of_the_configuration() -> None:
    assert _customer_said({"extended": {"new": 1}}, EXTENDED) == [("/extended/new", UNDEFINED)]
    later = replace(EXTENDED, version=3, customer_extended={"new": {"type": "integer"}})
    assert _customer({"extended": {"new": 1}}, later) == {"extended": {"new": 1}}


def test_customer_properties_that_are_switched_off_are_dropped() -> None:
    config = replace(CONFIG, disabled_base=frozenset({"dob", "contacts.email", "address"}))
    assert _customer(
        {"base": {"dob": "?", "contacts": {"email": 1, "fax": "f"}, "address": {"city": "x"}}},
        config,
    ) == {"base": {"contacts": {"fax": "f"}}}


def test_session_is_a_value() -> None:
    assert VALIDATOR.check_session({"value": "x" * 255}) == ("x" * 255, ())


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, [("/value", MISSING)]),
        ({"value": None}, [("/value", MISSING)]),
        ({"value": ""}, [("/value", "min length is 1")]),
        ({"value": "x" * 256}, [("/value", "max length is 255")]),
        ({"value": 1}, [("/value", "expected type string")]),
        ({"value": "x", "id": "y"}, [("/id", UNDEFINED)]),
    ],
)
def test_session_is_refused_with_reasons(document: JsonObject, said: list[tuple[str, str]]) -> None:
    value, errors = VALIDATOR.check_session(document)
    assert value is None
    assert _said(errors) == said


def test_customer_version_of_the_disclaimer_has_no_limit_of_its_own() -> None:
    consents = {"disclaimer": {"version": "v" * 300}}
    assert _customer({"consents": consents}) == {"consents": consents}


RICH: JsonObject = {
    "bringBackProperties": BRING_BACK,
    "type": "completedOrder",
    "context": "ECOMMERCE",
    "contextInfo": {"client": {"ip": "::1", "userAgent": "x"}},
    "date": "2026-01-02T03:04:05Z",
    "tracking": {"ga": {"utm_source": "x"}},
    "properties": {"orderId": "o", "amount": {"total": 1.5}, "products": [{"id": "p", "price": 2}]},
}
ODD: tuple[JsonValue, ...] = (
    None, True, 7, 1.5, 2**70, "", "x", "ECOMMERCE", "2026-01-02", [], [None], [7], {}, {"0": "x"}, {"x": 1},
)  # fmt: skip


def _spoilt(value: JsonValue) -> Iterator[JsonValue]:
    """`value` with an odd one in each place of it in turn, with one left out, and with one too many."""
    yield from ODD
    if isinstance(value, dict):
        yield {**value, "more": 1}
        for name, inner in value.items():
            rest = {key: other for key, other in value.items() if key != name}
            yield rest
            for spoilt in _spoilt(inner):
                yield {**rest, name: spoilt}
    if isinstance(value, list):
        for place, inner in enumerate(value):
            for spoilt in _spoilt(inner):
                yield [*value[:place], spoilt, *value[place + 1 :]]


@pytest.mark.parametrize("extra", [{}, {"customerId": "x"}, {"id": 7, "prev": None}])
def test_an_event_is_accepted_at_a_look_only_if_nothing_is_wrong_with_it(extra: JsonObject) -> None:
    spoilt = [event for event in _spoilt({**RICH, **extra}) if isinstance(event, dict)]
    good = [event for event in spoilt if not _event_said(event)]  # asks both
    assert good or extra.get("customerId")
    assert len(good) < len(spoilt)
    assert VALIDATOR.accepts_event(RICH, CONFIG)


def test_a_date_is_accepted_at_a_look_only_if_there_is_such_a_day() -> None:
    for year, month, day in product((1899, 1900, 2023, 2024), range(14), range(33)):
        told = f"{year}-{month:02d}-{day:02d}"
        for time in ("T10:20:30Z", "T23:59:59.999+0000", "T24:00:00Z", "T10:20:60Z"):
            document = _event(date=told + time)
            is_day = find_date(told) is not None and year > 1899 and told != "2024-02-29"
            is_usual = is_day and time in {"T10:20:30Z", "T23:59:59.999+0000"}
            assert VALIDATOR.accepts_event(document, CONFIG) is is_usual, document["date"]
            assert not is_usual or not _event_said(document)


def test_what_a_workspace_says_of_events_is_not_passed_over() -> None:
    assert VALIDATOR.accepts_event(EVENT, EXTENDED)
    disabled = replace(CONFIG, disabled_event_types=frozenset({"completedOrder"}))
    assert not VALIDATOR.accepts_event(EVENT, disabled)
    for properties in (
        {"extended": {"size": "XL"}},
        {"products": [{}, {"extended": {"size": "XL"}}]},
    ):
        assert not VALIDATOR.accepts_event(_event(properties=properties), EXTENDED)
