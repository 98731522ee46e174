"""`headwater load cdnow`: the orders of a real shop, through the public API only."""

from __future__ import annotations

import asyncio
import csv
import random
import re
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from headwater.cli.hub import Hub, find_hub
from headwater.domain.json import JsonObject
from headwater.domain.moment import find_date

T = TypeVar("T")

COLUMNS = ("customer_id", "date", "quantity", "amount_usd")
_AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})?")
_BATCH = 500
_IN_FLIGHT = 4
_ATTEMPTS = 60
_MAX_BACKOFF_SECONDS = 5.0
_RETRYABLE = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """A line of the file. The number of the line is its identity: equal lines are different orders."""

    line: int
    customer: str
    date: str
    quantity: int
    amount: Decimal


@dataclass(slots=True)
class _Totals:
    customers: int = 0
    events: int = 0
    items: int = 0
    amount: Decimal = Decimal(0)


@click.group()
def load() -> None:
    """Load real data into a running hub."""


@load.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--node", help="The entry node; HEADWATER_NODE_ID if left out.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many orders.")
def cdnow(file: Path, node: str | None, limit: int | None) -> None:
    """Load FILE (customer_id,date,quantity,amount_usd) as customers and completedOrder events.

    Every line has an idempotency key of its own: an interrupted load is resumed by running it again,
    and a second load changes nothing. Reads HEADWATER_URL, HEADWATER_WORKSPACE_ID, HEADWATER_NODE_ID
    and HEADWATER_TOKEN from the environment, else `demo.env` in HEADWATER_HOME or .headwater.
    """
    hub = find_hub()
    node_id = node or hub.node_id
    if node_id is None:
        raise click.UsageError("name the node: --node or HEADWATER_NODE_ID")
    # all of it first: a broken line is found before anything is sent
    orders = list(islice(_read_orders(file), limit))
    if not orders:
        raise click.ClickException(f"{file} holds no orders: only its first line")
    try:
        totals = asyncio.run(_load(hub, node_id, orders))
    except ExceptionGroup as group:  # what several batches say at once is said by the first
        raise group.exceptions[0] from None
    click.echo(
        f"accepted {totals.customers:,} customers, {totals.events:,} events, "
        f"{totals.items:,} items, {totals.amount:,.2f} USD"
    )


def _read_orders(file: Path) -> Iterator[_Order]:
    """The lines of a file, each with its number.

    Raises:
        ClickException: it is no such file, or a line is no order; names the line and what is wrong.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise click.ClickException(
                    f"{file} has no column {', '.join(missing)}: its first line is "
                    f"{','.join(reader.fieldnames or ())[:200]!r}, expected {','.join(COLUMNS)}"
                )
            for row in reader:
                yield _order(file, reader.line_num, row)
    except UnicodeDecodeError as exc:
        raise click.ClickException(f"{file} is no text in UTF-8: {exc}") from exc
    except csv.Error as exc:
        raise click.ClickException(f"{file}: {exc}") from exc
    except OSError as exc:
        raise click.ClickException(f"{file} can't be read: {exc.strerror}") from exc


def _order(file: Path, line: int, row: Mapping[str | None, Any]) -> _Order:
    faults = []
    customer, day, quantity, amount = (row[name] or "" for name in COLUMNS)
    if None in row or not customer:
        faults.append(f"{len(COLUMNS)} columns expected, customer_id not empty")
    if find_date(day) != day:
        faults.append(f"date is {day!r}, expected YYYY-MM-DD")
    if not quantity.isascii() or not quantity.isdigit() or len(quantity) > 9:
        faults.append(f"quantity is {quantity!r}, expected a whole number")
    if not _AMOUNT.fullmatch(amount):
        faults.append(f"amount_usd is {amount!r}, expected an amount like 12.50")
    if faults:
        raise click.ClickException(f"{file}, line {line}: {'; '.join(faults)}; nothing is loaded")
    return _Order(
        line=line, customer=customer, date=day, quantity=int(quantity), amount=Decimal(amount)
    )


async def _load(hub: Hub, node_id: str, orders: Sequence[_Order]) -> _Totals:
    customers = list(dict.fromkeys(order.customer for order in orders))
    ids: dict[str, str] = {}
    totals = _Totals()
    columns = (
        TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )  # fmt: skip
    timeout = aiohttp.ClientTimeout(total=120, sock_connect=10)
    async with aiohttp.ClientSession(headers=hub.headers, timeout=timeout) as http:
        await _check_node(http, hub.url(f"configuration/nodes/entries/{node_id}"))
        with Progress(*columns, console=Console(stderr=True)) as progress:
            customers_bar = progress.add_task("customers", total=len(customers))
            events_bar = progress.add_task("events", total=len(orders))

            async def post_customers(chunk: Sequence[str]) -> None:
                items = [_customer(name, node_id) for name in chunk]
                results = await _post_batch(http, hub.url("customers/batch"), "customers", items)
                ids.update(zip(chunk, results, strict=True))
                totals.customers += len(chunk)
                progress.advance(customers_bar, len(chunk))

            async def post_events(chunk: Sequence[_Order]) -> None:
                items = [_event(order, node_id, ids[order.customer]) for order in chunk]
                await _post_batch(http, hub.url("events/batch"), "events", items)
                totals.events += len(chunk)
                totals.items += sum(order.quantity for order in chunk)
                totals.amount += sum((order.amount for order in chunk), Decimal(0))
                progress.advance(events_bar, len(chunk))

            await _in_parallel(post_customers(chunk) for chunk in _chunks(customers))
            await _in_parallel(post_events(chunk) for chunk in _chunks(orders))
    return totals


async def _check_node(http: aiohttp.ClientSession, url: str) -> None:
    """Say at once what no repetition would mend: no hub there, a wrong token or node."""
    try:
        async with http.get(url) as answer:
            raw = await answer.read()
            status = answer.status
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise click.ClickException(f"{url}: {exc}; is the hub running?") from exc
    if status in _RETRYABLE:
        return
    if status != 200:
        raise click.ClickException(f"{url}: {status} {raw.decode(errors='replace')[:300]}")
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise click.ClickException(f"{url} answers no JSON: is HEADWATER_URL a hub's?") from exc


def _customer(name: str, node_id: str) -> JsonObject:
    # a POST merges into the customer of the same externalId: repeating it changes nothing
    return {"nodeId": node_id, "externalId": name, "idempotencyKey": f"cdnow-{node_id}-c{name}"}


def _event(order: _Order, node_id: str, customer_id: str) -> JsonObject:
    return {
        "customerId": customer_id,
        "type": "completedOrder",
        "context": "RETAIL",
        "date": order.date,
        "properties": {
            "orderId": f"cdnow-{order.line}",
            "type": "sale",
            "amount": {"total": float(order.amount), "local": {"currency": "USD"}},
            "products": [{"quantity": order.quantity}],
        },
        "contextInfo": {},
        "idempotencyKey": f"cdnow-{node_id}-{order.line}",
    }


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + _BATCH] for start in range(0, len(values), _BATCH))


async def _in_parallel(jobs: Iterable[Coroutine[None, None, None]]) -> None:
    """Run coroutines, few at a time: the hub limits its batches in flight."""
    gate = asyncio.Semaphore(_IN_FLIGHT)

    async def gated(job: Coroutine[None, None, None]) -> None:
        async with gate:
            await job

    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(gated(job))


def _seconds(retry_after: str) -> float:
    # the hub sends seconds; what stands in front of it may send a date, and is asked again at our own pace
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0


async def _post_batch(
    http: aiohttp.ClientSession, url: str, member: str, items: Sequence[JsonObject]
) -> list[str]:
    """Post items until all are accepted; their ids, in order. Keys make every repetition harmless."""
    ids = [""] * len(items)
    pending = list(range(len(items)))
    for attempt in range(_ATTEMPTS):
        body = orjson.dumps({member: [items[place] for place in pending]})
        retry_after = 0.0
        try:
            async with http.post(
                url, data=body, headers={"Content-Type": "application/json"}
            ) as answer:
                raw = await answer.read()
                retry_after = _seconds(answer.headers.get("Retry-After", ""))
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            status, raw = 503, b""
        if status in {200, 202}:
            again = []
            for place, result in zip(pending, orjson.loads(raw)["results"], strict=True):
                if result["status"] < 300:
                    ids[place] = result["id"]
                elif result["status"] in _RETRYABLE:
                    again.append(place)
                else:
                    error = result["error"]
                    faults = "".join(f"; {e['path']}: {e['message']}" for e in error["errors"])
                    raise click.ClickException(f"{result['status']} {error['message']}{faults}")
            pending = again
        elif status not in _RETRYABLE:
            raise click.ClickException(f"{url}: {status} {raw.decode(errors='replace')}")
        if not pending:
            return ids
        pause = max(retry_after, min(0.2 * 2**attempt, _MAX_BACKOFF_SECONDS))
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads retries, guards nothing
    raise click.ClickException(
        f"{url}: the hub took no batch in {_ATTEMPTS} attempts, run it again"
    )
