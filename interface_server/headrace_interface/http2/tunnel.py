"""A stream of HTTP/2 as the transport of a WebSocket (RFC 8441).

The shell of a WebSocket, and Autobahn behind it, know connections of HTTP/1 only. What they write first, a
101 or a denial, becomes the head of the stream.
"""

# ruff: noqa: N802 (Twisted's names, called by those who know its transports)

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from ..direct_send import DirectTransport
from ..http.writer import Headed, headed
from .stream import Http2Stream

__all__ = ["StreamTransport", "TunnelOwner"]

#: What a 101 says about the connection; a stream has none (RFC 8441 5).
_OF_THE_CONNECTION = frozenset((b"upgrade", b"connection", b"sec-websocket-accept"))


class TunnelOwner(Protocol):
    """The connection that the stream is one of."""

    def tunnel_moved(self, transport: StreamTransport) -> None:
        """There is something to write, or the client may be read again."""

    def tunnel_ended(self, transport: StreamTransport) -> None:
        """What was written is the last."""

    def tunnel_aborted(self, transport: StreamTransport) -> None:
        """Drop it now."""


class StreamTransport(DirectTransport):
    """What a WebSocket asks of a transport. Its protocol hears of the end in a later turn of the reactor."""

    #: What the client sent is handed over at once.
    has_input = False
    disconnecting = False

    def __init__(self, owner: TunnelOwner, stream: Http2Stream, peer: Any, host: Any) -> None:
        self._owner = owner
        self._peer, self._host = peer, host
        self._is_begun = False
        self.stream = stream
        self.connected = True
        self.protocol: Any = None

    def write(self, data: bytes) -> None:
        """Write what the client's window takes, keep the rest."""
        if not data or self.disconnecting or not self.connected:
            return
        if not self._is_begun:
            self._is_begun = True
            if not isinstance(data, Headed):
                data = _accepted(data)
        self.stream.buffer.write(data)
        self._owner.tunnel_moved(self)

    def writeSequence(self, parts: Iterable[bytes]) -> None:
        self.write(b"".join(parts))

    def loseConnection(self) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            self._owner.tunnel_ended(self)

    def abortConnection(self) -> None:
        self._owner.tunnel_aborted(self)

    def pauseProducing(self) -> None:
        self.stream.paused = True

    def resumeProducing(self) -> None:
        self.stream.paused = False
        self._owner.tunnel_moved(self)

    def unregisterProducer(self) -> None:
        """There is none: Autobahn says so before each end."""

    def getPeer(self) -> Any:
        return self._peer

    def getHost(self) -> Any:
        return self._host

    @property
    def pending_bytes(self) -> int:
        return self.stream.buffer.queued_bytes

    def look(self) -> None:
        """Whether something waits for the client may have changed."""
        waits = self.stream.buffer.backlogged
        drained = self.backlogged and not waits
        self.backlogged = waits
        if drained and self.connected and self.when_drained is not None:
            self.when_drained()

    def lost(self) -> None:
        """The stream is gone."""
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(ConnectionDone()))


def _accepted(head: bytes) -> Headed:
    """The 200 of a stream for a 101 of HTTP/1, and what was written behind it."""
    lines, _, behind = head.partition(b"\r\n\r\n")
    fields = [(b":status", b"200")]
    for line in lines.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() not in _OF_THE_CONNECTION:
            fields.append((name.lower(), value.strip()))
    return headed(fields, behind)
