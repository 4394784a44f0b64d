"""Gives a process of ours a wall clock that a test sets: Python imports this at its start.

`JUMPING_CLOCK` names a file with the seconds by which `time.time` is off. The monotonic clock goes on as it
is, as on a machine whose clock is set.
"""

from __future__ import annotations

import os
import time
from pathlib import Path


def jump_with(path: Path) -> None:
    """From now on, `time.time` is off by what stands in the file."""
    right, right_ns = time.time, time.time_ns

    def seconds_off() -> int:
        return int(path.read_text())

    time.time = lambda: right() + seconds_off()
    time.time_ns = lambda: right_ns() + seconds_off() * 1_000_000_000


if "JUMPING_CLOCK" in os.environ:
    jump_with(Path(os.environ["JUMPING_CLOCK"]))
