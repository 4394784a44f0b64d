"""What this process runs right now, and the thread that watches it.

A consumer that runs cannot say so itself. Every worker thread notes its message in a `Slot`; one `Watcher`
per process looks twice a second. It tells an interface process about a message that runs long, so that the
queue deadline no longer applies; it renews the ordering leases of long ones; it ends the process when a stop
takes too long, and stops it when the parent is gone.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from headrace_asgi.contract import Control, Delivery, Out, Outcome, WorkerPort
from headrace_asgi.control import RUNNING, note
from headrace_asgi.errors import HeadraceError
from headrace_asgi.names import is_process_queue, local_part

from .conf import Settings
from .log import Seldom, worker_log
from .message import ANSWERED

__all__ = ["Slot", "Watcher"]

LOOK_INTERVAL_SECONDS = 0.5
#: Exit status of a process whose consumers were still running at the stop deadline.
EXIT_TOO_LATE = 1


class Slot:
    """What one worker thread runs: a delivery and when it was started, or None. Only that thread writes."""

    __slots__ = ("running",)

    def __init__(self) -> None:
        self.running: tuple[Delivery, float] | None = None


class _Seen:
    """What the watcher knows of one slot's message."""

    __slots__ = ("renewed", "running", "told")

    def __init__(self, running: tuple[Delivery, float]) -> None:
        self.running = running
        self.told = False
        self.renewed = running[1]


class Watcher:
    """Looks at the slots of this process. `check()` is one look, `start()` runs it in a thread."""

    def __init__(
        self,
        layer: Any,
        slots: Sequence[Slot],
        settings: Settings,
        stop: Callable[[], None],
        lifeline: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        """Watch `slots`.

        `stop` asks the worker to stop: called when `lifeline`, the read end of a pipe that only the parent
        writes to, ends. `leave` ends the process at once.
        """
        self._layer = layer
        self._slots = slots
        self._settings = settings
        self._stop_worker = stop
        self._lifeline = lifeline
        self._clock = clock
        self._leave = leave
        self._seen: dict[int, _Seen] = {}
        self._port: WorkerPort | None = None
        self._seldom = Seldom(clock=clock)
        self._stop_by: float | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headrace-watcher", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stopping(self) -> None:
        """The worker stops: the deadline for what still runs begins. Safe in a signal handler."""
        if self._stop_by is None:
            self._stop_by = self._clock() + self._settings.stop_deadline_seconds

    def close(self) -> None:
        """The worker has stopped: end the thread and the connection."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(LOOK_INTERVAL_SECONDS * 4)
        self._forget_port()

    def check(self) -> None:
        """Look once at every slot. Blocks for a round trip if something must be said."""
        now = self._clock()
        if self._stop_by is not None and now >= self._stop_by:
            self._too_late()
        for index, slot in enumerate(self._slots):
            running = slot.running
            if running is None:
                self._seen.pop(index, None)
                continue
            seen = self._seen.get(index)
            if seen is None or seen.running is not running:
                seen = self._seen[index] = _Seen(running)
            try:
                self._look(seen, now)
            except HeadraceError as error:
                self._forget_port()
                self._seldom.log(
                    "layer",
                    logging.WARNING,
                    "Cannot say what runs long: %s; trying again with the next look",
                    error,
                )

    def _look(self, seen: _Seen, now: float) -> None:
        delivery, started = seen.running
        if not seen.told and now - started > self._settings.long_running_seconds:
            reply_channel = str(delivery.message.get("reply_channel"))
            if delivery.channel in ANSWERED and is_process_queue(reply_channel):
                body = note(RUNNING, local=local_part(reply_channel))
                self._own_port().turn([Control(reply_channel, body)], (), 0, 0)
            seen.told = True
        if delivery.order is not None and now - seen.renewed > self._settings.renew_seconds:
            if not self._own_port().renew(delivery):
                self._seldom.log(
                    "lapsed",
                    logging.ERROR,
                    "The ordering lease of a running %s lapsed: the next message of %s may overlap with it",
                    delivery.channel,
                    delivery.message.get("reply_channel"),
                )
            seen.renewed = now

    def _own_port(self) -> WorkerPort:
        if self._port is None:
            self._port = self._layer.open_worker_port(_ignore)
        return self._port

    def _forget_port(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            try:
                port.close()
            except (HeadraceError, OSError) as error:
                worker_log.debug("Closing the watcher's connection: %s", error)

    def _too_late(self) -> None:
        for slot in self._slots:
            running = slot.running
            if running is not None:
                worker_log.error(
                    "A message on %s still runs %g s after the stop; it is cut off",
                    running[0].channel,
                    self._settings.stop_deadline_seconds,
                )
        self._leave(EXIT_TOO_LATE)

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                self._pause()
                self.check()
            except Exception:
                worker_log.exception("The watcher of running messages failed; it goes on")
                self._done.wait(LOOK_INTERVAL_SECONDS)

    def _pause(self) -> None:
        if self._lifeline is None:
            self._done.wait(LOOK_INTERVAL_SECONDS)
            return
        ended, _, _ = select.select([self._lifeline], [], [], LOOK_INTERVAL_SECONDS)
        if ended:
            self._lifeline = None
            worker_log.warning("The parent process is gone; finishing what runs, then leaving")
            self.stopping()
            self._stop_worker()


def _ignore(item: Out, outcome: Outcome) -> None:
    """A note that is refused is about a client that is gone."""
