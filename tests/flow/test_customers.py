"""Customers through everything: posted, merged, read, followed in the feed."""

from __future__ import annotations

import asyncio

from tests.hub import Client, Hub, make_client


async def test_a_post_creates_and_the_next_one_merges(client: Client) -> None:
    first = await client.customer(
        externalId="a1", base={"firstName": "Ann"}, tags={"manual": ["x"]}
    )
    again = await client.customer(externalId="A1", base={"lastName": "Lee"}, tags={"manual": ["y"]})
    assert again["id"] == first["id"]
    assert again["version"] == 1
    assert again["base"]["firstName"] == "Ann"
    assert again["base"]["lastName"] == "Lee"
    assert again["tags"] == {"auto": [], "manual": ["x", "y"]}
    assert again["updatedAt"] > first["updatedAt"]
    read = await client.call("GET", f"/customers/{first['id']}")
    assert read.body == again
    updates = await client.feed()
    assert [(u["operation"], u["entity"]["data"]) for u in updates] == [
        ("CREATE", first),
        ("UPDATE", again),
    ]


async def test_a_write_without_effect_changes_nothing(client: Client) -> None:
    first = await client.customer(externalId="a1", base={"firstName": "Ann"})
    again = await client.customer(externalId="a1", base={"firstName": "Ann"})
    assert again == first
    assert len(await client.feed()) == 1


async def test_posts_of_one_key_at_once_yield_one_customer(client: Client) -> None:
    made = await asyncio.gather(
        *(client.customer(externalId="same", tags={"manual": [str(n)]}) for n in range(40))
    )
    assert len({customer["id"] for customer in made}) == 1
    final = (await client.call("GET", f"/customers/{made[0]['id']}")).body
    assert sorted(final["tags"]["manual"], key=int) == [str(n) for n in range(40)]
    assert final["version"] == 39
    assert len(await client.feed()) == 40


async def test_patch_and_put_follow_their_rules(client: Client) -> None:
    made = await client.customer(
        externalId="a1", base={"firstName": "Ann", "lastName": "Lee"}, tags={"auto": ["x"]}
    )
    path = f"/customers/{made['id']}"
    patched = await client.call("PATCH", path, {"base": {"firstName": None}})
    assert patched.status == 200
    assert (patched.body["base"]["firstName"], patched.body["base"]["lastName"]) == (None, "Lee")
    put = await client.call(
        "PUT", path, {**patched.body, "base": {"firstName": "Zoe"}, "tags": None}
    )
    assert put.status == 200
    assert (put.body["base"]["firstName"], put.body["base"]["lastName"]) == ("Zoe", None)
    assert put.body["tags"] is None
    assert put.body == (await client.call("GET", path)).body


async def test_a_patch_to_the_key_of_another_is_a_conflict(client: Client) -> None:
    first = await client.customer(externalId="a1")
    second = await client.customer(externalId="b1")
    answer = await client.call("PATCH", f"/customers/{second['id']}", {"externalId": "A1"})
    assert answer.status == 409
    assert answer.body["message"] == f"Conflict with exiting customer {first['id']}"
    assert answer.body["data"]["customer"]["id"] == first["id"]
    assert answer.body["data"]["customer"]["href"].endswith(f"/customers/{first['id']}")
    freed = await client.call("PATCH", f"/customers/{first['id']}", {"externalId": "c1"})
    assert freed.status == 200
    answer = await client.call("PATCH", f"/customers/{second['id']}", {"externalId": "A1"})
    assert answer.status == 200


async def test_a_patch_may_not_empty_a_unique_property(client: Client) -> None:
    made = await client.customer(externalId="a1")
    answer = await client.call("PATCH", f"/customers/{made['id']}", {"externalId": None})
    assert answer.status == 400
    assert answer.body["errors"] == [
        {
            "message": "unique customer property is required",
            "path": "/externalId",
            "code": None,
            "data": None,
        }
    ]


async def test_a_deleted_customer_is_gone_with_its_events(client: Client) -> None:
    made = await client.customer(externalId="a1")
    path = f"/customers/{made['id']}"
    session = await client.call("POST", f"{path}/sessions", {"value": "s1"})
    assert session.status == 201
    event = await client.call(
        "POST", "/events", client.event(customerId=made["id"]), headers={"Prefer": "wait=10"}
    )
    assert event.status == 201
    gone = await client.call("DELETE", path)
    assert (gone.status, gone.raw) == (200, b"")
    assert (await client.call("GET", path)).status == 404
    assert (await client.call("DELETE", path)).status == 404
    assert (await client.call("GET", f"/events/{event.body['id']}")).status == 404
    updates = await client.feed()
    assert [(u["operation"], u["entity"]["type"]) for u in updates] == [
        ("CREATE", "CUSTOMER"),
        ("CREATE", "EVENT"),
        ("DELETE", "CUSTOMER"),
        ("DELETE", "EVENT"),
    ]
    assert updates[2]["entity"]["data"]["deleted"] == 1
    reborn = await client.customer(externalId="a1")
    assert reborn["id"] != made["id"]
    assert reborn["intId"] > made["intId"]


async def test_an_empty_rule_never_matches(hub: Hub) -> None:
    async with make_client(hub, unique=[]) as client:
        first = await client.customer(externalId="a1")
        second = await client.customer(externalId="a1")
        assert first["id"] != second["id"]


async def test_a_batch_answers_item_by_item(client: Client) -> None:
    items = [
        {"nodeId": client.node_id, "externalId": "a1"},
        {"nodeId": client.node_id},
        {"nodeId": client.node_id, "externalId": "a1", "extra": "more"},
    ]
    answer = await client.call("POST", "/customers/batch", {"customers": items})
    assert answer.status == 200
    assert (answer.body["accepted"], answer.body["rejected"]) == (2, 1)
    statuses = [result["status"] for result in answer.body["results"]]
    assert statuses == [201, 400, 201]
    assert answer.body["results"][0]["id"] == answer.body["results"][2]["id"]
