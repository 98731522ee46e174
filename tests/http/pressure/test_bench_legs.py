"""The legs of the bench about floods and overload run, and count what they say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bench.__main__ import QUICK
from bench.context import Context, Sizes
from bench.legs import fairness, overload
from bench.legs.overload import recovered_after
from bench.openloop import Record
from bench.pace import Pace
from bench.servers import Servers
from headwater.cli.provision import make_demo
from tests.hub import Hub
from tests.servers import web_beside


@pytest.fixture(scope="module")
def busy_hub(hub: Hub, server_folder: Path) -> Iterator[Hub]:
    """A web process that a second of the leg's flood is too much for; it shares the processor of `hub`."""
    with web_beside(hub, server_folder / "busy", {"HEADWATER_HTTP_REQUESTS": "200"}) as busy:
        yield busy


@pytest.fixture
async def context(hub: Hub, busy_hub: Hub) -> AsyncIterator[Context]:
    """`busy_hub`, as the bench sees one; the legs are as short as can be."""
    assert busy_hub.web is not None
    conn = await asyncpg.connect(hub.postgres.url)
    servers = Servers(
        folder=hub.folder,
        ports={"web": busy_hub.port},
        postgres=hub.postgres,
        kafka=hub.kafka,
        demo=await make_demo(hub.postgres.url),
        environ={},
        conn=conn,
        children={"web": busy_hub.web, "processor": hub.processors[0]},
    )
    sizes: Any = {**QUICK, "fairness_seconds": 0.5, "overload_seconds": 1}
    yield Context(servers=servers, sizes=Sizes(**sizes), pace=Pace(singles=1_000))
    await servers.drained(60)
    await conn.close()


async def test_a_flood_beside_an_honest_client_is_measured(context: Context) -> None:
    rows = await fairness.measure(context)
    assert [row.name for row in rows] == [
        "fairness beside a flood of single events",
        "fairness beside a flood of batches of 100",
    ]
    for row in rows:
        assert row.floor
        assert row.value > 0
        assert row.more["flood/s"] > 0
        assert [aim.text for aim in row.aims] == ["ratio <= 2", "refused <= 0"]


async def test_three_times_the_capacity_is_measured(context: Context) -> None:
    (row,) = await overload.measure(context)
    assert row.value > 0
    assert row.more["refused/s"] > 0
    assert row.more["accepted p99 ms"] > row.more["refusal p99 ms"] > 0
    assert "other answers <= 0" in {aim.text for aim in row.aims if aim.met}


@pytest.mark.parametrize(
    ("after", "seconds"),
    [([9.0, 9.0], 0), ([90.0, 9.0], 1), ([9.0, 90.0, 9.0], 2), ([9.0, None], 2)],
)
def test_it_is_well_again_when_no_second_is_slow_any_more(
    after: list[float | None], seconds: int
) -> None:
    assert recovered_after(_record([5.0, 5.0]), _record(after)) == seconds
    assert recovered_after(_record([5.0, None]), _record(after)) == len(after)


def _record(latencies: list[float | None]) -> Record:
    """Ten answers of this latency in each second, or none."""
    record = Record(seconds=float(len(latencies)))
    for second, latency in enumerate(latencies):
        for tenth in range(10) if latency is not None else ():
            record.answers[202].at.append(second + tenth / 10)
            record.answers[202].latency.append(latency or 0.0)
    return record
