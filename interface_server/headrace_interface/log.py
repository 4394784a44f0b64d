"""Logging: the handlers of the process, Twisted's events as standard records, and a limit to how often.

A record that says the same as others before it (same logger, level and format string) is let through ten
times a minute; the next one after that says how many were left out.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO, cast

from twisted.logger import ILogObserver, STDLibLogObserver, globalLogBeginner

from headrace_asgi.log_limit import LogLimit, left_out_note

__all__ = ["LEVELS", "RateLimit", "configure"]

#: Level of our loggers, by verbosity 0 to 3.
LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG, logging.DEBUG)

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class RateLimit(logging.Filter):
    """Lets `burst` records of a kind through in each window of `window_seconds`."""

    def __init__(
        self,
        burst: int = 10,
        window_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._limit = LogLimit(window_seconds, burst, clock)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; one that ends a silence says how long it was."""
        if record.levelno < logging.INFO:
            return True
        left_out = self._limit.ask((record.name, record.levelno, str(record.msg)))
        if left_out:
            record.msg = record.getMessage() + left_out_note(left_out)
            record.args = ()
        return left_out is not None


def configure(verbosity: int, stream: TextIO | None = None, line: str | None = None) -> None:
    """Send our records and Twisted's to `stream` (stderr). Called once, by the program, never by the library.

    `line` is the format of one, in the manner of `logging.Formatter` with percent signs.

    Twisted and Autobahn report the ordinary at INFO: below verbosity 2 only their warnings pass.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(logging.Formatter(line or _FORMAT))
    handler.addFilter(RateLimit())
    level = LEVELS[max(0, min(verbosity, len(LEVELS) - 1))]
    for name, least in (("headrace", level), ("twisted", level if verbosity >= 2 else logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(least)
    globalLogBeginner.beginLoggingTo(
        [cast(ILogObserver, STDLibLogObserver("twisted"))], discardBuffer=True, redirectStandardIO=False
    )
