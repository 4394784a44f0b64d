"""CPU time of calls in tight loops: rounds of short turns, so that a slow moment of the machine meets all."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat

__all__ = ["Lap", "Sample", "calls", "measured", "timed"]

#: A part's name, CPU seconds that it used, and how many operations that were.
Sample = tuple[str, float, int]
#: Does some work, preparation included, and answers what the parts that it measures took.
Lap = Callable[[], Iterable[Sample]]

_TIMES = 500


def timed(call: Callable[[], object], times: int = 1) -> float:
    """CPU seconds of this process for `times` calls."""
    began = time.process_time()
    for _ in repeat(None, times):
        call()
    return time.process_time() - began


def calls(name: str, call: Callable[[], object], times: int = _TIMES) -> Lap:
    """A lap of one part that needs no preparation."""
    return lambda: ((name, timed(call, times), times),)


def measured(laps: Sequence[Lap], seconds: float, rounds: int) -> dict[str, list[float]]:
    """Microseconds per operation of each part, one figure a round.

    In a round each lap is repeated for `seconds`, at least once, one lap after the other.
    """
    for lap in laps:
        lap()
    figures: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for lap in laps:
            used: dict[str, float] = defaultdict(float)
            done: dict[str, int] = defaultdict(int)
            deadline = time.monotonic() + seconds
            while True:
                for name, took, operations in lap():
                    used[name] += took
                    done[name] += operations
                if time.monotonic() >= deadline:
                    break
            for name in used:
                figures[name].append(used[name] / done[name] * 1e6)
    return figures
