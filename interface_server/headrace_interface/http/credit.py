"""Tells the worker of a response in parts how far its client has read, so that it runs no further ahead.

What is told are totals: a lost one is made good by the next, or by the answer to `control.CREDIT_ASKED`.
"""

from __future__ import annotations

from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Message
from headrace_asgi.limits import RESPONSE_CREDIT_BYTES
from headrace_asgi.messages import HTTP_RESPONSE_CREDIT

from ..context import ServerContext

__all__ = ["ResponseCredit", "tell_closed"]

#: Seconds until what the layer did not take is said again, and for how long: a worker that waits asks anyway.
_RETRY_SECONDS = 1.0
_RETRIES = 60
#: Seconds that a message waits for a view which makes its next part; later the view asks.
_EXPIRY_SECONDS = 60.0


class ResponseCredit:
    """The credit of one response: `taken` follows the client, `close` or `end` is the last."""

    __slots__ = (
        "_channel",
        "_closed",
        "_context",
        "_ended",
        "_expected",
        "_in_flight",
        "_retries",
        "_taken_bytes",
    )

    def __init__(self, context: ServerContext, channel: str) -> None:
        """Take the single-reader channel that the worker named."""
        self._context = context
        self._channel = channel
        self._taken_bytes = 0
        self._closed = self._ended = False
        self._in_flight = False
        #: Whether there is something to tell when the layer has answered.
        self._expected = False
        self._retries = _RETRIES

    def as_plain(self) -> Message | None:
        """What `resume` needs; None while something is being told."""
        if self._in_flight:
            return None
        return {"channel": self._channel, "taken": self._taken_bytes}

    @classmethod
    def resumed(cls, context: ServerContext, plain: Message) -> ResponseCredit:
        """The credit that another image of the process gave."""
        credit = cls(context, plain["channel"])
        credit._taken_bytes = plain["taken"]
        return credit

    def taken(self, total_bytes: int) -> None:
        """The client has taken this much of the content; told when it is worth a message."""
        if total_bytes - self._taken_bytes >= RESPONSE_CREDIT_BYTES:
            self.asked(total_bytes)

    def asked(self, total_bytes: int) -> None:
        """The worker does not know how much the client has taken: tell it, whatever was told before."""
        self._taken_bytes = total_bytes
        self._tell()

    def close(self) -> None:
        """Nobody takes the rest: the worker should stop."""
        self._closed = True
        self._tell()

    def end(self) -> None:
        """The worker has sent everything: it listens no more."""
        self._ended = True

    def _tell(self) -> None:
        self._expected = True
        if not self._in_flight:
            self._send()

    def _send(self) -> None:
        if self._ended:
            return
        self._expected, self._in_flight = False, True
        values: Message = {"closed": True} if self._closed else {"bytes": self._taken_bytes}
        message = HTTP_RESPONSE_CREDIT.build(**values)
        self._context.port.send(self._channel, message, _EXPIRY_SECONDS, self._outcome)

    def _outcome(self, outcome: Outcome) -> None:
        if outcome.accepted:
            self._in_flight = False
            self._retries = _RETRIES
            if self._expected:
                self._send()
        elif self._retries:
            self._retries -= 1
            self._context.clock.callLater(_RETRY_SECONDS, self._send)


def tell_closed(context: ServerContext, channel: object) -> None:
    """Tell the worker of a response that its client is gone; `channel` is what a message named."""
    if isinstance(channel, str) and channel.startswith(HTTP_RESPONSE_CREDIT.channel):
        ResponseCredit(context, channel).close()
