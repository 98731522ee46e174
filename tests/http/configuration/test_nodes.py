"""GET /configuration/nodes, and what it has in common with GET /configuration/nodes/entries."""

from __future__ import annotations

import pytest

from tests.http.configuration.conftest import Control


@pytest.mark.parametrize("path", ["/nodes", "/nodes/entries"])
async def test_the_page_is_echoed(control: Control, path: str) -> None:
    answer = await control.call("GET", path, params={"page": "50", "size": "50", "foo": "1"})
    assert (answer.status, answer.body["elements"]) == (200, [])
    page = answer.body["page"]
    assert (page["number"], page["size"], page["totalElements"]) == (50, 50, 1)
    assert (await control.call("GET", path)).body["page"] == {
        "size": 20,
        "number": 0,
        "totalElements": 1,
        "totalPages": 1,
        "totalUnfilteredElements": 1,
        "maxElements": 10_000,
        "maxPages": 500,
    }
    nothing = (await control.call("GET", path, params={"size": "0"})).body
    assert (nothing["elements"], nothing["page"]["totalPages"]) == ([], 0)
    assert (nothing["page"]["maxPages"], nothing["page"]["totalElements"]) == (0, 1)
    for name, value in (("size", "51"), ("size", "-1"), ("page", "1.5"), ("page", "")):
        answer = await control.call("GET", path, params={name: value})
        assert (answer.status, answer.body["message"]) == (400, f"invalid parameter {name}")


@pytest.mark.parametrize("path", ["/nodes", "/nodes/entries"])
async def test_pages(control: Control, path: str) -> None:
    for name in ("b", "c"):
        await control.call("POST", "/nodes/entries", {"name": name})
    last = await control.call("GET", path, params={"size": "2", "page": "1"})
    assert [node["name"] for node in last.body["elements"]] == ["c"]
    assert last.body["page"]["totalPages"] == 2
    answer = await control.call("GET", path, params={"page": "51"})
    assert (answer.status, answer.body["message"]) == (400, "invalid parameter page")


async def test_nodes_of_a_type(control: Control) -> None:
    entries = await control.call("GET", "/nodes", params={"nodeType": "ENTRY"})
    (node,) = entries.body["elements"]
    assert (node["id"], node["nodeType"]) == (control.node_id, "ENTRY")
    assert set(node["properties"]) == {"uniqueCustomer", "mandatoryProperties"}
    aggregates = await control.call("GET", "/nodes", params={"nodeType": "AGGREGATE"})
    assert aggregates.body["elements"] == []
    assert aggregates.body["page"]["totalUnfilteredElements"] == 1
    answer = await control.call("GET", "/nodes", params={"nodeType": "VIEW"})
    assert (answer.status, answer.body["message"]) == (400, "invalid parameter nodeType")


async def test_a_source_sees_its_own_nodes_only(control: Control) -> None:
    hidden = (await control.call("POST", "/nodes/entries", {"name": "hidden"})).body["id"]
    source = control.acting_as((await control.source())["token"])
    for path in ("/nodes", "/nodes/entries"):
        listed = await source.call("GET", path)
        assert [node["id"] for node in listed.body["elements"]] == [control.node_id]
    answer = await source.call("GET", f"/nodes/entries/{hidden}")
    await control.refused(answer, 404, f"node not found {hidden}")
