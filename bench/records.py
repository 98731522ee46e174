"""Records as the front door writes them, without the front door: what a drain is measured with.

The mix is 60 % events of known customers, 20 % events with bring-back (a third of a session that a
customer has, the rest of sessions that nobody has yet), 20 % customer writes; 2 % of all are invalid.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeAlias

import orjson

from headwater import wire
from headwater.domain.commands import (
    Command,
    CreateCustomer,
    CreateSession,
    Envelope,
    PatchCustomer,
    RecordEvent,
    ReplyTo,
)
from headwater.domain.ids import (
    CustomerId,
    EventId,
    NodeId,
    OperationId,
    SessionId,
    WorkspaceId,
    uuid7,
)
from headwater.topics import (
    CUSTOMERS,
    EVENTS,
    key_of_bring_back,
    key_of_customer,
    key_of_match,
    partition_for,
)

Made: TypeAlias = tuple[str, int, Command]
"""A topic, a partition, and what goes there."""

PARTITIONS = 4
_ACCEPTED = datetime(2026, 1, 1, tzinfo=UTC)


class Load:
    """Makes commands about one workspace, always the same ones for a seed."""

    def __init__(self, workspace_id: WorkspaceId, node_id: NodeId, caller: str, seed: int) -> None:
        self.workspace_id = workspace_id
        self.node_id = node_id
        self.caller = caller
        self.random = random.Random(seed)  # not for secrets
        self.known: list[tuple[CustomerId, str]] = []
        self._milliseconds = 1_700_000_000_000

    def new_id(self) -> uuid.UUID:
        """Always greater than those before."""
        self._milliseconds += 1
        return uuid7(self._milliseconds, self.random.getrandbits(74))

    def _envelope(self, *, answered: bool) -> Envelope:
        return Envelope(
            workspace_id=self.workspace_id,
            operation_id=OperationId(self.new_id()),
            caller=self.caller,
            accepted_at=_ACCEPTED,
            tracing_id=self.random.randbytes(16).hex(),
            fingerprint=self.random.randbytes(16).hex(),
            answered=answered,
            reply_to=None
            if answered
            else ReplyTo(partition=0, correlation=self.random.randbytes(8).hex()),
        )

    def customers(self, count: int) -> Iterator[tuple[str, int, Command]]:
        """New customers, a third of them with a session; later events name them."""
        for _ in range(count):
            yield self._create()
            if len(self.known) % 3 == 0:
                customer_id, _ = self.known[-1]
                yield self._session(customer_id, f"known-{len(self.known)}")

    def mixed(self, count: int) -> Iterator[tuple[str, int, Command]]:
        """(topic, partition, command) of the mix; `customers` comes first."""
        for _ in range(count):
            share = self.random.random()
            invalid = self.random.random() < 0.02
            if share < 0.6:
                customer_id, _ = self.random.choice(self.known)
                yield self._event({"customerId": str(customer_id)}, customer_id.bytes, invalid)
            elif share < 0.8:
                known = self.random.randrange(3, len(self.known), 3)
                value = f"known-{known}" if self.random.random() < 0.33 else f"free-{known}"
                yield self._bring_back(value, invalid)
            elif share < 0.9:
                yield self._create()
            elif share < 0.905:
                yield self._merge(invalid)
            else:
                yield self._patch(invalid)

    def events(self, count: int) -> Iterator[tuple[str, int, Command]]:
        """Events of nobody, of 5,000 sessions."""
        for number in range(count):
            yield self._bring_back(f"s-{number % 5000}", invalid=False)

    def _event(self, person: dict[str, Any], key: bytes, invalid: bool) -> tuple[str, int, Command]:
        product = {"sku": "sku-1", "name": "A product with a name", "price": 12.5, "quantity": 2}
        properties: dict[str, Any] = {
            "orderId": f"o-{self.random.randrange(10**9)}",
            "amount": {"total": 175.0},
            "products": [{"id": f"p-{n}", **product} for n in range(7)],
        }
        if invalid:
            properties["amount"] = "much"
        body = {
            "type": "completedOrder",
            "context": "ECOMMERCE",
            "date": "2026-01-01T10:00:00Z",
            "properties": properties,
            **person,
        }
        command = RecordEvent(
            envelope=self._envelope(answered=True),
            event_id=EventId(self.new_id()),
            body=orjson.dumps(body),
        )
        return EVENTS, partition_for(key, PARTITIONS), command

    def _bring_back(self, value: str, invalid: bool) -> tuple[str, int, Command]:
        person = {"type": "SESSION_ID", "value": value, "nodeId": str(self.node_id)}
        key = key_of_bring_back(self.workspace_id, self.node_id, "SESSION_ID", value)
        return self._event({"bringBackProperties": person}, key, invalid)

    def _body(self, external_id: str | None) -> dict[str, Any]:
        name = self.random.randbytes(6).hex()
        body: dict[str, Any] = {
            "nodeId": str(self.node_id),
            "base": {
                "firstName": name,
                "lastName": "Rossi",
                "dob": "1980-02-03",
                "contacts": {"email": f"{name}@example.com", "mobilePhone": "+39 333 1234567"},
                "address": {"street": "Via Roma 1", "city": "Torino", "country": "Italy"},
                "likes": [{"id": "1", "name": "chess"}, {"id": "2", "name": "go"}],
            },
            "consents": {"marketing": {"automatic": {"email": {"status": True}}}},
            "tags": {"manual": ["a", "b"], "auto": []},
        }
        if external_id is not None:
            body["externalId"] = external_id
        return body

    def _create(self) -> tuple[str, int, Command]:
        customer_id, external_id = CustomerId(self.new_id()), self.random.randbytes(8).hex()
        self.known.append((customer_id, external_id))
        command = CreateCustomer(
            envelope=self._envelope(answered=False),
            customer_id=customer_id,
            body=orjson.dumps(self._body(external_id)),
        )
        key = key_of_match(self.workspace_id, self.node_id, external_id)
        return CUSTOMERS, partition_for(key, PARTITIONS), command

    def _merge(self, invalid: bool) -> tuple[str, int, Command]:
        _, external_id = self.random.choice(self.known)
        body = self._body(external_id)
        if invalid:
            body["base"] = 7
        command = CreateCustomer(
            envelope=self._envelope(answered=False),
            customer_id=CustomerId(self.new_id()),
            body=orjson.dumps(body),
        )
        key = key_of_match(self.workspace_id, self.node_id, external_id)
        return CUSTOMERS, partition_for(key, PARTITIONS), command

    def _patch(self, invalid: bool) -> tuple[str, int, Command]:
        customer_id, _ = self.random.choice(self.known)
        name: Any = 7 if invalid else self.random.randbytes(6).hex()
        body = {"base": {"firstName": name, "contacts": {"phone": f"011 {name}"}}}
        command = PatchCustomer(
            envelope=self._envelope(answered=False),
            customer_id=customer_id,
            body=orjson.dumps(body),
        )
        key = key_of_customer(self.workspace_id, customer_id)
        return CUSTOMERS, partition_for(key, PARTITIONS), command

    def _session(self, customer_id: CustomerId, value: str) -> tuple[str, int, Command]:
        command = CreateSession(
            envelope=self._envelope(answered=False),
            customer_id=customer_id,
            session_id=SessionId(self.new_id()),
            body=orjson.dumps({"value": value}),
        )
        key = key_of_customer(self.workspace_id, customer_id)
        return CUSTOMERS, partition_for(key, PARTITIONS), command


def encoded(command: Command) -> tuple[list[tuple[str, bytes]], bytes]:
    """The record of a command."""
    return wire.encode(command)


async def fill(producer: Any, made: Iterable[Made]) -> None:
    """Send commands to their partitions in their order; returns when Kafka has all."""
    shares: dict[tuple[str, int], list[Command]] = defaultdict(list)
    for topic, partition, command in made:
        shares[topic, partition].append(command)
    for (topic, partition), commands in shares.items():
        builder = producer.create_batch()
        waiting = []
        for command in commands:
            headers, value = encoded(command)
            if builder.append(key=None, value=value, timestamp=None, headers=headers) is None:
                waiting.append(await producer.send_batch(builder, topic, partition=partition))
                builder = producer.create_batch()
                builder.append(key=None, value=value, timestamp=None, headers=headers)
        waiting.append(await producer.send_batch(builder, topic, partition=partition))
        await asyncio.gather(*waiting)
