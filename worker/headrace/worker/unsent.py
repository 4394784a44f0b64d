"""What the layer refused: kept in order per channel, and tried again until it is accepted or too old."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

from headrace_asgi.close_codes import TRY_AGAIN_LATER
from headrace_asgi.contract import Acknowledge, Control, Finish, Out, Outcome, Send, SendGroup, SendLater
from headrace_asgi.control import CLOSE, FAILED, note
from headrace_asgi.errors import HeadraceError, OutcomeUnknown
from headrace_asgi.limits import (
    DEFAULT_EXPIRY_SECONDS,
    FORGOTTEN_PAUSE_SECONDS,
    FORGOTTEN_SECONDS,
    LEASE_MARGIN_SECONDS,
)
from headrace_asgi.names import is_process_queue, local_part

from ..log import LimitedLog
from ..outbox import RETRY_INTERVAL_SECONDS

__all__ = ["Unsent"]

#: Refusals whose reason may pass, and the pause before what met one is said again, in seconds.
_PAUSE_SECONDS = {
    Outcome.FULL: RETRY_INTERVAL_SECONDS,
    Outcome.UNAVAILABLE: RETRY_INTERVAL_SECONDS,
    Outcome.FORGOTTEN: FORGOTTEN_PAUSE_SECONDS,
}


#: Seconds for which a finish is tried that the layer refuses each time: as long as a lease usually lasts. The
#: socket's next message then moves on without it.
FINISH_SECONDS = float(DEFAULT_EXPIRY_SECONDS + LEASE_MARGIN_SECONDS)


class _HeldQueue:
    """What waits for one channel or group, in its order: each item with the time of its first refusal."""

    __slots__ = ("due", "items", "outcome")

    def __init__(self) -> None:
        self.items: list[tuple[Out, float]] = []
        #: When it is tried again, and what the layer said last.
        self.due = 0.0
        self.outcome = Outcome.FULL


class Unsent:
    """What the layer refused: tried again with later turns, then given up.

    What is said later to the same channel queues behind it, so that retrying never changes their order.
    Not thread-safe: its `Line` sees to that.
    """

    def __init__(
        self,
        retry_seconds: float,
        counters: Counter[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take how long what meets a full channel is worth trying, and where to count what is dropped."""
        self._retry_seconds = retry_seconds
        self._counters = counters
        self._clock = clock
        self._held: dict[str, _HeldQueue] = {}
        self._again: list[Out] = []
        #: Held items that are being tried now, by identity, with the time of their first refusal.
        self._tried: dict[int, tuple[Out, float]] = {}
        self._limited_log = LimitedLog(clock=clock)

    def __bool__(self) -> bool:
        return bool(self._held or self._again)

    def refused(self, item: Out, outcome: Outcome) -> None:
        """The layer's word that `item` was not accepted, while the rest of the turn was. Never raises.

        Notes, finishes, complete HTTP responses and what is for acknowledged channels change nothing when
        they are said twice, so they are said again after a broken connection; of the rest each is said at
        most once. What was surely not said, for a reason that may pass, is said again for `retry_seconds`,
        to a process that Redis forgot for `FORGOTTEN_SECONDS`; a finish until it works or its lease has
        lapsed, for `FINISH_SECONDS` at most.
        """
        if outcome in _PAUSE_SECONDS:
            self._hold(item, outcome)
        elif outcome is Outcome.UNKNOWN and _may_be_repeated(item):
            self._again.append(item)
        elif isinstance(item, Send | SendGroup | SendLater):
            self._lost(item, outcome)

    def broken(self, items: Sequence[Out], error: HeadraceError) -> None:
        """A turn ended without answers: none of `items` was written, or nobody knows which.

        What was not written is said again when the layer is back, however long that takes.
        """
        if isinstance(error, OutcomeUnknown):
            for item in items:
                self.refused(item, Outcome.UNKNOWN)
        else:
            self._again += items

    def with_held(self, items: list[Out]) -> list[Out]:
        """What to write now: what is due again, then `items`, without those that must wait their turn."""
        self._tried.clear()
        if not self._held and not self._again:
            return items
        again, self._again = self._again, []
        now = self._clock()
        due = self._due(now)
        behind: list[Out] = []
        for item in items:
            queue = self._held.get(_queue_of(item))
            if queue is None:
                behind.append(item)
            else:
                queue.items.append((item, now))
        return again + due + behind

    def wait_seconds(self, longest: float) -> float:
        """How long a turn may wait for messages before something is due again."""
        if self._again:
            return 0.0
        if not self._held:
            return longest
        return min(longest, max(0.0, min(queue.due for queue in self._held.values()) - self._clock()))

    @property
    def patience_seconds(self) -> float:
        """How long trying again may help at most."""
        if any(queue.outcome is Outcome.FORGOTTEN for queue in self._held.values()):
            return FORGOTTEN_SECONDS
        return self._retry_seconds

    def give_up(self) -> None:
        """Drop everything still held: the process ends."""
        held, again = self._held, self._again
        self._held, self._again = {}, []
        for item in again:
            self._lost(item, Outcome.UNAVAILABLE)
        for queue in held.values():
            for item, _ in queue.items:
                self._lost(item, queue.outcome)
        self._again.clear()  # nobody is left to say that a client should reconnect

    def _hold(self, item: Out, outcome: Outcome) -> None:
        now = self._clock()
        _, since = self._tried.pop(id(item), (item, now))
        limit = FORGOTTEN_SECONDS if outcome is Outcome.FORGOTTEN else self._retry_seconds
        if isinstance(item, Finish | Acknowledge):
            limit = FINISH_SECONDS
        if now - since >= limit:
            self._lost(item, outcome)
            return
        queue = self._held.setdefault(_queue_of(item), _HeldQueue())
        queue.items.append((item, since))
        queue.outcome, queue.due = outcome, now + _PAUSE_SECONDS[outcome]

    def _due(self, now: float) -> list[Out]:
        due: list[Out] = []
        for key in [key for key, queue in self._held.items() if queue.due <= now]:
            for item, since in self._held.pop(key).items:
                self._tried[id(item)] = (item, since)
                due.append(item)
        return due

    def _lost(self, item: Out, outcome: Outcome) -> None:
        if outcome in (Outcome.GONE, Outcome.FORGOTTEN):  # the client left: nobody misses the answer
            self._counters["gone"] += isinstance(item, Send | SendGroup)
            return
        if isinstance(item, Finish | Acknowledge):  # its lease ends it
            return
        if isinstance(item, Send | SendGroup | SendLater):
            self._counters["unknown" if outcome is Outcome.UNKNOWN else "shed"] += 1
        self._log_lost(item, outcome, self._tell_client(item, outcome))

    def _tell_client(self, item: Out, outcome: Outcome) -> str:
        """Tell the client: what it receives has a gap, and nothing is better than that."""
        if not isinstance(item, Send) or not is_process_queue(item.channel) or outcome is Outcome.UNKNOWN:
            return ""
        local = local_part(item.channel)
        if item.is_response:
            body = note(FAILED, local=local, status=503, reason="a part of the response was lost")
            told = ", its client is answered 503, or cut off if its answer had begun"
        else:
            body = note(CLOSE, local=local, code=TRY_AGAIN_LATER)
            told = f", its client is told to reconnect ({TRY_AGAIN_LATER})"
        self._again.append(Control(item.channel, body))
        return told

    def _log_lost(self, item: Send | SendGroup | SendLater | Control, outcome: Outcome, told: str) -> None:
        if isinstance(item, Control):
            origin, target = "Headrace", item.reply_channel
        else:
            origin, target = item.origin, item.group if isinstance(item, SendGroup) else item.channel
        why = {
            Outcome.UNKNOWN: "the connection broke before the layer answered; not repeated",
            Outcome.UNAVAILABLE: "the layer did not take it; dropped",
        }.get(outcome, f"the channel stayed full for {self._retry_seconds:g} s; dropped")
        self._limited_log.log(
            origin, logging.ERROR, "%s said something to %s: %s", origin, target, why + told
        )


def _queue_of(item: Out) -> str:
    """The key of the queue whose order `item` keeps; no channel's name has a blank."""
    if isinstance(item, Send):
        return item.channel
    if isinstance(item, Control):
        return item.reply_channel
    if isinstance(item, SendLater):
        return f"later {item.channel}"
    if isinstance(item, Acknowledge):
        return f"finish {item.claim.id}"
    return f"group {item.group}" if isinstance(item, SendGroup) else f"finish {item.reply_channel}"


def _may_be_repeated(item: Out) -> bool:
    if isinstance(item, Send | SendLater):
        return item.is_repeatable
    return not isinstance(item, SendGroup)
