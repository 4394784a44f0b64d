"""Transports that write at once when nothing is queued, and say when a queue has drained.

Twisted's own `write` waits for the next turn of the reactor, which costs a request about 5 µs and a turn of
latency. Under TLS this applies to the ciphertext.

This is the one door to what Twisted does not document: `BEYOND_THE_INTERFACE` names all of it that is used,
and nobody else in this package touches any of that.
"""

# ruff: noqa: N802 (Twisted's names, called by Twisted)

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import termios
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet import tcp, unix

__all__ = [
    "BEYOND_THE_INTERFACE",
    "DirectTCP",
    "DirectTransport",
    "DirectUNIX",
    "adopt_port",
    "adopted",
    "direct_transport_of",
    "install",
    "is_encrypted",
    "put_before",
    "put_tls_before",
    "unsent_bytes",
]

#: What is used of Twisted's connections and ports though it is not documented: what for, and what breaks
#: without it. The last three are a port's, the others a connection's.
BEYOND_THE_INTERFACE: Mapping[str, str] = {
    "TLS": "a transport that encrypts by itself is left to Twisted; else plain text is sent to its clients",
    "_tempDataBuffer": "a part of what waits; else an upgrade loses it",
    "_tempDataLen": "a part of what waits, see dataBuffer",
    "connected": "nothing is written to what is gone; else errors for each late frame",
    "dataBuffer": "how much waits for a client; else slow ones are not found and memory has no bound",
    "disconnecting": "what is being closed is left to Twisted; else bytes follow the end",
    "offset": "a part of what waits, see dataBuffer",
    "producer": "who is told to pause is left to Twisted's buffer; else it is not paused",
    "stopWriting": "called when the buffer is empty; else nobody hears that a client has caught up",
    "writeSomeData": "one write to the socket, now; else each write waits for a turn of the reactor",
    "factory": "a port's maker of connections, behind a gate with --proxy-protocol; else nobody is asked",
    "transport": "a port's class of connections, ours here; else they write as Twisted's do",
    "_type": "whether a port encrypts; else the address that is printed at the start says http for https",
}

_INT = struct.Struct("i")


class DirectTransport:
    """What connections ask of the transport below them. Mixed into a Twisted server transport."""

    #: Whether bytes wait for the client.
    backlogged = False
    #: Called from the reactor after `backlogged` has become false; one listener.
    when_drained: Callable[[], None] | None = None
    #: The addresses of both ends as a proxy said them, where those of the socket are the proxy's and ours.
    introduced: tuple[Any, Any] | None = None

    @property
    def pending_bytes(self) -> int:
        """Bytes accepted by `write` that the kernel has not taken yet."""
        this: Any = self
        waiting: int = len(this.dataBuffer) - this.offset + this._tempDataLen
        return waiting

    @property
    def has_input(self) -> bool:
        """Whether something of the client has arrived that the reactor has yet to read."""
        this: Any = self
        poll = select.poll()
        poll.register(this.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    @property
    def unread_bytes(self) -> int:
        """Bytes accepted by `write` that the client's machine has not taken, as far as the system says."""
        return self.pending_bytes


class _DirectSend(DirectTransport):
    @property
    def unread_bytes(self) -> int:
        this: Any = self
        try:
            answer = fcntl.ioctl(this.fileno(), termios.TIOCOUTQ, bytes(_INT.size))
        except (OSError, ValueError):  # a system or a descriptor that does not say
            return self.pending_bytes
        unsent: int = _INT.unpack(answer)[0]
        return self.pending_bytes + unsent

    def getPeer(self) -> Any:
        return super().getPeer() if self.introduced is None else self.introduced[0]  # type: ignore[misc]

    def getHost(self) -> Any:
        return super().getHost() if self.introduced is None else self.introduced[1]  # type: ignore[misc]

    def write(self, data: bytes) -> None:
        this: Any = self
        if (
            self.backlogged
            # A push producer is paused by the buffer's length only: what never waits there never pauses it.
            or this.producer is not None
            or this.TLS
            or this.disconnecting
            or not this.connected
            or not data
        ):
            if data and this.connected:
                self.backlogged = True
            super().write(data)  # type: ignore[misc]
            return
        sent = this.writeSomeData(data)
        if isinstance(sent, BaseException):
            sent = 0  # the reactor's own write meets the error, outside of this call
        if sent < len(data):
            self.backlogged = True
            super().write(data[sent:] if sent else data)  # type: ignore[misc]

    def writeSequence(self, parts: Iterable[bytes]) -> None:
        self.write(b"".join(parts))

    def stopWriting(self) -> None:
        """The buffer is empty, or the connection is gone."""
        this: Any = self
        drained = self.backlogged and this.connected
        self.backlogged = False
        super().stopWriting()  # type: ignore[misc]
        if drained and self.when_drained is not None:
            # Not now: the caller closes a disconnecting transport next, whatever is written here.
            this.reactor.callLater(0, self._tell_drained)

    def _tell_drained(self) -> None:
        this: Any = self
        if this.connected and not self.backlogged and self.when_drained is not None:
            self.when_drained()


class DirectTCP(_DirectSend, tcp.Server):
    """A TCP connection of ours."""


class DirectUNIX(_DirectSend, unix.Server):
    """A unix socket connection of ours."""


def install(port: Any) -> Any:
    """Make a listening port of any endpoint give its connections such transports; before it accepts any."""
    if isinstance(port, unix.Port):
        port.transport = DirectUNIX
    elif isinstance(port, tcp.Port):
        port.transport = DirectTCP
    return port


def put_before(port: Any, gate: Callable[[Any], Any]) -> bool:
    """Let `gate` make what a listening port of ours makes connections with, from what that was; before any.

    Under TLS too the gate is next to the socket. False for a port of a foreign kind, which stays as it is.
    """
    if not isinstance(port, tcp.Port):
        return False
    port.factory = gate(port.factory)
    return True


def direct_transport_of(transport: Any) -> DirectTransport | None:
    """The transport at the bottom, under TLS and PROXY wrappers; None for a foreign kind (tests)."""
    while transport is not None and not isinstance(transport, DirectTransport):
        transport = getattr(transport, "transport", None)
    return transport


def unsent_bytes(transport: Any, behind: bytes = b"") -> bytes | None:
    """What was written to a transport and has not left this process, and what comes `behind` it.

    None for a transport that is not ours alone: what TLS has of it is ciphertext.
    """
    if not isinstance(transport, DirectTransport):
        return None
    this: Any = transport
    return bytes(this.dataBuffer)[this.offset :] + b"".join(this._tempDataBuffer) + behind


def adopted(reactor: Any, connection: socket.socket, protocol: Any) -> Any:
    """A transport of ours for a connection that is open already; `protocol` is told with `makeConnection`."""
    connection.setblocking(False)
    if connection.family == socket.AF_UNIX:
        return DirectUNIX(connection, protocol, None, None, 0, reactor)
    return DirectTCP(connection, protocol, connection.getpeername(), None, 0, reactor)  # type: ignore[arg-type]


class _BoundSocket(socket.socket):
    """One that is bound and listens, with the queue that it was given."""

    def bind(self, address: Any, /) -> None:
        """It is."""

    def listen(self, backlog: int = 0, /) -> None:
        """It does."""


class _AdoptedUnixPort(unix.Port):
    """Twisted's own adoption makes a unix socket writable for everybody."""

    def __init__(self, descriptor: int, factory: Any, reactor: Any, path: str | None) -> None:
        # In the abstract namespace: what is taken for a path has its mode changed.
        super().__init__("\0adopted", factory, reactor=reactor)  # type: ignore[arg-type]
        self._descriptor = descriptor
        self._path = path

    def createInternetSocket(self) -> socket.socket:
        listening = _BoundSocket(fileno=os.dup(self._descriptor))
        listening.setblocking(False)
        return listening

    def connectionLost(self, reason: Any) -> None:
        super().connectionLost(reason)
        if self._path is not None:
            for name in (self._path, f"{self._path}.lock"):  # what whoever opened it left
                with contextlib.suppress(OSError):
                    os.unlink(name)


def adopt_port(
    reactor: Any, descriptor: int, family: int, factory: Any, encrypted: bool, path: str | None = None
) -> Any:
    """A port that listens on a socket which does already; `factory` is wrapped for TLS if `encrypted`.

    A unix socket that this process made has a `path`, which is removed in the end.
    """
    if family == socket.AF_UNIX:
        port: Any = _AdoptedUnixPort(descriptor, factory, reactor, path)
        port.startListening()
    else:
        port = reactor.adoptStreamPort(descriptor, family, factory)
    if encrypted:
        port._type = "TLS"
    return port


def put_tls_before(port: Any, tls: Callable[[Any], Any]) -> bool:
    """`put_before` of what speaks TLS. False for a unix socket too, which stays as it is."""
    if isinstance(port, unix.Port) or not put_before(port, tls):
        return False
    port._type = "TLS"
    return True


def is_encrypted(port: Any) -> bool:
    """Whether a listening port speaks TLS: our factory is wrapped there, and Twisted keeps only a name."""
    return bool(getattr(port, "_type", "") == "TLS")
