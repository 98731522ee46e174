"""The real data set, as a sample: every total comes out of the hub exactly, loading twice changes nothing."""

from __future__ import annotations

import asyncio
import csv
import os
import sys
from decimal import Decimal
from pathlib import Path

from tests.hub import Client

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "cdnow_orders.csv"
ROWS = 1_500


async def _load(client: Client, file: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from headwater.cli import main; main()", "load", "cdnow", str(file),
        env={
            **os.environ,
            "HEADWATER_URL": client.hub.url,
            "HEADWATER_WORKSPACE_ID": client.workspace_id,
            "HEADWATER_NODE_ID": client.node_id,
            "HEADWATER_TOKEN": client.token,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def test_a_sample_comes_out_as_it_went_in_and_only_once(
    client: Client, tmp_path: Path
) -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()[: ROWS + 1]
    sample = tmp_path / "sample.csv"
    sample.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = list(csv.DictReader(lines))
    customers = {row["customer_id"] for row in rows}
    await _load(client, sample)
    updates = await client.feed_of(len(rows) + len(customers))
    await _load(client, sample)
    assert await client.feed() == updates
    people = [u["entity"]["data"] for u in updates if u["entity"]["type"] == "CUSTOMER"]
    orders = [u["entity"]["data"] for u in updates if u["entity"]["type"] == "EVENT"]
    assert {person["externalId"] for person in people} == customers
    assert len(people) == len(customers)
    assert len({order["id"] for order in orders}) == len(rows) == len(orders)
    total = sum(Decimal(str(order["properties"]["amount"]["total"])) for order in orders)
    assert total == sum(Decimal(row["amount_usd"]) for row in rows)
    items = sum(
        product["quantity"] for order in orders for product in order["properties"]["products"]
    )
    assert items == sum(int(row["quantity"]) for row in rows)
    names = {person["id"]: person["externalId"] for person in people}
    got = sorted((names[o["customerId"]], o["date"][:10]) for o in orders)
    assert got == sorted((row["customer_id"], row["date"]) for row in rows)
