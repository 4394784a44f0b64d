"""Deadlines of many connections with one reactor call per tick instead of one per deadline.

`callLater` and its cancelling cost about 5 µs, once or twice a request. Here a deadline is an attribute, and
moving it further away, which every request does, is one comparison. Deadlines are met up to one tick late.
"""

# ruff: noqa: N802 (Twisted's names)

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["TICK_SECONDS", "Clock", "Timed", "Timers"]

logger = logging.getLogger("headrace.interface")

#: Deadlines are seconds; a quarter is exact enough and idle processes stay asleep when nothing is watched.
TICK_SECONDS = 0.25


class Clock(Protocol):
    """The part of a reactor that knows time; `twisted.internet.task.Clock` in tests."""

    def seconds(self) -> float:
        """Now, on a clock that never jumps."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> Any:
        """Call later; the answer can be cancelled."""


class Timed(Protocol):
    """Something with a deadline. Both attributes belong to `Timers`; start them at `math.inf`."""

    due: float
    watched: float

    def deadline_passed(self, now: float) -> None:
        """`due` has come; it was set to `math.inf` before this call."""


class Timers:
    """A wheel of coarse deadlines on `clock`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[int, set[Timed]] = {}
        self._running = False

    def now(self) -> float:
        """Seconds on the clock that deadlines are given in."""
        return self._clock.seconds()

    def set(self, timed: Timed, at: float) -> None:
        """Move the one deadline of `timed` to `at`; `math.inf` means that there is none."""
        timed.due = at
        if at < timed.watched:
            self._watch(timed, at)

    def forget(self, timed: Timed) -> None:
        """Stop watching; nothing refers to `timed` afterwards."""
        timed.due = math.inf
        if timed.watched != math.inf:
            self._unwatch(timed)

    def _watch(self, timed: Timed, at: float) -> None:
        if timed.watched != math.inf:
            self._unwatch(timed)
        timed.watched = at
        self._buckets.setdefault(_bucket(at), set()).add(timed)
        if not self._running:
            self._running = True
            self._clock.callLater(TICK_SECONDS, self._tick)

    def _unwatch(self, timed: Timed) -> None:
        bucket = self._buckets.get(_bucket(timed.watched))
        timed.watched = math.inf
        if bucket is not None:
            bucket.discard(timed)

    def _tick(self) -> None:
        now = self._clock.seconds()
        current = int(now / TICK_SECONDS)
        for number in sorted(number for number in self._buckets if number <= current):
            for timed in self._buckets.pop(number):
                timed.watched = math.inf
                if timed.due <= now:
                    timed.due = math.inf
                    self._tell(timed, now)
                elif timed.due != math.inf:
                    self._watch(timed, timed.due)
        if self._buckets:
            self._clock.callLater(TICK_SECONDS, self._tick)
        else:
            self._running = False

    def _tell(self, timed: Timed, now: float) -> None:
        try:
            timed.deadline_passed(now)
        except Exception:  # one broken connection must not stop the deadlines of all others
            logger.exception("Meeting a deadline failed; it has none until it moves again.")


def _bucket(at: float) -> int:
    return int(at / TICK_SECONDS) + 1
