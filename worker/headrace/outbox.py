"""What a consumer sends, held until it returns; and what the layer refused, tried again for a while.

`Outbox` collects the sends of one running consumer (none leaves if it raises). `Unsent` keeps what the
layer refused, in order per channel, until it is accepted or too old.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from headrace_asgi.contract import Control, Finish, Out, Outcome, Send, SendGroup
from headrace_asgi.control import CLOSE, FAILED, note
from headrace_asgi.envelope import Message, pack_message, unpack_message
from headrace_asgi.errors import HeadraceError, OutcomeUnknown
from headrace_asgi.limits import FORGOTTEN_PAUSE_SECONDS, FORGOTTEN_SECONDS, MAX_MESSAGE_BYTES
from headrace_asgi.names import is_process_queue, local_part

from .log import Seldom, worker_log

__all__ = ["Outbox", "Unsent", "commit", "current", "enter", "leave", "send", "send_group"]

#: Pause between two tries of what was refused: short against a client's patience, long against a turn.
RETRY_INTERVAL_SECONDS = 0.05
#: Refusals whose reason may pass, and the pause before what met one is said again, in seconds.
_PAUSE_SECONDS = {
    Outcome.FULL: RETRY_INTERVAL_SECONDS,
    Outcome.UNAVAILABLE: RETRY_INTERVAL_SECONDS,
    Outcome.FORGOTTEN: FORGOTTEN_PAUSE_SECONDS,
}

_running = threading.local()


def current() -> Outbox | None:
    """The outbox of the consumer that runs in this thread, None outside of consumers."""
    return getattr(_running, "outbox", None)


def enter(outbox: Outbox) -> Outbox | None:
    """Let `outbox` collect what this thread sends; returns what `leave` needs."""
    before = getattr(_running, "outbox", None)
    _running.outbox = outbox
    return before


def leave(before: Outbox | None) -> None:
    """Go back to the outbox that was there before `enter`."""
    _running.outbox = before


def send(layer: Any, channel: str, content: Message, immediately: bool = False) -> None:
    """Send a message when the consumer of this thread returns; `immediately`, and outside of consumers, now.

    Raises what the layer's `send` raises, or only what packing raises if the message is collected.
    """
    collecting = _collecting(channel, immediately)
    if collecting is None:
        layer.send(channel, content)
    else:
        collecting.send(layer, channel, content)


def send_group(layer: Any, group: str, content: Message, immediately: bool = False) -> None:
    """Send a message to a group, at the time and with the errors of `send`."""
    collecting = _collecting(group, immediately)
    if collecting is None:
        layer.send_group(group, content)
    else:
        collecting.send_group(layer, group, content)


def commit(channel: str) -> None:
    """What this thread's consumer collected, with its answer to `channel`, stands whatever it does next."""
    outbox = current()
    if outbox is not None:
        outbox.commit(channel)


def _collecting(name: str, immediately: bool) -> Outbox | None:
    """The outbox that takes what this thread says to `name`; None if it leaves now."""
    outbox = current()
    if outbox is not None and immediately:
        outbox.before_immediate_send(name)
        return None
    return outbox


class Outbox:
    """What one consumer sends. Not thread-safe: threads that a consumer starts send at once."""

    __slots__ = (
        "_at_once",
        "_flush_earlier",
        "_layer",
        "_limit_bytes",
        "_say",
        "elsewhere",
        "items",
        "origin",
    )

    def __init__(
        self,
        layer: Any,
        origin: str,
        flush_earlier: Callable[[], None] | None = None,
        say: Callable[[list[Out]], object] | None = None,
    ) -> None:
        """Collect for the worker's `layer`; `origin` names the consumer in log lines.

        `flush_earlier` writes what earlier consumers of this thread sent and is not written yet; `say` takes
        what is said before the consumer returns.
        """
        self._layer = layer
        self._limit_bytes: int = getattr(layer, "max_message_bytes", MAX_MESSAGE_BYTES)
        self._flush_earlier = flush_earlier
        self._say = say
        self._at_once: set[str] = set()
        self.origin = origin
        self.items: list[Out] = []
        #: Sends for other layers than the worker's own.
        self.elsewhere: list[tuple[Any, Send | SendGroup]] = []

    def send(self, layer: Any, channel: str, content: Message) -> None:
        """Collect a message. Raises TypeError or MessageTooLarge, in the consumer's own line."""
        packed = pack_message(content, self._limit_bytes)
        self._add(layer, Send(channel, content, self.origin, packed=packed), packed)

    def send_group(self, layer: Any, group: str, content: Message) -> None:
        """Collect a message for a group. Raises as `send` does."""
        packed = pack_message(content, self._limit_bytes)
        self._add(layer, SendGroup(group, content, self.origin, packed=packed), packed)

    def _add(self, layer: Any, item: Send | SendGroup, packed: bytes) -> None:
        if layer is self._layer:
            self.items.append(item)
        else:
            # Another layer packs for itself, and the consumer may change its dict until then.
            item.message = unpack_message(packed)
            self.elsewhere.append((layer, item))

    def has_said_to(self, channel: str) -> bool:
        """Whether the consumer said something to `channel`, to be sent or sent before."""
        return channel in self._at_once or any(
            isinstance(item, Send) and item.channel == channel for item in self.items
        )

    def before_immediate_send(self, name: str) -> None:
        """Keep what earlier messages answered in front of what is now sent at once to `name`."""
        self._at_once.add(name)
        if self._flush_earlier is not None:
            self._flush_earlier()

    def commit(self, channel: str) -> None:
        """Hand over what was collected, the answer to `channel` with it: `drop` no longer reaches it."""
        if self._say is not None:
            self._at_once.add(channel)
            self._say(self.items)
            self.items = []

    def drop(self) -> None:
        """Forget everything collected: the consumer raised."""
        self.items.clear()
        self.elsewhere.clear()

    def send_elsewhere(self, retry_seconds: float, counters: Counter[str]) -> None:
        """Send what is for other layers, in this thread; what stays refused is dropped and counted."""
        for layer, item in self.elsewhere:
            _send_now(layer, item, retry_seconds, counters)


def _send_now(layer: Any, item: Send | SendGroup, retry_seconds: float, counters: Counter[str]) -> None:
    deadline = time.monotonic() + retry_seconds
    while True:
        try:
            if isinstance(item, SendGroup):
                layer.send_group(item.group, item.message)
            else:
                layer.send(item.channel, item.message)
        except layer.ChannelFull as error:
            if time.monotonic() < deadline:
                time.sleep(RETRY_INTERVAL_SECONDS)
                continue
            reason: Exception = error
        except Exception as error:  # another layer's fault is no fault of the consumer
            reason = error
        else:
            return
        counters["shed"] += 1
        target = item.group if isinstance(item, SendGroup) else item.channel
        worker_log.error(
            "%s said something to %s on layer %s; dropped: %s", item.origin, target, layer, reason
        )
        return


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
        self._seldom = Seldom(clock=clock)

    def __bool__(self) -> bool:
        return bool(self._held or self._again)

    def refused(self, item: Out, outcome: Outcome) -> None:
        """The layer's word that `item` was not accepted, while the rest of the turn was. Never raises.

        Notes, finishes and complete HTTP responses change nothing when they are said twice, so they are said
        again after a broken connection; of the rest each is said at most once. What was surely not said, for
        a reason that may pass, is said again for `retry_seconds`, to a process that Redis forgot for
        `FORGOTTEN_SECONDS`; a finish until it works or its lease has lapsed.
        """
        if outcome in _PAUSE_SECONDS:
            self._hold(item, outcome)
        elif outcome is Outcome.UNKNOWN and _may_be_repeated(item):
            self._again.append(item)
        elif isinstance(item, Send | SendGroup):
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
        if now - since >= limit and not isinstance(item, Finish):
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
        if isinstance(item, Finish):  # its lease ends it
            return
        if isinstance(item, Send | SendGroup):
            self._counters["unknown" if outcome is Outcome.UNKNOWN else "shed"] += 1
        self._log_lost(item, outcome, self._tell_client(item, outcome))

    def _tell_client(self, item: Out, outcome: Outcome) -> str:
        """Tell the client: what it receives has a gap, which nothing fills (docs/protocol.md, section 5)."""
        if not isinstance(item, Send) or not is_process_queue(item.channel) or outcome is Outcome.UNKNOWN:
            return ""
        local = local_part(item.channel)
        if _is_response(item):
            body = note(FAILED, local=local, status=503, reason="a part of the response was lost")
            told = ", its client is answered 503, or cut off if its answer had begun"
        else:
            body = note(CLOSE, local=local, code=1013)
            told = ", its client is told to reconnect (1013)"
        self._again.append(Control(item.channel, body))
        return told

    def _log_lost(self, item: Send | SendGroup | Control, outcome: Outcome, told: str) -> None:
        if isinstance(item, Control):
            origin, target = "Headrace", item.reply_channel
        else:
            origin, target = item.origin, item.group if isinstance(item, SendGroup) else item.channel
        why = {
            Outcome.UNKNOWN: "the connection broke before the layer answered; not repeated",
            Outcome.UNAVAILABLE: "the layer did not take it; dropped",
        }.get(outcome, f"the channel stayed full for {self._retry_seconds:g} s; dropped")
        self._seldom.log(origin, logging.ERROR, "%s said something to %s: %s", origin, target, why + told)


def _queue_of(item: Out) -> str:
    """The key of the queue whose order `item` keeps; no channel's name has a blank."""
    if isinstance(item, Send):
        return item.channel
    if isinstance(item, Control):
        return item.reply_channel
    return f"group {item.group}" if isinstance(item, SendGroup) else f"finish {item.reply_channel}"


def _is_response(item: Send) -> bool:
    """Whether this is (a part of) the answer to an HTTP request; a WebSocket's have other keys (ASGI)."""
    return "status" in item.message or "content" in item.message


def _may_be_repeated(item: Out) -> bool:
    if isinstance(item, Send):  # an interface ignores what follows a complete response (ASGI, HTTP)
        return "status" in item.message and not item.message.get("more_content")
    return not isinstance(item, SendGroup)
