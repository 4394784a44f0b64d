"""WebSocket shells over real loopback sockets, a layer in memory, and a client made of bytes."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

from twisted.internet import protocol

from headrace_interface.context import ServerContext
from headrace_interface.direct_send import install
from headrace_interface.http.head import RequestHead
from headrace_interface.http.protocol import HttpProtocol
from headrace_interface.inbox import Inbox
from headrace_interface.settings import InterfaceSettings
from headrace_interface.websocket.protocol import WebSocketShell
from tests.support.reactors import HandReactor
from tests.support.recording_port import Asked, RecordingPort

__all__ = ["KEY", "Client", "Lab", "make_head", "masked", "request"]

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def make_head(**changes: Any) -> RequestHead:
    """A valid handshake, changed."""
    values: dict[str, Any] = {
        "method": "GET",
        "target": b"/chat/?room=1",
        "path": "/chat/",
        "query_string": b"room=1",
        "http_version": "1.1",
        "headers": [
            (b"host", b"example.com"),
            (b"upgrade", b"websocket"),
            (b"connection", b"keep-alive, Upgrade"),
            (b"sec-websocket-key", KEY),
            (b"sec-websocket-version", b"13"),
        ],
        "scheme": "http",
        "client": ["127.0.0.1", 50000],
        "server": ["127.0.0.1", 8000],
        "root_path": "",
        "keep_alive": True,
    }
    extra = changes.pop("extra", [])
    without = changes.pop("without", ())
    values.update(changes)
    values["headers"] = [pair for pair in values["headers"] if pair[0] not in without] + extra
    return RequestHead(**values)


def masked(opcode: int, payload: bytes, fin: bool = True, rsv: int = 0, key: bytes | None = None) -> bytes:
    """A client's frame."""
    key = os.urandom(4) if key is None else key
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = bytes((first, 0xFE)) + struct.pack("!H", size)
    else:
        head = bytes((first, 0xFF)) + struct.pack("!Q", size)
    whole = (key * (size // 4 + 1))[:size]
    return head + key + bytes(a ^ b for a, b in zip(payload, whole, strict=True))


def request(extra: bytes = b"", without: tuple[bytes, ...] = (), target: bytes = b"/chat/?room=1") -> bytes:
    """The bytes of a valid handshake, with more lines or without some headers."""
    lines = [
        b"Host: example.com",
        b"Upgrade: websocket",
        b"Connection: keep-alive, Upgrade",
        b"Sec-WebSocket-Key: " + KEY,
        b"Sec-WebSocket-Version: 13",
    ]
    kept = [line for line in lines if line.partition(b":")[0].lower() not in without]
    return b"GET " + target + b" HTTP/1.1\r\n" + b"\r\n".join(kept) + b"\r\n" + extra + b"\r\n"


class Lab:
    """A site on a hand-turned reactor that listens on loopback: the real HTTP shell, then the real socket."""

    def __init__(self, reactor: HandReactor, settings: InterfaceSettings | None = None, **more: Any) -> None:
        self.reactor = reactor
        self.port = RecordingPort(reactor)
        self.context = ServerContext(settings or InterfaceSettings(), self.port, reactor, **more)
        self.port.start(Inbox(self.context))
        reactor.until(lambda: self.context.layer_up)
        self.shells: list[WebSocketShell] = []
        self.clients: list[Client] = []
        factory = _Factory()
        factory.lab = self
        self._listening = install(reactor.listenTCP(0, factory, interface="127.0.0.1"))
        self.address: tuple[str, int] = ("127.0.0.1", self._listening.getHost().port)

    def upgrade(
        self, context: ServerContext, transport: Any, head: RequestHead, early: bytes
    ) -> WebSocketShell:
        """What the HTTP shell hands a connection over to."""
        self.shells.append(WebSocketShell(context, transport, head, early))
        return self.shells[-1]

    def client(self, handshake: bytes | None = None, receive_buffer: int = 0) -> Client:
        """A client whose handshake has been seen by its shell."""
        count = len(self.shells)
        client = Client(self, receive_buffer)
        self.clients.append(client)
        client.send(request() if handshake is None else handshake)
        self.reactor.until(lambda: len(self.shells) > count)
        client.shell = self.shells[-1]
        return client

    def open(self, handshake: bytes | None = None, reply: Any = None, ordered: Any = False) -> Client:
        """A client whose handshake was accepted, and whose verdict came first; the 101 is `client.head`."""
        client = self.client(handshake)
        if self.port.auto is not None:
            self.reactor.until(lambda: client.shell.local in self.port.connected)
        client.shell.control("verdict", {"ordered": ordered})
        client.shell.reply(reply or {"accept": True})
        client.head = client.until(b"\r\n\r\n")
        return client

    def close(self) -> None:
        """Close the clients' ends. The reactor finds, and closes, only those of ours that read or write."""
        assert not self.port.real.counters["failed"], "an answer met an error, which the log has"
        for client in self.clients:
            client.close()
        for shell in self.shells:
            if shell._transport.connected:
                shell._transport.startReading()  # the reactor closes at its end what it reads from

    def told(self) -> Asked:
        """The one disconnect, as soon as it was told."""
        self.reactor.until(lambda: self.port.of("disconnect"))
        (asked,) = self.port.of("disconnect")
        return asked


class _Factory(protocol.Factory):
    lab: Lab

    def buildProtocol(self, _: Any) -> HttpProtocol:  # noqa: N802 (Twisted calls it)
        return HttpProtocol(self.lab.context, self.lab.upgrade)


class Client:
    """The other end, in the same thread."""

    shell: WebSocketShell
    head = b""

    def __init__(self, lab: Lab, receive_buffer: int = 0) -> None:
        self._lab = lab
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.connect(lab.address)
        self._socket.setblocking(False)
        self.received = b""
        self.ended = False
        self.reading = True

    def send(self, data: bytes) -> None:
        """Send everything, turning the reactor."""
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                self._lab.reactor.iterate(0.001)
            except ConnectionError:
                return

    def send_some(self, data: bytes) -> int:
        """Send what fits; 0 if the server does not read any more."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def poll(self) -> bytes:
        """Everything received so far."""
        try:
            while self.reading and not self.ended:
                data = self._socket.recv(1 << 20)
                self.ended = not data
                self.received += data
        except BlockingIOError:
            pass
        except ConnectionError:
            self.ended = True
        return self.received

    def until(self, end: bytes) -> bytes:
        """Turn until `end` was received; take and return everything up to its end."""
        self._lab.reactor.until(lambda: end in self.poll())
        at = self.received.index(end) + len(end)
        taken, self.received = self.received[:at], self.received[at:]
        return taken

    def until_end(self) -> bytes:
        """Turn until the server closed the connection; everything received."""
        self._lab.reactor.until(lambda: self.poll() is not None and self.ended)
        return self.received

    def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte and payload."""

        def whole() -> Any:
            data = self.poll()
            if len(data) < 2:
                return None
            size, at = data[1], 2
            if size == 126:
                size, at = int.from_bytes(data[2:4], "big"), 4
            elif size == 127:
                size, at = int.from_bytes(data[2:10], "big"), 10
            return (at, at + size) if len(data) >= at + size else None

        start, stop = self._lab.reactor.until(whole)
        first, payload, self.received = (
            self.received[0],
            self.received[start:stop],
            self.received[stop:],
        )
        return first, payload

    def close(self) -> None:
        """Leave without a word."""
        self._socket.close()

    def reset(self) -> None:
        """Leave with an RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
