"""Who looks on while the campaign runs: followers of each feed, and probes that measure recovery.

A follower reads its feed as a downstream system does, page after page behind `nextOffset`, and keeps a
digest of what it has seen up to where. At the end the whole feed is read again: it must say the same.

A probe is a batch of events, one for each partition, and a batch of customers, one for each partition;
it is through when both are answered and all of it is in the feed. Recovery from a fault is the time from
its healing until a probe that was begun after it is through.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp
import orjson

from headwater.domain.configuration import UniqueRule
from headwater.domain.ids import NodeId, WorkspaceId
from headwater.domain.matching import match_key
from headwater.topics import key_of_bring_back, key_of_match, partition_for
from tests.chaos.load import Place

PARTITIONS = 4
PAGE = 2000


@dataclass(slots=True)
class Digest:
    """A running digest of feed entries."""

    count: int = 0
    state: Any = field(default_factory=hashlib.sha256)

    def add(self, update: Any) -> None:
        data = update["entity"]["data"]
        entry = (
            f"{update['operation']} {update['entity']['type']} {data['id']} {data.get('version')}\n"
        )
        self.state.update(entry.encode())
        self.count += 1

    @property
    def text(self) -> str:
        return str(self.state.copy().hexdigest())


class Follower:
    """Follows one feed until `stop`."""

    def __init__(self, url: str, place: Place) -> None:
        self._url = url
        self._place = place
        self.digest = Digest()
        self.marks: dict[int, str] = {}
        """The digest after each page, by the offset behind it."""
        self.faults: list[str] = []
        self.seen: dict[str, float] = {}
        """When a document with this mark in it came by; only of the probes' workspace."""
        self.remembers = False
        self.grew = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        timeout = aiohttp.ClientTimeout(total=8)
        async with aiohttp.ClientSession(
            self._url, headers=self._place.authorization, timeout=timeout
        ) as http:
            while not stop.is_set():
                try:
                    await self._page(http)
                except (aiohttp.ClientError, TimeoutError, OSError):
                    await asyncio.sleep(0.1)

    async def _page(self, http: aiohttp.ClientSession) -> None:
        after = self.digest.count
        params = {"offset": str(after), "size": str(PAGE), "wait": "4"}
        async with http.get(self._place.path("/updates"), params=params) as answer:
            if answer.status != 200:
                await asyncio.sleep(0.1)
                return
            page = orjson.loads(await answer.read())
        updates = page["updates"]
        if page["nextOffset"] != after + len(updates):
            self.faults.append(
                f"FEED: workspace {self._place.index}: the page behind {after} has {len(updates)} updates "
                f"and says nextOffset {page['nextOffset']}"
            )
        for update in updates:
            self.digest.add(update)
            if self.remembers:
                self._remember(update["entity"]["data"])
        if updates:
            self.marks[self.digest.count] = self.digest.text
            self.grew.set()
            self.grew = asyncio.Event()

    def _remember(self, data: Any) -> None:
        mark = data.get("extra") or (data.get("properties") or {}).get("extraProperties", {}).get(
            "nonce"
        )
        if mark is not None:
            self.seen[mark] = time.monotonic()


@dataclass(frozen=True, slots=True)
class Through:
    """A probe that got through."""

    begun_at: float
    visible_at: float


class Prober:
    """Sends probes all the time. `follower` is the one of the probes' workspace."""

    def __init__(self, url: str, place: Place, follower: Follower) -> None:
        self._url = url
        self._place = place
        self._follower = follower
        follower.remembers = True
        self.through: list[Through] = []
        self._count = 0
        self._sessions, self._people = _spread(place)

    async def run(self, stop: asyncio.Event) -> None:
        timeout = aiohttp.ClientTimeout(total=12, sock_connect=2)
        running: set[asyncio.Task[None]] = set()
        async with aiohttp.ClientSession(
            self._url, headers=self._place.authorization, timeout=timeout
        ) as http:
            while not stop.is_set():
                if len(running) < 6:
                    task = asyncio.create_task(self._probe(http))
                    running.add(task)
                    task.add_done_callback(running.discard)
                try:
                    async with asyncio.timeout(0.4):
                        await stop.wait()
                except TimeoutError:
                    continue
            await asyncio.gather(*running)

    async def recovered(self, since: float, seconds: float) -> float | None:
        """Seconds from `since` to the first success of a probe begun later; None after `seconds`."""
        while True:
            found = [p.visible_at for p in self.through if p.begun_at >= since]
            if found:
                return min(found) - since
            if time.monotonic() > since + seconds:
                return None
            await asyncio.sleep(0.05)

    async def _probe(self, http: aiohttp.ClientSession) -> None:
        self._count += 1
        number = self._count
        begun_at = time.monotonic()
        events = [
            {
                "type": "loggedIn",
                "context": "WEB",
                "properties": {"extraProperties": {"nonce": f"e{number}.{place}"}},
                "bringBackProperties": {
                    "type": "SESSION_ID",
                    "value": value,
                    "nodeId": self._place.node_id,
                },
            }
            for place, value in enumerate(self._sessions)
        ]
        people = [
            {"nodeId": self._place.node_id, "externalId": name, "extra": f"c{number}.{place}"}
            for place, name in enumerate(self._people)
        ]
        marks = {f"{kind}{number}.{place}" for kind in "ec" for place in range(PARTITIONS)}
        try:
            taken = await asyncio.gather(
                self._post(http, "/events/batch", {"events": events}, 202),
                self._post(http, "/customers/batch", {"customers": people}, 200),
            )
        except (aiohttp.ClientError, TimeoutError, OSError):
            return
        limit = time.monotonic() + 10
        while all(taken) and time.monotonic() < limit:
            if marks <= self._follower.seen.keys():
                visible_at = max(self._follower.seen.pop(mark) for mark in marks)
                self.through.append(Through(begun_at, visible_at))
                return
            try:
                async with asyncio.timeout(1):
                    await self._follower.grew.wait()
            except TimeoutError:
                continue

    async def _post(self, http: aiohttp.ClientSession, path: str, body: Any, wanted: int) -> bool:
        async with http.post(self._place.path(path), json=body) as answer:
            results = orjson.loads(await answer.read()).get("results", [])
            return answer.status == wanted and all(r["status"] < 300 for r in results)


def _spread(place: Place) -> tuple[list[str], list[str]]:
    """Session values and external ids, one for each partition."""
    workspace_id, node_id = WorkspaceId(UUID(place.workspace_id)), NodeId(UUID(place.node_id))
    rule = UniqueRule(properties=("externalId",))
    sessions: dict[int, str] = {}
    people: dict[int, str] = {}
    for number in range(1000):
        name = f"probe{number}"
        key = key_of_bring_back(workspace_id, node_id, "SESSION_ID", name)
        sessions.setdefault(partition_for(key, PARTITIONS), name)
        match = match_key({"externalId": name}, rule)
        assert match is not None
        people.setdefault(
            partition_for(key_of_match(workspace_id, node_id, match), PARTITIONS), name
        )
        if len(sessions) == len(people) == PARTITIONS:
            break
    return list(sessions.values()), list(people.values())
