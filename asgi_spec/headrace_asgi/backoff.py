"""Pauses that grow: between tries of what failed, so that nobody asks again and again for a crowd. Pure."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Backoff", "pause_seconds"]

#: Doublings after which a pause stays as it is, whatever its limit.
_MOST_DOUBLINGS = 30


def pause_seconds(failures: int, first_seconds: float, longest_seconds: float) -> float:
    """The pause after so many failures in a row: `first_seconds` after none, doubling up to the longest."""
    return min(longest_seconds, first_seconds * 2.0 ** min(failures, _MOST_DOUBLINGS))


class Backoff:
    """The pauses of one thing that is tried until it works."""

    __slots__ = ("_before", "_first_seconds", "_longest_seconds", "_random_part", "failures")

    def __init__(
        self, first_seconds: float, longest_seconds: float, random_part: Callable[[], float] | None = None
    ) -> None:
        """With `random_part` (0 to 1, such as `random.random`) each pause is cut to a part above its half.

        So many that failed at one moment do not come back at one moment.
        """
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self._random_part = random_part
        #: In a row, since it worked.
        self.failures = self._before = 0

    def next_seconds(self) -> float:
        """It failed: how long to pause now."""
        pause = pause_seconds(self.failures, self._first_seconds, self._longest_seconds)
        self.failures += 1
        return pause if self._random_part is None else pause * (0.5 + self._random_part() / 2)

    def reset(self) -> None:
        """It worked: begin anew."""
        self._before, self.failures = self.failures, 0

    def resume(self) -> None:
        """It did not work after all: go on where `reset` began anew."""
        self.failures = self._before
