"""Layers with a routing, and workers that stop when there is nothing left to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from headrace.asgi import ChannelLayerWrapper
from headrace.conf import WorkerSettings
from headrace.worker.single import Worker
from headrace_asgi import InMemoryChannelLayer

__all__ = ["Clock", "layer_with", "work_off", "worker_for"]


class Clock:
    """A clock that only moves when told, or when somebody sleeps on it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def layer_with(routing: Any, alias: str = "default", **config: Any) -> ChannelLayerWrapper:
    """A fresh memory layer with a routing."""
    return ChannelLayerWrapper(InMemoryChannelLayer(**config), alias, routing)


def worker_for(routing: Any, settings: WorkerSettings | None = None, **config: Any) -> Worker:
    """A worker on a fresh memory layer."""
    return Worker(layer_with(routing, **config), settings=settings or WorkerSettings(origin_check=False))


def work_off(worker: Worker, until: Callable[[], Any] | None = None, seconds: float = 5) -> None:
    """Run turns until `until()` is true, by default until no message is left and every answer is written."""
    layer = worker.channel_layer

    def nothing_left() -> bool:
        worker._write()
        return not any(layer.statistics(channel)["pending"] for channel in worker.channels)

    give_up = time.monotonic() + seconds
    while not (until or nothing_left)():
        worker.step()
        assert time.monotonic() < give_up, "the worker does not come to an end"
