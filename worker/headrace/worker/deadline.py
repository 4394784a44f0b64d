"""The end of a process whose stop takes too long. It never talks to the layer, which may be what hangs."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from headrace_asgi.contract import Delivery

from ..log import worker_log
from .activity import Activity, named

__all__ = ["Deadline"]

#: Exit status of a process whose consumers were still running at the stop deadline.
EXIT_TOO_LATE = 1


class Deadline:
    """Ends the process when a stop takes too long: because of a consumer, or of a layer that does not answer.

    A thread of its own, so that nothing that hangs can hold it up.
    """

    def __init__(
        self,
        activities: Sequence[Activity],
        seconds: float,
        counters: Callable[[], Counter[str]],
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        """Take what runs, the seconds from the stop on, and what was counted; `leave` ends the process."""
        self._activities = activities
        self._seconds = seconds
        self._counters = counters
        self._leave = leave
        #: True: the stop begins; False: it is done. A SimpleQueue may be used in a signal handler.
        self._bell: SimpleQueue[bool] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="headrace-deadline", daemon=True)

    def start(self) -> None:
        """Begin to listen for `begin`."""
        self._thread.start()

    def begin(self) -> None:
        """The worker stops: its time begins, unless it has begun before. Safe in a signal handler."""
        self._bell.put(True)

    def close(self) -> None:
        """The worker has stopped: nothing more to watch."""
        self._bell.put(False)
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        stopping = self._bell.get()
        leave_at = time.monotonic() + self._seconds
        try:
            while stopping:
                stopping = self._bell.get(timeout=max(0.0, leave_at - time.monotonic()))
        except Empty:
            self.too_late()

    def too_late(self) -> None:
        """Log and count what is cut off, and end the process: with 0 if no consumer was running."""
        cut_off = [running for activity in self._activities if (running := activity.running) is not None]
        try:
            self._log(cut_off)
        finally:
            self._leave(EXIT_TOO_LATE if cut_off else 0)

    def _log(self, cut_off: Sequence[tuple[Delivery, float]]) -> None:
        for delivery, _ in cut_off:
            worker_log.error(
                "%s still runs %g s after the stop; it is cut off", named(delivery), self._seconds
            )
        if not cut_off:
            worker_log.error(
                "The channel layer did not answer within %g s of the stop; leaving without it", self._seconds
            )
        counted = self._counters() + Counter(lost=len(cut_off))
        said = ", ".join(f"{name} {count}" for name, count in sorted(counted.items()))
        worker_log.warning("Stopped at the deadline; handled since the start: %s", said or "nothing")
