"""A whole site in one process: a real interface server, the memory layer and real workers, on one fake clock.

    tiers = TwoTiers([Echo.as_route()])
    socket = tiers.websocket("/")
    socket.say("hello")
    tiers.run()
    assert socket.heard == ["hello"]

Nothing sleeps and nothing is a mock but the reactor (Twisted's Clock) and the clients' connections, which are
strings of bytes. Time passes only in `wait`.
"""

# ruff: noqa: N802 (Twisted's names)

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet import defer
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from headrace.asgi import ChannelLayerWrapper, channel_layers
from headrace.conf import WorkerSettings
from headrace.worker.single import Worker
from headrace_asgi import InMemoryChannelLayer
from headrace_interface.direct_send import DirectTransport
from headrace_interface.server import Server
from headrace_interface.settings import InterfaceSettings

from .http_lab import Answer, answers
from .websocket_lab import masked, request

__all__ = ["HttpClient", "MemoryTransport", "TwoTiers", "WebSocketClient"]

#: Turns after which a site that is still busy goes round in circles.
MOST_TURNS = 10_000
#: Seconds between two looks at whether something happened.
TICK_SECONDS = 0.25

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class MemoryTransport(StringTransport, DirectTransport):
    """The server's end of a connection whose client reads at once, unless it is told not to."""

    has_input = False
    protocol: Any
    connected = True

    def __init__(self, reactor: Clock, address: str) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", address, 50_000))
        self._reactor = reactor
        self._unread = b""
        #: What the client has sent and the server does not read yet.
        self._incoming: list[bytes] = []
        self._left = False
        self.reading = True
        self.received = bytearray()
        #: What the client does with what it reads, a turn later.
        self.when_received: Callable[[], None] = lambda: None

    @property
    def pending_bytes(self) -> int:
        return len(self._unread)

    def write(self, data: bytes) -> None:
        if not self.connected:
            return
        if self.reading:
            self._arrived(data)
        else:
            self._unread += data
            self.backlogged = bool(self._unread)

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def read_all(self) -> None:
        """The client reads again."""
        self.reading = True
        self._arrived(self._unread)
        self._unread = b""
        if self.backlogged:
            self.backlogged = False
            self._reactor.callLater(0, self._tell_drained)

    def _arrived(self, data: bytes) -> None:
        self.received += data
        self._reactor.callLater(0, self.when_received)

    def take(self, data: bytes) -> None:
        """Bytes of the client."""
        if self.producerState == "paused" or self._incoming:
            self._incoming.append(data)
        elif self.connected and not self.disconnecting:
            self.protocol.dataReceived(data)

    def pauseProducing(self) -> None:
        self.producerState = "paused"

    def resumeProducing(self) -> None:
        self.producerState = "producing"
        if self._incoming or self._left:
            self._reactor.callLater(0, self._take_on)

    def unregisterProducer(self) -> None:
        """As a real one, it minds not that there is none."""

    def _take_on(self) -> None:
        while self._incoming and self.producerState != "paused" and self.connected:
            self.protocol.dataReceived(self._incoming.pop(0))
        if self._left and not self._incoming and self.producerState != "paused":
            self.end(ConnectionDone())

    def leave(self) -> None:
        """The client is gone, which a server that does not read notices only when it reads again."""
        if self._incoming or self.producerState == "paused":
            self._left = True
        else:
            self.end(ConnectionDone())

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._reactor.callLater(0, self.end, ConnectionDone())

    def loseWriteConnection(self) -> None:
        """The client hears that nothing more comes, and closes its end."""
        self.loseConnection()

    def abortConnection(self) -> None:
        self.disconnecting = True
        self._reactor.callLater(0, self.end, ConnectionAborted())

    def end(self, reason: Exception) -> None:
        """The connection is gone, whoever ended it."""
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(reason))


class HttpClient:
    """One connection, from the client's end."""

    def __init__(self, tiers: TwoTiers, address: str = "192.0.2.1") -> None:
        self.transport = MemoryTransport(tiers.reactor, address)
        self.transport.protocol = tiers.new_protocol()
        self.transport.protocol.makeConnection(self.transport)
        self._methods: list[str] = []

    def ask(self, path: str, body: bytes = b"", method: str = "", **headers: str) -> None:
        """Send a request; pipelined if the last one is not answered."""
        method = method or ("POST" if body else "GET")
        self._methods.append(method)
        lines = [f"{method} {path} HTTP/1.1", "Host: testserver"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def send(self, data: bytes, piece_bytes: int = 0) -> None:
        """Send bytes, in pieces if a size is given."""
        step = piece_bytes or len(data) or 1
        for at in range(0, len(data), step):
            self.transport.take(data[at : at + step])

    @property
    def answers(self) -> list[Answer]:
        """All responses so far."""
        return answers(bytes(self.transport.received), tuple(self._methods))

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return not self.transport.connected

    def leave(self) -> None:
        """Close the connection."""
        self.transport.leave()


class WebSocketClient:
    """A WebSocket, from the client's end."""

    def __init__(self, tiers: TwoTiers, path: str, address: str = "192.0.2.1") -> None:
        self._http = HttpClient(tiers, address)
        self.transport = self._http.transport
        self.transport.when_received = self._read
        self._http.send(request(target=path.encode("ascii")))
        self._read_to = 0
        self._heard: list[Any] = []
        self._close_code: int | None = None

    @property
    def status(self) -> int | None:
        """Status of the handshake's answer: 101 once it was accepted."""
        head, end, _ = bytes(self.transport.received).partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]) if end else None

    @property
    def is_open(self) -> bool:
        """Whether messages can be said and heard."""
        return self.status == 101 and self.transport.connected and self.close_code is None

    @property
    def heard(self) -> list[Any]:
        """All messages so far: str or bytes."""
        self._read()
        return self._heard

    @property
    def close_code(self) -> int | None:
        """The code of the server's close frame, None before it came."""
        self._read()
        return self._close_code

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return not self.transport.connected

    def say(self, message: str | bytes) -> None:
        """Send a message."""
        text = isinstance(message, str)
        payload = message.encode() if isinstance(message, str) else message
        self.transport.take(masked(TEXT if text else BINARY, payload))

    def say_all(self, *messages: str) -> None:
        """Send several messages at once, in one packet."""
        self.transport.take(b"".join(masked(TEXT, message.encode()) for message in messages))

    def close(self, code: int = 1000) -> None:
        """Begin the closing handshake."""
        self.transport.take(masked(CLOSE, code.to_bytes(2, "big")))

    def leave(self) -> None:
        """Be gone without a word."""
        self.transport.leave()

    def _read(self) -> None:
        """Take the whole frames out of what came."""
        data = self.transport.received
        if not self._read_to:
            if self.status != 101:
                return
            self._read_to = data.index(b"\r\n\r\n") + 4
        while len(data) >= self._read_to + 2:
            at, size = self._read_to + 2, data[self._read_to + 1] & 0x7F
            if size >= 126:
                width = 2 if size == 126 else 8
                size, at = int.from_bytes(data[at : at + width], "big"), at + width
            if len(data) < at + size:
                return
            opcode, payload = data[self._read_to] & 0x0F, bytes(data[at : at + size])
            self._read_to = at + size
            self._frame(opcode, payload)

    def _frame(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self._close_code = int.from_bytes(payload[:2], "big") if payload else 1005
            if self.transport.connected:
                self.transport.take(masked(CLOSE, payload[:2]))
        elif opcode == PING:
            self.transport.take(masked(PONG, payload))
        elif opcode in (TEXT, BINARY):
            self._heard.append(payload.decode() if opcode == TEXT else payload)


class _Endpoint:
    """Listens in memory: whoever asks for a connection gets one of the factory's protocols."""

    factory: Any
    listening = False

    def listen(self, factory: Any) -> Any:
        self.factory, self.listening = factory, True
        return defer.succeed(self)

    def stopListening(self) -> None:
        self.listening = False

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 8000)


class TwoTiers:
    """A started site. `routing` is what a project's routing is; nothing happens but in `run` and `wait`.

    Its layer is the project's default one from then on: `channel_layers.set("default", None)` ends that.
    """

    def __init__(
        self,
        routing: Any,
        *,
        workers: int = 1,
        settings: InterfaceSettings | None = None,
        worker_settings: WorkerSettings | None = None,
        answer_seconds: float = 0.0,
        **layer_options: Any,
    ) -> None:
        """With `answer_seconds` the layer's answers to the interface server take that long."""
        self.reactor = Clock()
        self.layer = InMemoryChannelLayer(clock=self.reactor.seconds, **layer_options)
        self.port = self.layer.open_interface_port(self.reactor)
        self.port.answer_seconds = answer_seconds
        self.exit_statuses: list[int] = []
        self._endpoint = _Endpoint()
        self.server = Server(
            self.reactor,
            [self.port],
            settings or InterfaceSettings(),
            [("memory", self._endpoint)],
            None,
            self.exit_statuses.append,
        )
        wrapper = ChannelLayerWrapper(self.layer, "default", routing)
        wrapper.router.check_default()
        channel_layers.set("default", wrapper)
        self.workers = [self._worker(wrapper, worker_settings) for _ in range(workers)]
        self.layer.announce(self.workers[0].channels)
        started = defer.ensureDeferred(self.server.start())
        started.addErrback(lambda failure: failure.raiseException())
        self.run()

    def _worker(self, wrapper: ChannelLayerWrapper, settings: WorkerSettings | None) -> Worker:
        settings = settings or WorkerSettings(origin_check=False)
        worker = Worker(wrapper, settings=settings, clock=self.reactor.seconds)
        worker._line.turn()  # opens its port
        return worker

    # Time

    def turn(self) -> None:
        """The interface server does what is due; no worker does anything."""
        self.reactor.advance(0)

    def work(self, worker: int | Worker = 0) -> int:
        """One worker takes what it takes at once, runs it and answers; how many messages that were."""
        one = self.workers[worker] if isinstance(worker, int) else worker
        one._line.wake()  # it must not wait for messages
        count = one.step()
        one._write()
        return count

    def run(self) -> None:
        """Both tiers do what there is to do now, until there is nothing left."""
        for _ in range(MOST_TURNS):
            self.turn()
            if not sum(map(self.work, self.workers)):
                self.turn()
                if not self._is_pending():
                    return
        raise AssertionError("the site is not done")

    def _is_pending(self) -> bool:
        channels = self.workers[0].channels
        return any(self.layer.statistics(channel)["pending"] for channel in channels)

    def wait(self, seconds: float) -> None:
        """Time passes, from one thing that is due to the next, and everybody does it."""
        now = self.reactor.seconds()
        until = now + seconds
        while now < until:
            due = min((call.getTime() for call in self.reactor.getDelayedCalls()), default=until)
            self.reactor.advance(max(min(due, until) - now, 0.0))
            self.run()
            now = self.reactor.seconds()

    def shuffle(self, random: Random, steps: int) -> None:
        """So many steps of either tier in any order; afterwards there is something left to do."""
        for _ in range(steps):
            at = random.randrange(-1, len(self.workers))
            if at < 0:
                self.reactor.advance(random.choice((0, 0.001)))
            else:
                self.work(at)

    # Clients

    @property
    def listening(self) -> bool:
        """Whether new connections are accepted."""
        return self._endpoint.listening

    def new_protocol(self) -> Any:
        """What serves a new connection."""
        assert self.listening, "the server does not listen any more"
        return self._endpoint.factory.buildProtocol(None)

    def http(self, address: str = "192.0.2.1") -> HttpClient:
        """A new connection."""
        return HttpClient(self, address)

    def get(self, path: str, **headers: str) -> Answer:
        """The answer to one request over a connection of its own."""
        client = self.http()
        client.ask(path, **headers)
        self.run()
        (answer,) = client.answers
        return answer

    def get_json(self, path: str) -> Any:
        """What a view that answers JSON answers."""
        return json.loads(self.get(path).body)

    def websocket(self, path: str = "/", address: str = "192.0.2.1", run: bool = True) -> WebSocketClient:
        """A new WebSocket, whose handshake is answered unless `run` is false."""
        client = WebSocketClient(self, path, address)
        if run:
            self.run()
        return client

    # Faults, and the end

    def lose_layer(self) -> None:
        """The interface server cannot reach the layer any more; workers still can."""
        self.port.lose()

    def restore_layer(self) -> None:
        """It can again."""
        self.port.restore()

    def stop(self) -> None:
        """The interface server is told to end, and does as time passes."""
        self.server.stop()

    def until(self, what: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Let time pass until `what()` is true; fails after so many seconds of it."""
        self.run()
        give_up = self.reactor.seconds() + seconds
        while not (found := what()):
            assert self.reactor.seconds() < give_up, f"it did not happen within {seconds:g} s"
            self.wait(TICK_SECONDS)
        return found
