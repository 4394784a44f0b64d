"""What a request came on: a connection of HTTP/1, or one of those that HTTP/2 has in a connection.

And what it asks of the call that answers the request, whether a worker does or a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .parser import Incoming

__all__ = ["ResponseBuffer", "Stream", "StreamCall"]


class ResponseBuffer(Protocol):
    """The bytes of a response that are on their way to the client; what its `Call` asks of them."""

    @property
    def queued_bytes(self) -> int:
        """What waits here, above the transport."""

    @property
    def backlogged(self) -> bool:
        """Whether the client has yet to read something."""

    @property
    def waiting_bytes(self) -> int:
        """What waits in this process."""

    def write(self, data: bytes) -> None:
        """Write now what the client takes now, keep the rest."""


class StreamCall(Protocol):
    """One request on its way to its response. `due` is a deadline that the stream watches."""

    due: float
    incoming: Incoming

    def begin(self) -> None:
        """The request is there, as far as it has to be. The stream looks at `due` afterwards."""

    def turn_away(self) -> None:
        """The same, while no requests are taken for the application."""

    def body_arrived(self) -> None:
        """More of the request's body is there."""

    def client_read(self) -> None:
        """The client took some of what waited for it. The stream looks at `due` afterwards."""

    def deadline_passed(self) -> None:
        """`due` has come."""

    def client_left(self) -> None:
        """The stream is gone."""

    def failed(self, status: int, reason: str) -> None:
        """The rest of the request will not come: `status` and `reason` are for the client."""


class Stream(Protocol):
    """The way of one request and its response, as their `Call` sees it. Nothing blocks."""

    @property
    def write_buffer(self) -> ResponseBuffer:
        """Where the response goes."""

    def call_moved(self) -> None:
        """The call's deadline or its need to pause the client changed."""

    def call_replaced(self, call: StreamCall) -> None:
        """The present call has ended without a response: this one begins and answers the request."""

    def call_done(self, call: StreamCall, keep_alive: bool) -> None:
        """The response was written, as far as the buffer goes; the stream may carry another call or not."""

    def abort(self) -> None:
        """Drop it: the client must notice that its response is not whole."""
