"""Log lines: structlog, one JSON object a line or coloured text, always to standard error.

Ids are enough to find things; tokens, bodies and personal data are never logged. What could carry them
without anybody meaning to is taken care of here: the texts of exceptions that are not ours (Postgres names
the values that violate a constraint, a converter the text that it could not read), and URLs, in which
clients put external ids and session values.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Container, Iterator, MutableMapping
from types import TracebackType
from typing import Any

import structlog
from aiohttp.http_exceptions import HttpProcessingError

from headwater.domain.ids import find_uuid
from headwater.errors import HubError
from headwater.settings import LogSettings

_TELLING = ("sqlstate", "constraint_name", "table_name", "column_name")
"""Attributes of a driver's exception that name things of ours, never values."""

_WORD = re.compile(r"[A-Za-z0-9_.:/-]{1,63}", re.ASCII)
"""Ids of any make, UUIDs and trace contexts; our tokens have a character more."""


def set_up(settings: LogSettings, *, service: str) -> None:
    """Send the log of this process, and that of the libraries, to standard error."""
    level = logging.getLevelNamesMapping()[settings.level]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if settings.format == "console"
        else structlog.processors.JSONRenderer()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _format_exception,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    # what libraries log becomes a line of the same form; of several lines only the first, as asyncio
    # goes on with the text of the exception
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, _keep_first_line, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # aiokafka logs each refused connection while a broker starts or is away; we log that once
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # a client's bad HTTP is answered 400; as an error of ours, with a trace, anybody could fill the log
    logging.getLogger("aiohttp.server").addFilter(_is_no_bad_request)
    # the same for each refused connection of a pool, with a trace
    logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
    sys.excepthook = _log_uncaught


def describe(exc: BaseException) -> str:
    """An exception as it may be logged: our own in full, of others the class and what names no value."""
    name = f"{type(exc).__module__}.{type(exc).__qualname__}".removeprefix("builtins.")
    if isinstance(exc, HubError):
        return f"{name}: {exc}"
    named = [f"{key}={getattr(exc, key)}" for key in _TELLING if getattr(exc, key, None)]
    return f"{name} ({', '.join(named)})" if named else name


def loggable_path(path: str, words: Container[str]) -> str:
    """A URL's path with `*` for each part that is neither a word of the routes nor a UUID."""
    parts = path.split("/")
    return "/".join(part if part in words or find_uuid(part) is not None else "*" for part in parts)


def loggable_word(text: str) -> str:
    """What a client calls itself or its request, or `*` if that could be an address or a token."""
    return text if _WORD.fullmatch(text) else "*"


def _is_no_bad_request(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _log_uncaught(
    kind: type[BaseException], exc: BaseException, trace: TracebackType | None
) -> None:
    """Python itself would print the text of the exception."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, exc, trace)
    else:
        structlog.get_logger().error("the process ends by a fault of ours", exc_info=exc)


def _format_exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    given = event.pop("exc_info", None)
    exc: BaseException | None = None
    if isinstance(given, BaseException):
        exc = given
    elif isinstance(given, tuple):
        exc = given[1]
    elif given:
        exc = sys.exc_info()[1]
    if exc is not None:
        event["exception"] = "".join(_trace(exc))
    return event


def _trace(exc: BaseException) -> Iterator[str]:
    """As Python prints it, oldest cause first, without the texts of exceptions."""
    before = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    if before is not None:
        yield from _trace(before)
        yield "\n... which led to:\n"
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from _trace(inner)
            yield "\n... which is one of:\n"
    yield from traceback.format_tb(exc.__traceback__)
    yield describe(exc)


def _keep_first_line(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["event"] = str(event["event"]).partition("\n")[0]
    return event
