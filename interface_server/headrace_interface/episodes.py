"""What goes wrong again and again: said when it begins, and when it is over with how often, not each time."""

from __future__ import annotations

import logging

from .timers import Clock

__all__ = ["QUIET_SECONDS", "Episode"]

logger = logging.getLogger("headrace.interface")

#: Seconds without a further event after which an episode is over: what stops for a moment has not ended.
QUIET_SECONDS = 10.0


class Episode:
    """One kind of trouble. Costs a count and a time for each event, and a timer while it lasts."""

    def __init__(self, clock: Clock, begins: str, ends: str, ends_by_itself: bool = True) -> None:
        """Take what the log says at each end; `ends` is a template with {count} and {seconds}.

        Without `ends_by_itself` only `over` ends it.
        """
        self._clock = clock
        self._begins = begins
        self._ends = ends
        self._ends_by_itself = ends_by_itself
        self._count = 0
        self._first = self._last = 0.0
        self._timer: object | None = None

    def happened(self, count: int = 1) -> None:
        """It went wrong, so many times at once."""
        now = self._clock.seconds()
        self._last = now
        if not self._count:
            self._first = now
            logger.warning("%s", self._begins)
        self._count += count
        if self._ends_by_itself and self._timer is None:
            self._timer = self._clock.callLater(QUIET_SECONDS, self._look)

    def over(self) -> None:
        """It went right, which ends it; nothing happens if there was no trouble."""
        if self._count:
            seconds = max(1, round(self._last - self._first))
            logger.warning("%s", self._ends.format(count=self._count, seconds=seconds))
            self._count = 0

    def _look(self) -> None:
        self._timer = None
        quiet = self._clock.seconds() - self._last
        if self._count and quiet < QUIET_SECONDS:
            self._timer = self._clock.callLater(QUIET_SECONDS - quiet, self._look)
        else:
            self.over()
