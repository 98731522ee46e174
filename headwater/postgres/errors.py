"""Driver exceptions become ours here, so that nothing else knows asyncpg's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from headwater.errors import Contended, Unavailable

OUTAGE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,  # shutdown, crash of another backend, cannot connect now
    asyncpg.InsufficientResourcesError,  # too many connections, disk full: repeating may help
    asyncpg.InvalidCachedStatementError,
    asyncpg.ReadOnlySQLTransactionError,  # a failover left us on the old primary
    asyncpg.InternalClientError,
    asyncpg.InvalidAuthorizationSpecificationError,  # the login or its password is wrong
    asyncpg.InvalidCatalogNameError,  # no such database
    asyncpg.IdleInTransactionSessionTimeoutError,  # we were paused; the transaction is gone
    asyncpg.PostgresSystemError,  # its disk fails: no record is to blame
    OSError,
    TimeoutError,
)
_NOT_OUR_SCHEMA = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InsufficientPrivilegeError,
)
"""The tables are those of another release, or another's: each write would fail, and none is to blame."""
_CONTENDED = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
)
_RACES = {"events_pkey"}
"""Keys that are looked up before the insert: who violates one was overtaken, and finds the row when it
looks again."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn connection trouble into `Unavailable`, lost races into `Contended`; all else passes."""
    try:
        yield
    except _NOT_OUR_SCHEMA as exc:
        raise Unavailable(f"Postgres: {exc}; `headwater migrate` makes the tables") from exc
    except _CONTENDED as exc:
        raise Contended(f"Postgres: {exc}") from exc
    except asyncpg.UniqueViolationError as exc:
        if exc.constraint_name not in _RACES:
            raise
        raise Contended(f"Postgres: {exc}") from exc
    except asyncpg.InterfaceError as exc:
        # asyncpg raises this both for lost connections and for wrong arguments; only the first is an outage
        if isinstance(exc, asyncpg.exceptions.DataError) or "argument" in str(exc):
            raise
        raise Unavailable(f"Postgres: {exc}") from exc
    except OUTAGE as exc:
        raise Unavailable(f"Postgres: {exc!r}") from exc
