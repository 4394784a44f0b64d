"""What a request came on: a connection of HTTP/1, or one of those that HTTP/2 has in a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..write_buffer import WriteBuffer
    from .call import Call

__all__ = ["Stream"]


class Stream(Protocol):
    """The way of one request and its response, as their `Call` sees it. Nothing blocks."""

    write_buffer: WriteBuffer

    def call_moved(self) -> None:
        """The call's deadline or its need to pause the client changed."""

    def call_done(self, call: Call, keep_alive: bool) -> None:
        """The response was written, as far as the buffer goes; the stream may carry another call or not."""

    def abort(self) -> None:
        """Drop it: the client must notice that its response is not whole."""
