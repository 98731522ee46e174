"""What the known client libraries do, call by call. Source: sdk-expectations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from headwater.validation import load_schemas
from headwater.validation.compile import derive
from tests.http.callers import untrusted
from tests.hub import Client, Hub, make_client

MOMENT = "2017-03-10T12:13:14.567+0000"
LEAF = {"status": False, "limitation": True, "objection": False}
WHOLE: dict[str, Any] = {
    "externalId": "e1",
    "extra": "free text",
    "enabled": False,
    "tags": {"auto": ["y", "x"], "manual": ["b", "a", "c"]},
    "base": {
        "pictureUrl": "https://example.com/p.png",
        "title": "Dr",
        "prefix": "von",
        "firstName": "Ann",
        "lastName": "Lee",
        "middleName": "M",
        "gender": "F",
        "dob": "1980-02-29",
        "locale": "it_IT",
        "timezone": "Europe/Rome",
        "contacts": {
            "email": f"{'long.' * 20}local@exämple.com",
            "fax": "1",
            "mobilePhone": "+39 1",
            "phone": "2",
            "otherContacts": [
                {"name": "o", "type": "MOBILE", "value": "v"},
                {"name": "p"},
            ],
            "mobileDevices": [
                {
                    "identifier": "i",
                    "appId": "a",
                    "name": "n",
                    "type": "IOS",
                    "notificationService": "APN",
                },
                {"identifier": "j", "appId": "a", "notificationService": "SNS"},
            ],
        },
        "address": {
            "street": "s" * 500,
            "city": "c",
            "country": "IT",
            "province": "MI",
            "region": "L",
            "zip": "20100",
            "geo": {"lat": 45.5, "lon": 9},
        },
        "credential": {"username": "u", "password": "p w"},
        "educations": [
            {
                "id": "2",
                "schoolType": "COLLEGE",
                "schoolName": "n",
                "schoolConcentration": "c",
                "startYear": 2000,
                "endYear": 2004,
                "isCurrent": False,
            },
            {"id": "1"},
        ],
        "likes": [{"id": "l", "category": "c", "name": "n", "createdTime": MOMENT}],
        "socialProfile": {
            "facebook": "f",
            "google": "g",
            "instagram": "i",
            "linkedin": "l",
            "qzone": "q",
            "twitter": "t",
        },
        "jobs": [
            {
                "id": "j",
                "companyIndustry": "ci",
                "companyName": "cn",
                "jobTitle": "jt",
                "startDate": "2001-01-01",
                "endDate": "2002-02-02",
                "isCurrent": True,
            }
        ],
        "subscriptions": [
            {
                "id": "s",
                "name": "n",
                "type": "t",
                "kind": "DIGITAL_MESSAGE",
                "subscribed": False,
                "subscriberId": "sid",
                "startDate": MOMENT,
                "endDate": MOMENT,
                "registeredAt": MOMENT,
                "updatedAt": MOMENT,
                "subscribeContext": {"ip": "10.0.0.1", "userAgent": "ua"},
                "unsubscribeContext": {
                    "ip": "::1",
                    "userAgent": "ua",
                    "campaignId": "c",
                    "campaignMessageId": "m",
                },
                "preferences": [{"key": "k", "value": "v"}, {"key": "k", "value": "v"}],
            }
        ],
    },
    "consents": {
        "disclaimer": {"date": MOMENT, "version": "v1.0"},
        "marketing": {
            "traditional": dict.fromkeys(("telephonic", "papery"), LEAF),
            "automatic": dict.fromkeys(("sms", "email", "push", "im", "telephonic"), LEAF),
        },
        "profiling": dict.fromkeys(("classic", "online"), LEAF),
        "softSpam": dict.fromkeys(("email", "papery"), LEAF),
        "thirdPartyTransfer": dict.fromkeys(("profiling", "marketing"), LEAF),
    },
}
SYSTEM = {
    "id", "intId", "nodeId", "registeredAt", "updatedAt", "version", "deleted", "sourceInfo",
}  # fmt: skip


@pytest.fixture
async def shop(hub: Hub) -> AsyncIterator[Client]:
    """A workspace whose customers are told apart by their email."""
    async with make_client(hub, unique=["base.contacts.email"]) as made:
        yield made


def _person(email: str, **base: Any) -> dict[str, Any]:
    return {"base": {**base, "contacts": {"email": email}}}


def _set_only(value: Any) -> Any:
    """`value` without what is unset: nulls, and lists and objects without a value."""
    if isinstance(value, dict):
        inner = {name: _set_only(member) for name, member in value.items()}
        return {name: member for name, member in inner.items() if member not in (None, [], {})}
    if isinstance(value, list):
        return [_set_only(element) for element in value]
    return value


def _as_php_sends(value: Any) -> Any:
    """To PHP an empty object is an empty array."""
    if isinstance(value, dict):
        return {name: _as_php_sends(member) for name, member in value.items()} if value else []
    if isinstance(value, list):
        return [_as_php_sends(element) for element in value]
    return value


async def test_every_property_comes_back_as_it_was_sent(shop: Client) -> None:
    made = await shop.customer(**WHOLE)
    written = {name: value for name, value in made.items() if name not in SYSTEM}
    # as text: to Python False is 0 and 9 is 9.0; sorted, as members have no order
    assert _sorted(_set_only(written)) == _sorted(WHOLE)
    path = f"/customers/{made['id']}"
    assert (await shop.call("GET", path)).body == made
    for method in ("PUT", "PATCH"):
        for params in ({}, {"mode": "STRICT"}):
            answer = await shop.call(method, path, made, params=params)
            assert (answer.status, answer.body) == (200, made)
    assert await shop.customer(**WHOLE) == made
    assert len(await shop.feed()) == 1


def _sorted(value: Any) -> str:
    if isinstance(value, dict):
        members = (f"{name}: {_sorted(value[name])}" for name in sorted(value))
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_sorted, value)) + "]"
    return repr(value)


def test_no_property_is_forgotten_here() -> None:
    schemas = load_schemas()
    customer = derive(schemas.customer, schemas.customer["definitions"])
    assert _paths(WHOLE) == _paths_of(customer) - {"extended"}


def _paths(value: Any, path: str = "") -> set[str]:
    """Where values stand in a document."""
    if isinstance(value, dict):
        return {p for name, inner in value.items() for p in _paths(inner, f"{path}.{name}")}
    if isinstance(value, list):
        return {p for element in value for p in _paths(element, path)}
    return {path.removeprefix(".")}


def _paths_of(schema: Any, path: str = "") -> set[str]:
    """Where values may stand in the documents of a schema."""
    if "items" in schema:
        return _paths_of(schema["items"], path)
    if "properties" not in schema:
        return {path.removeprefix(".")}
    members = schema["properties"].items()
    return {p for name, inner in members for p in _paths_of(inner, f"{path}.{name}")}


async def test_nothing_unset_is_invented(shop: Client) -> None:
    made = await shop.customer(**_person("ann@example.com"))
    assert _set_only(made["base"]) == {"contacts": {"email": "ann@example.com"}}
    assert [made[name] for name in ("consents", "extended", "extra", "tags", "externalId")] == (
        [None] * 5
    )


async def test_php_sends_the_whole_document_back(shop: Client) -> None:
    bare = {**_person("ann@example.com"), "tags": [], "consents": [], "extended": []}
    made = await shop.customer(**bare)
    path = f"/customers/{made['id']}"
    back = _as_php_sends({**made, "consents": {}, "extended": {}, "tags": {}})
    back["base"]["address"] = []
    assert (await shop.call("PUT", path, back)).body == made
    tagged = await shop.call("PATCH", path, {"tags": {"auto": ["z"], "manual": ["a", "b", "c"]}})
    shorter = {**tagged.body, "tags": {"auto": ["z"], "manual": {"0": "a", "2": "c"}}}
    answer = await shop.call("PUT", path, shorter)
    assert (answer.status, answer.body["tags"]) == (200, {"auto": ["z"], "manual": ["a", "c"]})


async def test_a_conflict_is_turned_into_a_put_or_a_patch(shop: Client) -> None:
    ann = await shop.customer(**_person("ann@example.com"))
    bob = await shop.customer(**_person("bob@example.com"))
    body = {"nodeId": shop.node_id, **_person("ANN@example.com", firstName="Ann")}
    conflict = await shop.call("PUT", f"/customers/{bob['id']}", {**body, "id": bob["id"]})
    assert (conflict.status, conflict.body["data"]["customer"]["id"]) == (409, ann["id"])
    # .NET repeats it as a PUT with the id in the body, Python as a PATCH without the node
    path = f"/customers/{conflict.body['data']['customer']['id']}"
    assert (await shop.call("PUT", path, {**body, "id": ann["id"]})).status == 200
    patched = await shop.call("PATCH", path, _person("ann@example.com", lastName="Lee"))
    assert (patched.status, patched.body["base"]["firstName"]) == (200, "Ann")
    assert (await shop.call("GET", f"/customers/{bob['id']}")).body == bob


async def test_a_deletion_is_answered_with_nothing(shop: Client) -> None:
    made = await shop.customer(**_person("ann@example.com"))
    path = f"/customers/{made['id']}"
    json = {"Content-Type": "application/json"}
    answer = await shop.call("DELETE", path, headers=json, params={"nodeId": shop.node_id})
    assert (answer.status, answer.raw, answer.headers["Content-Length"]) == (200, b"", "0")


@pytest.mark.parametrize(
    ("sent", "time"),
    [
        ("2017-03-10T12:00:00.000+0000", "12:00:00.000"),
        ("2017-03-10T12:00:00.1Z", "12:00:00.100"),
        ("2017-03-10T12:00:00.123456789+02:00", "10:00:00.123"),
        ("2017-03-10T12:00:00.9999+02", "10:00:00.999"),
        ("2017-03-10T12:00:00", "12:00:00.000"),
        ("2017-03-10", "00:00:00.000"),
    ],
)
async def test_the_dates_of_all_clients(shop: Client, sent: str, time: str) -> None:
    made = await shop.customer(
        **_person("ann@example.com", dob=sent), consents={"disclaimer": {"date": sent}}
    )
    assert made["base"]["dob"] == "2017-03-10"
    assert made["consents"]["disclaimer"]["date"] == f"2017-03-10T{time}+0000"


async def test_a_browser_makes_itself_known(shop: Client) -> None:
    browser = await untrusted(shop)
    visit = browser.event(
        bringBackProperties={"type": "SESSION_ID", "value": "v1", "nodeId": shop.node_id}
    )
    seen = (await browser.call("POST", "/events", visit)).body["id"]
    made = await browser.call(
        "POST", "/customers", {"nodeId": shop.node_id, **_person("ann@example.com")}
    )
    path = f"/customers/{made.body['id']}"
    session = await browser.call("POST", f"{path}/sessions", {"value": "v1"})
    assert (session.status, session.body) == (201, {"id": session.body["id"], "value": "v1"})
    again = await browser.call("POST", f"{path}/sessions", {"value": "v1"})
    assert (again.status, again.body) == (201, session.body)
    named = {"id": made.body["id"], "base": {"firstName": "Ann"}}
    assert (await browser.call("PATCH", path, named)).status == 200
    found = [
        update["entity"]["data"]["customerId"]
        for update in await shop.feed_of(4)
        if update["entity"]["data"]["id"] == seen
    ]
    assert found[-1] == made.body["id"]
    assert (await browser.call("GET", path)).status == 403
