"""The worker with several threads: one fetcher, M that run consumers, one writer.

The fetcher takes only for idle threads, so nothing waits here that another process could run. The writer puts
whatever answers are there into one write and keeps a message's answers and its finish together and in this
order (PROTOCOL 9). Threads that wait for the layer run no user code.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from django.db import connections

from headrace_asgi.contract import Delivery, Out

from . import conf
from .dispatch import Dispatcher
from .flight import Slot, Watcher
from .hooks import Hook, default_hooks
from .line import Line
from .log import worker_log
from .signals import worker_ready
from .worker import BLOCK_SECONDS, Callback, apply_channel_filters, guarded

__all__ = ["ThreadedWorker"]

#: A delivery with what its consumer said (None: put it back), or None: the end.
Written = tuple[Delivery, list[Out] | None] | None


class ThreadedWorker:
    """Takes messages of a layer and runs their consumers in `threads` threads."""

    def __init__(
        self,
        channel_layer: Any,
        threads: int,
        callback: Callback | None = None,
        only_channels: Iterable[str] | None = None,
        exclude_channels: Iterable[str] | None = None,
        *,
        settings: conf.Settings | None = None,
        hooks: Callable[[Callback | None], Sequence[Hook]] = default_hooks,
        lifeline: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what `Worker` takes, and the number of threads that run consumers."""
        self.channel_layer = channel_layer
        self.stopping = False
        self.channels = apply_channel_filters(channel_layer.router.channels, only_channels, exclude_channels)
        settings = settings or conf.settings()
        # One counter per thread: adding to a shared one is no atomic step.
        self._counters: list[Counter[str]] = [Counter() for _ in range(threads + 2)]
        slots = [Slot() for _ in range(threads)]
        self._fetching = Line(channel_layer, settings, self._counters[0], lambda: self.stopping, clock)
        self._writing = Line(channel_layer, settings, self._counters[1], lambda: self.stopping, clock)
        self._dispatchers = [
            Dispatcher(
                channel_layer, channel_layer.router, settings, hooks(callback), counters, slot, None, clock
            )
            for slot, counters in zip(slots, self._counters[2:], strict=True)
        ]
        self._watcher = Watcher(channel_layer, slots, settings, self.stop, lifeline, clock)
        #: True for each idle thread; False once, to wake the fetcher. A SimpleQueue may be used in a signal
        #: handler, a Semaphore may not.
        self._idle: SimpleQueue[bool] = SimpleQueue()
        self._work: SimpleQueue[Delivery | None] = SimpleQueue()
        self._written: SimpleQueue[Written] = SimpleQueue()
        self._handlers = [
            threading.Thread(target=self._handle, args=(dispatcher,), name=f"headrace-{number}", daemon=True)
            for number, dispatcher in enumerate(self._dispatchers, 1)
        ]
        self._writer = threading.Thread(target=self._write, name="headrace-writer", daemon=True)

    @property
    def counters(self) -> Counter[str]:
        """What all threads counted."""
        return sum(self._counters, Counter())

    def run(self) -> None:
        """Work until `stop`; the calling thread is the fetcher. Returns as `Worker.run` does."""
        self._watcher.start()
        self._writer.start()
        for handler in self._handlers:
            handler.start()
        worker_ready.send(sender=type(self), worker=self)
        try:
            while not self.stopping:
                guarded(self.step)
        finally:
            self.close()

    def step(self) -> int:
        """Wait for idle threads, take at most a message for each. The number taken."""
        if not self._idle.get():
            return 0
        idle = 1
        with contextlib.suppress(Empty):
            while self._idle.get_nowait():
                idle += 1
        deliveries = [] if self.stopping else self._fetching.turn(self.channels, idle, BLOCK_SECONDS)
        started = 0
        for delivery in deliveries:
            if delivery.order is None or self._fetching.may_start(delivery):
                self._work.put(delivery)
                started += 1
        for _ in range(idle - started):
            self._idle.put(True)
        return started

    def stop(self) -> None:
        """Ask the worker to finish its messages and leave. From any thread, and from a signal handler."""
        self.stopping = True
        self._watcher.stopping()
        self._idle.put(False)
        self._fetching.wake()

    def close(self) -> None:
        """Give back what was not started, wait for what runs, write its answers, disconnect."""
        self.stopping = True
        # The fetcher has ended: nothing new arrives. Other workers can run at once what no thread began.
        not_started = []
        with contextlib.suppress(Empty):
            while True:
                delivery = self._work.get_nowait()
                if delivery is not None:
                    not_started.append(delivery)
        self._fetching.give_back(not_started)
        # What runs may end; the watcher cuts it off at the deadline.
        for _ in self._handlers:
            self._work.put(None)
        for handler in self._handlers:
            handler.join()
        # Only now has the writer seen every answer.
        self._written.put(None)
        self._writer.join()
        self._fetching.close()
        self._watcher.close()

    def _handle(self, dispatcher: Dispatcher) -> None:
        """One handler thread."""
        self._idle.put(True)
        try:
            while (delivery := self._work.get()) is not None:
                self._written.put((delivery, dispatcher.run(delivery)))
                self._idle.put(True)
        finally:
            connections.close_all()

    def _write(self) -> None:
        """The writer thread."""
        ended = False
        while not ended:
            try:
                ended = self._collect()
                self._writing.turn()
            except Exception:
                worker_log.exception("The writer of a worker failed; it goes on")
        self._writing.close()

    def _collect(self) -> bool:
        """Wait for something to write, then take all that is there. True at the end."""
        try:
            written = self._written.get(timeout=self._writing.wait_seconds(BLOCK_SECONDS))
            while written is not None:
                delivery, out = written
                if out is None:
                    self._writing.put_back(delivery)
                else:
                    self._writing.put(out)
                written = self._written.get_nowait()
        except Empty:
            return False
        return True
