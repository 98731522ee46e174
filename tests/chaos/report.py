"""What a campaign has to say, for the terminal and for `docs/reliability.md`."""

from __future__ import annotations

import math
import os
import subprocess
from collections import Counter
from pathlib import Path

import psutil
from rich.table import Table

from tests.chaos.campaign import Campaign, Result

_DAY_SECONDS = 86_400


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of all doesn't exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * share) - 1, 0)]


def command_of(campaign: Campaign) -> str:
    """The command line that runs a campaign again."""
    parts = [
        "python -m tests.chaos",
        f"--seed {campaign.seed}",
        f"--minutes {campaign.seconds / 60:g}",
        f"--faults {campaign.faults}",
        f"--events {campaign.events}",
        f"--workers {campaign.workers}",
        f"--processors {campaign.processors}",
        *(f"--kinds '{kind}'" for kind in campaign.kinds),
    ]
    if campaign.waves is not None:
        parts.append("--waves " + ",".join(map(str, sorted(campaign.waves))))
    if campaign.defect is not None:
        parts.append(f"--defect {campaign.defect}")
    return " ".join(parts)


def machine() -> str:
    """As `2 cores, 24 GiB`."""
    gibibytes = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {math.ceil(gibibytes)} GiB"


def commit() -> str:
    """The present commit, in short."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def sums(result: Result) -> list[tuple[str, str]]:
    """Name and value of what was counted."""
    books = result.books
    rows = [
        (
            "faults",
            f"{result.faults} in {result.waves} waves, {result.overlapping} of them overlapping",
        ),
        ("duration", f"{result.seconds:.0f} s, servers and books included"),
    ]
    if books is not None:
        rows += [
            ("writes", f"{books.writes:,}, sent {books.sent:,} times"),
            (
                "answers",
                (
                    f"{books.accepted:,} accepted, {books.refused:,} refused, "
                    f"{books.unanswered:,} none or 5xx"
                ),
            ),
            (
                "events",
                f"{books.events_applied:,} applied, {books.events_rejected:,} rejected",
            ),
            (
                "customer writes",
                (
                    f"{books.customer_writes_applied:,} applied, "
                    f"{books.customer_writes_refused:,} refused"
                ),
            ),
            (
                "replayed",
                f"{books.customers:,} customers with {books.versions:,} versions",
            ),
            ("feed entries", f"{books.updates:,}"),
        ]
    kinds = Counter(violation.split(":")[0] for violation in result.violations)
    rows += [
        ("losses", str(kinds.pop("LOST", 0))),
        ("doubles", str(kinds.pop("DOUBLE", 0) + kinds.pop("TWICE", 0))),
        ("other violations", ", ".join(f"{k} {n}" for k, n in kinds.items()) or "0"),
        ("processes that ended by themselves (watchdog)", str(len(result.ends))),
    ]
    return rows


def recoveries(result: Result) -> list[tuple[str, int, float, float, float]]:
    """Kind, count, and p50, p99 and maximum of the seconds to recovery; all together last."""
    rows = [
        (kind, len(times), percentile(times, 0.5), percentile(times, 0.99), max(times))
        for kind, times in sorted(result.recoveries.items())
    ]
    every = [time for times in result.recoveries.values() for time in times]
    if every:
        rows.append(
            ("all", len(every), percentile(every, 0.5), percentile(every, 0.99), max(every))
        )
    return rows


def tables(result: Result) -> list[Table]:
    """For the terminal."""
    counted = Table("", "", title="Books")
    for name, value in sums(result):
        counted.add_row(name, value)
    timed = Table("fault", "n", "p50 s", "p99 s", "max s", title="Recovery")
    for kind, count, *seconds in recoveries(result):
        timed.add_row(kind, str(count), *(f"{value:.1f}" for value in seconds))
    return [counted, timed]


def write(result: Result, file: Path, built: str) -> None:
    """The report as Markdown; `built` is the commit that ran."""
    lines = [
        "# Reliability",
        "",
        "A seeded campaign breaks a running hub in every way below while clients write to it, and then",
        "accounts for every write by its id: each acknowledged one is applied exactly once or rejected",
        "exactly once, each unacknowledged one at most once; the feed is dense, in order and equal to the",
        "tables, and followers saw it so while it grew; no two live customers share a unique key; no event",
        "is anonymous whose session or external id has a customer; every customer equals a replay of its",
        "writes by a slow reference model.",
        "",
        "```",
        command_of(result.campaign),
        "```",
        "",
        (
            f"Machine: {machine()}, which runs the hub, its servers and the load. Commit: {built}. "
            f"{result.campaign.workers} web processes, {result.campaign.processors} processors, one broker, one "
            "Postgres."
        ),
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in sums(result)),
        "",
        "## Recovery by kind",
        "",
        "From the moment a fault begins to be healed (a server is started, a line is whole, a process runs",
        "on) until a probe that was begun later is acknowledged and visible in the feed: a batch of events",
        "and one of customers that touch every partition. The start of a killed server is part of it. Where",
        "faults overlap, the later one holds up the earlier one's recovery too.",
        "",
        "| fault | n | p50 s | p99 s | max s |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {kind} | {count} | {p50:.1f} | {p99:.1f} | {most:.1f} |"
            for kind, count, p50, p99, most in recoveries(result)
        ),
        "",
        "## How",
        "",
        f"- Disk full: {result.disk or 'not tried'}.",
        "- Lines: each leg (client to web, web to Kafka, Kafka to processor, results to Kafka, web and",
        "  processor to Postgres) is a TCP proxy; it is cut, refuses, delays each piece by 150 ms, lets",
        "  40 kB/s through, or is half-open: accepts and is silent, in one direction or both.",
        "- Clocks: the hub's own clock in all its processes, and (wall clock) what the operating system tells",
        "  them, through libfaketime; up to 20 minutes forwards and backwards. Kafka refuses records that are",
        "  more than an hour ahead of its own clock, so a greater jump is an outage (503), not tried here.",
        "- A zombie is a processor that is paused for longer than its session in the group lasts.",
        *(f"- Skipped: {text}." for text in result.skipped),
        "",
    ]
    if result.violations:
        lines += ["## Violations", "", *(f"- {v[:600]}" for v in result.violations[:50]), ""]
    file.write_text("\n".join(lines), encoding="utf-8")
