"""What processes ask of Redis while they wait for messages."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from benchmarks.actor import Actor, ServerFigures, acting
from benchmarks.processes import redis_server
from benchmarks.table import Row

from .cases import SETTLE_SECONDS
from .subjects import Subject

__all__ = ["rows"]


def rows(subjects: Sequence[Subject], window: float) -> list[Row]:
    """Commands a second of processes with a server of their own each, all watched at once."""
    with contextlib.ExitStack() as ending:
        watched: dict[str, ServerFigures] = {}
        for name, start in _starts(subjects).items():
            redis = ending.enter_context(redis_server())
            actor = start(redis.url)
            ending.enter_context(acting(actor))
            if name.endswith("take"):
                actor.tell("rest", seconds=window + 2 * SETTLE_SECONDS)
            watched[name] = ending.enter_context(contextlib.closing(ServerFigures(redis.port)))
        time.sleep(SETTLE_SECONDS)
        began = time.monotonic()
        before = {name: figures.commands() for name, figures in watched.items()}
        time.sleep(window)
        after = {name: figures.commands() - 1 for name, figures in watched.items()}  # the look before
        took = time.monotonic() - began
    what = "Redis commands with those in scripts"
    return [
        Row(f"layers: {name}, {what}", [(after[name] - before[name]) / took], "per s") for name in watched
    ]


def _starts(subjects: Sequence[Subject]) -> dict[str, Callable[[str], Actor]]:
    """What starts each process, given where its server is."""
    takes = {f"{one.library}: idle take": one.actor for one in subjects if one.is_on_redis}
    return {
        "headrace: idle interface port": lambda url: Actor("port_actor.py", "members", url, "0"),
        "headrace: idle worker port": lambda url: Actor("port_actor.py", "worker", url, "plain"),
        **takes,
    }
