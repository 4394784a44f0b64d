"""HTTP shells without sockets: a clock that is moved by hand, a layer in memory, clients made of bytes."""

# ruff: noqa: N802 (Twisted's names)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet import task
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from headrace_interface.context import ServerContext
from headrace_interface.direct_send import DirectTransport
from headrace_interface.http.protocol import HttpProtocol
from headrace_interface.inbox import Inbox
from headrace_interface.settings import InterfaceSettings

from .recording_port import Asked, RecordingPort

__all__ = ["GET", "Answer", "Client", "Lab", "SlowTransport", "Upgraded", "answers", "response"]

GET = b"GET /hello HTTP/1.1\r\nHost: example.com\r\n\r\n"


def response(content: bytes = b"ok", status: int = 200, **values: Any) -> dict[str, Any]:
    """A response of the application."""
    return {"status": status, "headers": [[b"Content-Type", b"text/plain"]], "content": content, **values}


@dataclass
class Answer:
    """A response as its client reads it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for known, value in self.headers if known.lower() == name.lower()), None)


def answers(data: bytes, methods: tuple[str, ...] = ()) -> list[Answer]:
    """Every response in a connection's bytes; fails for bytes that are none. `methods` of the requests."""
    found = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, f"an incomplete head: {head!r}"
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status = first.split(" ")[:2]
        assert version == "HTTP/1.1"
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        answer = Answer(int(status), headers, b"")
        method = methods[len(found)] if len(found) < len(methods) else "GET"
        if answer.status >= 200 and answer.status not in (204, 304) and method != "HEAD":
            answer.body, data = _body(answer, data)
        found.append(answer)
    return found


def _body(answer: Answer, data: bytes) -> tuple[bytes, bytes]:
    length = answer.header("Content-Length")
    if length is not None:
        assert len(data) >= int(length), "the body is shorter than its Content-Length"
        return data[: int(length)], data[int(length) :]
    if answer.header("Transfer-Encoding") != "chunked":
        return data, b""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        body += data[:count]
        assert data[count : count + 2] == b"\r\n"
        data = data[count + 2 :]
        if not count:
            return body, data


class Upgraded:
    """Stands for the WebSocket shell: notes what it is given."""

    def __init__(self, context: ServerContext, transport: Any, head: Any, early: bytes) -> None:
        self.transport = transport
        self.head = head
        self.received = early
        self.started = False
        self.lost = False

    def start(self) -> None:
        self.started = True

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure) -> None:
        self.lost = True


class SlowTransport(StringTransport, DirectTransport):
    """A transport whose client reads nothing unless it is told to."""

    #: What the client sends is handed over at once.
    has_input = False

    #: Bytes that the client has read.
    read_bytes = 0

    def write(self, data: bytes) -> None:
        super().write(data)
        self.backlogged = True

    @property
    def pending_bytes(self) -> int:
        return len(self.value()) - self.read_bytes

    def read_all(self) -> None:
        """The client reads what was written so far."""
        self.read_bytes = len(self.value())
        self.backlogged = False
        if self.when_drained is not None:
            self.when_drained()


class Client:
    """One connection, from the client's end."""

    def __init__(self, lab: Lab, transport: StringTransport) -> None:
        self._lab = lab
        self.protocol = HttpProtocol(lab.context, lab.upgrade)
        self.transport = transport
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes, pieces: int = 0) -> None:
        """Send bytes, in pieces of a size if one is given."""
        step = pieces or len(data) or 1
        for at in range(0, len(data), step):
            self.protocol.dataReceived(data[at : at + step])
            self._lab.settle()

    def leave(self) -> None:
        """Close the connection."""
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self._lab.settle()

    @property
    def received(self) -> bytes:
        """All bytes so far."""
        return self.transport.value()

    @property
    def answers(self) -> list[Answer]:
        """All responses so far."""
        return answers(self.received)

    @property
    def aborted(self) -> bool:
        """Whether the server reset the connection."""
        return bool(self.transport.disconnected)

    @property
    def closed(self) -> bool:
        """Whether the server closes the connection."""
        return bool(self.transport.disconnecting) or self.aborted

    @property
    def paused(self) -> bool:
        """Whether the server has stopped reading."""
        return self.transport.producerState == "paused"


class Lab:
    """A site with a layer that is there, and whatever connects to it."""

    def __init__(self, settings: InterfaceSettings | None = None, layer_up: bool = True) -> None:
        self.clock = task.Clock()
        self.port = RecordingPort(self.clock)
        self.port.taken_channels = frozenset({"http.disconnect"})
        self.context = ServerContext(settings or InterfaceSettings(), self.port, self.clock)
        self.inbox = Inbox(self.context)
        self.upgraded: list[Upgraded] = []
        if layer_up:
            self.start_layer()

    def start_layer(self) -> None:
        """The layer is there from now on."""
        self.port.start(self.inbox)
        self.settle()

    def connect(self, transport: StringTransport | None = None) -> Client:
        """A new connection, over a transport that takes everything if none is given."""
        return Client(self, StringTransport() if transport is None else transport)

    def upgrade(self, context: ServerContext, transport: Any, head: Any, early: bytes) -> Upgraded:
        """Takes over connections that are upgraded."""
        self.upgraded.append(Upgraded(context, transport, head, early))
        return self.upgraded[-1]

    @property
    def requests(self) -> list[Asked]:
        """The requests that were sent."""
        return self.port.requests

    def reply(self, message: dict[str, Any] | None = None, number: int = -1) -> None:
        """The application's reply to a request, to the last one if no number is given."""
        self.settle()  # no worker has the request before the layer does
        self.inbox.reply(self.requests[number].local, response() if message is None else message)
        self.settle()

    def note(self, kind: str, **body: Any) -> None:
        """A control entry about the last request."""
        self.inbox.control(kind, self.requests[-1].local, body)
        self.settle()

    def settle(self) -> None:
        """What was asked is answered, and what follows from that too."""
        self.clock.advance(0)
        assert not self.port.real.counters["failed"], "an answer met an error, which the log has"

    def wait(self, seconds: float) -> None:
        """Time passes, every quarter of a second."""
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)
        self.clock.advance(seconds % 0.25)
        self.settle()
