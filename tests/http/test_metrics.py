"""Metrics of real processes: on a port of their own, and telling the truth."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headwater import metrics
from headwater.embedded.ports import kept_ports
from headwater.metrics import Histogram, served
from headwater.settings import MetricsSettings
from tests.hub import Client, Hub, eventually, make_client

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class MeteredHub(Hub):
    """A hub whose processes show their metrics, and whose alarm is easily raised."""

    metrics_port = 0

    def _environ(self) -> dict[str, str]:
        return {
            **super()._environ(),
            "HEADWATER_METRICS_PORT": str(self.metrics_port),
            "HEADWATER_PROCESSOR_ALARM_SHARE": "0.5",
            "HEADWATER_PROCESSOR_ALARM_SECONDS": "6",
            "HEADWATER_PROCESSOR_ALARM_RECORDS": "20",
        }

    def _metrics_ports(self) -> Iterator[int]:
        for name in ("web.log", "processor-0.log"):
            lines = (self.folder / name).read_text().splitlines()
            (served_at,) = [line for line in lines if "serving metrics" in line]
            yield json.loads(served_at)["port"]

    async def values(self) -> Values:
        """The metrics of both processes, added up."""
        found: Values = {}
        async with aiohttp.ClientSession() as http:
            for port in self._metrics_ports():
                async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
                    text = await answer.text()
                for family in text_string_to_metric_families(text):
                    for sample in family.samples:
                        key = (sample.name, tuple(sorted(sample.labels.items())))
                        found[key] = found.get(key, 0) + sample.value
        return found

    async def value(self, name: str, **labels: str) -> float:
        return (await self.values()).get((name, tuple(sorted(labels.items()))), 0)


@pytest.fixture(scope="module")
def metered(hub: Hub, server_folder: Path) -> Iterator[MeteredHub]:
    """On the servers of `hub`, in the place of its processor."""
    folder = server_folder / "metered"
    ports = kept_ports(folder / "web-ports.json", ("web", "metrics"))
    metered = MeteredHub(folder, hub.postgres, hub.kafka, ports["web"])
    metered.metrics_port = ports["metrics"]
    hub.stop_processor()
    try:
        metered.start()
        yield metered
    finally:
        metered.stop()
        hub.start_processor()


@pytest.fixture
async def caller(metered: MeteredHub) -> AsyncIterator[Client]:
    async with make_client(metered) as made:
        yield made


async def test_writes_and_reads_are_counted(metered: MeteredHub, caller: Client) -> None:
    before = await metered.values()

    async def grown(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return (await metered.values()).get(key, 0) - before.get(key, 0)

    await caller.customer(externalId="a")
    assert (await caller.call("POST", "/customers", {})).status == 400
    events = [caller.event() for _ in range(5)]
    answer = await caller.call("POST", "/events/batch", {"events": [*events, {}]})
    assert answer.body["accepted"] == 5
    await caller.feed_of(6)

    made = {"route": "create_customer"}
    assert await grown("headwater_http_requests_total", status="2xx", **made) == 1
    assert await grown("headwater_http_requests_total", status="4xx", **made) == 1
    assert await grown("headwater_http_request_seconds_count", **made) == 2
    assert await grown("headwater_http_refusals_total", reason="customer_not_valid") == 1
    assert await grown("headwater_ingest_items_refused_total", reason="event_not_valid") == 1
    accepted = "headwater_ingest_records_accepted_total"
    assert await grown(accepted, topic="headwater.customers") == 1
    assert await grown(accepted, topic="headwater.events") == 5
    assert await grown("headwater_ingest_acknowledgement_seconds_count") == 2
    applied = "headwater_processor_records_applied_total"
    assert await grown(applied, entity="CUSTOMER") == 1
    assert await grown(applied, entity="EVENT") == 5
    assert await grown("headwater_processor_batches_total") >= 1
    for step in ("judge", "transaction", "answer"):
        assert await grown("headwater_processor_batch_seconds_count", step=step) >= 1
    assert await grown("headwater_stream_pages_total") >= 1
    assert await grown("headwater_stream_updates_sent_total") >= 6
    assert await metered.value("headwater_processor_lag_records", topic="headwater.events") == 0
    assert await metered.value("headwater_ingest_waiting_bytes") == 0


async def test_a_refused_item_counts_once_also_where_a_batch_is_read_twice(
    metered: MeteredHub, caller: Client
) -> None:
    name = "headwater_ingest_items_refused_total"
    before = await metered.value(name, reason="event_not_valid")
    # the list in the last item looks like the beginnings of items
    last = {"type": "noSuchType", "properties": {"list": [{"type": "a"}, {"type": "b"}]}}
    events = [*({"type": f"noSuchType{n}"} for n in range(6)), last]
    answer = await caller.call("POST", "/events/batch", {"events": events})
    assert (answer.status, answer.body["rejected"]) == (202, 7)
    assert await metered.value(name, reason="event_not_valid") == before + 7


async def test_a_url_that_is_no_route_is_no_label(metered: MeteredHub, caller: Client) -> None:
    before = await metered.value("headwater_http_requests_total", route="none", status="4xx")
    for path in ("/nothing", f"/{uuid.uuid4()}"):
        assert (await caller.call("GET", path)).status == 404
    assert (await caller.call("DELETE", "/events")).status == 405
    after = await metered.value("headwater_http_requests_total", route="none", status="4xx")
    assert after - before == 3
    labels = {value for _, pairs in await metered.values() for _, value in pairs}
    assert not any(caller.workspace_id in label for label in labels)


async def test_a_waiting_reader_is_seen(metered: MeteredHub, caller: Client) -> None:
    before = await metered.value("headwater_stream_ticker_queries_total")
    reading = asyncio.create_task(caller.call("GET", "/updates", params={"wait": "30"}))

    async def is_waiting() -> bool:
        return await metered.value("headwater_stream_waiters") == 1

    await eventually(is_waiting, what="a waiter")
    await caller.customer(externalId="a")
    assert len((await reading).body["updates"]) == 1
    assert await metered.value("headwater_stream_ticker_queries_total") > before
    assert await metered.value("headwater_stream_waiters") == 0


async def test_the_public_port_shows_no_metrics(metered: MeteredHub) -> None:
    async with aiohttp.ClientSession(metered.url) as http, http.get("/metrics") as answer:
        assert answer.status == 404


async def test_an_alarm_is_raised_while_too_many_writes_are_refused(
    metered: MeteredHub, caller: Client
) -> None:
    async def alarm() -> float:
        return await metered.value("headwater_processor_rejection_alarm")

    assert await alarm() == 0
    unknown = caller.event(customerId=str(uuid.uuid4()))
    await caller.call("POST", "/events/batch", {"events": [unknown] * 60})
    await eventually(alarm, what="the alarm")
    assert await metered.value("headwater_processor_rejection_share") > 0.5
    rejected = "headwater_processor_records_rejected_total"
    assert await metered.value(rejected, reason="customer_not_found") >= 60

    async def is_over() -> bool:
        return await alarm() == 0

    await eventually(is_over, seconds=30, what="the end of the alarm")
    log = (metered.folder / "processor-0.log").read_text()
    assert log.count("too many writes are refused") == 1
    assert log.count("the share of refused writes is below the limit again") == 1


async def test_a_taken_port_is_passed_over(tmp_path: Path) -> None:
    first_port = kept_ports(tmp_path / "ports.json", ("metrics",))["metrics"]
    settings = MetricsSettings(port=first_port)
    async with served(settings) as first, served(settings) as second:
        assert first == first_port
        assert second is not None
        assert first < second < first + metrics.PORTS
    async with served(MetricsSettings()) as none:
        assert none is None


def test_buckets_of_a_histogram_add_up() -> None:
    histogram = Histogram("headwater_test_seconds", "Of this test.", "step")
    try:
        for seconds in (0.001, 0.0011, 7, 31):
            histogram.observe(seconds, "x")
        (family,) = histogram.collect()
        counts = {sample.labels.get("le", sample.name): sample.value for sample in family.samples}
    finally:
        metrics.REGISTRY.unregister(histogram)
    assert (counts["0.001"], counts["0.0025"], counts["10.0"], counts["+Inf"]) == (1, 2, 3, 4)
    assert counts["headwater_test_seconds_count"] == 4
    assert counts["headwater_test_seconds_sum"] == pytest.approx(38.0021)
