"""The worker with several threads: one fetcher, M that run consumers, one writer.

The fetcher takes only for idle threads, so nothing waits here that another process could run. The writer puts
whatever answers are there into one write and keeps a message's answers and its finish together and in this
order. Threads that wait for the layer run no user code.
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

from .. import conf
from ..log import worker_log
from ..signals import worker_ready
from .dispatch import Dispatcher
from .hooks import Hook, default_hooks
from .line import Line
from .single import AT_ONCE_SECONDS, BLOCK_SECONDS, Callback, apply_channel_filters, guarded
from .watcher import Deadline, Slot, Watcher

__all__ = ["ThreadedWorker"]

#: What a consumer said, a delivery to be put back, or None: the end.
Written = list[Out] | Delivery | None


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
        settings: conf.WorkerSettings | None = None,
        hooks: Callable[[Callback | None], Sequence[Hook]] = default_hooks,
        lifeline: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what `Worker` takes, and the number of threads that run consumers."""
        self.channel_layer = channel_layer
        self.stopping = False
        self.channels = apply_channel_filters(channel_layer.router.channels, only_channels, exclude_channels)
        self._settings = settings or conf.settings()
        self._clock = clock
        #: True for each idle thread; False once, to wake the fetcher. A SimpleQueue may be used in a signal
        #: handler, a Semaphore may not.
        self._idle: SimpleQueue[bool] = SimpleQueue()
        self._work: SimpleQueue[Delivery | None] = SimpleQueue()
        self._written: SimpleQueue[Written] = SimpleQueue()
        # One counter per thread: adding to a shared one is no atomic step.
        self._counters: list[Counter[str]] = [Counter() for _ in range(threads + 2)]
        self._fetching = self._line(self._counters[0])
        self._writing = self._line(self._counters[1])
        slots = [Slot() for _ in range(threads)]
        flush = self._fetching.flush
        self._watcher = Watcher(
            channel_layer, slots, self._settings, self.stop, lifeline, clock, self.channels, flush
        )
        self._deadline = Deadline(slots, self._settings.stop_deadline_seconds, lambda: self.counters)
        self._handlers = [
            self._handler(number, hooks(callback), slot) for number, slot in enumerate(slots, 1)
        ]
        self._writer = threading.Thread(target=self._write, name="headrace-writer", daemon=True)

    def _line(self, counters: Counter[str]) -> Line:
        return Line(self.channel_layer, self._settings, counters, lambda: self.stopping, self._clock)

    def _handler(self, number: int, hooks: Sequence[Hook], slot: Slot) -> threading.Thread:
        layer, counters, say = self.channel_layer, self._counters[number + 1], self._written.put
        dispatcher = Dispatcher(
            layer, layer.router, self._settings, hooks, counters, slot, None, self._clock, say
        )
        name = f"headrace-{number}"
        return threading.Thread(target=self._handle, args=(dispatcher, slot), name=name, daemon=True)

    @property
    def counters(self) -> Counter[str]:
        """What all threads counted."""
        return sum(self._counters, Counter())

    def run(self) -> None:
        """Work until `stop`; the calling thread is the fetcher. Returns as `Worker.run` does."""
        self._deadline.start()
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
        if self.stopping:
            self._fetching.give_back(deliveries)
            return 0
        for delivery in deliveries:
            self._work.put(delivery)
        for _ in range(idle - len(deliveries)):
            self._idle.put(True)
        return len(deliveries)

    def stop(self) -> None:
        """Ask the worker to finish its messages and leave. From any thread, and from a signal handler."""
        self.stopping = True
        self._deadline.begin()
        self._idle.put(False)
        self._fetching.wake()

    def close(self) -> None:
        """Give back what was not started, wait for what runs, write its answers, disconnect."""
        self.stopping = True
        self._deadline.begin()
        # The fetcher has ended: nothing new arrives. Other workers can run at once what no thread began.
        not_started = []
        with contextlib.suppress(Empty):
            while True:
                delivery = self._work.get_nowait()
                if delivery is not None:
                    not_started.append(delivery)
        self._fetching.give_back(not_started)
        # What runs may end; it is cut off at the deadline.
        for _ in self._handlers:
            self._work.put(None)
        for handler in self._handlers:
            handler.join()
        # Only now has the writer seen every answer.
        self._written.put(None)
        self._writer.join()
        self._fetching.close()
        self._watcher.close()
        self._deadline.close()

    def _handle(self, dispatcher: Dispatcher, slot: Slot) -> None:
        """One handler thread."""
        slot.thread_id = threading.get_ident()
        self._idle.put(True)
        try:
            while (delivery := self._work.get()) is not None:
                if not self._may_start(delivery):
                    self._written.put([])  # the writer's port may have something to say about it
                elif (out := dispatcher.run(delivery)) is None:
                    self._written.put(delivery)
                elif out:
                    self._written.put(out)
                self._idle.put(True)
        finally:
            connections.close_all()

    def _may_start(self, delivery: Delivery) -> bool:
        """Ask, if the delivery waited; over the writer's line, as the fetcher's is in use while it waits."""
        at_once = self._clock() - delivery.taken_at <= AT_ONCE_SECONDS
        return at_once or self._writing.may_start(delivery)

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
                if isinstance(written, Delivery):
                    self._writing.put_back(written)
                else:
                    self._writing.put(written)
                written = self._written.get_nowait()
        except Empty:
            return False
        return True
