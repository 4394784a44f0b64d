"""The worker with several threads: one fetcher, M that run consumers, one writer.

The fetcher takes only for idle threads, so nothing waits here that another process could run. The writer puts
whatever answers are there into one write and keeps a message's answers and its finish together and in this
order. Threads that wait for the layer run no user code.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from django.db import connections

from headrace_asgi.contract import Delivery, Out

from ..log import worker_log
from .activity import Activity
from .dispatch import Dispatcher
from .hooks import Hook
from .loop import AT_ONCE_SECONDS, BLOCK_SECONDS, WorkerLoop

__all__ = ["ThreadedWorker"]

#: A delivery and what its consumer said, or None if it is to be put back; what a consumer says while it runs;
#: or None: the end.
Written = tuple[Delivery, list[Out] | None] | list[Out] | None


class ThreadedWorker(WorkerLoop):
    """Takes messages of a layer and runs their consumers in `threads` threads; the calling one fetches."""

    def step(self) -> int:
        """Wait for idle threads, take at most a message for each. The number taken."""
        if not self._idle.get():
            return 0
        idle = 1
        with contextlib.suppress(Empty):
            while self._idle.get_nowait():
                idle += 1
        deliveries = [] if self.stopping else self._line.turn(self.channels, idle, BLOCK_SECONDS)
        if self.stopping:
            self._line.give_back(deliveries)
            return 0
        for delivery in deliveries:
            self._work.put(delivery)
        for _ in range(idle - len(deliveries)):
            self._idle.put(True)
        return len(deliveries)

    def _assemble(self, make_hooks: Callable[[], Sequence[Hook]]) -> None:
        #: True for each idle thread; False once, to wake the fetcher. A SimpleQueue may be used in a signal
        #: handler, a Semaphore may not.
        self._idle: SimpleQueue[bool] = SimpleQueue()
        self._work: SimpleQueue[Delivery | None] = SimpleQueue()
        self._written: SimpleQueue[Written] = SimpleQueue()
        self._writing = self._new_line(self._new_counter())
        self._handlers = [
            self._handler(number, make_hooks(), activity)
            for number, activity in enumerate(self._activities, 1)
        ]
        self._writer = threading.Thread(target=self._write, name="headrace-writer", daemon=True)

    def _handler(self, number: int, hooks: Sequence[Hook], activity: Activity) -> threading.Thread:
        dispatcher = self._new_dispatcher(activity, hooks, self._new_counter(), self._written.put)
        name = f"headrace-{number}"
        return threading.Thread(target=self._handle, args=(dispatcher, activity), name=name, daemon=True)

    def _start_threads(self) -> None:
        self._writer.start()
        for handler in self._handlers:
            handler.start()

    def _rouse(self) -> None:
        self._idle.put(False)

    def _wind_up(self) -> None:
        # The fetcher has ended: nothing new arrives. Other workers can run at once what no thread began.
        not_started = []
        with contextlib.suppress(Empty):
            while True:
                delivery = self._work.get_nowait()
                if delivery is not None:
                    not_started.append(delivery)
        self._line.give_back(not_started)
        # What runs may end; it is cut off at the deadline.
        for _ in self._handlers:
            self._work.put(None)
        for handler in self._handlers:
            handler.join()
        # Only now has the writer seen every answer.
        self._written.put(None)
        self._writer.join()
        self._line.close()

    def _handle(self, dispatcher: Dispatcher, activity: Activity) -> None:
        """One handler thread."""
        activity.thread_id = threading.get_ident()
        self._idle.put(True)
        try:
            while (delivery := self._work.get()) is not None:
                if self._may_start(delivery):
                    if self._record is not None:
                        self._record.started(delivery)
                    out = dispatcher.run(delivery)
                    if out != [] or self._record is not None:
                        self._written.put((delivery, out))
                else:
                    self._written.put([])  # the writer's port may have something to say about it
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

    def _note(self, written: tuple[Delivery, list[Out] | None] | list[Out]) -> None:
        if isinstance(written, list):
            self._writing.put(written)
            return
        delivery, out = written
        if out is None:
            self._writing.put_back(delivery)
        else:
            self._writing.done(delivery, out)

    def _collect(self) -> bool:
        """Wait for something to write, then take all that is there. True at the end."""
        try:
            written = self._written.get(timeout=self._writing.wait_seconds(BLOCK_SECONDS))
            while written is not None:
                self._note(written)
                written = self._written.get_nowait()
        except Empty:
            return False
        return True
