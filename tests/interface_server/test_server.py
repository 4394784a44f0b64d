"""The server as a whole, in a reactor turned by hand, over real sockets: starting, draining, ending."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from twisted.internet import defer

from headrace_asgi.contract import Outcome
from headrace_asgi.errors import ConfigurationError
from headrace_interface.deadlines import OFF, Deadlines
from headrace_interface.listeners import make_endpoints
from headrace_interface.server import Server, _tell_ready
from headrace_interface.settings import InterfaceSettings
from tests.support.http_lab import GET, answers, response
from tests.support.proxy_headers import v1
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.recording_port import RecordingPort

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Running:
    """A started server and its clients."""

    def __init__(self, reactor: HandReactor, settings: InterfaceSettings | None = None) -> None:
        self.reactor = reactor
        self.port = RecordingPort(reactor)
        self.port.taken_channels = frozenset({"http.disconnect"})
        self.statuses: list[int] = []
        self.clients: list[socket.socket] = []
        self.server = Server(
            reactor,
            [self.port],
            settings or InterfaceSettings(),
            make_endpoints(reactor, port=0),
            None,
            self.statuses.append,
        )
        self.addresses: list[str] = []
        self._start()
        reactor.until(lambda: self.server.context.layer_up)

    def _start(self) -> None:
        done: list[Any] = []
        defer.ensureDeferred(self.server.start()).addBoth(done.append)
        self.reactor.until(lambda: done)
        assert isinstance(done[0], list), done
        self.addresses = done[0]

    def connect(self, data: bytes = b"") -> socket.socket:
        """A client that sends some bytes."""
        number = int(self.addresses[0].rstrip("/").rpartition(":")[2])
        client = socket.create_connection(("127.0.0.1", number))
        client.setblocking(False)
        client.sendall(data)
        self.clients.append(client)
        return client

    def requested(self, count: int) -> None:
        """Wait until so many requests were sent."""
        self.reactor.until(lambda: len(self.port.requests) >= count)

    def read(self, client: socket.socket, enough: Callable[[bytes], bool]) -> bytes:
        """What a client receives, until it is enough or the server closes."""
        received = bytearray()

        def more() -> bool:
            try:
                data = client.recv(65_536)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True
            received.extend(data)
            return not data or enough(bytes(received))

        self.reactor.until(more)
        return bytes(received)

    def open_socket(self) -> socket.socket:
        """A WebSocket that was accepted."""
        before = len(self.port.of("websocket.connect"))
        client = self.connect(UPGRADE)
        self.reactor.until(lambda: len(self.port.of("websocket.connect")) > before)
        self.server.inboxes[0].reply(self.port.of("websocket.connect")[-1].local, {"accept": True})
        self.read(client, lambda data: data.endswith(b"\r\n\r\n"))
        return client


@pytest.fixture
def reactor() -> Iterator[HandReactor]:
    with hand_reactor() as this:
        yield this


@pytest.fixture
def running(reactor: HandReactor) -> Iterator[Running]:
    this = Running(reactor)
    yield this
    _end(this)


def _end(this: Running) -> None:
    this.server.stop(0)
    this.reactor.until(lambda: this.statuses)
    for client in this.clients:
        client.close()
    this.reactor.turn(0.02)


def test_a_request_over_a_real_socket(running: Running) -> None:
    client = running.connect(GET)
    running.requested(1)
    running.server.inboxes[0].reply(running.port.requests[0].local, response(b"hello"))
    received = running.read(client, lambda data: data.endswith(b"hello"))
    assert [answer.body for answer in answers(received)] == [b"hello"]


def test_a_refusal_is_read_by_a_client_that_is_still_sending(reactor: HandReactor) -> None:
    this = Running(reactor, InterfaceSettings(max_body_bytes=10))
    client = this.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(20):
        reactor.turn(0.005)
        client.send(b"a" * 1000)
    received = this.read(client, lambda data: False)
    assert [answer.status for answer in answers(received)] == [413]
    _end(this)


def test_an_error_at_the_second_endpoint_gives_up_the_first(reactor: HandReactor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        texts = ["tcp:0:interface=127.0.0.1", f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"]
        port = RecordingPort(reactor)
        endpoints = make_endpoints(reactor, strings=texts)
        server = Server(reactor, [port], InterfaceSettings(), endpoints, None, lambda status: None)
        done: list[Any] = []
        defer.ensureDeferred(server.start()).addBoth(done.append)
        reactor.until(lambda: done)
        assert done[0].check(ConfigurationError)
        assert port.receiver is None
        assert server.listening == []


def test_an_idle_server_ends_at_once(reactor: HandReactor) -> None:
    this = Running(reactor)
    idle = this.connect()
    reactor.until(lambda: this.server.context.http_shells)
    this.server.stop()
    assert this.read(idle, lambda data: False) == b""
    reactor.until(lambda: this.statuses)
    assert this.statuses == [0]
    assert this.port.stopped
    idle.close()


def test_a_request_on_the_wire_is_answered_by_a_server_that_ends(reactor: HandReactor) -> None:
    this = Running(reactor)
    client = this.connect()
    reactor.until(lambda: this.server.context.http_shells)
    reactor.turn(1.1)
    client.sendall(GET)
    this.server.stop()
    this.requested(1)
    this.server.inboxes[0].reply(this.port.requests[0].local, response(b"done"))
    [answer] = answers(this.read(client, lambda data: False))
    assert (answer.body, answer.header("Connection")) == (b"done", "close")
    client.close()
    reactor.until(lambda: this.statuses)


def test_connections_that_only_the_kernel_has_accepted_are_served_by_a_server_that_ends(
    reactor: HandReactor,
) -> None:
    this = Running(reactor)
    clients = [this.connect(GET) for _ in range(40)]
    this.server.stop()
    this.requested(40)
    for asked in this.port.requests:
        this.server.inboxes[0].reply(asked.local, response(b"done"))
    for client in clients:
        assert [answer.body for answer in answers(this.read(client, lambda data: False))] == [b"done"]
        client.close()
    reactor.until(lambda: this.statuses)


def test_a_request_behind_the_last_answer_does_not_reset_it(reactor: HandReactor) -> None:
    this = Running(reactor)
    client = this.connect(GET)
    this.requested(1)
    this.server.stop()
    client.sendall(GET)
    this.server.inboxes[0].reply(this.port.requests[0].local, response(b"done"))
    reactor.turn(0.2)
    client.sendall(GET)
    reactor.turn(0.2)
    assert [answer.body for answer in answers(this.read(client, lambda data: False))] == [b"done"]
    client.close()
    reactor.until(lambda: this.statuses)


def test_the_port_gets_what_is_left_of_the_drain_deadline(reactor: HandReactor) -> None:
    for settings, waits, least, most in (
        (InterfaceSettings(), False, 5, 5),
        (InterfaceSettings(deadlines=replace(Deadlines(), drain=3)), False, 1.5, 3),
        (InterfaceSettings(deadlines=replace(Deadlines(), drain=0.3)), True, 1, 1),
        (InterfaceSettings(deadlines=replace(Deadlines(), drain=OFF)), False, 5, 5),
    ):
        this = Running(reactor, settings)
        client = this.connect(GET if waits else b"")
        reactor.until(lambda this=this: this.server.context.http_shells)
        this.server.stop()
        reactor.until(lambda this=this: this.statuses)
        assert least <= this.port.stop_seconds <= most
        client.close()


def test_the_drain_refuses_new_ends_old_and_tells_every_socket_rt4(reactor: HandReactor) -> None:
    this = Running(reactor)
    sockets = [this.open_socket() for _ in range(60)]
    busy = this.connect(GET)
    this.requested(1)
    this.server.stop()
    reactor.turn(0.02)
    with pytest.raises(OSError, match="refused"):
        this.connect()
    for client in sockets:
        frame = this.read(client, lambda data: len(data) >= 4)
        assert struct.unpack("!H", frame[2:4]) == (1012,)
        client.sendall(b"\x88\x82\0\0\0\0" + struct.pack("!H", 1012))
        this.read(client, lambda data: False)
    assert not this.statuses
    told = this.port.of("websocket.disconnect")
    reactor.until(lambda: len(this.port.of("websocket.disconnect")) == 60)
    assert {asked.message["code"] for asked in this.port.of("websocket.disconnect")} == {1012}, told
    assert this.server.context.connections.socket_count == 0
    this.server.inboxes[0].reply(this.port.requests[0].local, response(b"done"))
    [answer] = answers(this.read(busy, lambda data: False))
    assert (answer.body, answer.header("Connection")) == (b"done", "close")
    reactor.until(lambda: this.statuses)
    assert this.statuses == [0]
    for client in this.clients:
        client.close()


def test_what_does_not_end_in_time_is_cut_and_told(reactor: HandReactor) -> None:
    settings = InterfaceSettings(deadlines=replace(Deadlines(), drain=0.3, close=60))
    this = Running(reactor, settings)
    this.open_socket()
    this.connect(GET)
    this.requested(1)
    this.server.stop()
    reactor.until(lambda: this.statuses, 5)
    assert len(this.port.of("websocket.disconnect")) == 1
    assert len(this.port.of("http.disconnect")) == 1
    for client in this.clients:
        client.close()


def test_a_second_stop_can_only_shorten(reactor: HandReactor) -> None:
    this = Running(reactor)
    this.connect(GET)
    this.requested(1)
    this.server.stop()
    this.server.stop(100)
    assert this.server._stop_by <= this.server.context.clock.seconds() + 25
    this.server.stop(0.1)
    reactor.until(lambda: this.statuses, 5)
    for client in this.clients:
        client.close()


def test_a_handshake_during_the_drain_is_503(running: Running) -> None:
    running.server.context.accepting = False
    client = running.connect(UPGRADE)
    received = running.read(client, lambda data: data.endswith(b"\n"))
    assert [answer.status for answer in answers(received)] == [503]


def test_a_full_handshake_queue_is_503(running: Running) -> None:
    running.port.auto = Outcome.FULL
    client = running.connect(UPGRADE)
    received = running.read(client, lambda data: data.endswith(b"\n"))
    [answer] = answers(received)
    assert answer.status == 503
    assert answer.header("Retry-After") is not None


def test_readiness_is_told_with_the_addresses() -> None:
    reading, writing = os.pipe()
    _tell_ready(writing, ["http://127.0.0.1:8000/", "unix:/a"])
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "http://127.0.0.1:8000/\nunix:/a\n"


def test_a_descriptor_that_cannot_be_written_is_only_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    _tell_ready(9999, ["http://127.0.0.1:8000/"])
    assert "--ready-fd 9999" in caplog.text


def test_a_stream_that_ends_during_the_drain_closes_its_connection(reactor: HandReactor) -> None:
    this = Running(reactor)
    client = this.connect(GET)
    this.requested(1)
    local = this.port.requests[0].local
    this.server.inboxes[0].reply(local, response(b"first", more_content=True))
    this.read(client, lambda data: b"first" in data)
    this.server.stop()
    this.server.inboxes[0].reply(local, {"content": b"last", "more_content": False})
    reactor.until(lambda: this.statuses, 5)
    assert this.statuses == [0]
    client.close()


# Behind a proxy that says for whom each connection is.

BEHIND = InterfaceSettings(
    proxy_protocol=True, trusted_proxies=(ip_network("127.0.0.0/8"),), max_address_handshakes=1
)


def said_for(host: str) -> bytes:
    return v1(f"TCP4 {host} 192.0.2.1 5000 443")


def test_the_limits_per_address_are_those_of_the_clients_of_a_proxy(reactor: HandReactor) -> None:
    this = Running(reactor, BEHIND)
    this.connect(said_for("203.0.113.1") + UPGRADE)
    reactor.until(lambda: len(this.port.of("websocket.connect")) == 1)
    assert this.port.of("websocket.connect")[0].message["client"] == ["203.0.113.1", 5000]
    second = this.connect(said_for("203.0.113.1") + UPGRADE)
    assert this.read(second, lambda data: b"\r\n\r\n" in data).startswith(b"HTTP/1.1 503 ")
    this.connect(said_for("203.0.113.2") + UPGRADE)
    reactor.until(lambda: len(this.port.of("websocket.connect")) == 2)
    _end(this)


def test_the_end_waits_for_a_header_that_is_on_its_way_and_not_for_one_that_never_comes(
    reactor: HandReactor,
) -> None:
    this = Running(reactor, BEHIND)
    silent, late = this.connect(), this.connect(said_for("203.0.113.1")[:20])
    reactor.until(lambda: len(this.server.context.http_shells) == 2)
    last = this.connect(said_for("203.0.113.2") + GET)
    this.server.stop()
    late.sendall(said_for("203.0.113.1")[20:] + GET)
    this.requested(2)
    for asked in list(this.port.requests):
        this.server.inboxes[0].reply(asked.local, response())
    for client in (late, last):
        (answer,) = answers(this.read(client, lambda data: data.endswith(b"ok")))
        assert (answer.status, answer.header("Connection")) == (200, "close")
    assert this.read(silent, lambda data: True) == b""
    reactor.until(lambda: this.statuses)
    assert this.statuses == [0]
    _end(this)
