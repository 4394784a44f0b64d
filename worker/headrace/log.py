"""Loggers of the worker tier, and lines that say a thing once instead of flooding."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

from headrace_asgi.log_limit import LogLimit, left_out_note

__all__ = ["LimitedLog", "layer_log", "setup_logging", "worker_log"]

worker_log = logging.getLogger("headrace.worker")
layer_log = logging.getLogger("headrace.layer")

_LEVELS = {0: logging.WARNING, 1: logging.INFO}


def setup_logging(verbosity: int) -> None:
    """Show the lines of Headrace on stderr, unless the project's LOGGING handles them already.

    `verbosity` is that of Django's commands: 0 warnings, 1 what happens, 2 and more everything.
    """
    logger = logging.getLogger("headrace")
    if verbosity > 1 or logger.level == logging.NOTSET:
        logger.setLevel(_LEVELS.get(verbosity, logging.DEBUG))
    if logger.hasHandlers():
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s [%(process)d] %(message)s"))
    logger.addHandler(handler)


class LimitedLog:
    """Lets a line through at most once per key and minute; the next one says how many were left out."""

    __slots__ = ("_limit",)

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = LogLimit(clock=clock)

    def log(self, key: str, level: int, text: str, *args: object) -> None:
        """Log `text % args` on the worker's logger, if this `key` may speak again."""
        left_out = self._limit.ask(key)
        if left_out is not None:
            worker_log.log(level, text + left_out_note(left_out), *args)
