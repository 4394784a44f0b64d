"""`Channel` and `Group`: how consumers, views, commands and threads send messages.

Inside a consumer, what it sends is collected and leaves when it returns; everywhere else it is sent at once.
The methods that begin with an "a" are for coroutines.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Iterable

from headrace_asgi import messages
from headrace_asgi.contract import ChannelLayer
from headrace_asgi.later import Delay, Moment
from headrace_asgi.names import (
    OTHER_PROTOCOL,
    PROCESS_PREFIX,
    local_part,
    require_channel_name,
    require_group_name,
)

from . import outbox, takers
from .asgi import DEFAULT_CHANNEL_LAYER, channel_layers
from .log import LimitedLog
from .types import Content

__all__ = ["Channel", "Group", "asend_to_groups", "send_to_groups"]

#: The keys of what an interface server understands.
_REPLIES = (messages.HTTP_RESPONSE, messages.HTTP_RESPONSE_CHUNK, messages.WEBSOCKET_SEND)
_REPLY_KEYS = frozenset(key for kind in _REPLIES for key in kind.fields)
_limited_log = LimitedLog()


class Channel:
    """One channel by name, on the layer `alias` or on `channel_layer`.

    Raises TypeError for an invalid name. Does not touch the layer before something is sent.
    """

    __slots__ = ("_alias", "_layer", "name")

    def __init__(
        self, name: str | bytes, alias: str = DEFAULT_CHANNEL_LAYER, channel_layer: ChannelLayer | None = None
    ) -> None:
        if isinstance(name, bytes):
            name = name.decode("ascii")
        self.name = require_channel_name(name)
        self._alias = alias
        self._layer = channel_layer

    @property
    def channel_layer(self) -> ChannelLayer:
        """The layer; that of an alias is looked up when it is used, so a module may hold a Channel."""
        return channel_layers[self._alias] if self._layer is None else self._layer

    def send(self, content: Content, immediately: bool = False) -> None:
        """Send a message; it is packed now, so `content` may be changed afterwards.

        Inside a consumer it leaves when the consumer returns, and is dropped if the consumer raises. With
        `immediately`, and outside of consumers, this waits for the layer's answer and raises ChannelFull,
        LayerUnavailable or OutcomeUnknown. Raises TypeError for content that is no dict or cannot be packed,
        MessageTooLarge over the layer's limit.
        """
        if not isinstance(content, dict):
            raise TypeError(f"A message is a dict, not {type(content).__name__}")
        if self.name.startswith(PROCESS_PREFIX) and "!" in self.name:
            if not content.keys() <= _REPLY_KEYS:
                _tell_unknown(self.name, content)
        elif self.name not in takers.settled:
            see = takers.look if immediately or outbox.current() is None else takers.note
            see(self.channel_layer, self.name)
        outbox.send(self.channel_layer, self.name, content, immediately)

    def send_later(
        self,
        content: Content,
        delay: Delay | None = None,
        at: Moment | None = None,
        immediately: bool = False,
    ) -> str:
        """Send a message when it is due: after `delay` seconds, or `at` a time; the id to `cancel` it by.

        `delay` counts from when the message leaves, which is when a `send` would. `at` is a datetime with a
        time zone, or seconds since 1970, on the clock of the layer; what is past is due at once. Some worker
        process must run when it is due. Raises what `send` does; TypeError or ValueError for a wrong time,
        ConfigurationError on a layer that cannot do this.
        """
        if not isinstance(content, dict):
            raise TypeError(f"A message is a dict, not {type(content).__name__}")
        if self.name not in takers.settled and not self.name.startswith(PROCESS_PREFIX):
            see = takers.look if immediately or outbox.current() is None else takers.note
            see(self.channel_layer, self.name)
        return outbox.send_later(self.channel_layer, self.name, content, delay, at, immediately)

    def cancel(self, message_id: str) -> bool:
        """Take a message back that was sent for later, at once; whether that was in time.

        One that the running consumer sent has not left: this is False then. Raises LayerUnavailable.
        """
        return self.channel_layer.cancel(message_id)

    async def asend_later(
        self,
        content: Content,
        delay: Delay | None = None,
        at: Moment | None = None,
        immediately: bool = False,
    ) -> str:
        """`send_later` for a coroutine; leaves when an `asend` would."""
        return await asyncio.to_thread(self.send_later, content, delay, at, immediately)

    async def acancel(self, message_id: str) -> bool:
        """`cancel` for a coroutine."""
        return await asyncio.to_thread(self.cancel, message_id)

    async def asend(self, content: Content, immediately: bool = False) -> None:
        """`send` for a coroutine: in a thread, while the event loop goes on. Raises the same.

        In a coroutine that a consumer called with `async_to_sync`, too, the message leaves when the consumer
        returns. `content` may be changed when this has returned.
        """
        await asyncio.to_thread(self.send, content, immediately)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Channel {self.name}>"


class Group:
    """A group of channels by name. Raises TypeError for an invalid name."""

    __slots__ = ("_alias", "_layer", "name")

    def __init__(
        self, name: str | bytes, alias: str = DEFAULT_CHANNEL_LAYER, channel_layer: ChannelLayer | None = None
    ) -> None:
        if isinstance(name, bytes):
            name = name.decode("ascii")
        self.name = require_group_name(name)
        self._alias = alias
        self._layer = channel_layer

    @property
    def channel_layer(self) -> ChannelLayer:
        """The layer; that of an alias is looked up when it is used, so a module may hold a Group."""
        return channel_layers[self._alias] if self._layer is None else self._layer

    def add(self, channel: Channel | str) -> None:
        """Make a channel a member, at once: when this returns, any later send reaches it."""
        self.channel_layer.group_add(self.name, str(channel))

    def discard(self, channel: Channel | str) -> None:
        """End a membership, at once. No error if there was none."""
        self.channel_layer.group_discard(self.name, str(channel))

    def send(self, content: Content, immediately: bool = False) -> None:
        """Send a copy to every member; leaves when a `Channel.send` would.

        Copies for full channels are dropped by the layer, never an error. Raises ValueError for content that
        is no dict, TypeError for what cannot be packed, MessageTooLarge over the layer's limit.
        """
        if not isinstance(content, dict):
            raise ValueError(f"A message is a dict, not {type(content).__name__}")
        outbox.send_groups(self.channel_layer, (self.name,), content, immediately)

    async def aadd(self, channel: Channel | str) -> None:
        """`add` for a coroutine."""
        await self.channel_layer.agroup_add(self.name, str(channel))

    async def adiscard(self, channel: Channel | str) -> None:
        """`discard` for a coroutine."""
        await self.channel_layer.agroup_discard(self.name, str(channel))

    async def asend(self, content: Content, immediately: bool = False) -> None:
        """`send` for a coroutine; leaves when a `Channel.asend` would. Raises what `send` does."""
        await asyncio.to_thread(self.send, content, immediately)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Group {self.name}>"


def send_to_groups(groups: Iterable[Group | str], content: Content, immediately: bool = False) -> None:
    """Send a copy to every member of several groups: one to who is in several of them.

    A name stands for the group of the default layer. Leaves when a `Channel.send` would, in as many round
    trips as for one group. Raises what `Group.send` does; no groups are no error.
    """
    if not isinstance(content, dict):
        raise ValueError(f"A message is a dict, not {type(content).__name__}")
    if isinstance(groups, str):
        raise TypeError(f"Send to a list of groups, not to the string {groups!r}")
    by_layer: dict[ChannelLayer, list[str]] = {}
    for each in groups:
        group = each if isinstance(each, Group) else Group(each)
        by_layer.setdefault(group.channel_layer, []).append(group.name)
    for layer, names in by_layer.items():
        outbox.send_groups(layer, list(dict.fromkeys(names)), content, immediately)


async def asend_to_groups(groups: Iterable[Group | str], content: Content, immediately: bool = False) -> None:
    """`send_to_groups` for a coroutine; leaves when a `Channel.asend` would. Raises the same."""
    await asyncio.to_thread(send_to_groups, list(groups), content, immediately)


def _tell_unknown(name: str, content: Content) -> None:
    """Tell the author of a consumer of keys that no client understands.

    The interface server refuses such a reply, and its log is not where the author looks.
    """
    if local_part(name).startswith(OTHER_PROTOCOL):
        return
    collecting = outbox.current()
    speaker = "Code outside of consumers" if collecting is None else collecting.origin
    for key in content.keys() - _REPLY_KEYS:
        near = difflib.get_close_matches(str(key), _REPLY_KEYS, n=1)
        _limited_log.log(
            f"{speaker} {key!r:.100}",
            logging.WARNING,
            "%s sent the unknown key %.100r to %s%s. "
            "The interface server drops the message on a WebSocket, and answers a request with 500",
            speaker,
            key,
            name,
            f": did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(_REPLY_KEYS))}",
        )
