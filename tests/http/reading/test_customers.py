"""GET /workspaces/{workspaceId}/customers. Source: contacthub 2.5, 2.6, op 77; query-language 6 to 8."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from headwater.domain.configuration import Role
from headwater.domain.ids import CustomerId, NodeId
from headwater.postgres import search
from tests.http.reading.conftest import Reads


async def _search(reads: Reads, **params: Any) -> Any:
    answer = await reads.get("/customers", **{"nodeId": reads.node_id, **params})
    assert answer.status == 200, answer
    return answer.body


async def _ids(reads: Reads, **params: Any) -> list[str]:
    return [element["id"] for element in (await _search(reads, **params))["elements"]]


async def test_newest_first_in_pages_of_ten(reads: Reads) -> None:
    made = [await reads.writer.customer(externalId=str(n)) for n in range(23)]
    await reads.writer.customer(node_id=NodeId(UUID(reads.other_node_id)))
    await reads.writer.delete(await reads.writer.customer())
    await reads.writer.change(made[0], externalId="changed")
    expected = [str(made[0]), *(str(i) for i in reversed(made[1:]))]
    body = await _search(reads)
    assert body["elements"] == [reads.writer.documents[UUID(i)] for i in expected[:10]]
    assert body["page"] == {
        "size": 10,
        "number": 0,
        "totalElements": 23,
        "totalPages": 3,
        "totalUnfilteredElements": 23,
        "maxElements": 10000,
        "maxPages": 1000,
    }
    found = [i for page in range(3) for i in await _ids(reads, page=page)]
    assert found == expected
    for number in (3, 4, 2000, 2**31):
        body = await _search(reads, page=number)
        assert body["elements"] == []
        assert (body["page"]["number"], body["page"]["totalPages"]) == (number, 3)


async def test_a_page_of_size_0(reads: Reads) -> None:
    await reads.writer.customer()
    body = await _search(reads, size=0)
    assert body["elements"] == []
    assert body["page"] == {
        "size": 0,
        "number": 0,
        "totalElements": 1,
        "totalPages": 0,
        "totalUnfilteredElements": 1,
        "maxElements": 10000,
        "maxPages": 0,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("size", "51"), ("size", "-1"), ("size", "x"), ("size", ""), ("page", "-1"), ("page", "1.0")],
)
async def test_bad_paging(reads: Reads, name: str, value: str) -> None:
    params: Any = {"nodeId": reads.node_id, name: value}
    answer = await reads.get("/customers", **params)
    assert (answer.status, answer.body["message"]) == (400, f"invalid parameter {name}")
    assert [error["path"] for error in answer.body["errors"]] == [f"/{name}"]


async def test_no_more_than_a_bound_is_reached(
    reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_ELEMENTS", 5)
    made = [str(await reads.writer.customer()) for _ in range(8)]
    body = await _search(reads, size=3, page=1)
    assert [e["id"] for e in body["elements"]] == [made[4], made[3]]
    assert (body["page"]["totalElements"], body["page"]["totalUnfilteredElements"]) == (5, 8)
    assert await _ids(reads, size=3, page=2) == []


async def test_external_id_is_exact(reads: Reads) -> None:
    first = await reads.writer.customer(externalId="A-1")
    second = await reads.writer.customer(externalId="A-1")
    await reads.writer.customer(externalId="a-1")
    await reads.writer.customer(externalId="A-1", node_id=NodeId(UUID(reads.other_node_id)))
    body = await _search(reads, externalId="A-1")
    assert [e["id"] for e in body["elements"]] == [str(second), str(first)]
    assert (body["page"]["totalElements"], body["page"]["totalUnfilteredElements"]) == (2, 3)
    for unknown in ("A", "A-1 ", "%", "' OR 1=1 --", "\x01"):
        body = await _search(reads, externalId=unknown)
        assert (body["elements"], body["page"]["totalElements"]) == ([], 0)


async def test_an_external_id_that_no_text_can_hold(reads: Reads) -> None:
    answer = await reads.get("/customers", nodeId=reads.node_id, externalId="a\x00b")
    expected = ("character not allowed", "/externalId")
    reads.refused(answer, 400, "invalid parameter externalId", expected)


@pytest.mark.parametrize(
    ("path", "documents"),
    [
        ("externalId", [{"externalId": e} for e in ("B", "Z", "a", "é")]),
        ("base.firstName", [{"base": {"firstName": n}} for n in ("Ada", "Zoe", "ada", "Ünal")]),
        ("firstName", [{"base": {"firstName": n}} for n in ("Ada", "Bob")]),
        ("base.dob", [{"base": {"dob": d}} for d in ("1950-01-01", "1999-12-31")]),
        (
            "base.address.geo.lat",
            [{"base": {"address": {"geo": {"lat": n, "lon": 0}}}} for n in (-9, 2, 10.5)],
        ),
        (
            "consents.marketing.automatic.email.status",
            [
                {"consents": {"marketing": {"automatic": {"email": {"status": s}}}}}
                for s in (False, True)
            ],
        ),
        ("enabled", [{"enabled": False}, {"enabled": True}]),
        ("extra", [{"extra": "a"}, {"extra": "b"}]),
        ("registeredAt", [{}, {}, {}]),
        ("updatedAt", [{}, {}, {}]),
        ("intId", [{}, {}, {}]),
    ],
)
async def test_sorted_both_ways_nulls_last_ties_by_id(
    reads: Reads, path: str, documents: list[Any]
) -> None:
    made = [str(await reads.writer.customer(**document)) for document in documents]
    assert await _ids(reads, sort=path) == made
    assert await _ids(reads, sort=f"{path},asc") == made
    assert await _ids(reads, sort=f"{path},desc") == made[::-1]
    if documents[0] and path != "enabled":
        unset = sorted([str(await reads.writer.customer()) for _ in range(3)])
        assert await _ids(reads, sort=path) == made + unset
        assert await _ids(reads, sort=f"{path},desc") == made[::-1] + unset


async def test_sorted_by_what_the_hub_sets(reads: Reads) -> None:
    made = [str(await reads.writer.customer(by=by)) for by in ("A", "a", "user:1")]
    for path in ("sourceInfo.registeredBy", "sourceInfo.updatedBy"):
        assert await _ids(reads, sort=path) == made
        assert await _ids(reads, sort=f"{path},desc") == made[::-1]
    for path in ("deleted", "version", "nodeId"):
        assert (
            await _ids(reads, sort=path) == await _ids(reads, sort=f"{path},desc") == sorted(made)
        )


async def test_several_keys_the_first_wins(reads: Reads) -> None:
    ids = {}
    for first, last in (("A", "1"), ("A", "2"), ("B", "1")):
        name = {"firstName": first, "lastName": last}
        ids[first + last] = str(await reads.writer.customer(base=name))
    found = await _ids(reads, sort=["base.firstName,desc", "lastName,desc"])
    assert found == [ids["B1"], ids["A2"], ids["A1"]]
    found = await _ids(reads, sort=["lastName", "id"])
    assert found == [*sorted([ids["A1"], ids["B1"]]), ids["A2"]]


@pytest.mark.parametrize(
    "sort",
    ["nothing", "base", "base.contacts", "tags.manual", "base.jobs.id", "extended.unknown", "",
     "base.firstName'", "updatedAt;drop table customers"],
)  # fmt: skip
async def test_what_can_t_be_sorted_by(reads: Reads, sort: str) -> None:
    answer = await reads.get("/customers", nodeId=reads.node_id, sort=sort)
    expected = (f"{sort!r} is no property to sort by", "/sort")
    reads.refused(answer, 400, "invalid parameter sort", expected)


async def test_a_direction_is_asc_or_desc(reads: Reads) -> None:
    answer = await reads.get("/customers", nodeId=reads.node_id, sort="updatedAt,down")
    expected = ("'down' is no direction, expected asc or desc", "/sort")
    reads.refused(answer, 400, "invalid parameter sort", expected)


async def test_fields_are_a_part_of_each_customer(reads: Reads) -> None:
    base = {
        "firstName": "Ada",
        "contacts": {"email": "a@b.c", "phone": "1"},
        "jobs": [{"id": "1", "companyName": "X"}],
    }
    made = str(await reads.writer.customer(externalId="a", base=base, tags={"auto": ["x"]}))
    whole = reads.writer.documents[UUID(made)]

    async def fields(*paths: str) -> Any:
        (element,) = (await _search(reads, fields=",".join(paths)))["elements"]
        return element

    nothing = dict.fromkeys(whole["base"])
    assert await fields("base.firstName") == {"id": made, "base": {**nothing, "firstName": "Ada"}}
    assert await fields("firstName, lastName") == {
        "id": made,
        "base": {**nothing, "firstName": "Ada"},
    }
    assert await fields("base") == {"id": made, "base": whole["base"]}
    assert await fields("base.contacts.email", "base.jobs.companyName") == {
        "id": made,
        "base": {**nothing, "contacts": {"email": "a@b.c"}, "jobs": [{"companyName": "X"}]},
    }
    assert await fields("externalId", "extra", "tags") == {
        "id": made,
        "externalId": "a",
        "extra": None,
        "tags": whole["tags"],
    }
    assert await fields("base", "base.firstName", "id") == {"id": made, "base": whole["base"]}
    assert await fields("consents.marketing.automatic.email.status") == {
        "id": made,
        "consents": {"marketing": {"automatic": {"email": {"status": None}}}},
    }
    for bad in ("base.nothing", "nothing", "", "base.firstName.x", "extended.unknown"):
        answer = await reads.get("/customers", nodeId=reads.node_id, fields=bad)
        expected = (f"{bad!r} is no property", "/fields")
        reads.refused(answer, 400, "invalid parameter fields", expected)


async def test_fields_leave_an_array_what_it_is(reads: Reads) -> None:
    """A typed client decodes no object where an array is meant, and no null where an enum is."""
    paths = "base.contacts.otherContacts.type,base.contacts.mobileDevices.name,base.jobs.jobTitle"

    async def contacts() -> Any:
        newest = (await _search(reads, fields=paths))["elements"][0]["base"]
        assert newest["jobs"] == []
        return newest["contacts"]

    await reads.writer.customer(externalId="nobody")
    assert await contacts() == {"mobileDevices": [], "otherContacts": []}
    others = [{"name": "home", "type": "PHONE"}, {"name": "?"}]
    await reads.writer.customer(externalId="a", base={"contacts": {"otherContacts": others}})
    assert await contacts() == {"mobileDevices": [], "otherContacts": [{"type": "PHONE"}, {}]}
    await reads.writer.customer(externalId="b", base={"subscriptions": [{"id": "n"}]})
    inner = "base.subscriptions.subscribeContext.ip,base.subscriptions.preferences.key"
    newest = (await _search(reads, fields=inner))["elements"][0]["base"]
    assert newest["subscriptions"] == [{"subscribeContext": {"ip": None}, "preferences": []}]


async def test_the_node_must_be_named_and_known(reads: Reads) -> None:
    answer = await reads.get("/customers")
    expected = ("required property is missing", "/nodeId")
    reads.refused(answer, 400, "invalid parameter nodeId", expected)
    some = reads.acting_as((await reads.source(reads.other_node_id))["token"])
    for caller, node in ((reads, "123"), (reads, str(uuid4())), (some, reads.node_id)):
        answer = await caller.get("/customers", nodeId=node)
        reads.refused(answer, 404, f"node not found {node}")


async def test_a_query_is_not_silently_ignored(reads: Reads) -> None:
    answer = await reads.get("/customers", nodeId=reads.node_id, query="{}")
    assert (answer.status, answer.body["message"]) == (400, "invalid parameter query")


async def test_unknown_parameters_are_ignored(reads: Reads) -> None:
    made = await reads.writer.customer()
    assert await _ids(reads, whatever="x") == [str(made)]


async def test_who_may_read_customers(reads: Reads) -> None:
    customer_id = await reads.writer.customer()
    there = await reads.writer.customer(node_id=NodeId(UUID(reads.other_node_id)))
    denied = "You don't have the necessary permissions for the resource"
    script = reads.acting_as((await reads.source(reads.node_id, provider="JavaScript"))["token"])
    follower = await reads.user(Role.PLATFORM_UPDATES)
    writer = await reads.user(Role.USER, permission="W")
    for caller in (script, follower, writer):
        reads.refused(await caller.get("/customers", nodeId=reads.node_id), 403, denied)
        reads.refused(await caller.get(f"/customers/{customer_id}"), 403, denied)
    guest = await reads.user(Role.GUEST)
    assert await _ids(guest) == [str(customer_id)]
    assert (await guest.get(f"/customers/{customer_id}")).status == 200
    reads.refused(await guest.get("/customers", nodeId=reads.other_node_id), 403, denied)
    reads.refused(await guest.get(f"/customers/{there}"), 403, denied)
    some = reads.acting_as((await reads.source(reads.other_node_id))["token"])
    answer = await some.get(f"/customers/{customer_id}")
    reads.refused(answer, 404, f"customer not found {customer_id}")


async def test_read_a_customer(reads: Reads) -> None:
    customer_id = await reads.writer.customer(externalId="a", base={"firstName": "Ada"})
    answer = await reads.get(f"/customers/{customer_id}")
    assert (answer.status, answer.body) == (200, reads.writer.documents[customer_id])
    answer = await reads.get(f"/customers/{customer_id}", nodeId="whatever")
    assert answer.body == reads.writer.documents[customer_id]
    await reads.writer.delete(customer_id)
    unknown = (customer_id, CustomerId(uuid4()), "123", "not-existing")
    for text in unknown:
        reads.refused(await reads.get(f"/customers/{text}"), 404, f"customer not found {text}")
