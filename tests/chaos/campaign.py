"""A campaign from its seed to its books.

1. a hub of its own, whose every leg is a proxy (`hub.py`, `proxy.py`);
2. writers, followers and probes (`load.py`, `watch.py`), each write in a ledger (`ledger.py`);
3. waves of faults drawn from the seed (`plan.py`, `faults.py`), the hub left to recover between them;
4. calm: what has no answer yet is repeated under its key, the partitions run empty;
5. the books are balanced by id (`books.py`, `replay.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from headwater.kafka import build_consumer
from headwater.settings import KafkaSettings
from headwater.topics import CUSTOMERS, EVENTS
from tests.chaos.books import Books, balance, open_books
from tests.chaos.faults import Shape
from tests.chaos.hub import ChaosHub, running
from tests.chaos.ledger import Ledger
from tests.chaos.load import Load, Place, places, provide
from tests.chaos.plan import Strike, Wave, plan
from tests.chaos.watch import Follower, Prober

RECOVERY_LIMIT_SECONDS = 150.0
DRAIN_LIMIT_SECONDS = 240.0
STUCK_LIMIT_SECONDS = 20.0
CALM_SECONDS = 6.0
WRITERS = 16
PARTITIONS = 4
FAULT_SECONDS = 5.0
"""From one fault to the next, where nothing else has the machine: so the load is spread over all of them."""
WRITES_PER_SECOND = 400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What is asked for. `seconds` bounds the faults and the load, not the calm and the books after them.

    `waves` names the only ones to strike (None: all); the others of the plan are left out.
    """

    seed: int
    faults: int
    events: int
    seconds: float
    workers: int = 2
    processors: int = 2
    kinds: tuple[str, ...] = ()
    waves: frozenset[int] | None = None
    defect: str | None = None
    scale: int = 1

    @property
    def load_seconds(self) -> float:
        """What the writes are spread over."""
        return min(self.seconds, max(self.faults * FAULT_SECONDS, self.events / WRITES_PER_SECOND))


@dataclass(slots=True)
class Result:
    """What became of it. Empty `violations`: the books balance."""

    campaign: Campaign
    violations: list[str] = field(default_factory=list)
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    """Seconds by kind, one for each fault that struck."""
    waves: int = 0
    overlapping: int = 0
    books: Books | None = None
    statuses: dict[int, int] = field(default_factory=dict)
    ends: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    disk: str = ""
    seconds: float = 0.0

    @property
    def faults(self) -> int:
        return sum(len(times) for times in self.recoveries.values())


Progress = Callable[[str, int, int], None]
"""Called with a text, how far it is, and how far it goes."""


def run(campaign: Campaign, progress: Progress) -> Result:
    """Run it, from the main thread."""
    began = time.monotonic()
    wanted = places()
    probes = Place(
        index=len(wanted), share=0, unique=["externalId"], case_sensitive=False, people=0
    )
    progress("starting servers", 0, 1)
    with running(
        workers=campaign.workers,
        processors=campaign.processors,
        defect=campaign.defect,
        scale=campaign.scale,
    ) as hub:
        result = Result(campaign)
        if hub.limited:
            result.disk = (
                "a tmpfs of limited size for the data of each server, filled to its last page"
            )
        else:
            result.skipped.append("disk full: no tmpfs can be mounted here")
        if hub.faketime is None:
            result.skipped.append("wall clock jump: libfaketime is not installed")
        ledger = Ledger(hub.folder / "ledger.jsonl")
        try:
            asyncio.run(_run(hub, campaign, result, ledger, wanted, probes, progress))
        finally:
            ledger.close()
            result.statuses = ledger.statuses
            result.ends = hub.ends
    result.seconds = time.monotonic() - began
    return result


async def _run(
    hub: ChaosHub,
    campaign: Campaign,
    result: Result,
    ledger: Ledger,
    wanted: list[Place],
    probes: Place,
    progress: Progress,
) -> None:
    await open_books(hub)
    await provide(hub.direct_url, [*wanted, probes])
    shape = Shape(
        workers=campaign.workers,
        processors=campaign.processors,
        places=wanted,
        limited_disks=hub.limited,
        faketime=hub.faketime is not None,
    )
    waves = plan(campaign.seed, campaign.faults, shape, campaign.kinds)
    load = Load(hub.url, wanted, ledger, campaign.seed, campaign.events, campaign.load_seconds)
    followers = [Follower(hub.url, place) for place in [*wanted, probes]]
    prober = Prober(hub.url, probes, followers[-1])
    stop = asyncio.Event()
    watching = [
        asyncio.create_task(_supervise(hub, stop)),
        asyncio.create_task(prober.run(stop)),
        *(asyncio.create_task(follower.run(stop)) for follower in followers),
    ]
    load.goes_on = True
    loading = asyncio.create_task(load.run(WRITERS))
    deadline = time.monotonic() + campaign.seconds
    try:
        chosen = [w for w in waves if campaign.waves is None or w.number in campaign.waves]
        for wave in chosen:
            if time.monotonic() > deadline:
                break
            progress(f"wave {wave.number}: {wave.kinds}", result.faults, campaign.faults)
            if not await _strike(hub, wave, prober, result):
                break
        load.hurry(WRITES_PER_SECOND)
        while not load.is_over and not result.violations and time.monotonic() < deadline:
            progress("load without faults", load.made, load.total)
            await asyncio.sleep(0.5)
        load.stop.set()
        progress("calm: finishing what was begun", 0, 1)
        await loading
        await _calm(hub, load, result)
    finally:
        load.stop.set()
        stop.set()
        for task in [loading, *watching]:
            with suppress(asyncio.CancelledError):
                if not task.done():
                    await asyncio.wait([task], timeout=20)
                task.cancel()
    for task in watching:
        if not task.cancelled() and (failure := task.exception()) is not None:
            raise failure
    progress("balancing the books", 0, 1)
    result.violations += [fault for follower in followers for fault in follower.faults]
    result.violations += [f"ENDED: {end}" for end in hub.unexplained_ends]
    result.violations += [f"ANSWER: {surprise}" for surprise in ledger.surprises]
    everywhere = [*zip(wanted, followers, strict=False), (probes, followers[-1])]
    result.books = await balance(hub, ledger, everywhere, result.violations)


async def _strike(hub: ChaosHub, wave: Wave, prober: Prober, result: Result) -> bool:
    """Let a wave pass over the hub, then wait for its recovery; False if there is none."""
    healed_at: dict[int, float] = {}
    began = time.monotonic()

    async def one(number: int, strike: Strike) -> None:
        await asyncio.sleep(strike.after_seconds)
        await strike.fault.strike(hub)
        try:
            await asyncio.sleep(strike.fault.seconds)
        finally:
            healed_at[number] = time.monotonic()  # healing takes its time too: it counts
            await strike.fault.heal(hub)

    async with asyncio.TaskGroup() as group:
        for number, strike in enumerate(wave.strikes):
            group.create_task(one(number, strike))
    for server in ("kafka", "postgres"):  # what fell over its neighbour's fault
        await hub.start_server(server)
    result.waves += 1
    result.overlapping += len(wave.strikes) > 1
    for number, strike in enumerate(wave.strikes):
        recovery = await prober.recovered(healed_at[number], RECOVERY_LIMIT_SECONDS)
        if recovery is None:
            result.violations.append(
                f"STUCK: wave {wave.number} ({wave.kinds}), struck at {began:.1f}: no write got through for "
                f"{RECOVERY_LIMIT_SECONDS:.0f} s after {strike.fault.kind} was healed"
            )
            return False
        result.recoveries.setdefault(strike.fault.kind, []).append(recovery)
    await asyncio.sleep(wave.calm_seconds)
    return True


async def _supervise(hub: ChaosHub, stop: asyncio.Event) -> None:
    while not stop.is_set():
        hub.supervise()
        await asyncio.sleep(0.2)


async def _calm(hub: ChaosHub, load: Load, result: Result) -> None:
    """The hub is whole and has time: now every write has to get its answer, and every record its place."""
    # what got stuck before need not be waited for again
    limit = STUCK_LIMIT_SECONDS if result.violations else DRAIN_LIMIT_SECONDS
    await load.settle(limit)
    late = [w for w in load.ledger.writes.values() if w.keyed and w.sent and not w.is_settled]
    result.violations += [f"UNANSWERED: in calm time: {write.told()}" for write in late[:20]]
    calm = load.continued("calm", 150, CALM_SECONDS)
    known = set(load.ledger.writes)
    await calm.run(4)
    result.violations += [
        f"UNANSWERED: though nothing is broken: {write.told()}"
        for nonce, write in load.ledger.writes.items()
        if nonce not in known and any(not a.status or a.status >= 500 for a in write.answers)
    ][:20]
    behind = await _drained(hub, limit)
    if behind:
        result.violations.append(f"LOST: records that nobody applies: {behind}")


async def _drained(hub: ChaosHub, seconds: float) -> str:
    """Wait until every partition is applied to its end; what is still behind after `seconds`."""
    consumer = build_consumer(KafkaSettings(bootstrap=hub.kafka.bootstrap))
    await consumer.start()
    partitions = [TopicPartition(t, n) for t in (CUSTOMERS, EVENTS) for n in range(PARTITIONS)]
    connection = await asyncpg.connect(hub.postgres.url)
    limit = time.monotonic() + seconds
    try:
        while True:
            try:
                ends = await consumer.end_offsets(partitions)
            except KafkaError as exc:
                return f"Kafka does not tell its ends: {exc!r}"
            rows = await connection.fetch(
                "select topic, partition, next_offset from consumer_offsets"
            )
            stand = {(row["topic"], row["partition"]): row["next_offset"] for row in rows}
            behind = [
                f"{tp.topic}/{tp.partition} stands at {stand.get((tp.topic, tp.partition))} of {end}"
                for tp, end in ends.items()
                if end != stand.get((tp.topic, tp.partition), 0)
            ]
            if not behind or time.monotonic() > limit:
                return "; ".join(behind)
            await asyncio.sleep(0.2)
    finally:
        await consumer.stop()
        await connection.close()
