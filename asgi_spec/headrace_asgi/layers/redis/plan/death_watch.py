"""Which processes died: those whose heartbeat counter stands still, on the observer's own clock. Pure.

Nobody compares clocks, so none that jumps kills anybody. Time in which the observer itself could not look, be
it that Redis was away or that it was paused, hardly counts: else it would find everybody dead afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from headrace_asgi.limits import PROCESS_DEATH_SECONDS, REAP_SECONDS

__all__ = ["DeathWatch"]

#: What one look may add to the time that a counter stood still; a little more than the time between two.
MOST_ADDED_SECONDS = REAP_SECONDS + 1


class DeathWatch:
    """The counters of all processes, and for how long each was seen to stand still."""

    def __init__(self) -> None:
        self._looked_at = math.inf
        self._seen: dict[str, tuple[str, float]] = {}

    def look(self, counters: Mapping[str, str], now: float) -> list[tuple[str, str]]:
        """The processes that are dead, each with the counter that stands still.

        `now` is in seconds, of a monotonic clock of this process.
        """
        added = min(max(now - self._looked_at, 0.0), MOST_ADDED_SECONDS)
        self._looked_at = now
        before, self._seen = self._seen, {}
        for process, counter in counters.items():
            last, still_seconds = before.get(process, (None, 0.0))
            self._seen[process] = (counter, still_seconds + added if last == counter else 0.0)
        return [
            (process, counter)
            for process, (counter, still_seconds) in self._seen.items()
            if still_seconds >= PROCESS_DEATH_SECONDS
        ]
