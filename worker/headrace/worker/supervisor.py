"""Several worker processes from one: load Django once, fork, restart what dies, stop in order.

The parent runs no user code after the fork. It holds the write end of a pipe, the lifeline: when it is killed
the pipe ends, and the children finish what they run and leave. Each child notes what it holds in a flight
record that the parent reads when that child is dead.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import NoReturn

from django.db import connections

from headrace_asgi.backoff import Backoff

from ..log import worker_log
from .flight_record import FlightRecord
from .recovery import Recovery

__all__ = ["Supervisor", "prepare_fork", "stop_in_child", "stop_on_signals"]

#: A child that lived this long was healthy, and is replaced at once, in seconds. What cannot start dies
#: sooner; where something kills workers every few seconds, pauses that double would leave nobody to serve.
HEALTHY_SECONDS = 2.0
#: Pauses before a child that died early is replaced: the first one, doubling up to the longest, in seconds.
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0
#: What children get beyond their own stop deadline before they are killed, in seconds.
KILL_MARGIN_SECONDS = 2.0
#: What settling for killed children may take when all have left, in seconds: with both margins and their own
#: deadline still below the 30 s of common supervisors.
LAST_SETTLEMENT_SECONDS = 2.0
#: What saying their last counts may take then, in seconds: a round trip.
LAST_COUNTS_SECONDS = 0.5

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*_STOP_SIGNALS, signal.SIGCHLD)

Handler = Callable[[int, FrameType | None], object]


@dataclass(slots=True)
class _WorkerProcess:
    """One place for a worker process."""

    number: int
    record: FlightRecord
    pid: int = 0
    started: float = 0.0
    #: When it is to be started (again); meaningless while it runs.
    due: float = 0.0
    pause: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))


class Supervisor:
    """Keeps `processes` children alive until SIGTERM or SIGINT. `run` returns the exit status."""

    def __init__(
        self,
        processes: int,
        run_child: Callable[[int, FlightRecord], int],
        stop_deadline_seconds: float,
        recovery: Recovery,
        record_slots: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what a child does: `run_child(lifeline, record)`, in the child, returns its exit status.

        Children have `stop_deadline_seconds` to leave after a stop, by themselves; then they are killed.
        `recovery` settles for what a dead one held, as its record of `record_slots` messages tells.
        """
        self._run_child = run_child
        self._recovery = recovery
        self._deadline_seconds = stop_deadline_seconds + KILL_MARGIN_SECONDS
        self._clock = clock
        self._children = [
            _WorkerProcess(number, FlightRecord(record_slots)) for number in range(1, processes + 1)
        ]
        self._stop_by: float | None = None
        self._asked = 0
        self._status = 0
        self._lifeline = (-1, -1)
        self._wakeup = (-1, -1)

    def run(self) -> int:
        """Work until a signal; 0 if every child left by itself, else 1. Main thread only."""
        self._lifeline = os.pipe()
        self._wakeup = os.pipe()
        for end in self._wakeup:
            os.set_blocking(end, False)
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        wakeup_before = signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        try:
            while self._stop_by is None or any(child.pid for child in self._children):
                self.step()
            self._settle_last()
        finally:
            signal.set_wakeup_fd(wakeup_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            for end in (*self._lifeline, *self._wakeup):
                os.close(end)
        return self._status

    def step(self) -> None:
        """One turn: bury, start, kill what is overdue, settle, wait for a signal or the next thing due."""
        now = self._clock()
        self._bury(now)
        if self._stop_by is None:
            for child in self._children:
                if not child.pid and child.due <= now:
                    self._start(child, now)
        elif self._asked > 1 or now >= self._stop_by:
            self._kill_all()
        if self._recovery.due is not None and self._recovery.due <= now:
            self._recovery.settle(now)
        self._wait(self._clock())

    def _settle_last(self) -> None:
        """All children are gone: a layer that hangs must not keep us beyond what a supervisor allows."""
        if self._recovery.due is not None:
            settling = threading.Thread(target=self._recovery.settle, args=(self._clock(),), daemon=True)
            settling.start()
            settling.join(LAST_SETTLEMENT_SECONDS if self._recovery.is_awaited else LAST_COUNTS_SECONDS)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number not in _STOP_SIGNALS:
            return
        self._asked += 1
        if self._stop_by is None:
            self._stop_by = self._clock() + self._deadline_seconds
            self._signal_all(signal.SIGTERM)

    def _bury(self, now: float) -> None:
        for child in self._children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._died(child, os.waitstatus_to_exitcode(status), now)

    def _died(self, child: _WorkerProcess, status: int, now: float) -> None:
        pid, child.pid = child.pid, 0
        held = self._recovery.died(child.record.left(), now, child.record.left_tally())
        end = _ended(status) + (f", {held}" if held else "")
        if self._stop_by is not None:
            if status not in (0, -signal.SIGTERM):
                self._status = 1
                worker_log.error("Worker %d [%d] %s while stopping", child.number, pid, end)
            return
        self._start_later(child, now, healthy=now - child.started >= HEALTHY_SECONDS)
        worker_log.error("Worker %d [%d] %s; starting another in %.1f s", child.number, pid, end, child.pause)

    def _start_later(self, child: _WorkerProcess, now: float, healthy: bool) -> None:
        if healthy:
            child.backoff.reset()
        child.pause = 0.0 if healthy else child.backoff.next_seconds()
        child.due = now + child.pause

    def _start(self, child: _WorkerProcess, now: float) -> None:
        # A signal that arrives between the fork and the child's own handlers waits for those.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            if self._stop_by is not None:
                return  # asked since this turn began: a child born now would never hear of it
            child.started = now
            child.pid = os.fork()
            if child.pid == 0:
                self._be_child(child)
        except OSError as error:  # no memory, or too many processes: the others go on
            self._start_later(child, now, healthy=False)
            worker_log.error(
                "Worker %d cannot be started: %s; trying again in %.1f s", child.number, error, child.pause
            )
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        worker_log.info("Worker %d [%d] started", child.number, child.pid)

    def _be_child(self, child: _WorkerProcess) -> NoReturn:
        """In the child: shake off what belongs to the parent, run, leave without the parent's clean-up."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            for end in (self._lifeline[1], *self._wakeup):
                os.close(end)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            status = self._run_child(self._lifeline[0], child.record)
        except BaseException as error:
            worker_log.error("Worker %d failed", child.number, exc_info=error)
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(status)

    def _signal_all(self, number: int) -> None:
        for child in self._children:
            if child.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, number)

    def _kill_all(self) -> None:
        worker_log.error(
            "Workers are killed: %s", "asked twice" if self._asked > 1 else "the deadline is over"
        )
        self._signal_all(signal.SIGKILL)

    def _wait(self, now: float) -> None:
        """Wait for a signal, at most until something is due."""
        if self._stop_by is not None:
            pause = max(0.05, min(1.0, self._stop_by - now))
            if not any(child.pid for child in self._children):
                return
        else:
            dues = [child.due for child in self._children if not child.pid]
            if self._recovery.due is not None:
                dues.append(self._recovery.due)
            pause = max(0.0, min(dues) - now) if dues else 60.0
        select.select([self._wakeup[0]], [], [], pause)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wakeup[0], 4096):
                pass


def prepare_fork() -> None:
    """Make the process fit for forking: no shared connections, no thread that would be missing afterwards.

    What it finds it names in a warning, with what happens next: such things work in no child.
    """
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            worker_log.warning(
                "Database connection %r was opened while Django was loading; it is closed, "
                "worker processes open their own",
                connection.alias,
            )
    connections.close_all()
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if threads:
        worker_log.warning(
            "These threads were started while Django was loading and will be missing in worker processes: %s",
            ", ".join(threads),
        )
    gc.collect()
    gc.freeze()


def stop_on_signals(stop: Callable[[], None]) -> None:
    """First SIGTERM or SIGINT: `stop()`; the second ends the process as if nobody had listened."""

    def first(number: int, frame: FrameType | None) -> None:
        for each in _STOP_SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        stop()

    for each in _STOP_SIGNALS:
        signal.signal(each, first)


def stop_in_child(stop: Callable[[], None]) -> None:
    """SIGTERM: `stop()`, any number of times; SIGINT is the parent's.

    Ctrl-C and service managers signal the whole group, so a child cannot know whether a second SIGTERM is
    meant. Only the parent turns to force.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: stop())


def _ended(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return "left" if status == 0 else f"failed with status {status}"
