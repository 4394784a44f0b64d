"""The worker with one thread: take, run, answer; the answers and the next take leave in one write.

worker = Worker(channel_layers["default"])
worker.run()        # until worker.stop(), from another thread or a signal handler
"""

from __future__ import annotations

import fnmatch
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from headrace_asgi.contract import Delivery

from .. import conf
from ..log import worker_log
from ..signals import worker_ready
from .deputy import Deputy
from .dispatch import Dispatcher
from .hooks import Hook, default_hooks
from .line import Line
from .watcher import Deadline, Slot, Watcher

__all__ = ["BatchSize", "Worker", "apply_channel_filters"]

#: Longest wait of one take. Long, so that an idle worker is quiet; a stop ends it at once.
BLOCK_SECONDS = 5.0
#: Answers leave before the next message of the batch after this much work since the last write, in seconds.
#: If that next message runs long, the deputy writes.
HOLD_ANSWERS_SECONDS = 0.002
#: A message that starts later than this after its take asks whether it still may, in seconds: a take is worth
#: about two milliseconds, so those that wait behind a slow one ask.
AT_ONCE_SECONDS = 0.01
#: Pause after a turn that failed for no known reason, in seconds: it may fail for ever, but not flood.
AFTER_FAILURE_SECONDS = 0.5
#: How long a channel that had no message still counts for the size of takes, in seconds.
REMEMBER_SECONDS = 2.0

Callback = Callable[[str, dict[str, Any]], None]


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


class Worker:
    """Takes messages of a layer and runs their consumers, one at a time."""

    def __init__(
        self,
        channel_layer: Any,
        callback: Callback | None = None,
        only_channels: Iterable[str] | None = None,
        exclude_channels: Iterable[str] | None = None,
        *,
        settings: conf.WorkerSettings | None = None,
        hooks: Callable[[Callback | None], Sequence[Hook]] = default_hooks,
        lifeline: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the layer with its routing (`headrace.channel_layers[alias]`).

        `callback(channel, content)` is called before each message. Channels are those of the routing that
        match one of the globs `only_channels`, if any, and none of `exclude_channels`. `lifeline` is the read
        end of a pipe: when it ends, so does the worker.
        """
        self.channel_layer = channel_layer
        self.stopping = False
        self.counters: Counter[str] = Counter()
        self.channels = apply_channel_filters(channel_layer.router.channels, only_channels, exclude_channels)
        self._clock = clock
        settings = settings or conf.settings()
        self._slot = slot = Slot()
        self._line = Line(channel_layer, settings, self.counters, self._is_stopping, clock)
        self._dispatcher = Dispatcher(
            channel_layer,
            channel_layer.router,
            settings,
            hooks(callback),
            self.counters,
            slot,
            self._write,
            clock,
            self._line.put,
        )
        self._pace = BatchSize(settings.take_seconds, settings.take_limit)
        #: Taken and not started. The deputy gives it back at a stop: whoever pops a delivery has it.
        self._batch: deque[Delivery] = deque()
        self._deputy = Deputy(self._line, slot, self._batch, self._is_stopping, clock)
        self._watcher = Watcher(
            channel_layer, [slot], settings, self.stop, lifeline, clock, self.channels, self._line.flush
        )
        self._deadline = Deadline([slot], settings.stop_deadline_seconds, lambda: self.counters)

    def run(self) -> None:
        """Work until `stop`. Returns when what ran is answered and what was not started is given back.

        Ends the process if that takes longer than `STOP_DEADLINE_SECONDS`: with status 0 if only the layer
        does not answer, with 1 if a consumer is cut off.
        """
        self._slot.thread_id = threading.get_ident()
        self._deadline.start()
        self._watcher.start()
        self._deputy.start()
        worker_ready.send(sender=type(self), worker=self)
        try:
            while not self.stopping:
                guarded(self.step)
        finally:
            self.close()

    def step(self) -> int:
        """One turn: write the answers, take messages, run them. The number of messages taken."""
        deliveries = self._line.turn(self.channels, self._pace.limit(self._clock()), BLOCK_SECONDS)
        if not deliveries:
            return 0
        line, deputy, batch = self._line, self._deputy, self._batch
        batch.extend(deliveries)
        written = now = self._clock()
        while batch and not self.stopping:
            if now - written > HOLD_ANSWERS_SECONDS:
                self._write()
                written = now = self._clock()
            elif deputy.asleep and line.pending:
                deputy.rouse()
            try:
                delivery = batch.popleft()
            except IndexError:  # the deputy gave it back just now
                break
            now = self._handle(delivery, now)
        return len(deliveries)

    def stop(self) -> None:
        """Ask the worker to finish its message and leave. From any thread, and from a signal handler."""
        self.stopping = True
        self._deadline.begin()
        self._deputy.rouse()
        self._line.wake()

    def close(self) -> None:
        """Give back what was not started, write the last answers, disconnect."""
        self.stopping = True
        self._deadline.begin()
        # Other workers wait for what we give back, clients for answers; refused sends may take a second.
        self._deputy.give_back()
        self._write()
        self._deputy.close()
        self._line.close()
        self._watcher.close()
        self._deadline.close()

    def _is_stopping(self) -> bool:
        return self.stopping

    def _handle(self, delivery: Delivery, now: float) -> float:
        """Run one delivery that was reached at `now`, if it may still start; when it was done."""
        if now - delivery.taken_at > AT_ONCE_SECONDS and not self._line.may_start(delivery):
            return self._clock()
        out = self._dispatcher.run(delivery)
        done = self._clock()
        self._pace.ran(delivery.channel, done - now, done)
        if out is None:
            self._line.put_back(delivery)
        elif out:
            self._line.put(out)
        return done

    def _write(self) -> None:
        if self._line.pending:
            self._line.turn()


def guarded(step: Callable[[], object]) -> None:
    """Take one step of a worker, whose failure ends no worker: the next message may be good."""
    try:
        step()
    except Exception:
        worker_log.exception("A turn of the worker failed; it goes on")
        time.sleep(AFTER_FAILURE_SECONDS)


def apply_channel_filters(
    channels: Iterable[str],
    only_channels: Iterable[str] | None = None,
    exclude_channels: Iterable[str] | None = None,
) -> list[str]:
    """The channels that match a glob of `only_channels` (None: all), without those of `exclude_channels`."""
    chosen = sorted(channels)
    if only_channels:
        only = list(only_channels)
        chosen = [name for name in chosen if any(fnmatch.fnmatchcase(name, glob) for glob in only)]
    excluded = list(exclude_channels or ())
    return [name for name in chosen if not any(fnmatch.fnmatchcase(name, glob) for glob in excluded)]
