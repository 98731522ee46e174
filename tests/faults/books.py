"""What clients were promised, by id, and whether the hub kept it.

Writers post a mix until they are told to stop; each repeats a call under its Idempotency-Key until it is
decided. `balance` reads everything back through the API: each accepted write is applied exactly once or
rejected exactly once, the feed is dense from 1, every event of a session that a customer has is that
customer's, and every customer is what its writes add up to.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.hub import Answer, Client, eventually

UNDECIDED = {429, 503}

COUNTED = 10_000
"""A search counts no further."""

PACE_SECONDS = 0.05
"""Between two calls of a writer: what is tested is faults, not speed."""


@dataclass(slots=True)
class Promised:
    """A customer and what its accepted writes add up to; `version` counts the effective changes."""

    id: str
    external_id: str
    first_name: str
    tags: list[str] = field(default_factory=list)
    version: int = 0
    deleted: bool = False


class Books:
    """One client's accounts."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.customers: dict[str, Promised] = {}
        self.session_of: dict[str, str] = {}  # event id -> the session that it waits for
        self.customer_of: dict[str, str] = {}  # event id -> the customer that it names
        self.owner_of: dict[str, str] = {}  # session -> customer id
        self.refused: set[str] = set()  # ids of events that name nobody

    @property
    def accepted(self) -> int:
        """Events that were answered 202."""
        return len(self.session_of) + len(self.customer_of) + len(self.refused)

    # writing

    @asynccontextmanager
    async def under_load(self, name: str = "load") -> AsyncIterator[None]:
        """Writers run while the body does; afterwards all their calls are decided."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for writer in "ab":
                tasks.create_task(self._write_customers(f"{name}-{writer}", stop))
            tasks.create_task(self._write_batches(name, stop))
            tasks.create_task(self._write_events(name, stop))
            try:
                yield
            finally:
                stop.set()

    async def decided(self, method: str, path: str, body: Any, key: str) -> Answer:
        """The outcome of a call that is repeated until it has one."""

        async def answered() -> Answer | None:
            headers = {"Idempotency-Key": key, "Prefer": "wait=2"}
            try:
                answer = await self.client.call(method, path, body, headers=headers)
            except (aiohttp.ClientError, TimeoutError, OSError):
                return None
            return None if answer.status in UNDECIDED | {202} else answer

        outcome: Answer = await eventually(answered, 90, f"{method} {path} to be decided")
        return outcome

    async def accepted_events(self, path: str, body: Any, key: str) -> Any:
        """The body of the 202 of a call that is repeated until it is accepted."""

        async def taken() -> Any:
            headers = {"Idempotency-Key": key}
            try:
                answer = await self.client.call("POST", path, body, headers=headers)
            except (aiohttp.ClientError, TimeoutError, OSError):
                return None
            assert answer.status in UNDECIDED | {202}, answer
            return answer.body if answer.status == 202 else None

        return await eventually(taken, 90, f"POST {path} to be accepted")

    async def _write_customers(self, writer: str, stop: asyncio.Event) -> None:
        """Create, merge, patch, give a session, now and then delete: one customer after the other."""
        number = 0
        while not stop.is_set():
            number += 1
            await self.write_customer(f"{writer}-{number}", deletes=number % 5 == 0)

    async def write_customer(self, name: str, *, deletes: bool = False) -> Promised:
        """The life of one customer."""
        node, key = self.client.node_id, f"{self.client.workspace_id}-{name}"
        body = {"nodeId": node, "externalId": name, "base": {"firstName": "first"}}
        answer = await self.decided("POST", "/customers", body, f"{key}-create")
        assert answer.status == 201, answer
        promised = Promised(id=answer.body["id"], external_id=name, first_name="first")
        self.customers[promised.id] = promised
        path = f"/customers/{promised.id}"
        for tag in ("x", "y"):
            merging = {"nodeId": node, "externalId": name, "tags": {"manual": [tag], "auto": []}}
            answer = await self.decided("POST", "/customers", merging, f"{key}-{tag}")
            assert (answer.status, answer.body["id"]) == (201, promised.id), answer
            promised.tags.append(tag)
            promised.version += 1
        answer = await self.decided(
            "PATCH", path, {"base": {"firstName": "second"}}, f"{key}-patch"
        )
        assert answer.status == 200, answer
        promised.first_name = "second"
        promised.version += 1
        if deletes:
            answer = await self.decided("DELETE", path, None, f"{key}-delete")
            assert answer.status == 200, answer
            promised.deleted = True
            promised.version += 1
        else:
            session = {"value": name}
            answer = await self.decided("POST", f"{path}/sessions", session, f"{key}-session")
            assert answer.status == 201, answer
            self.owner_of[name] = promised.id
        return promised

    async def _write_batches(self, name: str, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await self.write_batch(f"{name}-batch-{number}", self._sessions_around(name))
            await asyncio.sleep(PACE_SECONDS)

    async def write_batch(self, name: str, sessions: list[str]) -> list[str]:
        """Events of these sessions, one of a customer that there is, one of nobody that there is."""
        events = [self.of_session(session) for session in sessions]
        living = [promised.id for promised in self.customers.values() if not promised.deleted]
        named = living[0] if living else None
        if named is not None:
            events.append(self.client.event(customerId=named))
        events.append(self.client.event(customerId=str(uuid.uuid4())))
        body = await self.accepted_events("/events/batch", {"events": events}, name)
        ids = [result["id"] for result in body["results"]]
        self.session_of.update(zip(ids, sessions, strict=False))
        if named is not None:
            self.customer_of[ids[-2]] = named
        self.refused.add(ids[-1])
        return ids

    async def _write_events(self, name: str, stop: asyncio.Event) -> None:
        """Single events, each of them posted twice under its key."""
        number = 0
        while not stop.is_set():
            number += 1
            session = self._sessions_around(name)[number % 6]
            event = self.of_session(session)
            bodies = [
                await self.accepted_events("/events", event, f"{name}-single-{number}")
                for _ in range(2)
            ]
            await asyncio.sleep(PACE_SECONDS)
            assert bodies[0] == bodies[1]
            self.session_of[bodies[0]["id"]] = session

    def of_session(self, session: str) -> dict[str, Any]:
        node = self.client.node_id
        back = {"type": "SESSION_ID", "value": session, "nodeId": node}
        return self.client.event(bringBackProperties=back)

    def _sessions_around(self, name: str) -> list[str]:
        """Sessions that exist, that are about to, and that never will."""
        done = sum(p.external_id.startswith(name) for p in self.customers.values()) // 2
        numbers = [max(1, done - 1), done + 1, done + 2]
        around = [f"{name}-{writer}-{number}" for writer in "ab" for number in numbers]
        return around * 4 + ["never"] * 4

    # balancing

    async def balance(self, seconds: float = 90) -> None:
        """Wait until everything accepted has its end, then check all of it."""
        await eventually(self._healthy, seconds, "a healthy hub")
        updates = await self._settled(seconds)
        created = Counter(
            u["entity"]["data"]["id"]
            for u in updates
            if u["operation"] == "CREATE" and u["entity"]["type"] == "EVENT"
        )
        applied = self.session_of.keys() | self.customer_of.keys()
        assert created == Counter(dict.fromkeys(applied, 1))
        assert await self._rejected() == Counter(dict.fromkeys(self.refused, 1))
        changes = Counter(
            (u["entity"]["data"]["id"], u["entity"]["data"]["version"]) for u in updates
        )
        assert max(changes.values(), default=1) == 1
        last = await self.client.call("GET", "/updates/last-offset")
        assert last.body["lastOffset"] == len(updates)
        self._check_customers(updates)
        self._check_owners(updates)
        await self._check_reads()

    async def _healthy(self) -> bool:
        async with self.client.http.get("/health") as answer:
            return answer.status == 200

    async def _settled(self, seconds: float) -> list[Any]:
        """The whole feed once every accepted event is in it or refused, and every attachment too."""
        missing: dict[str, Any] = {}
        updates: list[Any] = []

        async def done() -> list[Any]:
            updates.extend(await self.client.feed(len(updates)))
            rejected = await self._rejected()
            last = self._last_states(updates, "EVENT")
            known = last.keys() | rejected.keys()
            promised = self.session_of.keys() | self.customer_of.keys() | self.refused
            missing["no end"] = promised - known
            missing["not attached"] = {
                event_id: session
                for event_id, session in self.session_of.items()
                if session in self.owner_of and last.get(event_id, {}).get("customerId") is None
            }
            return [] if any(missing.values()) else updates

        try:
            found: list[Any] = await eventually(
                done, seconds, "every accepted write to have an end"
            )
        except TimeoutError as exc:
            exc.add_note(f"{missing}"[:2000])
            raise
        return found

    async def _rejected(self) -> Counter[str]:
        found: Counter[str] = Counter()
        page = 0
        while True:
            params = {"size": "50", "page": str(page)}
            answer = await self.client.call("GET", "/rejections", params=params)
            assert answer.status == 200, answer
            found.update(element["id"] for element in answer.body["elements"])
            page += 1
            if page >= answer.body["page"]["totalPages"]:
                return found

    @staticmethod
    def _last_states(updates: list[Any], entity_type: str) -> dict[str, Any]:
        return {
            u["entity"]["data"]["id"]: u["entity"]["data"]
            for u in updates
            if u["entity"]["type"] == entity_type
        }

    def _check_customers(self, updates: list[Any]) -> None:
        """One entry per effective change, in order, and the state that the writes add up to."""
        entries: dict[str, list[tuple[str, int]]] = {}
        for u in updates:
            if u["entity"]["type"] == "CUSTOMER":
                data = u["entity"]["data"]
                entries.setdefault(data["id"], []).append((u["operation"], data["version"]))
        expected = {
            promised.id: [
                ("CREATE", 0),
                *[("UPDATE", n) for n in range(1, promised.version + (not promised.deleted))],
                *([("DELETE", promised.version)] if promised.deleted else []),
            ]
            for promised in self.customers.values()
        }
        assert entries == expected
        states = self._last_states(updates, "CUSTOMER")
        for promised in self.customers.values():
            state = states[promised.id]
            got = (state["externalId"], state["base"]["firstName"], state["tags"]["manual"])
            assert got == (promised.external_id, promised.first_name, promised.tags)
        numbers = [states[customer_id]["intId"] for customer_id in self.customers]
        assert len(set(numbers)) == len(numbers)

    def _check_owners(self, updates: list[Any]) -> None:
        last = self._last_states(updates, "EVENT")
        owners = {event_id: last[event_id]["customerId"] for event_id in self.session_of}
        expected = {event: self.owner_of.get(name) for event, name in self.session_of.items()}
        assert owners == expected
        assert {e: last[e]["customerId"] for e in self.customer_of} == self.customer_of

    async def _check_reads(self) -> None:
        """What is read by id and by search is what the feed says."""
        live = {p.id for p in self.customers.values() if not p.deleted}
        found = await self.client.call(
            "GET", "/customers", params={"nodeId": self.client.node_id, "size": "1"}
        )
        assert found.body["page"]["totalElements"] == len(live)
        applied = self.session_of.keys() | self.customer_of.keys()
        found = await self.client.call(
            "GET", "/events", params={"nodeId": self.client.node_id, "size": "1"}
        )
        assert found.body["page"]["totalElements"] == min(len(applied), COUNTED)
        owners = Counter(self.owner_of.get(name) for name in self.session_of.values())
        owners.update(self.customer_of.values())
        for customer_id in list(live)[:20]:
            params = {"customerId": customer_id, "size": "1"}
            found = await self.client.call("GET", "/events", params=params)
            assert found.body["page"]["totalElements"] == owners[customer_id]
