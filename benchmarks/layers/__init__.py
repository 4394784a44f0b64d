"""The channel layer alone: what a message costs in Python and in its server, how late it comes, and idling.

Beside it ours over RabbitMQ, and the layers of asgi_redis and of channels_redis, each in an environment of
its own (`benchmarks.peers`). The actors of a case, and its Redis server, are started for each run of it;
cases follow each other, and rounds repeat them all: A B C A B C. One RabbitMQ node, which takes long to
start, serves all runs.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Sequence

from benchmarks.table import Row, left_out

from . import idle, neighbours, several_redis
from .cases import CASES
from .promises import promised
from .subjects import Subject, found_subjects

__all__ = ["measure"]

#: A run of a case, and how long idle processes are watched, in seconds of a round of load.
SHARE, WINDOWS = 2 / 5, 4


def measure(seconds: float, rounds: int, beside: bool) -> list[Row]:
    """The rows of the layers, others' too if `beside`; `seconds` are those of a round of load."""
    found: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    waits, starts = [], []
    with contextlib.ExitStack() as ending:
        subjects, missing = found_subjects(beside, ending)
        for _ in range(rounds):
            for case in CASES:
                for subject in filter(case.is_for, subjects):
                    for (what, unit), value in case.run(subject, seconds * SHARE).items():
                        found[subject.library, case.name, what, unit].append(value)
            waits.append(neighbours.longest_wait_ms(seconds * SHARE))
            starts.append(several_redis.start_ms(seconds * SHARE))
        idling = idle.rows(subjects, seconds * WINDOWS)
    return [
        *(
            Row(f"layers: {lib}: {case}, {what}", values, unit)
            for (lib, case, what, unit), values in found.items()
        ),
        *promised(found, seconds * SHARE),
        neighbours.row(waits, seconds * SHARE),
        *several_redis.rows(starts, seconds * SHARE),
        *idling,
        *missing,
        *_impossible(subjects),
    ]


def _impossible(subjects: Sequence[Subject]) -> list[Row]:
    """A row for each case that a library has no means for."""
    return [
        left_out(f"layers: {subject.library}: {case.name}", f"it cannot {case.needs}")
        for subject in subjects
        for case in CASES
        if not case.is_for(subject)
    ]
