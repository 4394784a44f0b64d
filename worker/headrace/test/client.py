"""A client for tests: sends messages, runs their consumers, reads the replies."""

from __future__ import annotations

import copy
import secrets
from collections import Counter
from typing import Any

from django.core import signals
from django.db import close_old_connections

from headrace_asgi.contract import Send, SendGroup
from headrace_asgi.envelope import unpack_message

from .. import conf
from ..asgi import DEFAULT_CHANNEL_LAYER, ChannelLayerWrapper, channel_layers
from ..channel import Group
from ..message import Message
from ..outbox import Outbox
from ..types import Consumer, Content, Kwargs
from ..worker.dispatch import Dispatcher
from ..worker.hooks import Hook, SignalHook
from .base import next_message

__all__ = ["Client"]


class Client:
    """One client with a reply channel of its own, on a layer in memory (see `ChannelTestCase`).

    Consumers run in the test's thread: what they raise reaches the test, and the database connection stays
    the test's.
    """

    def __init__(self, alias: str = DEFAULT_CHANNEL_LAYER) -> None:
        """Take the alias of the layer."""
        self.alias = alias
        self.reply_channel = f"test.{secrets.token_hex(8)}!client"

    @property
    def channel_layer(self) -> ChannelLayerWrapper:
        """The layer under the client's alias."""
        return channel_layers[self.alias]

    def get_next_message(self, channel: str) -> Message | None:
        """The next message on a channel, None without one."""
        return next_message(self.channel_layer, channel)

    def get_consumer_by_channel(self, channel: str) -> Consumer | None:
        """The consumer that gets a message without content on a channel, None without one."""
        match = self.channel_layer.router.match(Message({}, channel, self.channel_layer))
        return match[0] if match else None

    def send(self, to: str, content: Content | None = None) -> None:
        """Put a message on a channel, with the client's reply channel."""
        message = copy.deepcopy(content or {})
        message.setdefault("reply_channel", self.reply_channel)
        self.channel_layer.send(to, message)

    def consume(self, channel: str, fail_on_none: bool = True) -> Any:
        """Run the consumer of the next message on a channel; what it returns.

        What the consumer sends leaves when it returned, as in a worker, and what it raises is raised here.
        With `fail_on_none`, AssertionError if there is no message or no consumer for it.
        """
        message = self.get_next_message(channel)
        if message is None:
            if fail_on_none:
                raise AssertionError(f"There is no message on {channel}")
            return None
        match = self.channel_layer.router.match(message)
        if match is None:
            if fail_on_none:
                raise AssertionError(f"No consumer wants the message on {channel}: {message.content}")
            return None
        consumer, kwargs = match
        return self._run(message, consumer, kwargs)

    def send_and_consume(
        self, channel: str, content: Content | None = None, fail_on_none: bool = True
    ) -> Any:
        """`send`, then `consume`."""
        self.send(channel, content)
        return self.consume(channel, fail_on_none=fail_on_none)

    def receive(self) -> Any:
        """The content of the next message for this client, None without one."""
        message = self.get_next_message(self.reply_channel)
        return None if message is None else message.content

    def join_group(self, group_name: str) -> None:
        """Put this client into a group."""
        Group(group_name, channel_layer=self.channel_layer).add(self.reply_channel)

    def _run(self, message: Message, consumer: Consumer, kwargs: Kwargs) -> Any:
        layer, outbox = self.channel_layer, Outbox(self.channel_layer, "a test")
        hooks = [SignalHook(), _KeptConnections()]
        dispatcher = Dispatcher(layer, layer.router, conf.settings(), hooks, Counter())
        result, error = dispatcher.call(message, consumer, kwargs, outbox)
        self._deliver(outbox)
        if error is not None:
            raise error
        return result

    def _deliver(self, outbox: Outbox) -> None:
        for item in outbox.items:
            if isinstance(item, Send):
                self.channel_layer.send(item.channel, unpack_message(item.packed))
            elif isinstance(item, SendGroup):
                self.channel_layer.send_groups(item.groups, unpack_message(item.packed))
        outbox.send_elsewhere(0.0, Counter())


class _KeptConnections(Hook):
    """As in Django's own test client: a request must not close the connection of a test's transaction."""

    def before(self, message: Message) -> None:
        """Let requests leave connections alone."""
        for signal in (signals.request_started, signals.request_finished):
            signal.disconnect(close_old_connections)

    def after(self, message: Message, error: BaseException | None) -> None:
        """Let requests close connections again."""
        for signal in (signals.request_started, signals.request_finished):
            signal.connect(close_old_connections)
