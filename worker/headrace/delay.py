"""`asgi.delay`, the channel of Channels 1.x for messages that are to be sent later.

    channel_routing = [route("asgi.delay", "headrace.delay.send_later"), …]

New code says `Channel(name).send_later(content, delay=seconds)`, which needs no route.
"""

from __future__ import annotations

from headrace_asgi.errors import BadMessage
from headrace_asgi.names import is_channel_name

from .channel import Channel
from .message import Message

__all__ = ["send_later"]


def send_later(message: Message) -> None:
    """A consumer: send the dict `content` to `channel` after `delay` milliseconds.

    Raises BadMessage for a message that says no such thing; the worker logs it and goes on.
    """
    channel, delay, content = message.get("channel"), message.get("delay"), message.get("content")
    if not is_channel_name(channel):
        raise BadMessage(f"asgi.delay: channel must be the name of a channel, not {channel!r:.100}")
    if not isinstance(delay, int) or isinstance(delay, bool) or delay < 1:
        raise BadMessage(f"asgi.delay: delay must be a positive number of milliseconds, not {delay!r:.100}")
    if not isinstance(content, dict):
        raise BadMessage(f"asgi.delay: content must be a dict, not {type(content).__name__}")
    Channel(channel, channel_layer=message.channel_layer).send_later(content, delay=delay / 1000)
