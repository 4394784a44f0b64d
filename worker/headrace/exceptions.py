"""What a consumer or view may raise to say something to the worker, and what a request may end with.

Whatever a consumer raises, the messages it sent before are dropped: a message that was half handled says
nothing twice. The answer to the exception itself, such as closing the socket, does leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace_asgi.close_codes import POLICY_VIOLATION, SENDABLE, may_be_sent

if TYPE_CHECKING:
    from .message import Message

__all__ = [
    "ChannelSocketException",
    "ConsumeLater",
    "DenyConnection",
    "RequestAborted",
    "RequestTimeout",
    "ResponseLater",
    "SendNotAvailableOnDemultiplexer",
    "WebsocketCloseException",
]


class ConsumeLater(Exception):
    """Put the message back at the end of its channel: it cannot be handled yet.

    It is tried again after a short, growing pause, up to `HEADRACE["MESSAGE_RETRIES"]` times; then it is
    counted, logged and dropped. On an acknowledged channel this is one of its tries, as a failure is.
    """


class ResponseLater(BaseException):
    """A view's, or middleware's, way to say that somebody else will answer on the request's reply channel.

    No Exception: Django's middleware would make a 500 of it, and `except Exception` in a view swallow it.
    """


class RequestTimeout(Exception):
    """The body of a request did not arrive in time; the client gets 408."""


class RequestAborted(Exception):
    """The client left before its request's body was complete; nobody is there to be answered."""


class ChannelSocketException(Exception):
    """Base of exceptions that say something to the message's client.

    `run(message)` is called by the worker in place of the failed consumer; what it sends leaves.
    """

    def run(self, message: Message) -> None:
        """Answer the client of `message`."""
        raise NotImplementedError(f"{type(self).__name__} has no run(message)")


class DenyConnection(ChannelSocketException):
    """Refuse a WebSocket: 403 during its handshake, close code 1008 (policy) when it is already open."""

    def run(self, message: Message) -> None:
        """Close the socket of `message`."""
        _close(message, True if message.channel_name == "websocket.connect" else POLICY_VIOLATION)


class WebsocketCloseException(ChannelSocketException):
    """Close the WebSocket of the message being handled, with a close code.

    `code` is 1000 to 1003, 1007 to 1014, or 3000 to 4999 (RFC 6455 section 7.4); ValueError otherwise.
    """

    def __init__(self, code: int | None = None) -> None:
        if code is not None and not _sendable(code):
            raise ValueError(f"A close code is {SENDABLE}, not {code!r}")
        super().__init__(code)
        self.code = code

    def run(self, message: Message) -> None:
        """Close the socket of `message` with the code (whatever its reply channel is called)."""
        _close(message, True if self.code is None else self.code)


class SendNotAvailableOnDemultiplexer(Exception):
    """A demultiplexer has no stream of its own to send on; send through the multiplexer of a sub-consumer."""


def _sendable(code: object) -> bool:
    return isinstance(code, int) and not isinstance(code, bool) and may_be_sent(code)


def _close(message: Message, close: bool | int) -> None:
    reply_channel = message.reply_channel
    if reply_channel is None or not message.channel_name.startswith("websocket."):
        raise TypeError(f"A message on {message.channel_name} has no WebSocket to close")
    reply_channel.send({"close": close})
