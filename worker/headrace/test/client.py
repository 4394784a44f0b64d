"""A client for tests: sends messages, runs their consumers, reads the replies."""

from __future__ import annotations

import copy
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core import signals
from django.db import close_old_connections

from headrace_asgi.contract import Send, SendGroup

from .. import conf, outbox
from ..asgi import DEFAULT_CHANNEL_LAYER, ChannelLayerWrapper, channel_layers
from ..channel import Group
from ..exceptions import ChannelSocketException
from ..message import Message
from ..security.websockets import is_refused
from ..signals import consumer_finished, consumer_started
from ..types import Consumer, Content, Kwargs
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
        collecting = outbox.Outbox(self.channel_layer, "a test")
        before = outbox.enter(collecting)
        consumer_started.send(sender=type(self), environ={})
        result = None
        try:
            if is_refused(message, consumer, conf.settings().origin_check):
                _deny(message)
            else:
                with _connections_kept():
                    result = consumer(message, **kwargs)
        except ChannelSocketException as error:
            collecting.drop()
            error.run(message)
        except BaseException:
            collecting.drop()
            raise
        finally:
            outbox.leave(before)
            self._deliver(collecting)
            consumer_finished.send(sender=type(self))
        return result

    def _deliver(self, collecting: outbox.Outbox) -> None:
        for item in collecting.items:
            if isinstance(item, Send):
                self.channel_layer.send(item.channel, item.message)
            elif isinstance(item, SendGroup):
                self.channel_layer.send_group(item.group, item.message)
        collecting.send_elsewhere(0.0, Counter())


def _deny(message: Message) -> None:
    if message.reply_channel is not None:
        message.reply_channel.send({"close": True})


@contextmanager
def _connections_kept() -> Iterator[None]:
    """As in Django's own test client: a request must not close the connection of a test's transaction."""
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)
    try:
        yield
    finally:
        for signal in (signals.request_started, signals.request_finished):
            signal.connect(close_old_connections)
