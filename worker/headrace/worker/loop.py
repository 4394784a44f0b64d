"""What every worker is: its options, what watches it, and the way from its start to its stop."""

from __future__ import annotations

import fnmatch
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from headrace_asgi.contract import Delivery, Out
from headrace_asgi.errors import HeadraceError
from headrace_asgi.tally import Tally

from .. import conf
from ..asgi import ChannelLayerWrapper
from ..log import worker_log
from ..signals import worker_ready
from ..types import Content
from .activity import Activity
from .deadline import Deadline
from .dispatch import Dispatcher
from .flight_record import FlightRecord
from .hooks import Hook, default_hooks
from .line import Line
from .mover import Mover
from .watcher import Watcher

__all__ = ["AT_ONCE_SECONDS", "BLOCK_SECONDS", "WorkerLoop", "apply_channel_filters"]

#: Longest wait of one take. Long, so that an idle worker is quiet; a stop ends it at once.
BLOCK_SECONDS = 5.0
#: A message that starts later than this after its take asks whether it still may, in seconds: a take is worth
#: about two milliseconds, so those that wait behind a slow one ask.
AT_ONCE_SECONDS = 0.01
#: Pause after a turn that failed for no known reason, in seconds: it may fail for ever, but not flood.
AFTER_FAILURE_SECONDS = 0.5

Callback = Callable[[str, Content], None]


class WorkerLoop(ABC):
    """Takes messages of a layer and runs their consumers, until it is told to stop."""

    def __init__(
        self,
        channel_layer: ChannelLayerWrapper,
        callback: Callback | None = None,
        only_channels: Iterable[str] | None = None,
        exclude_channels: Iterable[str] | None = None,
        *,
        threads: int = 1,
        settings: conf.WorkerSettings | None = None,
        hooks: Callable[[Callback | None], Sequence[Hook]] = default_hooks,
        lifeline: int | None = None,
        record: FlightRecord | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the layer with its routing (`headrace.channel_layers[alias]`).

        `callback(channel, content)` is called before each message. Channels are those of the routing that
        match one of the globs `only_channels`, if any, and none of `exclude_channels`. `threads` run
        consumers. `lifeline` is the read end of a pipe: when it ends, so does the worker. What it holds it
        notes in `record`, for a parent that sees to that if this process dies.
        """
        self.channel_layer = channel_layer
        self.stopping = False
        self.channels = apply_channel_filters(channel_layer.router.channels, only_channels, exclude_channels)
        self._settings = settings or conf.settings()
        self._clock = clock
        self._record, self._tally = record, _tally_of(channel_layer, record)
        # One for each thread that counts: adding to a shared one is no atomic step.
        self._counters: list[Counter[str]] = []
        #: To the layer, for the thread that takes.
        self._line = self._new_line(self._new_counter())
        self._activities = [Activity() for _ in range(threads)]
        self._watcher = Watcher(
            channel_layer,
            self._activities,
            self._settings,
            self.stop,
            lifeline,
            clock,
            self.channels,
            self._line.flush,
        )
        self._mover = Mover(channel_layer, self.channels)
        self._deadline = Deadline(
            self._activities, self._settings.stop_deadline_seconds, lambda: self.counters
        )
        self._assemble(lambda: hooks(callback))

    @property
    def counters(self) -> Counter[str]:
        """What was counted since the start, such as "done", "failed" and "shed"."""
        return sum(self._counters, Counter())

    def run(self) -> None:
        """Work until `stop`. Returns when what ran is answered and what was not started is given back.

        Ends the process if that takes longer than `STOP_DEADLINE_SECONDS`: with status 0 if only the layer
        does not answer, with 1 if a consumer is cut off.
        """
        self._deadline.start()
        self._watcher.start()
        self._mover.start()
        self._start_threads()
        worker_ready.send(sender=type(self), worker=self)
        try:
            while not self.stopping:
                self._step_guarded()
        finally:
            self.close()

    @abstractmethod
    def step(self) -> int:
        """One turn of the thread that takes. The number of messages taken."""

    def stop(self) -> None:
        """Ask the worker to finish what runs and leave. From any thread, and from a signal handler."""
        self.stopping = True
        self._deadline.begin()
        self._rouse()
        self._line.wake()

    def close(self) -> None:
        """Give back what was not started, write the last answers, disconnect."""
        self.stopping = True
        self._deadline.begin()
        self._wind_up()
        self._mover.close()
        self._watcher.close()
        self._write_last_counts()
        self._deadline.close()

    def _write_last_counts(self) -> None:
        """Nobody is told if the layer is away: what is missing shows as unknown."""
        if self._tally.has_said or not self._tally.is_known:
            try:
                self.channel_layer.write_counts(last=True)
            except HeadraceError as error:
                worker_log.debug("What was counted last cannot be written: %s", error)

    @abstractmethod
    def _assemble(self, make_hooks: Callable[[], Sequence[Hook]]) -> None:
        """Make what takes and runs messages; `make_hooks` gives each thread that runs consumers its own."""

    @abstractmethod
    def _start_threads(self) -> None:
        """Start the threads of this kind of worker; the calling one is about to take."""

    @abstractmethod
    def _rouse(self) -> None:
        """A stop was asked for: end waits that are not the line's. Safe in a signal handler."""

    @abstractmethod
    def _wind_up(self) -> None:
        """Give back what was not started, write the last answers, disconnect, end the threads."""

    def _is_stopping(self) -> bool:
        return self.stopping

    def _new_counter(self) -> Counter[str]:
        self._counters.append(Counter())
        return self._counters[-1]

    def _new_line(self, counters: Counter[str]) -> Line:
        layer, settings = self.channel_layer, self._settings
        return Line(layer, settings, counters, self._is_stopping, self._clock, record=self._record)

    def _new_dispatcher(
        self,
        activity: Activity,
        hooks: Sequence[Hook],
        counters: Counter[str],
        say: Callable[[list[Out]], object],
        flush_earlier: Callable[[], None] | None = None,
    ) -> Dispatcher:
        layer = self.channel_layer
        return Dispatcher(
            layer,
            layer.router,
            self._settings,
            hooks,
            counters,
            activity,
            flush_earlier,
            self._clock,
            say,
            self._over,
        )

    def _over(self, delivery: Delivery, end: str) -> None:
        """A consumer has ended. What is counted for a claim, the layer counts when it is settled."""
        if delivery.claim is None:
            self._tally.add(delivery.channel, end)
        if self._record is not None:
            self._record.over(delivery)

    def _step_guarded(self) -> None:
        """One step, whose failure ends no worker: the next message may be good."""
        try:
            self.step()
        except Exception:
            worker_log.exception("A turn of the worker failed; it goes on")
            time.sleep(AFTER_FAILURE_SECONDS)


def _tally_of(layer: ChannelLayerWrapper, record: FlightRecord | None) -> Tally:
    """Where the layer counts from now on: where a parent sees it, if there is one."""
    if record is not None:
        layer.use_tally(record.tally)
    return layer.tally


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
