"""Transports that write at once, over real sockets."""

# ruff: noqa: N802 (Twisted's names)

from __future__ import annotations

import ast
import random
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import endpoints, protocol, tcp
from twisted.protocols.policies import WrappingFactory

import headrace_interface
from headrace_interface import direct_send
from headrace_interface.direct_send import (
    BEYOND_THE_INTERFACE,
    DirectTCP,
    DirectTransport,
    DirectUNIX,
    direct_transport_of,
    install,
    is_encrypted,
    put_tls_before,
)
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.tls import certificate


class Noting(protocol.Protocol):
    """A server protocol that notes what happens."""

    made: list[Noting]

    def __init__(self) -> None:
        self.received = b""
        self.lost = 0

    def connectionMade(self) -> None:
        Noting.made.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost += 1


@pytest.fixture
def reactor() -> Iterator[HandReactor]:
    Noting.made = []
    with hand_reactor() as this:
        yield this


@contextmanager
def connected(
    reactor: HandReactor, text: str = "tcp:0:interface=127.0.0.1"
) -> Iterator[tuple[Any, socket.socket]]:
    """(server protocol, client socket) over an endpoint."""
    factory = WrappingFactory(protocol.Factory.forProtocol(Noting))
    ports: list[Any] = []
    endpoints.serverFromString(reactor, text).listen(factory).addCallback(ports.append)
    port = install(ports[0])
    address = port.getHost()
    if hasattr(address, "host"):
        client = socket.create_connection((address.host, address.port))
    else:
        client = socket.socket(socket.AF_UNIX)
        client.connect(address.name)
    try:
        with client:
            client.setblocking(False)
            reactor.until(lambda: Noting.made)
            yield Noting.made[-1], client
    finally:
        port.stopListening()
        reactor.turn(0.01)


def drain(reactor: HandReactor, client: socket.socket, size: int) -> bytes:
    """Read so many bytes, turning the reactor."""
    received = bytearray()

    def more() -> bool:
        while len(received) < size:
            try:
                received.extend(client.recv(1 << 18))
            except (BlockingIOError, ssl.SSLWantReadError):
                return False
        return True

    reactor.until(more)
    return bytes(received)


def test_a_write_leaves_in_the_same_turn(reactor: HandReactor) -> None:
    with connected(reactor) as (server, client):
        server.transport.write(b"hello")
        assert client.recv(100) == b"hello"
        server.transport.writeSequence([b"a", b"b"])
        assert client.recv(100) == b"ab"


@pytest.mark.parametrize("kind", ["tcp:0:interface=127.0.0.1", "unix"])
def test_bytes_for_a_reader_that_stalls_arrive_in_order(
    kind: str, reactor: HandReactor, tmp_path: Path
) -> None:
    text = f"unix:{tmp_path}/s" if kind == "unix" else kind
    with connected(reactor, text) as (server, client):
        direct_transport = direct_transport_of(server.transport)
        assert isinstance(direct_transport, DirectUNIX if kind == "unix" else DirectTCP)
        drained: list[bool] = []
        direct_transport.when_drained = lambda: drained.append(direct_transport.backlogged)
        data = random.Random(1).randbytes(8_000_000)
        for at in range(0, len(data), 100_000):
            server.transport.write(data[at : at + 100_000])
        assert direct_transport.backlogged
        assert 0 < direct_transport.pending_bytes < len(data)
        assert drain(reactor, client, len(data)) == data
        reactor.until(lambda: drained)
        assert drained == [False]
        assert direct_transport.pending_bytes == 0
        server.transport.write(b"and on")
        assert client.recv(100) == b"and on"


def test_a_drained_transport_may_be_written_to_and_closed_by_its_listener(reactor: HandReactor) -> None:
    with connected(reactor) as (server, client):
        direct_transport = direct_transport_of(server.transport)
        assert direct_transport is not None

        def go_on() -> None:
            server.transport.write(b"z" * 6_000_000)
            server.transport.loseConnection()

        direct_transport.when_drained = go_on
        server.transport.write(b"a" * 6_000_000)
        assert drain(reactor, client, 12_000_000) == b"a" * 6_000_000 + b"z" * 6_000_000
        reactor.until(lambda: server.lost)


def test_a_push_producer_is_paused_by_a_reader_that_stalls(reactor: HandReactor) -> None:
    class Producer:
        def __init__(self, transport: Any) -> None:
            self.transport, self.paused, self.pauses, self.left = transport, False, 0, 200

        def produce(self) -> None:
            while not self.paused and self.left:
                self.left -= 1
                self.transport.write(b"a" * 60_000)

        def pauseProducing(self) -> None:
            self.paused, self.pauses = True, self.pauses + 1

        def resumeProducing(self) -> None:
            self.paused = False
            self.produce()

        def stopProducing(self) -> None:
            self.left = 0

    with connected(reactor) as (server, client):
        producer = Producer(server.transport)
        server.transport.registerProducer(producer, True)
        producer.produce()
        assert producer.left > 100, "it was paused early"
        drain(reactor, client, 200 * 60_000)
        assert producer.pauses > 1


def test_a_reset_is_told_once_and_never_inside_a_write(reactor: HandReactor) -> None:
    with connected(reactor) as (server, client):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        for _ in range(5):
            server.transport.write(b"a" * 100_000)
            assert server.lost == 0
        reactor.until(lambda: server.lost)
        server.transport.write(b"a")
        assert server.lost == 1


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL")  # Twisted does
def test_the_wire_is_found_below_tls(reactor: HandReactor, tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    with connected(reactor, f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}") as (server, client):
        assert isinstance(direct_transport_of(server.transport), DirectTCP)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        secured = context.wrap_socket(client, do_handshake_on_connect=False)
        with secured:

            def shaken() -> bool:
                try:
                    secured.do_handshake()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    return False
                return True

            reactor.until(shaken)
            data = random.Random(2).randbytes(3_000_000)
            server.transport.write(data)
            assert drain(reactor, secured, len(data)) == data


def test_a_foreign_transport_is_no_direct_one() -> None:
    assert direct_transport_of(object()) is None
    assert direct_transport_of(None) is None
    assert not DirectTransport().backlogged


# What Twisted does not document.

#: Kept by ports, not by connections.
OF_A_PORT = {"factory", "transport", "_type"}


def test_what_is_used_of_twisteds_connections_is_still_there(reactor: HandReactor) -> None:
    port = reactor.listenTCP(0, protocol.Factory.forProtocol(Noting), interface="127.0.0.1")
    with socket.create_connection(("127.0.0.1", port.getHost().port)):
        reactor.until(lambda: Noting.made)
        connection = Noting.made[0].transport
        for name, reason in BEYOND_THE_INTERFACE.items():
            keeper = port if name in OF_A_PORT else connection
            assert hasattr(keeper, name), f"A {type(keeper)} of this Twisted has no {name}: {reason}."
        assert type(connection) is tcp.Server
        assert port.transport is tcp.Server, BEYOND_THE_INTERFACE["transport"]


def test_what_waits_in_a_connection_is_counted_as_twisted_does(reactor: HandReactor) -> None:
    with connected(reactor) as (server, _):
        server.transport.write(b"x" * 10_000_000)
        before = server.transport.pending_bytes
        server.transport.write(b"y" * 1000)
        assert server.transport.pending_bytes == before + 1000 > 1000, BEYOND_THE_INTERFACE["dataBuffer"]


def test_a_port_that_encrypts_is_known(reactor: HandReactor, tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    text = f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}"
    ports: list[Any] = []
    for kind in (text, "tcp:0:interface=127.0.0.1"):
        endpoint = endpoints.serverFromString(reactor, kind)
        endpoint.listen(protocol.Factory.forProtocol(Noting)).addCallback(ports.append)
    assert [is_encrypted(port) for port in ports] == [True, False], BEYOND_THE_INTERFACE["_type"]


def test_tls_is_put_before_a_port_of_tcp_only(reactor: HandReactor, tmp_path: Path) -> None:
    ports: list[Any] = []
    for kind in ("tcp:0:interface=127.0.0.1", f"unix:{tmp_path / 's'}"):
        endpoint = endpoints.serverFromString(reactor, kind)
        endpoint.listen(protocol.Factory.forProtocol(Noting)).addCallback(ports.append)
    behind: list[Any] = []
    done = [put_tls_before(port, lambda factory: behind.append(factory) or factory) for port in ports]
    assert done == [is_encrypted(port) for port in ports] == [True, False]
    assert behind == [ports[0].factory]
    assert not put_tls_before(object(), behind.append)


def test_nobody_else_reaches_into_twisted() -> None:
    everyday = {
        "connected",
        "disconnecting",
        "factory",
        "offset",
        "producer",
        "transport",
    }  # others' names too
    for path in Path(headrace_interface.__file__).parent.rglob("*.py"):
        if path == Path(direct_send.__file__):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert names & (BEYOND_THE_INTERFACE.keys() - everyday) == set(), path
