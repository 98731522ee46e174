"""The books: what clients were promised against what the hub holds, write by write.

First witness is the public API (the whole feed, entities, rejections), second the tables. A violation
begins with what it is: LOST, DOUBLE, TWICE (a record was), REFUSED (yet applied), FEED, UNIQUE, ANONYMOUS, REPLAY; the campaign adds
STUCK (no recovery), UNANSWERED (in calm time) and ANSWER (one that no fault excuses).
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import asyncpg
import orjson

from tests.chaos.hub import ChaosHub
from tests.chaos.ledger import ACCEPTED, Ledger, Write, verdict_of
from tests.chaos.load import Place
from tests.chaos.replay import Applied, replay
from tests.chaos.watch import Digest, Follower
from tests.domain import reference

PAGE = 4000
SAMPLE = 400
"""Entities of each workspace that are read one by one over the API."""

Document = dict[str, Any]


def _statements() -> dict[str, str]:
    text = Path(__file__).with_name("witness.sql").read_text(encoding="utf-8")
    parts = text.split("-- name: ")[1:]
    return {name.strip(): sql for name, sql in (part.split("\n", 1) for part in parts)}


SQL = _statements()


@dataclass(slots=True)
class Books:
    """The sums."""

    writes: int = 0
    sent: int = 0
    accepted: int = 0
    refused: int = 0
    unanswered: int = 0
    events_applied: int = 0
    events_rejected: int = 0
    customer_writes_applied: int = 0
    customer_writes_refused: int = 0
    customers: int = 0
    versions: int = 0
    updates: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """Violations by what they are."""


@dataclass(slots=True)
class Entity:
    """What the feed told of one customer or event."""

    type: str
    changes: list[tuple[str, int]] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    """Every version of a customer, the last of an event."""

    @property
    def deleted(self) -> bool:
        return self.changes[-1][0] == "DELETE"


@dataclass(slots=True)
class Feed:
    digest: Digest = field(default_factory=Digest)
    entities: dict[str, Entity] = field(default_factory=dict)
    created: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Ids of events by their nonce."""


async def open_books(hub: ChaosHub) -> None:
    """Before the load."""
    connection = await asyncpg.connect(hub.postgres.url)
    try:
        await connection.execute(SQL["watch_offsets"])
    finally:
        await connection.close()


async def balance(
    hub: ChaosHub,
    ledger: Ledger,
    everywhere: list[tuple[Place, Follower]],
    violations: list[str],
) -> Books:
    """Add what doesn't balance to `violations`. The hub is calm and has applied everything."""
    books = Books()
    by_place: dict[int, list[Write]] = defaultdict(list)
    for write in ledger.writes.values():
        by_place[write.workspace].append(write)
        books.writes += 1
        books.sent += write.sent
        books.accepted += write.accepted
        books.refused += write.refused
        books.unanswered += len(write.answers) - write.accepted - write.refused
    connection = await asyncpg.connect(hub.postgres.url)
    try:
        for place, follower in everywhere:
            timeout = aiohttp.ClientTimeout(total=120)
            async with aiohttp.ClientSession(
                hub.direct_url, headers=place.authorization, timeout=timeout
            ) as http:
                books_of = _Place(place, http, connection, books, violations)
                await books_of.balance(follower, by_place.get(place.index, []))
        moves = await connection.fetch(SQL["moves"])
        violations += [f"TWICE: an offset did not move on: {dict(row)}" for row in moves]
    finally:
        await connection.close()
    books.kinds = Counter(violation.split(":")[0] for violation in violations)
    return books


class _Place:
    """The books of one workspace."""

    def __init__(
        self,
        place: Place,
        http: aiohttp.ClientSession,
        connection: asyncpg.Connection[asyncpg.Record],
        books: Books,
        violations: list[str],
    ) -> None:
        self.place = place
        self.http = http
        self.connection = connection
        self.books = books
        self.violations = violations
        self.feed = Feed()

    def wrong(self, what: str, text: str) -> None:
        self.violations.append(f"{what}: workspace {self.place.index}: {text}")

    async def balance(self, follower: Follower, writes: list[Write]) -> None:
        await self._read_feed(follower)
        self._check_versions()
        await self._compare_tables()
        await self._compare_api()
        self._check_unique()
        await self._check_anonymous()
        if writes:
            rejected = await self._read_rejections()
            self._balance_events([w for w in writes if w.kind == "EVENT"], rejected)
            await self._balance_customers([w for w in writes if w.kind != "EVENT"], rejected)

    async def _rows(self, name: str) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self.connection.fetch(
            SQL[name], self.place.workspace_id, timeout=300
        )
        return rows

    async def _get(self, path: str, **params: str) -> tuple[int, Any]:
        async with self.http.get(self.place.path(path), params=params) as answer:
            raw = await answer.read()
            return answer.status, orjson.loads(raw) if raw else None

    # the feed

    async def _read_feed(self, follower: Follower) -> None:
        feed, after = self.feed, 0
        marks = dict(follower.marks)
        while True:
            status, page = await self._get("/updates", offset=str(after), size=str(PAGE))
            if status != 200:
                self.wrong("FEED", f"the page behind {after} answers {status}: {page}")
                return
            updates = page["updates"]
            if page["nextOffset"] != after + len(updates):
                self.wrong(
                    "FEED",
                    f"the page behind {after} has {len(updates)} updates, next {page['nextOffset']}",
                )
            for update in updates:
                feed.digest.add(update)
                self._note(update)
                seen = marks.pop(feed.digest.count, None)
                if seen is not None and seen != feed.digest.text:
                    self.wrong("FEED", f"up to {feed.digest.count} a follower saw another history")
                    marks.clear()
            after = page["nextOffset"]
            if not updates:
                break
        if marks:
            self.wrong("FEED", f"a follower saw up to {max(marks)}, the feed ends at {after}")
        self.books.updates += feed.digest.count

    def _note(self, update: Document) -> None:
        kind, data = update["entity"]["type"], update["entity"]["data"]
        entity = self.feed.entities.setdefault(data["id"], Entity(kind))
        entity.changes.append((update["operation"], data["version"]))
        if kind == "CUSTOMER":
            entity.documents.append(data)
            return
        entity.documents = [data]
        if update["operation"] == "CREATE":
            nonce = _nonce_of(data)
            if nonce is not None:
                self.feed.created[nonce].append(data["id"])

    def _check_versions(self) -> None:
        for entity_id, entity in self.feed.entities.items():
            count = len(entity.changes)
            wanted = [("CREATE" if n == 0 else "UPDATE", n) for n in range(count)]
            if entity.deleted:
                version = count - 1 if entity.type == "CUSTOMER" else count - 2
                wanted[-1] = ("DELETE", version)
            if entity.changes != wanted:
                self.wrong(
                    "FEED", f"{entity.type} {entity_id} has the history {entity.changes[:40]}"
                )
            self.books.customers += entity.type == "CUSTOMER"
            self.books.versions += count if entity.type == "CUSTOMER" else 0

    # the second witness

    async def _compare_tables(self) -> None:
        digest = Digest()
        rows = await self._rows("updates")
        offsets = [row["feed_offset"] for row in rows]
        if offsets != list(range(1, len(rows) + 1)):
            gaps = sorted(set(range(1, (offsets or [0])[-1] + 1)) - set(offsets))
            self.wrong("FEED", f"the table's offsets are not 1 to {len(rows)}: missing {gaps[:20]}")
        for row in rows:
            data = {"id": row["id"], "version": row["version"]}
            entity = {"type": row["entity_type"], "data": data}
            digest.add({"operation": row["operation"], "entity": entity})
        if (digest.count, digest.text) != (self.feed.digest.count, self.feed.digest.text):
            self.wrong(
                "FEED",
                f"the API tells {self.feed.digest.count} updates, the table has {digest.count}, and "
                "they are not the same",
            )
        (feed,) = await self._rows("feed")
        if (feed["last_offset"], feed["earliest_offset"]) != (len(rows), 1):
            self.wrong("FEED", f"the counter says {dict(feed)}, the table has {len(rows)} updates")
        for name, kind in (("customers", "CUSTOMER"), ("events", "EVENT")):
            stored = {row["id"]: row for row in await self._rows(name)}
            told = {i: e for i, e in self.feed.entities.items() if e.type == kind}
            for missing in list(stored.keys() ^ told.keys())[:20]:
                where = "only in the table" if missing in stored else "only in the feed"
                self.wrong("FEED", f"{kind} {missing} is {where}")
            for entity_id in stored.keys() & told.keys():
                row, known = stored[entity_id], told[entity_id]
                last = known.changes[-1][1]
                if (row["version"], bool(row["deleted"])) != (last, known.deleted):
                    self.wrong(
                        "FEED",
                        f"{kind} {entity_id} is at version {row['version']} (deleted: {row['deleted']}) "
                        f"in the table, at {last} (deleted: {known.deleted}) in the feed",
                    )
                document = orjson.loads(row["document"])
                shown = known.documents[-1]
                same = _has(shown, document) if kind == "CUSTOMER" else document == shown
                if not same and not known.deleted:
                    self.wrong("FEED", f"{kind} {entity_id}: table {document}, feed {shown}")

    async def _compare_api(self) -> None:
        """The last entry of each entity is what GET answers; of many entities a sample."""
        slots = asyncio.Semaphore(8)

        async def one(entity_id: str, entity: Entity) -> None:
            kind = "customers" if entity.type == "CUSTOMER" else "events"
            async with slots:
                status, body = await self._get(f"/{kind}/{entity_id}")
            wanted = (404, None) if entity.deleted else (200, entity.documents[-1])
            if (status, body if status == 200 else None) != wanted:
                self.wrong(
                    "FEED", f"{entity.type} {entity_id}: GET {status} {body}, the feed {wanted}"
                )

        for kind in ("CUSTOMER", "EVENT"):
            told = [(i, e) for i, e in self.feed.entities.items() if e.type == kind]
            chosen = Random(len(told)).sample(told, min(SAMPLE, len(told)))
            await asyncio.gather(*(one(*item) for item in chosen))

    def _check_unique(self) -> None:
        owners: dict[str, str] = {}
        for entity_id, entity in self.feed.entities.items():
            if entity.type != "CUSTOMER" or entity.deleted:
                continue
            key = reference.key_of(
                entity.documents[-1], self.place.unique, case_sensitive=self.place.case_sensitive
            )
            if key is None:
                self.wrong("UNIQUE", f"customer {entity_id} has no key: {entity.documents[-1]}")
            elif key in owners:
                self.wrong("UNIQUE", f"{owners[key]} and {entity_id} are both {key}")
            else:
                owners[key] = entity_id

    async def _check_anonymous(self) -> None:
        for name in ("anonymous_with_session", "anonymous_with_external_id", "attached_to_another"):
            for row in (await self._rows(name))[:20]:
                self.wrong("ANONYMOUS", f"{name}: {dict(row)}")

    # the writes

    async def _read_rejections(self) -> dict[str, str | None]:
        """Nonces of all rejections by id."""
        rejected: dict[str, str | None] = {}
        page = 0
        while True:
            status, body = await self._get("/rejections", page=str(page), size="50")
            if status != 200:
                self.wrong("LOST", f"rejections can't be read: {status} {body}")
                break
            for element in body["elements"]:
                try:
                    payload = orjson.loads(element.get("payload") or "null")
                except orjson.JSONDecodeError:
                    payload = None
                rejected[element["id"]] = _nonce_of(payload)
                if element["reason"] == "internal_error":
                    self.wrong("LOST", f"rejected for an internal error: {element}")
            if not body["elements"]:
                break
            page += 1
        stored = {row["id"] for row in await self._rows("rejections")}
        if stored != rejected.keys():
            self.wrong(
                "LOST", f"rejections by API and table differ: {list(stored ^ rejected.keys())[:20]}"
            )
        return rejected

    def _balance_events(self, writes: list[Write], rejected: dict[str, str | None]) -> None:
        refused: dict[str, list[str]] = defaultdict(list)
        for rejection_id, nonce in rejected.items():
            if nonce is not None:
                refused[nonce].append(rejection_id)
        for write in writes:
            applied = self.feed.created.get(write.nonce, [])
            kept = refused.get(write.nonce, [])
            found = len(applied) + len(kept)
            self.books.events_applied += len(applied)
            self.books.events_rejected += len(kept)
            told = f"{write.told()}; found events {applied}, rejections {kept}"
            answered = {a.id for a in write.answers if verdict_of(a.status) == ACCEPTED}
            if found < write.least or not answered <= {*applied, *kept}:
                self.wrong("LOST", told)
            if found > write.most or (write.keyed and len(answered) > 1):
                self.wrong("DOUBLE", told)
            if write.keyed and write.refused and applied:
                self.wrong("REFUSED", told)
            for event_id in applied:
                document = self.feed.entities[event_id].documents[-1]
                if any(document[m] != write.body[m] for m in ("type", "context", "properties")):
                    self.wrong("LOST", f"another content: {told}, {document}")
        unknown = self.feed.created.keys() - {write.nonce for write in writes}
        for nonce in list(unknown)[:20]:
            self.wrong("DOUBLE", f"an event that nobody sent: {nonce} {self.feed.created[nonce]}")

    async def _balance_customers(
        self, writes: list[Write], rejected: dict[str, str | None]
    ) -> None:
        operations: dict[str, list[asyncpg.Record]] = defaultdict(list)
        by_id: dict[str, asyncpg.Record] = {}
        for row in await self._rows("operations"):
            by_id[row["id"]] = row
            if row["entity_type"] != "EVENT":
                operations[row["fingerprint"]].append(row)
        groups: dict[str, list[Write]] = defaultdict(list)
        for write in writes:
            groups[write.fingerprint.removeprefix("item:")].append(write)
        applied: dict[str, list[Applied]] = defaultdict(list)
        for fingerprint, group in groups.items():
            rows = operations.get(fingerprint, [])
            done = [row for row in rows if row["state"] == "APPLIED"]
            self.books.customer_writes_applied += len(done)
            self.books.customer_writes_refused += len(rows) - len(done)
            told = "; ".join(write.told() for write in group[:5])
            told += f"; found operations {[dict(row) for row in rows[:5]]}"
            if len(rows) < sum(write.least for write in group):
                self.wrong("LOST", told)
            if len(done) > sum(write.most for write in group):
                self.wrong("DOUBLE", told)
            if len(rows) > sum(1 if w.keyed else w.sent for w in group):
                self.wrong("DOUBLE", told)
            for write in group:
                self._check_answers(write, rows, by_id, rejected, told)
            for row in done:
                if row["entity_type"] == "CUSTOMER":
                    one = Applied(row["id"], row["entity_version"], group[0])
                    applied[row["entity_id"]].append(one)
        told_customers = {i: e for i, e in self.feed.entities.items() if e.type == "CUSTOMER"}
        for customer_id, entity in told_customers.items():
            found = replay(
                customer_id, entity.documents, entity.deleted, applied.pop(customer_id, [])
            )
            self.violations += found
        for customer_id, lost in applied.items():
            self.wrong("LOST", f"customer {customer_id} is not in the feed: {lost[0].write.told()}")

    def _check_answers(
        self,
        write: Write,
        rows: list[asyncpg.Record],
        by_id: dict[str, asyncpg.Record],
        rejected: dict[str, str | None],
        told: str,
    ) -> None:
        """What an answer said of a customer, the outcome that is kept says too."""
        done = [row for row in rows if row["state"] == "APPLIED"]
        for answer in write.answers:
            if answer.status == 202:
                row = by_id.get(answer.id or "")
                if row is None:
                    self.wrong("LOST", f"no outcome of operation {answer.id}: {told}")
                elif row["state"] == "REJECTED" and row["id"] not in rejected:
                    self.wrong("LOST", f"no rejection of operation {answer.id}: {told}")
            elif verdict_of(answer.status) == ACCEPTED:
                same = [row for row in done if answer.id in {None, row["entity_id"]}]
                if answer.version is not None:
                    same = [row for row in same if row["entity_version"] == answer.version]
                if not same:
                    self.wrong("LOST", f"answered {answer}, which no operation says: {told}")


def _has(shown: Document, compact: Document) -> bool:
    """Whether a document as it is shown says what the compact one in the table says, and no more."""
    return bool(_without_unset({n: shown.get(n) for n in reference.NEW}) == _without_unset(compact))


def _without_unset(value: Any) -> Any:
    if isinstance(value, dict):
        members = {name: _without_unset(inner) for name, inner in value.items()}
        return {name: inner for name, inner in members.items() if inner not in (None, {}, [])}
    if isinstance(value, list):
        return [_without_unset(element) for element in value]
    return value


def _nonce_of(document: Any) -> str | None:
    if not isinstance(document, dict):
        return None
    properties = document.get("properties")
    extra = properties.get("extraProperties") if isinstance(properties, dict) else None
    nonce = extra.get("nonce") if isinstance(extra, dict) else None
    return nonce if isinstance(nonce, str) else None
