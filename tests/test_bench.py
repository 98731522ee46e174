"""What the bench makes of what it measured, and that its open loop leaves no waiting out."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from pathlib import Path

from bench.chart import draw
from bench.history import append, latest_rows, run_of
from bench.load import Paced, curve
from bench.pace import Pace
from bench.report import Row, at_least


def _row(name: str, ratio: float, wanted: float) -> Row:
    return Row(
        name=name,
        unit="events/s",
        value=ratio * 1000,
        floor=1000.0,
        aims=[at_least("ratio", ratio, wanted)],
        curve=[(0.5, 3.0), (0.99, 30.0)],
    )


def test_goals_follow_the_pace_of_the_machine() -> None:
    slow, fast = Pace(singles=3_000), Pace(singles=30_000)
    rate, time = slow.at_least("events/s", 5_100, 25_000), slow.at_most("p99 ms", 126, 25)
    assert (rate.wanted, rate.met) == (5_000, True)
    assert (time.wanted, time.met) == (125, False)
    assert rate.text == "events/s >= 5,000 (of 25,000)"
    assert fast.at_least("events/s", 24_999, 25_000).wanted == 25_000


def test_the_history_gives_the_last_run_of_each_leg(tmp_path: Path) -> None:
    history = tmp_path / "kept" / "history.jsonl"
    for ratio, legs in ((0.5, ("singles", "pages")), (0.75, ("pages",))):
        rows = {leg: [_row(leg, ratio, 0.7)] for leg in legs}
        append(history, run_of(rows, singles=3_000, sizes={"rounds": 3}))
    found = latest_rows(history)
    assert {leg: [row["ratio"] for row in rows] for leg, rows in found.items()} == {
        "singles": [0.5],
        "pages": [0.75],
    }
    assert found["pages"][0]["aims"][0]["met"]


def test_the_picture_shows_every_row_and_is_well_formed(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    rows = {"singles": [_row("singles <1>", 0.5, 0.8)], "pages": [_row("pages", 1.4, 0.7)]}
    append(history, run_of(rows, singles=3_000, sizes={}))
    root = ET.fromstring(draw(latest_rows(history)))  # our own text
    of = "{http://www.w3.org/2000/svg}"
    texts = [each.text for each in root.iter(f"{of}text")]
    assert texts.count("singles <1>") == texts.count("pages") == 2
    kinds = [each.get("class") for each in root.iter(f"{of}rect")]
    assert kinds == ["back", "missed", "met"]
    assert len(list(root.iter(f"{of}polyline"))) == 2


def test_the_picture_of_rows_without_floor_or_curve_is_well_formed() -> None:
    assert ET.fromstring(draw({})).tag.endswith("svg")


def test_a_curve_ends_where_its_values_tell_no_more() -> None:
    assert [share for share, _ in curve([float(n) for n in range(100)])][-1] == 0.99


async def test_a_pause_of_the_server_is_in_the_latency_of_all_that_was_due_meanwhile() -> None:
    pause = asyncio.Event()
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while await reader.read(1000):
            asked += 1
            if asked == 11:
                asyncio.get_running_loop().call_later(0.3, pause.set)
            if asked > 10:
                await pause.wait()
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    request = b"POST / HTTP/1.1\r\n\r\n"
    # one connection: all that is due in the 300 ms waits behind the request that stands still
    load = await Paced(port, 1, rate=200).run([request] * 70)
    server.close()
    await server.wait_closed()
    assert load.statuses == {202: 70}
    # those due 0, 5, 10, .. ms into the pause waited that much less of it
    assert sum(ms > 100 for ms in load.latencies) >= 35


async def test_a_connection_that_is_cut_counts_as_a_failure() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.close()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    load = await Paced(port, 1, rate=1000).run([b"POST / HTTP/1.1\r\n\r\n"] * 3)
    server.close()
    await server.wait_closed()
    assert load.failed(202) == 3
