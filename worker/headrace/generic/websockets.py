"""Class consumers for WebSockets: text and binary frames, and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from headrace_asgi.close_codes import INVALID_DATA, UNSUPPORTED_DATA
from headrace_asgi.names import is_process_queue

from ..asgi import DEFAULT_CHANNEL_LAYER
from ..auth import (
    channel_and_http_session_user_from_http,
    channel_session_user,
    channel_session_user_from_http,
)
from ..channel import Group
from ..message import Message
from ..types import Consumer, Content
from .base import BaseConsumer

__all__ = ["JsonWebsocketConsumer", "WebsocketConsumer"]

# RFC 6455 section 7.4.1: a message whose content is not what its type says, a type that cannot be accepted.


class WebsocketConsumer(BaseConsumer):
    """Override `connect`, `receive` and `disconnect`; say something with `send` and `close`.

    A socket is in the groups that `connection_groups` names from before `connect` until it is closed.
    """

    method_mapping: ClassVar[Mapping[str, str]] = {
        "websocket.connect": "raw_connect",
        "websocket.receive": "raw_receive",
        "websocket.disconnect": "raw_disconnect",
    }
    #: Log the visitor of the site in to the socket's session: `self.message.user` on every message.
    http_user: ClassVar[bool] = False
    #: The same, with `self.message.http_session` too.
    http_user_and_session: ClassVar[bool] = False
    #: Handle the messages of a socket one after the other, in their order.
    strict_ordering: ClassVar[bool] = False
    #: Handle frames after the connect; among themselves in any order.
    slight_ordering: ClassVar[bool] = False
    #: Group names, where they do not depend on the connection.
    groups: ClassVar[Iterable[str] | None] = None
    #: The layer that `group_send` uses.
    layer_alias: ClassVar[str] = DEFAULT_CHANNEL_LAYER

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if cls.strict_ordering or cls.slight_ordering:
            cls.headrace_ordering = True if cls.strict_ordering else "slight"

    @classmethod
    def _decorated(cls, channel: str, method: Consumer) -> Consumer:
        if cls.http_user_and_session:
            return channel_and_http_session_user_from_http(method)
        if not cls.http_user:
            return super()._decorated(channel, method)
        if channel == "websocket.connect":
            return channel_session_user_from_http(method)
        return channel_session_user(method)

    @property
    def path(self) -> str:
        """The path the socket was opened with."""
        path: str = self.message["path"]
        return path

    def connection_groups(self, **kwargs: object) -> Iterable[str]:
        """Names of the groups that this socket is in; given the arguments of its route."""
        return self.groups or ()

    def connect(self, message: Message, **kwargs: object) -> None:
        """A socket wants to be opened: accept it (as here), or `self.close()`, or raise DenyConnection."""
        self._reply({"accept": True})

    def receive(self, text: str | None = None, bytes: bytes | None = None, **kwargs: object) -> None:
        """A frame came: one of `text` and `bytes` is given."""

    def disconnect(self, message: Message, **kwargs: object) -> None:
        """The socket was closed, by whomever; `message["code"]` says how."""

    def send(self, text: str | None = None, bytes: bytes | None = None, close: bool | int = False) -> None:
        """Send a frame to this socket, then close it if `close` is True or a code. ValueError for nothing."""
        self._reply(_frame(text, bytes, close))

    @classmethod
    def group_send(
        cls, name: str, text: str | None = None, bytes: bytes | None = None, close: bool | int = False
    ) -> None:
        """Send a frame to every socket of a group, on the layer `layer_alias`. ValueError for nothing."""
        Group(name, alias=cls.layer_alias).send(_frame(text, bytes, close))

    def close(self, status: bool | int = True, reason: str = "") -> None:
        """Close this socket, with a code if `status` is one; while it is being opened, refuse it."""
        self._reply({"close": status, "reason": reason} if reason else {"close": status})

    def raw_connect(self, message: Message, **kwargs: object) -> None:
        """Join the groups, then `connect`."""
        for name in self.connection_groups(**kwargs):
            self._group(name).add(message.content["reply_channel"])
        self.connect(message, **kwargs)

    def raw_receive(self, message: Message, **kwargs: Any) -> None:
        """Take the frame out of the message, for `receive` (a text of None is no text)."""
        text = message.content.get("text")
        if text is not None:
            self.receive(text=text, **kwargs)
        else:
            self.receive(bytes=message.content.get("bytes"), **kwargs)

    def raw_disconnect(self, message: Message, **kwargs: object) -> None:
        """Leave the groups, then `disconnect`."""
        reply_channel = message.content["reply_channel"]
        # In our own interface servers a membership ended with the socket.
        if not is_process_queue(reply_channel):
            for name in self.connection_groups(**kwargs):
                self._group(name).discard(reply_channel)
        self.disconnect(message, **kwargs)

    def _group(self, name: str) -> Group:
        return Group(name, channel_layer=self.message.channel_layer)

    def _reply(self, content: Content) -> None:
        reply_channel = self.message.reply_channel
        if reply_channel is None:
            raise ValueError(
                f"A message on {self.message.channel_name} without reply channel cannot be answered"
            )
        reply_channel.send(content)


class JsonWebsocketConsumer(WebsocketConsumer):
    """Frames of JSON: `receive` gets what they say, `send` takes what is to be said."""

    def receive(self, content: object, **kwargs: object) -> None:  # type: ignore[override]
        """A frame came that is valid JSON."""

    def invalid_json(self, text: str | None, error: Exception | None, **kwargs: object) -> None:
        """A frame came that is not JSON, or (`text` and `error` are None) a binary one.

        Closes the socket: 1007 for text that is not JSON, 1003 for a binary frame. Override it to answer
        differently.
        """
        if text is None:
            self.close(UNSUPPORTED_DATA, "only JSON text is understood here")
        else:
            self.close(INVALID_DATA, "not valid JSON")

    def send(self, content: object, close: bool | int = False) -> None:  # type: ignore[override]
        """Send a frame that says `content`, then close the socket if `close` is True or a code."""
        super().send(text=self.encode_json(content), close=close)

    @classmethod
    def group_send(cls, name: str, content: object, close: bool | int = False) -> None:  # type: ignore[override]
        """Say `content` to every socket of a group, on the layer `layer_alias`."""
        super().group_send(name, text=cls.encode_json(content), close=close)

    @classmethod
    def encode_json(cls, content: object) -> str:
        """The text of a frame. TypeError or ValueError for what JSON cannot say."""
        return json.dumps(content)

    @classmethod
    def decode_json(cls, text: str) -> Any:
        """What a frame says. ValueError if it is not JSON."""
        return json.loads(text)

    def raw_receive(self, message: Message, **kwargs: object) -> None:
        """Decode the frame for `receive`, or complain with `invalid_json`."""
        text = message.content.get("text")
        if text is None:
            self.invalid_json(None, None, **kwargs)
            return
        try:
            content = self.decode_json(text)
        except (ValueError, RecursionError) as error:
            self.invalid_json(text, error, **kwargs)
        else:
            self.receive(content, **kwargs)


def _frame(text: str | None, content: bytes | None, close: bool | int) -> Content:
    frame: Content
    if text is not None:
        frame = {"text": text}
    elif content is not None:
        frame = {"bytes": content}
    else:
        raise ValueError("Give text or bytes to send, or call close()")
    if close:
        frame["close"] = close
    return frame
