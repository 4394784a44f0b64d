"""How soon a worker on several Redis servers starts a message that comes to one of them while it waits.

It is one `runworker` process with nothing else to do; messages come to each server in turn.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Sequence

from benchmarks.processes import redis_server, start_worker
from benchmarks.table import Row
from headrace_asgi import RedisChannelLayer

__all__ = ["rows", "start_ms"]

SERVERS = 3
#: The promise: of a hundred messages 99 have started within so many milliseconds of their send.
MOST_P99_MS = 2.0
#: Long enough for the worker to wait again.
PACE_SECONDS = 0.01
#: A shorter run says nothing about a promise.
LEAST_SECONDS = 1.0
PATIENCE_SECONDS = 20.0


def rows(found: Sequence[tuple[float, float]], seconds: float) -> list[Row]:
    """Median and the promise, of what was found in rounds of so many seconds."""
    remark = "" if seconds >= LEAST_SECONDS else f"not judged in {seconds:g} s"
    what = f"layers: headrace: from send to start on {SERVERS} Redis"
    p50, p99 = zip(*found, strict=True)
    return [Row(f"{what}, p50", p50, "ms"), Row(f"{what}, p99", p99, "ms", MOST_P99_MS, remark)]


def start_ms(seconds: float) -> tuple[float, float]:
    """Median and p99 of what passes between a send and the start of its message, in milliseconds."""
    with contextlib.ExitStack() as ending:
        servers = [ending.enter_context(redis_server()) for _ in range(SERVERS)]
        worker = start_worker(servers[0], 1, *servers[1:])
        ending.callback(worker.end)
        layer = RedisChannelLayer([server.url for server in servers])
        ending.callback(layer.close)
        for _ in range(SERVERS):
            _one(layer)  # so that it has connected, and is waiting
        waits, until = [], time.monotonic() + seconds
        while not waits or time.monotonic() < until:
            time.sleep(PACE_SECONDS)
            waits.append(_one(layer))
    ordered = sorted(waits)
    return statistics.median(ordered) * 1e3, ordered[math.ceil(0.99 * len(ordered)) - 1] * 1e3


def _one(layer: RedisChannelLayer) -> float:
    """Send a message; seconds until a worker began with it. RuntimeError if none does."""
    layer.send("bench.work", {"sent": time.monotonic(), "seconds": 0.0})
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not (taken := layer.receive_many(["bench.report"], 1, 1.0)):
        if time.monotonic() > give_up:
            raise RuntimeError("a message was not consumed")
    ((_, message),) = taken
    return float(message["began"] - message["sent"])
