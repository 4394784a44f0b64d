"""The worker with one thread: take, run, answer; the answers and the next take leave in one write.

worker = Worker(channel_layers["default"])
worker.run()        # until worker.stop(), from another thread or a signal handler
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from headrace_asgi.contract import Delivery

from .flusher import Flusher
from .hooks import Hook
from .loop import AT_ONCE_SECONDS, BLOCK_SECONDS, WorkerLoop

__all__ = ["BatchSize", "Worker"]

#: Answers leave before the next message of the batch after this much work since the last write, in seconds.
#: If that next message runs long, the flusher writes.
HOLD_ANSWERS_SECONDS = 0.002
#: How long a channel that had no message still counts for the size of takes, in seconds.
REMEMBER_SECONDS = 2.0


class BatchSize:
    """How many messages to take: what is expected to run in `worth_seconds`.

    A larger batch keeps messages from idle workers: a fixed batch of 10 made neighbours of a slow
    view wait 254 ms. One take serves all channels, so the slowest of those that were busy lately decides.
    """

    #: Weight of the newest message in the moving average.
    WEIGHT = 0.2

    def __init__(self, worth_seconds: float, most: int) -> None:
        self._worth = worth_seconds
        self._most = most
        self._averages: dict[str, float] = {}
        self._last_ran: dict[str, float] = {}

    def ran(self, channel: str, seconds: float, now: float) -> None:
        """A message of `channel` took `seconds`."""
        average = self._averages.get(channel)
        self._averages[channel] = seconds if average is None else average + self.WEIGHT * (seconds - average)
        self._last_ran[channel] = now

    def limit(self, now: float) -> int:
        """Messages to take now; 1 as long as nothing is known."""
        slowest = 0.0
        for channel, last in self._last_ran.items():
            if now - last < REMEMBER_SECONDS and self._averages[channel] > slowest:
                slowest = self._averages[channel]
        if not slowest:
            return 1
        return max(1, min(self._most, int(self._worth / slowest)))


class Worker(WorkerLoop):
    """Takes messages of a layer and runs their consumers, one at a time."""

    def step(self) -> int:
        """One turn: write the answers, take messages, run them. The number of messages taken."""
        deliveries = self._line.turn(self.channels, self._pace.limit(self._clock()), BLOCK_SECONDS)
        if not deliveries:
            return 0
        line, flusher, batch = self._line, self._flusher, self._batch
        batch.extend(deliveries)
        written = now = self._clock()
        while batch and not self.stopping:
            if now - written > HOLD_ANSWERS_SECONDS:
                self._write()
                written = now = self._clock()
            elif flusher.asleep and (line.pending or len(batch) > 1):
                flusher.rouse()
            try:
                delivery = batch.popleft()
            except IndexError:  # the flusher gave it back just now
                break
            now = self._handle(delivery, now)
        return len(deliveries)

    def _assemble(self, make_hooks: Callable[[], Sequence[Hook]]) -> None:
        if len(self._activities) != 1:
            raise ValueError("Worker runs consumers in one thread; for more there is ThreadedWorker")
        activity, line = self._activities[0], self._line
        self._dispatcher = self._new_dispatcher(
            activity, make_hooks(), self._counters[0], line.put, self._write
        )
        self._pace = BatchSize(self._settings.take_seconds, self._settings.take_limit)
        #: Taken and not started. The flusher gives back what waits too long: whoever pops a delivery has it.
        self._batch: deque[Delivery] = deque()
        self._flusher = Flusher(line, activity, self._batch, self._is_stopping, self._clock)

    def _start_threads(self) -> None:
        self._activities[0].thread_id = threading.get_ident()
        self._flusher.start()

    def _rouse(self) -> None:
        self._flusher.rouse()

    def _wind_up(self) -> None:
        # Other workers wait for what we give back, clients for answers; refused sends may take a second.
        self._flusher.give_back()
        self._write()
        self._flusher.close()
        self._line.close()

    def _handle(self, delivery: Delivery, now: float) -> float:
        """Run one delivery that was reached at `now`, if it may still start; when it was done."""
        if now - delivery.taken_at > AT_ONCE_SECONDS and not self._line.may_start(delivery):
            return self._clock()
        if self._record is not None:
            self._record.started(delivery)
        out = self._dispatcher.run(delivery)
        done = self._clock()
        self._pace.ran(delivery.channel, done - now, done)
        if out is None:
            self._line.put_back(delivery)
        else:
            self._line.done(delivery, out)
        return done

    def _write(self) -> None:
        if self._line.pending:
            self._line.turn()
