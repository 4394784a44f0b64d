"""What a worker's only thread cannot do while it runs a consumer: a second thread does it.

Answers and finishes of messages that are done leave within milliseconds, however long the next message of
the same take runs. What was taken with a message that runs long goes back to its channels, for idle workers;
at a stop it does so at once, before what runs has used up its deadline.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

from headrace_asgi.backoff import Backoff
from headrace_asgi.contract import Delivery

from ..log import worker_log
from .activity import Activity
from .line import Line

__all__ = ["Flusher"]

#: After this long a message counts as one that others should not wait for, in seconds: a write costs less.
SLOW_SECONDS = 0.005
#: After this long what waits behind a message goes back, in seconds: another worker is sooner done with it
#: than this one, even if giving back and taking again cost a millisecond.
RECALL_SECONDS = 0.02
#: Pauses between two looks of the flusher of a busy worker, doubling from the first to the longest, in
#: seconds: waking fifty times a second costs a worker under full load less than a percent.
FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.02
#: After so many looks that found nothing to do it sleeps until it is roused: an idle worker is quiet.
QUIET_LOOKS = 5


class Flusher:
    """Looks after `line` while the line's owner runs a consumer. `look()` is one look, `start()` begins."""

    def __init__(
        self,
        line: Line,
        activity: Activity,
        batch: deque[Delivery],
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what the worker took and has not started, `batch`: whoever pops a delivery has it."""
        self._line = line
        self._activity = activity
        self._batch = batch
        self._stopping = stopping
        self._clock = clock
        #: Whether it must be roused to look. The owner reads this after it noted what there is to do.
        self.asleep = True
        self._quiet = 0
        self._backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        #: True: look; False: the end. A SimpleQueue may be used in a signal handler, an Event may not.
        self._bell: SimpleQueue[bool] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="headrace-flusher", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def rouse(self) -> None:
        """There may be something to do. Safe in a signal handler."""
        self.asleep = False
        self._bell.put(True)

    def close(self) -> None:
        """End the thread, after what it is doing now."""
        self._bell.put(False)
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> bool:
        """Look once, and do what there is to do; whether there may be more soon."""
        if self._stopping():
            self.give_back()
        running = self._activity.running
        if running is None:
            return bool(self._batch)
        ran = self._clock() - running[1]
        if ran >= RECALL_SECONDS and self._batch:
            self._line.give_back(self._not_started(), logging.DEBUG)
        if ran < SLOW_SECONDS:
            return True
        if not self._line.pending:
            return bool(self._batch)
        self._line.flush()
        return True

    def give_back(self) -> None:
        """Give back what was taken and not started. From any thread."""
        self._line.give_back(self._not_started())

    def _not_started(self) -> list[Delivery]:
        rest = []
        with contextlib.suppress(IndexError):
            while True:
                rest.append(self._batch.popleft())
        return rest

    def _run(self) -> None:
        while self._wait():
            try:
                found = self.look()
            except Exception:
                worker_log.exception("Writing for a busy worker failed; trying again with the next look")
                found = True
            if found:
                self._quiet, self.asleep = 0, False
            else:
                self._quiet += 1

    def _wait(self) -> bool:
        """Until the next look; False at the end."""
        if self._quiet >= QUIET_LOOKS and not self.asleep:
            self.asleep = True
            # The owner that noted something to do just before this line did not rouse: look once more.
            return True
        try:
            go_on = self._bell.get(timeout=None if self.asleep else self._backoff.next_seconds())
        except Empty:
            return True
        self._quiet, self.asleep = 0, False
        self._backoff.reset()
        return go_on
