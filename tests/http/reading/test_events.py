"""GET /workspaces/{workspaceId}/events and one of them. Source: contacthub ops 93 and 95, event-model 9."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from yarl import URL

from headwater.domain.configuration import Role
from headwater.domain.ids import NodeId
from tests.http.reading.conftest import Reads
from tests.postgres.writer import EPOCH


async def _search(reads: Reads, **params: Any) -> Any:
    answer = await reads.get("/events", **params)
    assert answer.status == 200, answer
    return answer.body


async def _ids(reads: Reads, **params: Any) -> list[UUID]:
    elements = (await _search(reads, **params))["elements"]
    assert elements == [reads.writer.documents[UUID(e["id"])] for e in elements]
    return [UUID(element["id"]) for element in elements]


def _days(*numbers: int) -> list[datetime]:
    return [EPOCH + timedelta(days=number) for number in numbers]


async def test_latest_first_ties_by_id_in_pages_of_ten(reads: Reads) -> None:
    made = await reads.writer.events(6, dates=_days(3, 1, 2, 0, 5, 4))
    there = NodeId(UUID(reads.other_node_id))
    tied = sorted(await reads.writer.events(6, dates=_days(*[9] * 6), node_id=there))
    expected = [*tied, *(made[n] for n in (4, 5, 0, 2, 1, 3))]
    assert await _ids(reads) == expected[:10]
    assert await _ids(reads, page=1) == expected[10:]
    assert await _ids(reads, size=5, page=1) == expected[5:10]
    body = await _search(reads, page=2)
    assert body == {
        "elements": [],
        "page": {
            "size": 10,
            "number": 2,
            "totalElements": 12,
            "totalPages": 2,
            "totalUnfilteredElements": 12,
            "maxElements": 10000,
            "maxPages": 1000,
        },
    }
    assert await _ids(reads, nodeId=reads.node_id) == expected[6:]
    assert await _ids(reads, sort="date", size=3) == expected[:5:-1][:3]


async def test_filters_combine(reads: Reads) -> None:
    writer = reads.writer
    ada = await writer.customer()
    (page,) = await writer.events(1, customer_id=ada, dates=_days(1))
    (sent,) = await writer.events(
        1, customer_id=ada, event_type="campaignSent", context="DIGITAL_CAMPAIGN", dates=_days(2)
    )
    (search,) = await writer.events(1, event_type="searched", context="MOBILE", dates=_days(3))
    assert await _ids(reads, customerId=ada) == [sent, page]
    assert await _ids(reads, customerId=ada, nodeId=reads.other_node_id) == []
    assert await _ids(reads, type="viewedPage") == [page]
    assert await _ids(reads, type="viewedPage,searched") == [search, page]
    assert await _ids(reads, type=["viewedPage", "searched"]) == [search, page]
    assert await _ids(reads, context="WEB,MOBILE", type="searched, campaignSent") == [search]
    assert await _ids(reads, mode="ACTIVE") == [search, page]
    assert await _ids(reads, mode="PASSIVE") == [sent]
    assert await _ids(reads, mode="PASSIVE", type="viewedPage") == []
    assert await _ids(reads, customerId=ada, context="WEB") == [page]
    body = await _search(reads, customerId=ada, type="searched")
    assert (body["elements"], body["page"]["totalElements"]) == ([], 0)
    assert body["page"]["totalUnfilteredElements"] == 2
    for unknown in (uuid4(), "123", ""):
        body = await _search(reads, customerId=unknown)
        assert (body["elements"], body["page"]["totalPages"]) == ([], 0)
    await writer.delete(ada)
    assert await _ids(reads) == [search]


async def test_dates_are_inclusive_in_any_spelling(reads: Reads) -> None:
    made = await reads.writer.events(4, dates=_days(0, 1, 2, 3))
    midnight = "2026-01-02T00:00:00"
    for spelling in ("Z", ".000Z", "+00:00", "+0000", "", " 00:00", " 0000", ".0"):
        found = await _ids(reads, dateFrom=midnight + spelling, dateTo="2026-01-03")
        assert found == [made[2], made[1]], spelling
    assert await _ids(reads, dateFrom="2026-01-02T02:00:00+02:00", dateTo="2026-01-02") == [made[1]]
    assert await _ids(reads, dateFrom="2026-01-03T00:00:00.001Z") == [made[3]]
    assert await _ids(reads, dateTo="2025-12-31") == []
    assert await _ids(reads, dateFrom="2026-01-04", dateTo="2026-01-01") == []


async def test_a_plus_that_arrives_as_a_space(reads: Reads) -> None:
    made = await reads.writer.events(2, dates=_days(0, 1))
    url = URL(reads.path("/events?dateFrom=2026-01-02T02:00:00+02:00"), encoded=True)
    headers = {"Authorization": f"Bearer {reads.token}"}
    async with reads.http.get(url, headers=headers) as answer:
        body = await answer.json()
    assert [e["id"] for e in body["elements"]] == [str(made[1])]


@pytest.mark.parametrize(
    ("name", "value", "explanation"),
    [
        ("type", "addedWishList", "'addedWishList' is no event type"),
        ("type", "", "'' is no event type"),
        ("type", "viewedPage,nothing", "'nothing' is no event type"),
        ("context", "web", "'web' is no context"),
        ("mode", "active", "'active' is neither ACTIVE nor PASSIVE"),
        ("dateFrom", "yesterday", "'yesterday' is no date-time"),
        ("dateTo", "2026-02-30", "'2026-02-30' is no date-time"),
        ("sort", "id", "'id' is none of date, registeredAt, updatedAt, type"),
        ("size", "51", "'51' is not a whole number between 0 and 50"),
    ],
)
async def test_bad_parameters(reads: Reads, name: str, value: str, explanation: str) -> None:
    params: Any = {name: value}
    answer = await reads.get("/events", **params)
    reads.refused(answer, 400, f"invalid parameter {name}", (explanation, f"/{name}"))


async def test_sorted_by_what_can_be_sorted(reads: Reads) -> None:
    writer = reads.writer
    ada = await writer.customer()
    viewed, *_ = first = await writer.events(3, dates=_days(3, 2, 1))
    (closed,) = await writer.events(1, event_type="closedTicket", dates=_days(0))
    assert await _ids(reads, sort="registeredAt") == [*first, closed]
    assert await _ids(reads, sort="type") == [closed, *sorted(first)]
    assert await _ids(reads, sort=["type,desc", "date"]) == [*first[::-1], closed]
    await writer.attach(viewed, ada)
    others = sorted([*first[1:], closed])
    for direction in ("asc", "desc"):
        assert await _ids(reads, sort=f"updatedAt,{direction}") == [viewed, *others]


async def test_who_sees_which_events(reads: Reads) -> None:
    (here,) = await reads.writer.events(1)
    (there,) = await reads.writer.events(1, node_id=NodeId(UUID(reads.other_node_id)))
    some = reads.acting_as((await reads.source(reads.other_node_id))["token"])
    assert await _ids(some) == [there]
    reads.refused(await some.get(f"/events/{here}"), 404, f"event not found {here}")
    hidden = await some.get("/events", nodeId=reads.node_id)
    reads.refused(hidden, 404, f"node not found {reads.node_id}")
    guest = await reads.user(Role.GUEST)
    assert await _ids(guest) == [here]
    denied = "You don't have the necessary permissions for the resource"
    script = reads.acting_as((await reads.source(reads.node_id, provider="JavaScript"))["token"])
    for path in ("/events", f"/events/{here}"):
        reads.refused(await script.get(path), 403, denied)


async def test_read_an_event_with_its_neighbours(reads: Reads) -> None:
    writer = reads.writer
    ada = await writer.customer()
    made = await writer.events(3, customer_id=ada, dates=_days(2, 1, 3))
    (nobodys,) = await writer.events(1, dates=_days(2))
    (tied,) = await writer.events(1, customer_id=ada, dates=_days(1))
    first, second = sorted([made[1], tied])
    order = [first, second, made[0], made[2]]
    for before, event, after in zip([None, *order], order, [*order[1:], None], strict=False):
        answer = await reads.get(f"/events/{event}", nav="CUSTOMER")
        links = {"prev": before and str(before), "next": after and str(after)}
        assert answer.body == {**writer.documents[event], **links}
        assert (await reads.get(f"/events/{event}")).body == writer.documents[event]
    answer = await reads.get(f"/events/{nobodys}", nav="CUSTOMER")
    assert answer.body == writer.documents[nobodys]
    answer = await reads.get(f"/events/{nobodys}", nav="NODE")
    reads.refused(answer, 400, "invalid parameter nav", ("'NODE' is not CUSTOMER", "/nav"))
    await writer.delete(ada)
    for text in (made[0], uuid4(), "123"):
        reads.refused(await reads.get(f"/events/{text}"), 404, f"event not found {text}")
