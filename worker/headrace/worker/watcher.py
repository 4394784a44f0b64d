"""The thread that watches what this process runs.

A consumer that runs cannot say so itself. Every worker thread notes its message in an `Activity`; one
`Watcher` per process looks twice a second. It tells an interface process about a message that runs long, so
that the queue deadline no longer applies; it renews the ordering leases and claims of long ones; it logs
those that run very long, and where they are; it announces the channels that this process takes, has the
layer look for interface servers that died, writes what was counted, looks whether anybody takes what
consumers send, and stops the process when the parent is gone.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Sequence

import headrace_asgi
from headrace_asgi.acknowledgement import RENEW_CLAIM_SECONDS
from headrace_asgi.contract import ChannelLayer, Control, Delivery, Out, Outcome, WorkerPort
from headrace_asgi.control import RUNNING, note
from headrace_asgi.errors import HeadraceError, KeySpoilt
from headrace_asgi.limits import ANNOUNCE_SECONDS, COUNTS_SECONDS, REAP_SECONDS
from headrace_asgi.names import is_process_queue, local_part

from .. import takers
from ..conf import WorkerSettings
from ..log import LimitedLog, worker_log
from ..message import ANSWERED
from .activity import Activity, named

__all__ = ["Watcher"]

LOOK_INTERVAL_SECONDS = 0.5
#: When a running message is logged, with the place where it is, in seconds: longer than most clients wait.
VERY_LONG_SECONDS = 30.0
#: Frames of the project's own code in that log line.
SHOWN_FRAMES = 3
#: Pause after the channels could not be announced, in seconds.
ANNOUNCE_AGAIN_SECONDS = 5.0

_LIBRARIES = (
    *{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")},
    os.path.dirname(os.path.dirname(__file__)),
    os.path.dirname(headrace_asgi.__file__),
    "<frozen",
)


class _Seen:
    """What the watcher knows of one thread's message."""

    __slots__ = ("logged", "renewed", "running", "told")

    def __init__(self, running: tuple[Delivery, float]) -> None:
        self.running = running
        self.told = False
        self.logged = False
        self.renewed = running[1]


class Watcher:
    """Looks at what the threads of this process. `check()` is one look, `start()` runs it in a thread."""

    def __init__(
        self,
        layer: ChannelLayer,
        activities: Sequence[Activity],
        settings: WorkerSettings,
        stop: Callable[[], None],
        lifeline: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        channels: Sequence[str] = (),
        flush: Callable[[], None] = lambda: None,
    ) -> None:
        """Watch `activities`, and announce that this process takes `channels`.

        `stop` asks the worker to stop: called when `lifeline`, the read end of a pipe that only the parent
        writes to, ends. `flush` writes what the worker's line or its port still holds while a consumer runs.
        """
        self._layer = layer
        self._activities = activities
        self._settings = settings
        self._stop_worker = stop
        self._lifeline = lifeline
        self._clock = clock
        self._channels = channels
        self._flush = flush
        self._announce_at = self._reap_at = clock()
        self._write_counts_at = self._reap_at + COUNTS_SECONDS
        self._seen: dict[int, _Seen] = {}
        self._port: WorkerPort | None = None
        self._limited_log = LimitedLog(clock=clock)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headrace-watcher", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """The worker has stopped: end the thread and the connection."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(LOOK_INTERVAL_SECONDS * 4)
        self._forget_port()

    def check(self) -> None:
        """Look once at the activity of every thread. Blocks for a round trip if something must be said."""
        now = self._clock()
        for index, activity in enumerate(self._activities):
            running = activity.running
            seen = self._seen.get(index)
            if seen is not None and seen.running is not running:
                self._ended(self._seen.pop(index), now)
                seen = None
            if running is None:
                continue
            if seen is None:
                seen = self._seen[index] = _Seen(running)
            if not seen.logged and now - running[1] >= VERY_LONG_SECONDS:
                self._log_very_long(seen, activity, now)
            try:
                self._look(seen, now)
            except HeadraceError as error:
                self._limited_log.log(
                    "layer",
                    logging.WARNING,
                    "Cannot say what runs long: %s; trying again with the next look",
                    error,
                )
        if self._seen:
            self._flush()
        if self._channels and now >= self._announce_at:
            self._announce(now)
        if now >= self._reap_at:
            self._reap(now)
        if now >= self._write_counts_at:
            self._write_counts(now)
        takers.look_at_noted()

    def _reap(self, now: float) -> None:
        self._reap_at = now + REAP_SECONDS
        try:
            self._layer.reap()
        except KeySpoilt as error:
            self._limited_log.log(
                "spoilt", logging.ERROR, "Nobody can tell which interface servers are dead: %s", error
            )
        except HeadraceError as error:
            worker_log.debug("Cannot look for dead interface servers now: %s", error)

    def _write_counts(self, now: float) -> None:
        self._write_counts_at = now + COUNTS_SECONDS
        try:
            self._layer.write_counts()
        except HeadraceError as error:
            worker_log.debug("What was counted cannot be written yet: %s", error)

    def _announce(self, now: float) -> None:
        try:
            self._layer.announce(self._channels)
        except HeadraceError as error:
            worker_log.debug("Cannot announce the channels that are taken yet: %s", error)
            self._announce_at = now + ANNOUNCE_AGAIN_SECONDS
        else:
            self._announce_at = now + ANNOUNCE_SECONDS

    def _log_very_long(self, seen: _Seen, activity: Activity, now: float) -> None:
        where = _where(activity.thread_id)
        if activity.running is not seen.running:  # it ended meanwhile: that is where the next one is
            return
        seen.logged = True
        delivery, started = seen.running
        worker_log.warning(
            "%s has been running for %.0f s and holds its worker thread; it is at %s",
            named(delivery),
            now - started,
            where,
        )

    def _ended(self, seen: _Seen, now: float) -> None:
        if seen.logged:
            worker_log.warning("%s ended after %.0f s", named(seen.running[0]), now - seen.running[1])

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
                self._limited_log.log(
                    "lapsed",
                    logging.ERROR,
                    "The ordering lease of a running %s lapsed: the next message of %s may overlap with it",
                    delivery.channel,
                    delivery.message.get("reply_channel"),
                )
            seen.renewed = now
        if delivery.claim is not None and now - seen.renewed > RENEW_CLAIM_SECONDS:
            if not self._own_port().renew(delivery):
                self._limited_log.log(
                    "claim",
                    logging.ERROR,
                    "The claim of a running %s lapsed: another worker may run the message too",
                    delivery.channel,
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
            self._stop_worker()


def _ignore(item: Out, outcome: Outcome) -> None:
    """A note that is refused is about a client that is gone."""


def _where(thread_id: int) -> str:
    """Where a thread is: the innermost frame, and the innermost ones of the project's own code."""
    frame = sys._current_frames().get(thread_id)
    stack = [
        (each.f_code.co_filename, f"{each.f_code.co_filename}:{line} in {each.f_code.co_name}")
        for each, line in traceback.walk_stack(frame)
    ]
    if frame is None or not stack:
        return "a place that cannot be told"
    own = [text for path, text in stack if not path.startswith(_LIBRARIES)]
    return ", called from ".join(dict.fromkeys([stack[0][1], *own[:SHOWN_FRAMES]]))
