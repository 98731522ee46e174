"""Every metric of the hub, declared once, and the port on which a process shows its own.

Numbers are counted in plain Python, without a lock: a process counts in one thread, its event loop, and
is read there too. prometheus-client, whose counters and histograms take a lock for each number, cost 5 us
per request, this costs 1. It writes the text that collectors read.

Labels come from closed sets (routes, reasons, topics), never from ids. `docs/metrics.md` lists what is here.
"""

from __future__ import annotations

import errno
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import accumulate
from typing import TypeAlias

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from headwater.clock import monotonic
from headwater.settings import MetricsSettings

log = structlog.get_logger()

Labels: TypeAlias = tuple[str, ...]

PORTS = 64
"""How many ports from the set one on a process tries: each process of a machine takes the next free one."""

REGISTRY = CollectorRegistry()
"""What `/metrics` shows. Not the library's default one, which libraries may add to."""

ProcessCollector(registry=REGISTRY)


class Counter(Collector):
    """A number that only grows, by label values."""

    def __init__(self, name: str, help_text: str, *labels: str) -> None:
        self.name, self.help, self.labels = name, help_text, labels
        self._values: dict[Labels, float] = {} if labels else {(): 0}
        REGISTRY.register(self)

    def inc(self, *labels: str, by: float = 1) -> None:
        self._values[labels] = self._values.get(labels, 0) + by

    def value(self, *labels: str) -> float:
        return self._values.get(labels, 0)

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(self.name, self.help, labels=self.labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        yield family


class Gauge(Collector):
    """A number of now: set, held, or read when somebody asks."""

    def __init__(self, name: str, help_text: str, *labels: str) -> None:
        self.name, self.help, self.labels = name, help_text, labels
        self._values: dict[Labels, float] = {} if labels else {(): 0}
        self._read: Callable[[], Mapping[Labels, float]] | None = None
        REGISTRY.register(self)

    def set(self, value: float, *labels: str) -> None:
        self._values[labels] = value

    @contextmanager
    def held(self) -> Iterator[None]:
        """One more for as long as the block runs."""
        self._values[()] += 1
        try:
            yield
        finally:
            self._values[()] -= 1

    def read_by(self, read: Callable[[], float]) -> None:
        """Ask `read` at each scrape: what is known anyway costs nothing while nobody looks."""
        self._read = lambda: {(): read()}

    def read_all_by(self, read: Callable[[], Mapping[Labels, float]]) -> None:
        """As `read_by`, for a gauge with labels."""
        self._read = read

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self.name, self.help, labels=self.labels)
        for labels, value in (self._values if self._read is None else self._read()).items():
            family.add_metric(labels, value)
        yield family


class Histogram(Collector):
    """How long things take, in seconds, by label values."""

    BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

    def __init__(self, name: str, help_text: str, *labels: str) -> None:
        self.name, self.help, self.labels = name, help_text, labels
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        REGISTRY.register(self)

    def observe(self, seconds: float, *labels: str) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self.BOUNDS) + 1)
            self._sums[labels] = 0.0
        counts[bisect_left(self.BOUNDS, seconds)] += 1
        self._sums[labels] += seconds

    def lap(self, started: float, *labels: str) -> float:
        """Observe the time since `started`; returns now, for the next lap."""
        now = monotonic()
        self.observe(now - started, *labels)
        return now

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        names = [*map(str, self.BOUNDS), "+Inf"]
        for labels, counts in self._counts.items():
            buckets = list(zip(names, accumulate(counts), strict=True))
            family.add_metric(labels, buckets, self._sums[labels])
        yield family


# all HTTP services ---------------------------------------------------------------------------------------

REQUESTS = Counter(
    "headwater_http_requests_total",
    "Requests that were answered, by route (the handler's name) and class of the status.",
    "route", "status",
)  # fmt: skip
REQUEST_SECONDS = Histogram(
    "headwater_http_request_seconds", "From the head of a request to its answer.", "route"
)
REFUSALS = Counter("headwater_http_refusals_total", "Requests that were refused.", "reason")
CONNECTIONS = Gauge("headwater_http_connections", "Connections of clients that are open.")
CONNECTIONS_CUT = Counter(
    "headwater_http_connections_cut_total",
    "Connections that were ended for their client: slow_head, no_reader, crowded.",
    "reason",
)

IN_FLIGHT = Gauge("headwater_http_requests_in_flight", "Requests at work.")
IN_FLIGHT_BYTES = Gauge("headwater_http_request_bytes", "The bytes of their bodies.")
IN_FLIGHT_WORKSPACES = Gauge(
    "headwater_http_workspaces_in_flight", "Workspaces (and operators) that they belong to."
)
WAITING_TURNS = Gauge(
    "headwater_http_waiting_turns", "Requests that wait for their workspace's turn."
)
THROTTLED_WORKSPACES = Gauge(
    "headwater_http_throttled_workspaces",
    "Workspaces with a limit of requests that made some within the last minute.",
)
CONNECTIONS_IN_USE = Gauge(
    "headwater_http_postgres_in_use", "Connections to Postgres that are at work."
)
CONNECTIONS_AWAITED = Gauge(
    "headwater_http_postgres_waiting", "Who waits for a connection to Postgres."
)
KNOWN_TOKENS = Gauge("headwater_http_known_tokens", "Tokens whose owners are remembered.")
KNOWN_CONFIGURATIONS = Gauge(
    "headwater_http_known_configurations", "Workspaces whose configuration is remembered."
)

# ingest --------------------------------------------------------------------------------------------------

ACCEPTED = Counter(
    "headwater_ingest_records_accepted_total", "Records that Kafka has acknowledged.", "topic"
)
ACKNOWLEDGEMENT_SECONDS = Histogram(
    "headwater_ingest_acknowledgement_seconds", "From a checked write to Kafka's acknowledgement."
)
ITEMS_REFUSED = Counter(
    "headwater_ingest_items_refused_total", "Items of batches that were refused.", "reason"
)
WAITING_SENDS = Gauge(
    "headwater_ingest_waiting_sends", "Requests whose records wait for Kafka or are under way."
)
WAITING_BYTES = Gauge(
    "headwater_ingest_waiting_bytes",
    "Their bytes; HEADWATER_INGEST_WAITING_BYTES bounds them.",
)
BULK_IN_FLIGHT = Gauge(
    "headwater_ingest_bulk_in_flight", "Batches of events whose acknowledgement is awaited."
)
WAITING_ANSWERS = Gauge("headwater_ingest_waiting_answers", "Writes whose outcome is waited for.")
PENDING_WRITES = Gauge(
    "headwater_ingest_pending_writes",
    "Writes that were answered 503 `write still pending` within the last minute.",
)
KNOWN_KEYS = Gauge(
    "headwater_ingest_known_keys", "Idempotency keys that are remembered beside Postgres."
)
PENDING_FORGOTTEN = Counter(
    "headwater_ingest_pending_forgotten_total",
    "Such writes that were forgotten before their time, as there were too many.",
)
PENDING_JOINS = Counter(
    "headwater_ingest_pending_joins_total", "Calls that joined a pending write."
)
PRODUCERS_DROPPED = Counter(
    "headwater_ingest_producers_dropped_total", "Kafka producers that could not go on."
)

# processor -----------------------------------------------------------------------------------------------

BATCHES = Counter("headwater_processor_batches_total", "Batches that were committed.")
RECORDS_APPLIED = Counter(
    "headwater_processor_records_applied_total", "Writes that took effect, or had none to take.",
    "entity",
)  # fmt: skip
RECORDS_REJECTED = Counter(
    "headwater_processor_records_rejected_total", "Writes that were refused.", "reason"
)
RECORDS_SKIPPED = Counter(
    "headwater_processor_records_skipped_total", "Replays of what had been replayed already."
)
STEP_SECONDS = Histogram(
    "headwater_processor_batch_seconds", "Time of a batch, by step: judge, transaction, answer.",
    "step",
)  # fmt: skip
LAG = Gauge(
    "headwater_processor_lag_records",
    "Records of this process's partitions that are in Kafka and not applied yet.",
    "topic",
)
RETRIES = Counter(
    "headwater_processor_retries_total",
    "Batches tried again: unavailable, contended, configuration_moved, halved, stale.",
    "kind",
)
OUTAGE_SECONDS = Counter(
    "headwater_processor_outage_seconds_total", "Time spent waiting for Postgres to come back."
)
REJECTION_SHARE = Gauge(
    "headwater_processor_rejection_share", "Share of writes refused in the alarm's window."
)
REJECTION_ALARM = Gauge(
    "headwater_processor_rejection_alarm", "1 while that share is above the limit."
)

# stream_api ----------------------------------------------------------------------------------------------

PAGES = Counter("headwater_stream_pages_total", "Pages that were read from feeds.")
UPDATES_SENT = Counter("headwater_stream_updates_sent_total", "Updates on those pages.")
WAITERS = Gauge("headwater_stream_waiters", "Readers that wait for a feed to grow.")
READERS = Gauge("headwater_stream_readers", "Readers that wait for a feed or follow it.")
FEED_CONNECTIONS_IN_USE = Gauge(
    "headwater_stream_postgres_in_use", "Connections to Postgres that read pages of feeds now."
)
FEED_CONNECTIONS_AWAITED = Gauge(
    "headwater_stream_postgres_waiting", "Who waits for a connection to read a page of a feed."
)
TICKER_QUERIES = Counter(
    "headwater_stream_ticker_queries_total", "Queries for the last offsets of all feeds waited on."
)

DECLARED: tuple[Counter | Gauge | Histogram, ...] = tuple(
    metric for metric in list(globals().values()) if isinstance(metric, Counter | Gauge | Histogram)
)
"""All of the above."""


_CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx")


def answered(request: web.Request, status: int, seconds: float) -> None:
    """Count a request. What matched no route is all one route: URLs are no closed set."""
    match = request.match_info
    route = match.handler.__name__ if match.http_exception is None else "none"
    REQUESTS.inc(route, _CLASSES[status // 100])
    REQUEST_SECONDS.observe(seconds, route)


def acknowledged(topic: str, records: int, seconds: float) -> None:
    """Count what Kafka has taken."""
    ACCEPTED.inc(topic, by=records)
    ACKNOWLEDGEMENT_SECONDS.observe(seconds)


def render() -> bytes:
    """The text that a collector reads."""
    return generate_latest(REGISTRY)


async def _read_metrics(_: web.Request) -> web.Response:
    return web.Response(body=render(), headers={"Content-Type": CONTENT_TYPE_LATEST})


@asynccontextmanager
async def served(settings: MetricsSettings) -> AsyncIterator[int | None]:
    """Show this process's metrics on a port of its own while the block runs; yields the port.

    None if they are off, or if no port can be had: that is logged, and the process does its work.
    """
    if not settings.port:
        yield None
        return
    app = web.Application()
    app.router.add_get("/metrics", _read_metrics, allow_head=False)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        yield await _bind(runner, settings)
    finally:
        await runner.cleanup()


async def _bind(runner: web.AppRunner, settings: MetricsSettings) -> int | None:
    for port in range(settings.port, min(settings.port + PORTS, 65_536)):
        try:
            await web.TCPSite(runner, settings.host, port).start()
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                continue
            log.warning("metrics can't be served", host=settings.host, port=port, error=str(exc))
            return None
        log.info("serving metrics", host=settings.host, port=port)
        return port
    log.warning("metrics can't be served", host=settings.host, error=f"{PORTS} ports are taken")
    return None
