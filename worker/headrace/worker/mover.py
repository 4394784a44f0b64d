"""The thread that moves what is due: messages for later, and further tries of acknowledged ones.

Every worker process has one, on a connection of its own. It sleeps until the next time that it knows of, and
is woken by whoever keeps something that is due before all else. Several of them do no harm: what one has
moved is not there for the others. When one dies, what only it knew of is moved by another after its longest
sleep.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence

from headrace_asgi.backoff import Backoff
from headrace_asgi.contract import ChannelLayer, Out, Outcome, WorkerPort
from headrace_asgi.errors import HeadraceError, KeySpoilt
from headrace_asgi.later import DUE_CHANNEL

from ..log import LimitedLog, worker_log

__all__ = ["Mover"]

#: Pauses between two tries while the layer is away: at first, and at most, in seconds.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0
#: What Redis is asked to wait beyond the time at which we end that wait ourselves, in seconds.
SPARE_SECONDS = 1.0
#: How long its end may take: a round trip, in seconds. The thread is a daemon.
CLOSE_SECONDS = 2.0


class Mover:
    """Moves what is due at `layer`. `move()` does it once, `start()` runs it in a thread."""

    def __init__(
        self,
        layer: ChannelLayer,
        channels: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the channels that this process takes; of the acknowledged ones it sees that takers wake.

        For a layer on which nothing becomes due this does nothing.
        """
        self._layer = layer
        self._channels = channels
        self._port: WorkerPort | None = None
        self._done = threading.Event()
        self._backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, random.random)
        self._limited_log = LimitedLog(clock=clock)
        self._thread = threading.Thread(target=self._run, name="headrace-mover", daemon=True)

    def start(self) -> None:
        """Begin to move."""
        if "delay" in self._layer.extensions:
            self._thread.start()

    def close(self) -> None:
        """End the thread and its connection."""
        self._done.set()
        port = self._port
        if port is not None:
            port.wake()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    def move(self) -> float:
        """Move once; the seconds until something is due again. Raises LayerUnavailable."""
        return self._layer.move_due(self._channels)

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                self._wait(self.move())
                self._backoff.reset()
            except KeySpoilt as error:
                self._limited_log.log("spoilt", logging.ERROR, "What is due cannot be moved: %s", error)
                self._done.wait(LONGEST_PAUSE_SECONDS)
            except HeadraceError as error:
                worker_log.debug("Cannot move what is due now: %s", error)
                self._done.wait(self._backoff.next_seconds())
            except Exception:
                worker_log.exception("Moving what is due failed; it goes on")
                self._done.wait(LONGEST_PAUSE_SECONDS)
        self._forget_port()

    def _wait(self, seconds: float) -> None:
        """Wait for a time, or for the word that something is due before it."""
        if self._port is None:
            self._port = self._layer.open_worker_port(_ignore)
        # Redis looks only ten times a second which waits are over: its own limit would be so much late.
        alarm = threading.Timer(seconds, self._port.wake)
        alarm.daemon = True
        alarm.start()
        try:
            if not self._done.is_set():
                self._port.turn((), (DUE_CHANNEL,), 1, seconds + SPARE_SECONDS)
        finally:
            alarm.cancel()

    def _forget_port(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            try:
                port.close()
            except (HeadraceError, OSError) as error:
                worker_log.debug("Closing the mover's connection: %s", error)


def _ignore(item: Out, outcome: Outcome) -> None:
    """It says nothing that could be refused."""
