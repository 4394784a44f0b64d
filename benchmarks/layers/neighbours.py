"""How long a message that is soon done waits behind one that runs long and was taken with it.

There are two worker processes, and one channel: a take is of one. Fast messages come for so long that both
take as many as they ever do; then one burst has a slow message among the fast ones, and whoever takes that
has others of the burst behind it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.processes import redis_server, start_worker
from benchmarks.table import Row
from headrace_asgi import RedisChannelLayer

__all__ = ["longest_wait_ms", "row"]

#: The promise: the most that a message waits behind a slow one that was taken with it, in milliseconds.
MOST_WAIT_MS = 60.0
#: How long the slow one runs; fast ones before it, for longer than a worker remembers slow ones (2 s).
SLOW_SECONDS, BEFORE_SECONDS = 0.25, 2.3
BURST, BURST_PAUSE_SECONDS = 20, 0.01
#: A shorter run says nothing about a promise.
LEAST_SECONDS = 1.0
PATIENCE_SECONDS = 20.0
#: No message is refused for want of room.
CAPACITY = 1_000_000


def row(waits_ms: Sequence[float], seconds: float) -> Row:
    """The promise, and what was found in rounds of so many seconds."""
    remark = "" if seconds >= LEAST_SECONDS else f"not judged in {seconds:g} s"
    return Row("layers: headrace: longest wait behind a slow one", waits_ms, "ms", MOST_WAIT_MS, remark)


def longest_wait_ms(seconds: float) -> float:
    """The longest wait of messages that were sent together with one that runs long, in milliseconds."""
    with redis_server() as redis:
        worker = start_worker(redis, 2)
        layer = RedisChannelLayer([redis.url], capacity=CAPACITY)
        try:
            _fast(layer, 1)
            _reports(layer, 1)
            longest, until = 0.0, time.monotonic() + seconds
            while not longest or time.monotonic() < until:
                longest = max(longest, _slow_one_among_fast_ones(layer))
            return longest * 1e3
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{worker.output()}") from error
        finally:
            layer.close()
            worker.end()


def _slow_one_among_fast_ones(layer: RedisChannelLayer) -> float:
    """The longest wait of the fast ones, in seconds."""
    until = time.monotonic() + BEFORE_SECONDS
    while time.monotonic() < until:
        _fast(layer, BURST)
        _reports(layer, BURST)
        time.sleep(BURST_PAUSE_SECONDS)
    _fast(layer, BURST - 1, slow_at=BURST // 2)
    waits = _reports(layer, BURST - 1)
    time.sleep(SLOW_SECONDS)
    return max(waits)


def _fast(layer: RedisChannelLayer, count: int, slow_at: int | None = None) -> None:
    now = time.monotonic()
    batch = [("bench.work", {"sent": now, "seconds": 0.0}) for _ in range(count)]
    if slow_at is not None:
        batch.insert(slow_at, ("bench.work", {"sent": now, "seconds": SLOW_SECONDS}))
    layer.send_many(batch)


def _reports(layer: RedisChannelLayer, count: int) -> list[float]:
    """How long so many fast messages waited, once they have all said it."""
    waits: list[float] = []
    give_up = time.monotonic() + PATIENCE_SECONDS
    while len(waits) < count:
        taken = layer.receive_many(["bench.report"], count - len(waits), 1.0)
        waits += [message["began"] - message["sent"] for _, message in taken]
        if time.monotonic() > give_up:
            raise RuntimeError(f"{len(waits)} of {count} messages were consumed")
    return waits
