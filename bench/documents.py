"""What is posted."""

from __future__ import annotations

from typing import Any

from headwater.cli.provision import Demo

SESSIONS = 5_000

_PRODUCTS = [
    {"id": f"p-{n}", "sku": f"sku-{n}", "name": "A product with a name", "price": 12.5, "quantity": 2}
    for n in range(7)
]  # fmt: skip


def order(demo: Demo, number: int, *, customer_id: str | None = None) -> dict[str, Any]:
    """An event of about 1,000 bytes: of a customer, or to be brought back by one of 5,000 sessions."""
    event: dict[str, Any] = {
        "type": "completedOrder",
        "context": "ECOMMERCE",
        "date": "2026-01-01T10:00:00Z",
        "properties": {"orderId": f"o-{number}", "amount": {"total": 175.0}, "products": _PRODUCTS},
    }
    if customer_id is not None:
        return {**event, "customerId": customer_id}
    back = {"type": "SESSION_ID", "value": f"s-{number % SESSIONS}", "nodeId": str(demo.node_id)}
    return {**event, "bringBackProperties": back}


def person(demo: Demo, number: int, *, step: int = 0) -> dict[str, Any]:
    """A customer of about 500 bytes; another `step` changes it."""
    return {
        "nodeId": str(demo.node_id),
        "externalId": f"c-{number}",
        "base": {
            "firstName": "Ada",
            "lastName": f"Lovelace {number}",
            "contacts": {"email": f"c{number}@example.com", "phone": "+39 011 000000"},
            "address": {"street": f"Via Roma {step}", "city": "Torino", "country": "Italia"},
        },
        "extra": f"written in step {step}",
        "tags": {"manual": ["a", "b", f"step-{step % 10}"]},
    }
