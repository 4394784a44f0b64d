"""What a consumer sends, held until it returns; and what the layer refused, tried again for a while.

`Outbox` collects the sends of one running consumer (W7: none leaves if it raises). `Unsent` keeps what the
layer refused, in order per channel, until it is accepted or too old (W3).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from headrace_asgi.contract import Control, Out, Outcome, Send, SendGroup
from headrace_asgi.control import CLOSE, note
from headrace_asgi.envelope import Message, pack_message, unpack_message
from headrace_asgi.errors import HeadraceError, OutcomeUnknown
from headrace_asgi.limits import MAX_MESSAGE_BYTES
from headrace_asgi.names import is_process_queue, local_part

from .log import Seldom, worker_log

__all__ = ["Outbox", "Unsent", "current", "enter", "leave", "send", "send_group"]

#: Pause between two tries of what was refused: short against a client's patience, long against a turn.
RETRY_INTERVAL_SECONDS = 0.05

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


def _collecting(name: str, immediately: bool) -> Outbox | None:
    """The outbox that takes what this thread says to `name`; None if it leaves now."""
    outbox = current()
    if outbox is not None and immediately:
        outbox.before_immediate_send(name)
        return None
    return outbox


class Outbox:
    """What one consumer sends. Not thread-safe: threads that a consumer starts send at once."""

    __slots__ = ("_at_once", "_flush_earlier", "_layer", "_limit_bytes", "elsewhere", "items", "origin")

    def __init__(self, layer: Any, origin: str, flush_earlier: Callable[[], None] | None = None) -> None:
        """Collect for the worker's `layer`; `origin` names the consumer in log lines.

        `flush_earlier` writes what earlier consumers of this thread sent and is not written yet.
        """
        self._layer = layer
        self._limit_bytes: int = getattr(layer, "max_message_bytes", MAX_MESSAGE_BYTES)
        self._flush_earlier = flush_earlier
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
        """Whether the consumer said something to `channel`, to be sent or sent at once."""
        return channel in self._at_once or any(
            isinstance(item, Send) and item.channel == channel for item in self.items
        )

    def before_immediate_send(self, name: str) -> None:
        """Keep what earlier messages answered in front of what is now sent at once to `name`."""
        self._at_once.add(name)
        if self._flush_earlier is not None:
            self._flush_earlier()

    def drop(self) -> None:
        """Forget everything collected: the consumer raised (W7)."""
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


class Unsent:
    """What the layer refused: tried again with later turns, then given up.

    A later send for a channel queues behind the refused one, so that retrying never changes their order.
    Belongs to one writing thread.
    """

    def __init__(
        self,
        retry_seconds: float,
        counters: Counter[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retry_seconds = retry_seconds
        self._counters = counters
        self._clock = clock
        self._held: dict[str, deque[Send]] = {}
        self._next_try = 0.0
        self._again: list[Out] = []
        self._seldom = Seldom(clock=clock)

    def __bool__(self) -> bool:
        return bool(self._held or self._again)

    def refused(self, item: Out, outcome: Outcome) -> None:
        """The layer's word that `item` was not accepted. Never raises.

        Notes, finishes and complete HTTP responses change nothing when they are said twice, so they are said
        again after a broken connection; of the rest each is said at most once.
        """
        if outcome is Outcome.UNAVAILABLE or (outcome is Outcome.UNKNOWN and _may_be_repeated(item)):
            self._again.append(item)
        elif isinstance(item, Send) and outcome is Outcome.FULL:
            self._hold(item)
        elif isinstance(item, Send | SendGroup):
            self._lost(item, outcome)

    def broken(self, items: Sequence[Out], error: HeadraceError) -> None:
        """A turn ended without answers: none of `items` was written, or nobody knows which."""
        outcome = Outcome.UNKNOWN if isinstance(error, OutcomeUnknown) else Outcome.UNAVAILABLE
        for item in items:
            self.refused(item, outcome)

    def with_held(self, items: list[Out]) -> list[Out]:
        """What to write now: what is due again, then `items`, without those that must wait their turn."""
        if not self._held and not self._again:
            return items
        again, self._again = self._again, []
        due = self._due()
        behind: list[Out] = []
        for item in items:
            if isinstance(item, Send) and item.channel in self._held:
                item.first_tried = self._clock()
                self._held[item.channel].append(item)
            else:
                behind.append(item)
        return again + due + behind

    def wait_seconds(self, longest: float) -> float:
        """How long a turn may wait for messages before something is due again."""
        if self._again:
            return 0.0
        return min(longest, max(0.0, self._next_try - self._clock())) if self._held else longest

    def give_up(self) -> None:
        """Drop everything still held: the process ends."""
        held, again = self._held, self._again
        self._held, self._again = {}, []
        for item in again:
            if isinstance(item, Send | SendGroup):
                self._lost(item, Outcome.UNAVAILABLE)
        for queue in held.values():
            for item in queue:
                self._lost(item, Outcome.FULL)
        self._again.clear()  # nobody is left to say that a client should reconnect

    def _hold(self, item: Send) -> None:
        now = self._clock()
        item.first_tried = item.first_tried or now
        if now - item.first_tried >= self._retry_seconds:
            self._lost(item, Outcome.FULL)
            return
        self._held.setdefault(item.channel, deque()).append(item)
        self._next_try = now + RETRY_INTERVAL_SECONDS

    def _due(self) -> list[Out]:
        if self._clock() < self._next_try:
            return []
        due: list[Out] = [item for queue in self._held.values() for item in queue]
        self._held.clear()
        return due

    def _lost(self, item: Send | SendGroup, outcome: Outcome) -> None:
        target = item.group if isinstance(item, SendGroup) else item.channel
        if outcome is Outcome.GONE:  # the client left: nobody misses the answer
            self._counters["gone"] += 1
            return
        if outcome is Outcome.UNKNOWN:
            self._counters["unknown"] += 1
            why = "the connection broke before the layer answered; not repeated"
        elif outcome is Outcome.UNAVAILABLE:
            self._counters["shed"] += 1
            why = "the layer is unavailable and the worker ends; dropped"
        else:
            self._counters["shed"] += 1
            why = f"the channel stayed full for {self._retry_seconds:g} s; dropped"
        if isinstance(item, Send) and is_process_queue(target) and outcome is not Outcome.UNKNOWN:
            # What the client received has a gap: better no socket than a wrong one (PROTOCOL 9).
            self._again.append(Control(target, note(CLOSE, local=local_part(target), code=1013)))
            why += ", its client is told to reconnect (1013)"
        self._seldom.log(item.origin, logging.ERROR, "%s said something to %s: %s", item.origin, target, why)


def _may_be_repeated(item: Out) -> bool:
    if isinstance(item, Send):  # an interface ignores what follows a complete response (ASGI, HTTP)
        return "status" in item.message and not item.message.get("more_content")
    return not isinstance(item, SendGroup)
