"""A worker's line to the layer, as its loop sees it: it never raises, and what it holds survives outages.

A `Line` writes what consumers said and takes the next messages in one turn of a `WorkerPort`, keeps what was
refused, and puts back what came too early. It has one owner, a thread whose turns may wait for messages;
others may write and give back while that one runs a consumer. One lock, held for as long as the port is in
use, keeps what is said in its order.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from headrace_asgi.accounting import DEAD, LOST
from headrace_asgi.backoff import Backoff, pause_seconds
from headrace_asgi.contract import ChannelLayer, Delivery, Out, Outcome, WorkerPort
from headrace_asgi.errors import (
    ConfigurationError,
    HeadraceError,
    LayerRefused,
    LayerUnavailable,
    OutcomeUnknown,
)
from headrace_asgi.log_limit import Trouble

from ..conf import WorkerSettings
from ..log import LimitedLog, layer_log, worker_log
from ..outbox import RETRY_INTERVAL_SECONDS
from .flight_record import FlightRecord
from .unsent import Unsent

__all__ = ["Line"]

#: A Redis that refuses us, for a wrong password or its age, may be put right while we run: nobody needs to
#: start the workers again.
_AWAY = (LayerUnavailable, ConfigurationError)
#: Pauses between tries while the layer is away: at first, and at most.
FIRST_OUTAGE_PAUSE_SECONDS, LAST_OUTAGE_PAUSE_SECONDS = 0.05, 1.0
#: First pause before a message that came too early is put back; each further one doubles.
FIRST_PAUSE_SECONDS = 0.01
#: How often putting a message back may be refused, by a full channel, before it is dropped and counted.
MOST_REFUSALS = 20
#: A pause is cut into such parts, so that a stop need not wait for its end.
NAP_SECONDS = 0.05


class Line:
    """One thread's way to and from the layer.

    Other threads may call `flush`, `may_start` and `give_back`, signal handlers only `wake`.
    """

    def __init__(
        self,
        layer: ChannelLayer,
        settings: WorkerSettings,
        counters: Counter[str],
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        record: FlightRecord | None = None,
    ) -> None:
        """Take the layer, and `stopping`, which says whether pauses should end early.

        What is taken is noted in `record`, until all that was said for it is written.
        """
        self._layer = layer
        self._settings = settings
        self._counters = counters
        self._stopping = stopping
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._port: WorkerPort | None = None
        self._record = record
        self._out: list[Out] = []
        #: Deliveries that are done, with what they said, while that is in `_out` or kept by the port; so many
        #: of them are being written.
        self._done: list[tuple[Delivery, list[Out]]] = []
        self._being_written = 0
        self._unsent = Unsent(settings.send_retry_seconds, counters, clock)
        self._later: list[tuple[float, int, int, Delivery]] = []
        self._tickets = itertools.count()
        self._backoff = Backoff(FIRST_OUTAGE_PAUSE_SECONDS, LAST_OUTAGE_PAUSE_SECONDS, random.random)
        self._no_flush_before = 0.0
        self._outage = Trouble()
        #: Of this outage, that the layer refuses us.
        self._refusal = Trouble()
        self._limited_log = LimitedLog(clock=clock)

    @property
    def pending(self) -> bool:
        """Whether something waits to be written, or to be tried again."""
        return bool(self._out or self._unsent or self._later)

    def put(self, out: list[Out]) -> None:
        """Write this with the next turn. Needs no lock: `_out` only grows here, in one step."""
        self._out.extend(out)

    def done(self, delivery: Delivery, out: list[Out]) -> None:
        """Write what a delivery that is done said with the next turn; then nothing of it is left to do."""
        self._out.extend(out)
        if self._record is not None:
            self._done.append((delivery, out))

    def put_back(self, delivery: Delivery) -> None:
        """Put a delivery at the tail of its channel, after a pause that grows with its retries."""
        if self._record is not None:
            self._record.waits(delivery)
        pause = pause_seconds(delivery.retries, FIRST_PAUSE_SECONDS, self._settings.retry_pause_seconds)
        with self._lock:
            self._put_back_at(self._clock() + pause, 0, delivery)

    def turn(
        self, channels: Sequence[str] = (), limit: int = 0, block_seconds: float = 0.0
    ) -> list[Delivery]:
        """Write what is there and take up to `limit` messages, waiting up to `block_seconds` for the first.

        During an outage this logs once, pauses and answers nothing.
        """
        with self._lock:
            taken, pause = self._exchange(channels, limit, block_seconds)
        if pause:
            self._pause(pause)
        return taken

    def flush(self) -> None:
        """Write what is there, for the owner that runs a consumer; nothing to do if the owner is in a turn.

        Waits for the layer's answers, but never pauses: call it again while something is `pending`.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._clock() >= self._no_flush_before:
                _, pause = self._exchange((), 0, 0.0)
                self._no_flush_before = self._clock() + pause
        finally:
            self._lock.release()

    def _exchange(
        self, channels: Sequence[str], limit: int, block_seconds: float
    ) -> tuple[list[Delivery], float]:
        """One turn of the port: what was taken, and how long to pause before the next turn."""
        if self._later:
            self._put_back_due(float("inf") if self._stopping() else self._clock())
        # Counted first: what is done from now on is written with the next turn.
        self._being_written = len(self._done)
        out = self._unsent.with_held(self._taken_out())
        try:
            taken = self._opened().turn(out, channels, limit, self._wait(block_seconds))
        except _AWAY as error:
            self._unsent.broken(out, error)
            return [], self._note_outage(error)
        except Exception:
            worker_log.exception("The layer failed at a write of %d items; each is tried alone", len(out))
            self._being_written = 0
            self._write_singly(out)
            # If it was one of them, it is out of the way now.
            return [], 0.0 if out else self._backoff.next_seconds()
        self._backoff.reset()
        if self._outage.count:
            self._back()
        if taken and self._record is not None:
            self._record.taken(taken)
        return taken, 0.0

    def _taken_out(self) -> list[Out]:
        count = len(self._out)
        out = self._out[:count]
        del self._out[:count]
        return out

    def wait_seconds(self, longest: float) -> float:
        """How long a caller with nothing new to write may wait before its next turn."""
        return self._wait(longest)

    def may_start(self, delivery: Delivery) -> bool:
        """Whether a delivery that waited may start; waits while the layer cannot say.

        When we stop meanwhile, it is given back if that is possible, and counted if not.
        """
        while True:
            try:
                with self._lock:
                    allowed = self._opened().may_start(delivery, self._clock())
            except _AWAY as error:
                with self._lock:
                    pause = self._note_outage(error)
                self._pause(pause)
                if self._stopping():
                    self.give_back([delivery])
                    return False
                continue
            except Exception as error:
                self._counters["unknown"] += 1
                self._count([delivery], LOST)
                worker_log.error("Cannot tell whether a %s may start; dropped: %r", delivery.channel, error)
                return False
            if not allowed:
                late = delivery.order is not None or delivery.claim is not None
                self._counters["stale" if late else "expired"] += 1
                self._ended([delivery])
            return allowed

    def give_back(self, deliveries: Sequence[Delivery], level: int = logging.INFO) -> None:
        """Put what was not started back at the head of its channels, and log that at `level`."""
        if not deliveries:
            return
        try:
            with self._lock:
                self._opened().give_back(deliveries)
        except Exception as error:
            self._counters["unknown"] += len(deliveries)
            if not isinstance(error, OutcomeUnknown):  # else they are perhaps back
                self._count(deliveries, LOST)
            worker_log.error(
                "Could not give back %d messages that were not started: %s", len(deliveries), error
            )
        else:
            self._counters["given back"] += len(deliveries)
            worker_log.log(level, "Gave back %d messages that were not started", len(deliveries))
        self._ended(deliveries)

    def wake(self) -> None:
        """End a waiting turn, or the next one. From any thread, and from a signal handler."""
        port = self._port
        if port is not None:
            port.wake()

    def close(self) -> None:
        """Write what is left, trying refused sends for as long as they may be; then disconnect."""
        with self._lock:
            deadline = self._clock() + self._unsent.patience_seconds
        while self.pending or self._kept():
            self.turn()
            if self._clock() >= deadline:
                break
            self._sleep(RETRY_INTERVAL_SECONDS)
        with self._lock:
            for _, _, _, delivery in self._later:
                self._not_put_back(delivery)
            port, self._port = self._port, None
            if port is not None:
                try:
                    port.close()
                except (LayerUnavailable, OSError) as error:
                    worker_log.debug("Closing a worker's connection: %s", error)
            # Behind the port: it has refused what it kept.
            self._unsent.give_up()

    def _opened(self) -> WorkerPort:
        if self._port is None:
            self._port = self._layer.open_worker_port(self._refused)
            if self._record is not None:
                self._port.on_said = self._said
            if self._stopping():
                self._port.wake()  # a stop before there was a port woke nobody
        return self._port

    def _said(self) -> None:
        """The port's word that what this turn writes is written, but for what it keeps."""
        count, self._being_written = self._being_written, 0
        if not count:
            return
        kept = {id(item) for item in self._kept()}
        ended: list[Delivery] = []
        waiting: list[tuple[Delivery, list[Out]]] = []
        for delivery, out in self._done[:count]:
            if kept and any(id(item) in kept for item in out):
                waiting.append((delivery, out))
            else:
                ended.append(delivery)
        self._done[:count] = waiting
        self._ended(ended)

    def _kept(self) -> Sequence[Out]:
        return () if self._port is None else self._port.kept

    def _ended(self, deliveries: Sequence[Delivery]) -> None:
        if self._record is not None:
            self._record.ended(deliveries)

    def _count(self, deliveries: Sequence[Delivery], end: str) -> None:
        for one in deliveries:
            if one.claim is None:
                self._layer.count(one.channel, end)

    def _refused(self, item: Out, outcome: Outcome) -> None:
        """The port's word, in the middle of a turn, which then must not wait for messages for long."""
        self._unsent.refused(item, outcome)
        if self._unsent:
            self.wake()

    def _wait(self, longest: float) -> float:
        if self._unsent:
            longest = self._unsent.wait_seconds(longest)
        if self._later:
            longest = min(longest, max(0.0, self._later[0][0] - self._clock()))
        return longest

    def _put_back_at(self, due: float, refusals: int, delivery: Delivery) -> None:
        heapq.heappush(self._later, (due, next(self._tickets), refusals, delivery))

    def _put_back_due(self, now: float) -> None:
        due = []
        while self._later and self._later[0][0] <= now:
            due.append(heapq.heappop(self._later))
        for _, _, refusals, delivery in due:
            self._put_back_now(refusals, delivery)

    def _put_back_now(self, refusals: int, delivery: Delivery) -> None:
        try:
            if self._opened().requeue(delivery):
                self._ended([delivery])
                return
            stale = delivery.order is not None  # its lease lapsed: somebody moved on
        except OutcomeUnknown as error:
            # It may be there: a second one would run too, of an ordered socket even at the same time.
            self._counters["unknown"] += 1
            worker_log.warning("A message on %s was perhaps not put back: %s", delivery.channel, error)
            self._ended([delivery])
            return
        except _AWAY as error:
            worker_log.debug("Cannot put back a message on %s yet: %s", delivery.channel, error)
            self._put_back_at(self._clock() + RETRY_INTERVAL_SECONDS, refusals, delivery)
            return
        except Exception as error:  # such as a layer that is out of memory
            worker_log.debug("A message on %s was not put back: %r", delivery.channel, error)
            stale = False
        if stale:
            self._counters["stale"] += 1
            self._ended([delivery])
        elif refusals < MOST_REFUSALS:
            self._put_back_at(self._clock() + RETRY_INTERVAL_SECONDS, refusals + 1, delivery)
        else:
            self._not_put_back(delivery)

    def _not_put_back(self, delivery: Delivery) -> None:
        self._counters["shed"] += 1
        self._count([delivery], DEAD)
        self._ended([delivery])
        self._limited_log.log(
            f"later {delivery.channel}",
            logging.ERROR,
            "A message on %s that was to be consumed later could not be put back; dropped",
            delivery.channel,
        )

    def _write_singly(self, out: Sequence[Out]) -> None:
        for item in out:
            try:
                self._opened().turn([item], (), 0, 0)
            except _AWAY as error:
                self._unsent.broken([item], error)
            except Exception as error:
                self._counters["shed"] += 1
                worker_log.error("The layer cannot write a %s; dropped: %r", type(item).__name__, error)

    def _note_outage(self, error: HeadraceError) -> float:
        """Note that the layer is away; how long to pause now."""
        now = self._clock()
        begins = self._outage.happened(now)
        refused = isinstance(error, LayerRefused) and self._refusal.happened(now)
        if begins:
            layer_log.warning("The channel layer is unavailable (%s); trying again until it is back", error)
        elif refused:
            layer_log.error("The channel layer refuses us (%s); trying again until that is put right", error)
        return self._backoff.next_seconds()

    def _back(self) -> None:
        past = self._outage.over()
        self._refusal.over()
        if past is not None:
            layer_log.warning("The channel layer is back after %.1f s", self._clock() - past.first_at)

    def _pause(self, seconds: float) -> None:
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0:
            self._sleep(min(left, NAP_SECONDS))
            if self._stopping():
                return
