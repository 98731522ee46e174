"""The load: writers with a seed each, that do to the hub what clients do.

Single events and batches, customers whose keys collide, sessions that race their events, PATCH against
POST of one person, deletions, requests that are given up, retries under an idempotency key, 2 % that
is invalid and 2 % that comes twice; workspaces of very different size.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

import aiohttp
import orjson

from tests.chaos.ledger import (
    Answered,
    Ledger,
    Write,
    fingerprint_of,
    fingerprint_of_item,
)
from tests.hub import OPERATOR_TOKEN

INVALID = DUPLICATE = 0.02
ABANDONED = 0.02
TRIES = 6
REQUEST_SECONDS = 14.0

Document = dict[str, Any]


@dataclass(slots=True)
class Place:
    """A workspace with one entry node and a source; `share` of the load goes there.

    `known` are customers that were answered; they may be gone by now.
    """

    index: int
    share: float
    unique: list[str]
    case_sensitive: bool
    people: int
    workspace_id: str = ""
    node_id: str = ""
    token: str = ""
    known: list[str] = field(default_factory=list)

    def path(self, path: str) -> str:
        return f"/hub/v1/workspaces/{self.workspace_id}{path}"

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def learn(self, customer_id: str, random: Random) -> None:
        if len(self.known) < 400:
            self.known.append(customer_id)
        else:
            self.known[random.randrange(400)] = customer_id


def places() -> list[Place]:
    """From a flood to a trickle, each with another rule of who is the same person."""
    email = "base.contacts.email"
    return [
        Place(index=0, share=0.82, unique=["externalId"], case_sensitive=False, people=300),
        Place(index=1, share=0.13, unique=["externalId"], case_sensitive=True, people=40),
        Place(index=2, share=0.04, unique=["externalId", email], case_sensitive=False, people=8),
        Place(index=3, share=0.01, unique=[email], case_sensitive=False, people=3),
    ]


async def provide(url: str, wanted: list[Place]) -> None:
    """Make the workspaces."""
    operator = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    async with aiohttp.ClientSession(url, headers=operator) as http:

        async def post(path: str, body: Document) -> Any:
            async with http.post(path, json=body) as answer:
                made = await answer.json()
                assert answer.status == 201, made
                return made

        for place in wanted:
            slug = f"chaos-{place.index}"
            body: Document = {"name": slug, "slug": slug, "groupPk": 1, "shard": "default"}
            place.workspace_id = (await post("/hub/v1/workspaces", body))["id"]
            rule = {"properties": place.unique, "caseSensitive": place.case_sensitive}
            body = {"name": "shop", "uniqueCustomer": rule, "mandatoryProperties": []}
            place.node_id = (await post(place.path("/configuration/nodes/entries"), body))["id"]
            body = {"provider": "API", "name": "load", "nodes": [place.node_id]}
            place.token = (await post(place.path("/configuration/sources"), body))["token"]


class Load:
    """Writers that make `total` writes in `seconds`, or until `stop` is set; then `settle`."""

    def __init__(
        self,
        url: str,
        wanted: list[Place],
        ledger: Ledger,
        seed: int,
        total: int,
        seconds: float,
        name: str = "w",
        abandoned: float = ABANDONED,
    ) -> None:
        self.name = name
        self.abandoned = abandoned
        self._url = url
        self._places = wanted
        self.ledger = ledger
        self._seed = seed
        self._total = total
        self._interval = seconds / max(total, 1)
        self._next_at = 0.0
        self.made = 0
        self.goes_on = False
        """As long as faults are to come, also beyond `total`."""
        self.stop = asyncio.Event()
        self.batches: dict[str, tuple[list[Write], str]] = {}
        """Of events whose batch has no answer yet: the batch, and its key."""

    async def run(self, writers: int) -> None:
        """Return when all is sent and answered, or given up."""
        connector = aiohttp.TCPConnector(limit=writers * 4)
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=3)
        async with aiohttp.ClientSession(self._url, connector=connector, timeout=timeout) as http:
            http._retry_connection = False  # it would send a PUT or DELETE again behind our back
            self._next_at = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for number in range(writers):
                    group.create_task(_Writer(self, http, number, self._seed).run())
        self.ledger.flush()

    async def settle(self, seconds: float) -> None:
        """Repeat every keyed write that has no answer, until it has one: the hub is well now."""
        limit = time.monotonic() + seconds
        open_ones = [
            w for w in self.ledger.writes.values() if w.keyed and not w.is_settled and w.sent
        ]
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        async with aiohttp.ClientSession(self._url, timeout=timeout) as http:
            http._retry_connection = False
            writer = _Writer(self, http, -1, self._seed)
            slots = asyncio.Semaphore(8)

            async def one(write: Write) -> None:
                async with slots:
                    while not write.is_settled and time.monotonic() < limit:
                        await writer.send_again(write)

            await asyncio.gather(*(one(write) for write in open_ones))
        self.ledger.flush()

    def continued(self, name: str, total: int, seconds: float) -> Load:
        """Another load of the same workspaces, whose clients are patient."""
        return Load(
            self._url, self._places, self.ledger, self._seed, total, seconds, name, abandoned=0
        )

    def hurry(self, per_second: float) -> None:
        """Make what is left of `total` at this rate, if it is higher."""
        self.goes_on = False
        self._interval = min(self._interval, 1 / per_second)

    @property
    def is_over(self) -> bool:
        return self.stop.is_set() or (self.made >= self._total and not self.goes_on)

    @property
    def total(self) -> int:
        return self._total

    async def permit(self, writes: int) -> None:
        """Wait for one's turn: writes come at an even pace, whatever the hub does."""
        self.made += writes
        now = time.monotonic()
        # after an outage writers don't make up for all of it at once
        self._next_at = max(self._next_at + writes * self._interval, now - 1.0)
        if self._next_at > now:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._next_at - now):
                    await self.stop.wait()

    def choose(self, random: Random) -> Place:
        return random.choices(self._places, [place.share for place in self._places])[0]

    def place(self, index: int) -> Place:
        return self._places[index]


class _Writer:
    def __init__(self, load: Load, http: aiohttp.ClientSession, number: int, seed: int) -> None:
        self.load = load
        self.ledger = load.ledger
        self.http = http
        self.number = number
        self.random = Random(f"{seed} {load.name} {number}")
        self.count = 0

    async def run(self) -> None:
        actions: list[tuple[float, Callable[[Place], Awaitable[None]]]] = [
            (30, self._single_event),
            (12, self._event_batch),
            (16, self._post),
            (14, self._patch),
            (3, self._put),
            (1, self._delete),
            (6, self._race),
            (4, self._customer_batch),
            (5, self._session),
        ]
        weights = [weight for weight, _ in actions]
        while not self.load.is_over:
            _, action = self.random.choices(actions, weights)[0]
            await action(self.load.choose(self.random))

    # what is sent

    def _nonce(self) -> str:
        self.count += 1
        return f"{self.load.name}{self.number}-{self.count}"

    def _person(self, place: Place) -> Document:
        """What names a person by the node's rule, in any spelling; persons are few, so they collide."""
        number = int(place.people * self.random.random() ** 2)
        name = f"ada{number}"
        if self.random.random() < 0.3:
            name = name.upper()
        members: Document = {}
        if "externalId" in place.unique:
            members["externalId"] = name
        if "base.contacts.email" in place.unique:
            members["base"] = {"contacts": {"email": f"{name}@example.com"}}
        return members

    def _profile(self, nonce: str) -> Document:
        random = self.random
        base: Document = {}
        if random.random() < 0.6:
            base["firstName"] = random.choice(["Ada", "Ben", "Cleo", None])
        if random.random() < 0.3:
            base["address"] = {"city": random.choice(["Rome", "Oslo", None])}
        if random.random() < 0.4:
            base["likes"] = [
                {"id": f"l{random.randrange(6)}", "category": random.choice(["a", "b"])}
                for _ in range(random.randrange(3))
            ]
        if random.random() < 0.3:
            base["subscriptions"] = [
                {"id": f"n{random.randrange(4)}", "subscribed": random.random() < 0.5}
            ]
        profile: Document = {"extra": nonce}
        if base:
            profile["base"] = base
        if random.random() < 0.4:
            profile["tags"] = {"manual": [f"t{random.randrange(12)}" for _ in range(2)]}
        return profile

    def _customer(self, place: Place, nonce: str) -> Document:
        person, profile = self._person(place), self._profile(nonce)
        base = {**profile.get("base", {}), **person.get("base", {})}
        document = {"nodeId": place.node_id, **profile, **person}
        return {**document, "base": base} if base else document

    def _event(self, place: Place, nonce: str, session: str | None = None) -> Document:
        random = self.random
        kind = random.choice(["viewedPage", "searched", "loggedIn"])
        properties: Document = {"extraProperties": {"nonce": nonce}}
        if kind == "viewedPage":
            properties |= {
                "url": f"https://example.com/{random.randrange(1000)}",
                "title": "A page",
            }
        event: Document = {"type": kind, "context": "WEB", "properties": properties}
        chance = random.random()
        if session is None and place.known and chance < 0.5:
            event["customerId"] = random.choice(place.known)
        elif session is None and chance < 0.65 and "externalId" in place.unique:
            value = self._person(place)["externalId"]
            event["bringBackProperties"] = _bring_back("EXTERNAL_ID", value, place)
        else:
            value = session or f"s{random.randrange(place.people * 2)}"
            event["bringBackProperties"] = _bring_back("SESSION_ID", value, place)
        return event

    def _new_event(self, place: Place, *, keyed: bool, session: str | None = None) -> Write:
        nonce = self._nonce()
        body = self._event(place, nonce, session)
        write = Write(nonce=nonce, workspace=place.index, kind="EVENT", keyed=keyed, body=body)
        if self.random.random() < INVALID:
            write.valid = False
            fault = self.random.randrange(3)
            if fault == 0:
                body["properties"]["unheardOf"] = 1
            elif fault == 1:
                body["type"] = "teleported"
            else:  # what only the processor can know
                body.pop("bringBackProperties", None)
                body["customerId"] = str(UUID(int=self.random.getrandbits(128), version=4))
        return write

    # how it is sent

    async def _single_event(self, place: Place) -> None:
        await self.load.permit(1)
        write = self._new_event(place, keyed=self.random.random() < 0.5)
        await self._send(place, write)

    async def _event_batch(self, place: Place) -> None:
        size = self.random.choice([2, 5, 20, 50])
        await self.load.permit(size)
        keyed = self.random.random() < 0.6
        writes = [self._new_event(place, keyed=keyed) for _ in range(size)]
        await self._send_events(place, writes, self._nonce() if keyed else None)

    async def _post(self, place: Place) -> None:
        await self.load.permit(1)
        nonce = self._nonce()
        body = self._customer(place, nonce)
        write = Write(
            nonce=nonce,
            workspace=place.index,
            kind="POST",
            keyed=self.random.random() < 0.5,
            body=body,
        )
        if self.random.random() < INVALID:
            write.valid = False
            body["base"] = {**body.get("base", {}), "dob": "yesterday"}
        if self.random.random() < 0.1:
            write.session = f"s{self.random.randrange(place.people * 2)}"
        await self._send(place, write)

    async def _patch(self, place: Place) -> None:
        await self._change(place, "PATCH")

    async def _put(self, place: Place) -> None:
        await self._change(place, "PUT")

    async def _delete(self, place: Place) -> None:
        await self._change(place, "DELETE")

    async def _change(self, place: Place, kind: str) -> None:
        if not place.known:
            return
        await self.load.permit(1)
        nonce = self._nonce()
        body: Document | None = None
        if kind == "PUT" or (kind == "PATCH" and self.random.random() < 0.2):
            body = self._customer(place, nonce)  # takes another person's key, or tries to
        elif kind == "PATCH":
            body = self._profile(nonce)
        customer = self.random.choice(place.known)
        write = Write(
            nonce=nonce,
            workspace=place.index,
            kind=kind,
            keyed=self.random.random() < 0.5,
            body=body,
            customer=customer,
            strict=kind != "DELETE" and self.random.random() < 0.2,
        )
        if kind == "DELETE":
            place.known.remove(customer)
        rival = None
        if kind == "PATCH" and self.random.random() < 0.3:
            other = self._nonce()
            rival = Write(
                nonce=other,
                workspace=place.index,
                kind="POST",
                keyed=True,
                body=self._customer(place, other),
            )
            await self.load.permit(1)
            await asyncio.gather(self._send(place, write), self._send(place, rival))
        else:
            await self._send(place, write)

    async def _session(self, place: Place) -> None:
        if not place.known:
            return
        await self.load.permit(1)
        value = f"s{self.random.randrange(place.people * 2)}"
        await self._send(place, self._new_session(place, value))

    def _new_session(self, place: Place, value: str) -> Write:
        return Write(
            nonce=self._nonce(),
            workspace=place.index,
            kind="SESSION",
            keyed=self.random.random() < 0.5,
            body={"value": value},
            customer=self.random.choice(place.known),
        )

    async def _race(self, place: Place) -> None:
        """A new session against the events that name it."""
        if not place.known:
            return
        await self.load.permit(4)
        value = f"race-{self._nonce()}"
        writes = [self._new_event(place, keyed=True, session=value) for _ in range(3)]
        writes.append(self._new_session(place, value))
        self.random.shuffle(writes)
        await asyncio.gather(*(self._send(place, write) for write in writes))

    async def _customer_batch(self, place: Place) -> None:
        size = self.random.choice([2, 5, 10])
        await self.load.permit(size)
        writes = []
        for _ in range(size):
            nonce = self._nonce()
            body = self._customer(place, nonce)
            writes.append(
                Write(nonce=nonce, workspace=place.index, kind="POST", keyed=True, body=body)
            )
        for _ in range(TRIES):
            await self._send_customers(place, [w for w in writes if not w.is_settled])
            if self.load.stop.is_set() or all(write.is_settled for write in writes):
                return
            await asyncio.sleep(self.random.random())

    # one request

    async def send_again(self, write: Write) -> None:
        """Once more, under the same key."""
        place = self.load.place(write.workspace)
        if write.kind == "EVENT" and write.nonce in self.load.batches:
            writes, key = self.load.batches[write.nonce]
            await self._send_events(place, writes, key, tries=1)
        elif write.fingerprint.startswith("item:"):
            await self._send_customers(place, [write])
        else:
            await self._send(place, write, tries=1)

    async def _send(self, place: Place, write: Write, tries: int = TRIES) -> None:
        method, path, query = _target(place, write)
        raw = b"" if write.body is None else orjson.dumps(write.body)
        write.fingerprint = fingerprint_of(method, path, query, raw)
        headers = {**place.authorization, "Content-Type": "application/json"}
        key = f"key-{write.nonce}" if write.keyed else None
        if key is not None:
            headers["Idempotency-Key"] = key
        if write.kind == "EVENT" and self.random.random() < 0.1:
            headers["Prefer"] = "wait=5"
        elif write.kind != "EVENT" and self.random.random() < 0.1:
            headers["Prefer"] = "respond-async"
        url = f"{path}?{query}" if query else path
        sendings = tries if write.keyed else (2 if self.random.random() < DUPLICATE else 1)
        for number in range(sendings):
            self.ledger.sending([write], path, key)
            answer = await self._request(method, url, raw, headers)
            self.ledger.answered(write, answer)
            if write.kind in {"POST", "PATCH", "PUT"} and answer.status in {200, 201} and answer.id:
                place.learn(answer.id, self.random)
            if write.keyed and (write.is_settled or self.load.stop.is_set()):
                break
            if number + 1 < sendings and not answer.status:
                await asyncio.sleep(self.random.random() * (number + 1) / 2)
        if write.keyed and write.is_settled and self.random.random() < DUPLICATE:
            self.ledger.sending([write], path, key)
            self.ledger.answered(write, await self._request(method, url, raw, headers))

    async def _send_events(
        self, place: Place, writes: list[Write], key: str | None, tries: int = TRIES
    ) -> None:
        path = place.path("/events/batch")
        raw = orjson.dumps({"events": [write.body for write in writes]})
        headers = {**place.authorization, "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = f"batch-{key}"
        for number in range(tries if key is not None else 1):
            self.ledger.sending(writes, path, key)
            status, body = await self._raw_request("POST", path, raw, headers)
            if status in {200, 202}:
                for write, result in zip(writes, body["results"], strict=True):
                    text = "" if "id" in result else str(result.get("error"))
                    answer = Answered(result["status"], result.get("id"), None, text)
                    self.ledger.answered(write, answer)
                break
            for write in writes:
                self.ledger.answered(write, Answered(status, text=_told(body)))
            if self.load.stop.is_set():
                break
            await asyncio.sleep(self.random.random() * (number + 1) / 2)
        for write in writes:
            if key is not None and not write.is_settled:
                self.load.batches[write.nonce] = (writes, key)

    async def _send_customers(self, place: Place, writes: list[Write]) -> None:
        path = place.path("/customers/batch")
        items = []
        for write in writes:
            write.fingerprint = "item:" + fingerprint_of_item(orjson.dumps(write.body))
            items.append({**write.body, "idempotencyKey": f"key-{write.nonce}"})
        headers = {**place.authorization, "Content-Type": "application/json"}
        self.ledger.sending(writes, path, "items")
        status, body = await self._raw_request(
            "POST", path, orjson.dumps({"customers": items}), headers
        )
        for place_in_batch, write in enumerate(writes):
            if status != 200:
                self.ledger.answered(write, Answered(status, text=_told(body)))
                continue
            result = body["results"][place_in_batch]
            text = "" if "id" in result else str(result.get("error"))
            self.ledger.answered(write, Answered(result["status"], result.get("id"), None, text))
            if "id" in result:
                place.learn(result["id"], self.random)

    async def _request(
        self, method: str, url: str, raw: bytes, headers: dict[str, str]
    ) -> Answered:
        status, body = await self._raw_request(method, url, raw, headers)
        if not isinstance(body, dict) or status >= 400:
            return Answered(status, text=_told(body) if status >= 400 else "")
        return Answered(status, body.get("id") or body.get("operationId"), body.get("version"))

    async def _raw_request(
        self, method: str, url: str, raw: bytes, headers: dict[str, str]
    ) -> tuple[int, Any]:
        """Status and body; 0 and None when nothing came back."""
        patience = REQUEST_SECONDS + 1
        if self.random.random() < self.load.abandoned and self.number >= 0:
            patience = self.random.random() * 0.05  # a client that goes away in the middle
        try:
            async with (
                asyncio.timeout(patience),
                self.http.request(method, url, data=raw, headers=headers) as answer,
            ):
                got = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, None
        return answer.status, orjson.loads(got) if got else None


def _bring_back(kind: str, value: str, place: Place) -> Document:
    return {"type": kind, "value": value, "nodeId": place.node_id}


def _target(place: Place, write: Write) -> tuple[str, str, str]:
    """Method, path and query."""
    query = "&".join(
        [
            *(["mode=STRICT"] if write.strict else []),
            *([f"sessionId={write.session}"] if write.session is not None else []),
        ]
    )
    match write.kind:
        case "EVENT":
            return "POST", place.path("/events"), query
        case "POST":
            return "POST", place.path("/customers"), query
        case "SESSION":
            return "POST", place.path(f"/customers/{write.customer}/sessions"), query
        case kind:
            return kind, place.path(f"/customers/{write.customer}"), query


def _told(body: Any) -> str:
    return str(body.get("message", "")) if isinstance(body, dict) else ""
