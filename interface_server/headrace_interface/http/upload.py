"""Sends a streamed request body to the layer, a chunk at a time, as far as its window goes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from headrace_asgi import messages
from headrace_asgi.contract import Outcome
from headrace_asgi.envelope import Message

from ..context import ServerContext
from ..deadlines import OFF
from .body import RequestBody

__all__ = ["Upload"]

#: Seconds until a chunk that found its channel full, or no layer, is sent again.
_RETRY_SECONDS = 0.25
#: Seconds a chunk lives when there is no response deadline.
_LONGEST_SECONDS = 3600.0


class Upload:
    """One streamed body.

    `when_moved` is called when `full` may have changed, `when_lost` if a chunk may or may not have arrived.
    """

    __slots__ = (
        "_body",
        "_context",
        "_started",
        "_stopped",
        "_tells",
        "_when_lost",
        "_when_moved",
        "channel",
    )

    def __init__(
        self,
        context: ServerContext,
        body: RequestBody,
        when_moved: Callable[[], None],
        when_lost: Callable[[], None],
    ) -> None:
        self._context = context
        self._body = body
        self._when_moved = when_moved
        self._when_lost = when_lost
        self._started = False
        self._stopped = self._tells = False
        self.channel = context.port.new_channel(messages.HTTP_BODY_CHUNK.channel)

    @property
    def full(self) -> bool:
        """Whether the client should be kept from sending."""
        return self._body.full

    def start(self) -> None:
        """The layer has the request; its body may follow."""
        self._started = True
        if self._stopped:
            self._tell_closed()
        else:
            self.go_on()

    def go_on(self) -> None:
        """Something changed: more arrived, or was read. Sends what may leave now."""
        if not self._started or self._stopped:
            return
        chunk = self._body.next_chunk()
        if chunk is not None:
            self._send(chunk)
        elif self._body.lost:
            self._when_lost()

    def credit(self, count: int) -> None:
        """The worker has read `count` bytes more."""
        self._body.credit(count)
        self.go_on()
        self._when_moved()

    def stop(self, tell: bool) -> None:
        """The request is over; with `tell`, whoever reads the body hears that no more will come.

        If the layer has not answered yet, that is told when it has taken the request (`start`).
        """
        if self._stopped:
            return
        self._stopped = True
        self._tells = tell
        if self._started:
            self._tell_closed()

    def _tell_closed(self) -> None:
        closed = self._body.abandon() if self._tells else None
        if closed is not None:
            self._context.port.send(self.channel, closed, self._expiry_seconds(), _ignore)

    def _send(self, chunk: Message) -> None:
        self._context.port.send(self.channel, chunk, self._expiry_seconds(), self._outcome)

    def _outcome(self, outcome: Outcome) -> None:
        again = self._body.outcome(outcome)
        if self._stopped:
            return
        if self._body.lost:
            self._when_lost()
        elif again is not None:
            self._context.clock.callLater(_RETRY_SECONDS, partial(self._retry, again))
        else:
            self.go_on()
            self._when_moved()

    def _retry(self, chunk: Message) -> None:
        if not self._stopped:
            self._send(chunk)

    def _expiry_seconds(self) -> float:
        seconds = self._context.settings.deadlines.response
        return _LONGEST_SECONDS if seconds == OFF else seconds


def _ignore(outcome: Outcome) -> None:
    """Nobody waits for this."""
