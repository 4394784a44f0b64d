"""What would flood a log: how often a thing may be said, and trouble that is said at its two ends. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import NamedTuple

__all__ = ["LogLimit", "PastTrouble", "Trouble", "left_out_note"]

#: How many kinds of lines are remembered: one made of a client's data is a kind of its own.
_MOST_KEYS = 1000


class LogLimit:
    """Lets `burst` lines of each key through in a window of `window_seconds`.

    Bounded: beyond 1,000 keys it forgets all. Not exact with several threads, which costs a line at most.
    """

    __slots__ = ("_burst", "_clock", "_keys", "_window_seconds")

    def __init__(
        self,
        window_seconds: float = 60.0,
        burst: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._window_seconds = window_seconds
        self._burst = burst
        self._clock = clock
        #: key -> when its window began, lines let through, lines left out.
        self._keys: dict[Hashable, tuple[float, int, int]] = {}

    def ask(self, key: Hashable) -> int | None:
        """How many lines of `key` were left out since the last one, if one may be said now; None if not."""
        now = self._clock()
        known = self._keys.get(key)
        if known is None:
            if len(self._keys) >= _MOST_KEYS:
                self._keys.clear()
            known = (now, 0, 0)
        began, passed, left_out = known
        if now - began >= self._window_seconds:
            self._keys[key] = (now, 1, 0)
            return left_out
        if passed < self._burst:
            self._keys[key] = (began, passed + 1, left_out)
            return 0
        self._keys[key] = (began, passed, left_out + 1)
        return None


def left_out_note(left_out: int) -> str:
    """What a line says at its end about those left out before it; "" for none."""
    return f" ({left_out} more like this were left out)" if left_out else ""


class PastTrouble(NamedTuple):
    """Trouble that is over: how often it happened, the first and the last time."""

    times: int
    first_at: float
    last_at: float


class Trouble:
    """Something that goes wrong again and again, and then right."""

    __slots__ = ("count", "first_at", "last_at")

    def __init__(self) -> None:
        #: How often it happened since it began; 0 while all is well.
        self.count = 0
        self.first_at = self.last_at = 0.0

    def happened(self, now: float, count: int = 1) -> bool:
        """It went wrong, so many times at once. Whether that is its beginning."""
        begins = not self.count
        if begins:
            self.first_at = now
        self.last_at = now
        self.count += count
        return begins

    def over(self) -> PastTrouble | None:
        """It went right, which ends it: what it was, None if there was no trouble."""
        if not self.count:
            return None
        past = PastTrouble(self.count, self.first_at, self.last_at)
        self.count = 0
        return past
