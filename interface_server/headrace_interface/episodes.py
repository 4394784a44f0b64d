"""What goes wrong again and again: said when it begins, and when it is over with how often, not each time."""

from __future__ import annotations

import logging

from headrace_asgi.log_limit import Trouble

from .timers import Clock

__all__ = ["QUIET_SECONDS", "Episode"]

logger = logging.getLogger("headrace.interface")

#: Seconds without a further event after which an episode is over: what stops for a moment has not ended.
QUIET_SECONDS = 10.0


class Episode:
    """One kind of trouble. Costs a count and a time for each event, and a timer while it lasts."""

    def __init__(self, clock: Clock, begins: str, ends: str, ends_by_itself: bool = True) -> None:
        """Take what the log says at each end; `ends` is a template with {count} and {seconds}.

        `begins` is a template too if `happened` is told about the event.

        Without `ends_by_itself` only `over` ends it.
        """
        self._clock = clock
        self._begins = begins
        self._ends = ends
        self._ends_by_itself = ends_by_itself
        self._trouble = Trouble()
        self._timer: object | None = None

    def happened(self, count: int = 1, /, **about: str) -> None:
        """It went wrong, so many times at once; `about` is for the template, of the first event."""
        if self._trouble.happened(self._clock.seconds(), count):
            logger.warning("%s", self._begins.format(**about) if about else self._begins)
        if self._ends_by_itself and self._timer is None:
            self._timer = self._clock.callLater(QUIET_SECONDS, self._look)

    def over(self) -> None:
        """It went right, which ends it; nothing happens if there was no trouble."""
        past = self._trouble.over()
        if past is not None:
            seconds = max(1, round(past.last_at - past.first_at))
            logger.warning("%s", self._ends.format(count=past.times, seconds=seconds))

    def _look(self) -> None:
        self._timer = None
        quiet = self._clock.seconds() - self._trouble.last_at
        if self._trouble.count and quiet < QUIET_SECONDS:
            self._timer = self._clock.callLater(QUIET_SECONDS - quiet, self._look)
        else:
            self.over()
