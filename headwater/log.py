"""Log lines: structlog, one JSON object a line or coloured text, always to standard error.

Ids are enough to find things; tokens, bodies and personal data are never logged.
"""

from __future__ import annotations

import logging
import sys

import structlog

from headwater.settings import LogSettings


def set_up(settings: LogSettings, *, service: str) -> None:
    """Send the log of this process, and that of the libraries, to standard error."""
    level = logging.getLevelNamesMapping()[settings.level]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if settings.format == "console"
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, force=True)
    # aiokafka logs each refused connection while a broker starts or is away; we log that once
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
