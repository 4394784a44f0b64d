"""What one running consumer sends, held until it returns: none of it leaves if the consumer raises.

The outbox goes with the context, as variables of `contextvars` do: a consumer that calls coroutines by
`asgiref.sync.async_to_sync` finds it in them too, whichever thread they run in.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import ContextVar

from headrace_asgi.contract import ChannelLayer, Out, Send, SendGroup, SendLater
from headrace_asgi.envelope import Message, pack_message, unpack_message
from headrace_asgi.later import Delay, Moment, due

from .log import worker_log

__all__ = [
    "RETRY_INTERVAL_SECONDS",
    "Outbox",
    "commit",
    "current",
    "enter",
    "leave",
    "send",
    "send_groups",
    "send_later",
]

#: Pause between two tries of what was refused: short against a client's patience, long against a turn.
RETRY_INTERVAL_SECONDS = 0.05

_running: ContextVar[Outbox | None] = ContextVar("headrace_outbox", default=None)


def current() -> Outbox | None:
    """The outbox of the consumer that runs in this context, None outside of consumers."""
    outbox = _running.get()
    # One that was left collects for nobody: a task or thread may have kept its context beyond that.
    return outbox if outbox is not None and outbox.is_open else None


def enter(outbox: Outbox) -> Outbox | None:
    """Let `outbox` collect what this context sends; returns what `leave` needs."""
    before = _running.get()
    outbox.is_open = True
    _running.set(outbox)
    return before


def leave(before: Outbox | None) -> None:
    """Go back to the outbox that was there before `enter`."""
    outbox = _running.get()
    if outbox is not None:
        outbox.is_open = False
    _running.set(before)


def send(layer: ChannelLayer, channel: str, content: Message, immediately: bool = False) -> None:
    """Send a message when the running consumer returns; `immediately`, and outside of consumers, now.

    Raises what the layer's `send` raises, or only what packing raises if the message is collected.
    """
    collecting = _collecting(channel, immediately)
    if collecting is None:
        layer.send(channel, content)
    else:
        collecting.send(layer, channel, content)


def send_groups(
    layer: ChannelLayer, groups: Sequence[str], content: Message, immediately: bool = False
) -> None:
    """Send a message to who is in one of these groups, at the time and with the errors of `send`."""
    collecting = _collecting(groups[0], immediately)
    if collecting is not None:
        collecting.send_groups(layer, groups, content)
    elif len(groups) == 1:
        layer.send_group(groups[0], content)
    else:
        layer.send_groups(groups, content)


def send_later(
    layer: ChannelLayer,
    channel: str,
    content: Message,
    delay: Delay | None,
    at: Moment | None,
    immediately: bool = False,
) -> str:
    """Send a message when it is due, counted from when it leaves; the id to cancel it by.

    It leaves at the time of `send`, with its errors, and TypeError or ValueError for a wrong time.
    """
    collecting = _collecting(channel, immediately)
    if collecting is None:
        return layer.send_later(channel, content, delay, at)
    return collecting.send_later(layer, channel, content, delay, at)


def commit(channel: str) -> None:
    """What the running consumer collected, with its answer to `channel`, stands whatever it does next."""
    outbox = current()
    if outbox is not None:
        outbox.commit(channel)


def _collecting(name: str, immediately: bool) -> Outbox | None:
    """The outbox that takes what is said to `name`; None if it leaves now."""
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
        "is_open",
        "items",
        "origin",
    )

    def __init__(
        self,
        layer: ChannelLayer,
        origin: str,
        flush_earlier: Callable[[], None] | None = None,
        say: Callable[[list[Out]], object] | None = None,
    ) -> None:
        """Collect for the worker's `layer`; `origin` names the consumer in log lines.

        `flush_earlier` writes what earlier consumers of this thread sent and is not written yet; `say` takes
        what is said before the consumer returns.
        """
        self._layer = layer
        self._limit_bytes = layer.max_message_bytes
        self._flush_earlier = flush_earlier
        self._say = say
        self._at_once: set[str] = set()
        #: Whether its consumer runs.
        self.is_open = False
        self.origin = origin
        self.items: list[Out] = []
        #: Sends for other layers than the worker's own.
        self.elsewhere: list[tuple[ChannelLayer, Send | SendGroup | SendLater]] = []

    def send(self, layer: ChannelLayer, channel: str, content: Message) -> None:
        """Collect a message. Raises TypeError or MessageTooLarge, in the consumer's own line."""
        item = Send(channel, pack_message(content, self._limit_bytes), self.origin)
        if "status" in content:
            item.is_response = True
            # An interface server ignores what follows a complete response (ASGI, HTTP).
            item.is_repeatable = not content.get("more_content")
        elif "content" in content:  # a part of one; messages to a WebSocket have other keys (ASGI)
            item.is_response = True
        if "!" not in channel and "?" not in channel and layer.is_acknowledged(channel):
            item.id = layer.new_message_id(channel)
            item.is_repeatable = True
        if layer is self._layer:
            self.items.append(item)
        else:
            self.elsewhere.append((layer, item))

    def send_groups(self, layer: ChannelLayer, groups: Sequence[str], content: Message) -> None:
        """Collect a message for one group or several. Raises as `send` does."""
        first, *more = groups
        item = SendGroup(first, pack_message(content, self._limit_bytes), self.origin, tuple(more))
        if layer is self._layer:
            self.items.append(item)
        else:
            self.elsewhere.append((layer, item))

    def send_later(
        self, layer: ChannelLayer, channel: str, content: Message, delay: Delay | None, at: Moment | None
    ) -> str:
        """Collect a message for later; the id to cancel it by. Raises as the module's `send_later` does."""
        message_id = layer.new_message_id(channel)
        packed = pack_message(content, self._limit_bytes)
        item = SendLater(
            channel, packed, message_id, due(delay, at), self.origin, layer.is_acknowledged(channel)
        )
        if layer is self._layer:
            self.items.append(item)
        else:
            self.elsewhere.append((layer, item))
        return message_id

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


def _send_now(
    layer: ChannelLayer, item: Send | SendGroup | SendLater, retry_seconds: float, counters: Counter[str]
) -> None:
    deadline = time.monotonic() + retry_seconds
    while True:
        try:
            if isinstance(item, SendGroup):
                layer.send_groups(item.groups, unpack_message(item.packed))
            elif isinstance(item, SendLater):
                seconds, content = item.due.ms / 1000, unpack_message(item.packed)
                delay, at = (seconds, None) if item.due.from_now else (None, seconds)
                layer.send_later(item.channel, content, delay, at, item.id)
            else:
                layer.send(item.channel, unpack_message(item.packed))
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
