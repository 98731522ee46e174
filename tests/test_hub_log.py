"""The tests' own watch over the logs of the processes."""

from __future__ import annotations

from tests.hub import errors_in


def test_errors_and_stray_exceptions_are_found_in_a_log() -> None:
    log = b"""{"event":"batch applied","level":"info"}
{"event":"kafka is away, waiting for it","level":"warning"}
WARNING:asyncpg.pool:Failed to restore the pool connection floor; retrying
Traceback (most recent call last):
  File "pool.py", line 1
{"event":"request failed","level":"error"}
{"event":"cut off by a ki
ERROR:asyncio:Task exception was never retrieved
Traceback (most recent call last):
  File "x.py", line 1
{"event":"batch applied","level":"info"}
Traceback (most recent call last):
"""
    stray = [
        "ERROR:asyncio:Task exception was never retrieved",
        "Traceback (most recent call last):",
        '  File "x.py", line 1',
    ]
    assert errors_in(log) == [
        '{"event":"request failed","level":"error"}',
        "\n".join(stray),
        "Traceback (most recent call last):",
    ]
