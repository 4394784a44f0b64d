"""The interface server's parts: bytes to a message for the layer, a message of the layer to bytes.

The shells are the real ones. Below them is a transport that swallows what is written, above them a port that
says "sent" to everything; the kernel and Redis are not in these figures.
"""

# ruff: noqa: N802 (Twisted's names, called by Twisted)

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.address import IPv4Address

from headrace_asgi.contract import Done, InterfacePort, InterfaceReceiver, Outcome
from headrace_interface.context import ServerContext
from headrace_interface.direct_send import DirectTransport
from headrace_interface.http.protocol import HttpProtocol
from headrace_interface.inbox import Inbox
from headrace_interface.settings import InterfaceSettings
from headrace_interface.websocket.protocol import WebSocketShell

from .samples import ACCEPT, CONNECT_BYTES, FRAME_BYTES, PROCESS, REQUEST_BYTES, RESPONSE, TEXT
from .timing import Lap, Sample, timed

__all__ = ["laps"]

#: Connections that take turns.
CONNECTIONS = 100


def laps() -> list[Lap]:
    """The laps of HTTP and of WebSockets."""
    return [_Http().lap, _WebSockets().lap]


class _Port:
    """An interface server's line to a layer that takes everything at once."""

    process = PROCESS
    label = "memory"
    taken_channels: frozenset[str] = frozenset()

    def __init__(self) -> None:
        #: Local parts of the clients that asked for something, oldest first.
        self.asked: list[str] = []

    def start(self, receiver: InterfaceReceiver) -> None:
        receiver.layer_back()

    def stop(self, done: Callable[[], None], seconds: float = 0.0) -> None:
        done()

    def send(self, channel: str, message: dict[str, Any], expiry_seconds: float, done: Done) -> None:
        self.asked.append(message["reply_channel"][len(PROCESS) :])
        done(Outcome.SENT)

    def connect(
        self, local: str, path: str, message: dict[str, Any], expiry_seconds: float, done: Done
    ) -> None:
        self.asked.append(local)
        done(Outcome.SENT)

    def frame(self, local: str, message: dict[str, Any], order: int, ordered: bool, done: Done) -> None:
        self.asked.append(local)
        done(Outcome.SENT)

    def disconnect(self, local: str, message: dict[str, Any], order: int, done: Done) -> None:
        done(Outcome.SENT)

    def ask_level(self, channel: str) -> None:
        """Nobody waits for room."""

    def leave_groups(self, local: str) -> None:
        """There are no groups."""

    def forget(self, local: str) -> None:
        """Nothing is remembered."""


class _Clock:
    """A reactor's clock whose calls never come."""

    seconds = staticmethod(time.monotonic)

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> None:
        """Not called: a lap is over long before."""


class _Transport(DirectTransport):
    """The socket of a client that reads everything at once."""

    protocol: Any = None
    disconnecting = False

    def __init__(self) -> None:
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 50000)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 8000)


class _Server:
    """An interface server with connections that are open."""

    def __init__(self) -> None:
        self.port = _Port()
        port: InterfacePort = self.port
        self.context = ServerContext(InterfaceSettings(), port, _Clock())
        self.inbox = Inbox(self.context)
        port.start(self.inbox)
        self.transports = [_Transport() for _ in range(CONNECTIONS)]
        self.shells = [HttpProtocol(self.context, WebSocketShell) for _ in self.transports]
        for shell, transport in zip(self.shells, self.transports, strict=True):
            transport.protocol = shell
            shell.makeConnection(transport)

    def receive(self, data: bytes) -> None:
        """Every client sends this; raises RuntimeError unless each asks the layer for one thing."""
        self.port.asked.clear()
        for transport in self.transports:
            transport.protocol.dataReceived(data)

    def reply(self, message: dict[str, Any]) -> None:
        """The layer brings this for every client that asked."""
        reply = self.inbox.reply
        for local in self.port.asked:
            reply(local, message)

    def check(self, writes: int) -> None:
        """Raise RuntimeError unless every client asked once and was written to so often."""
        if len(self.port.asked) != CONNECTIONS or any(each.writes != writes for each in self.transports):
            raise RuntimeError(
                f"{len(self.port.asked)} of {CONNECTIONS} clients asked, and were written to "
                f"{sorted({each.writes for each in self.transports})} times instead of {writes}"
            )


class _Http:
    def __init__(self) -> None:
        self._server = _Server()
        self._laps = 0

    def lap(self) -> Iterator[Sample]:
        """One request and its response on every connection."""
        server = self._server
        took = timed(lambda: server.receive(REQUEST_BYTES))
        yield "HTTP: bytes of a request to port.send", took, CONNECTIONS
        took = timed(lambda: server.reply(RESPONSE))
        yield "HTTP: reply to bytes of a response", took, CONNECTIONS
        self._laps += 1
        server.check(self._laps)


class _WebSockets:
    def __init__(self) -> None:
        self._server = server = _Server()
        self._writes = 1
        server.receive(CONNECT_BYTES)
        for local in server.port.asked:
            server.inbox.control("verdict", local, {"ordered": False})
        server.reply(ACCEPT)
        server.check(self._writes)
        self._members = list(server.port.asked)

    def lap(self) -> Iterator[Sample]:
        """A frame of every client, a reply to each, and one message for all."""
        server = self._server
        took = timed(lambda: server.receive(FRAME_BYTES))
        yield "WebSocket: bytes of a frame to port.frame", took, CONNECTIONS
        took = timed(lambda: server.reply({"text": TEXT}))
        yield "WebSocket: reply to bytes of a frame", took, CONNECTIONS
        took = timed(lambda: server.inbox.group_message("group", self._members, {"text": TEXT}))
        yield "WebSocket: group message, per socket", took, CONNECTIONS
        self._writes += 2
        server.check(self._writes)
