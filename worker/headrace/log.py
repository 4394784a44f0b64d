"""Loggers of the worker tier, and lines that say a thing once instead of flooding."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

__all__ = ["Seldom", "layer_log", "setup_logging", "worker_log"]

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


class Seldom:
    """Lets a line through at most once per key and interval, and says how many it held back.

    Bounded: it remembers `_MOST_KEYS` keys. Not exact with several threads, which costs a line at most.
    """

    _MOST_KEYS = 1000

    def __init__(self, interval_seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval_seconds
        self._clock = clock
        self._last: dict[str, tuple[float, int]] = {}

    def log(self, key: str, level: int, text: str, *args: object) -> None:
        """Log `text % args` on the worker's logger, if this `key` may speak again."""
        now = self._clock()
        last, held = self._last.get(key, (float("-inf"), 0))
        if now - last < self._interval:
            self._last[key] = (last, held + 1)
            return
        if len(self._last) >= self._MOST_KEYS:
            self._last.clear()
        self._last[key] = (now, 0)
        worker_log.log(level, text + (f" ({held} more like it since)" if held else ""), *args)
