"""The message a consumer is called with."""

from __future__ import annotations

import copy
from collections.abc import ItemsView, KeysView, ValuesView
from functools import cached_property
from typing import TYPE_CHECKING, Any

from headrace_asgi.contract import ChannelLayer

from .channel import Channel
from .types import Content

if TYPE_CHECKING:
    from headrace_asgi.contract import Delivery

__all__ = ["ANSWERED", "Message"]

#: Channels whose client waits for an answer, with a deadline.
ANSWERED = frozenset({"http.request", "websocket.connect"})


class Message:
    """One message from a channel: its content, and where it came from.

    Reads like its `content` dict. Decorators add `channel_session`, `http_session` and `user`. `delivery` is
    the layer's record of the take, None for a message that no worker took.
    """

    def __init__(
        self,
        content: Content,
        channel_name: str,
        channel_layer: ChannelLayer,
        delivery: Delivery | None = None,
    ) -> None:
        self.content = content
        self.channel_name = channel_name
        self.channel_layer = channel_layer
        self.delivery = delivery

    @cached_property
    def channel(self) -> Channel:
        """The channel this message was taken from."""
        return Channel(self.channel_name, channel_layer=self.channel_layer)

    @cached_property
    def reply_channel(self) -> Channel | None:
        """Where answers to this message's client go; None for a message without a client."""
        name = self.content.get("reply_channel")
        return Channel(name, channel_layer=self.channel_layer) if name else None

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def __setitem__(self, key: str, value: object) -> None:
        self.content[key] = value

    def __contains__(self, key: object) -> bool:
        return key in self.content

    def __repr__(self) -> str:
        return f"<Message on {self.channel_name}: {sorted(self.content)}>"

    def keys(self) -> KeysView[str]:
        """The keys of the content."""
        return self.content.keys()

    def values(self) -> ValuesView[object]:
        """The values of the content."""
        return self.content.values()

    def items(self) -> ItemsView[str, object]:
        """The items of the content."""
        return self.content.items()

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default`."""
        return self.content.get(key, default)

    def with_content(self, content: Content) -> Message:
        """The same message with other content."""
        return type(self)(content, self.channel_name, self.channel_layer, self.delivery)

    def copy(self) -> Message:
        """A message with a deep copy of the content; it is nobody's delivery."""
        return Message(copy.deepcopy(self.content), self.channel_name, self.channel_layer)
