"""Connections whose proxy says first for whom they are: real sockets before a real factory."""

from __future__ import annotations

import json
import logging
import select
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from headrace_interface.access_log import AccessLog
from headrace_interface.listeners import HttpFactory, listen, make_endpoints
from headrace_interface.proxy_gate import GateFactory, ProxyGate
from headrace_interface.settings import InterfaceSettings
from tests.support.http_lab import GET, Lab
from tests.support.proxy_headers import v1, v2
from tests.support.reactors import HandReactor, hand_reactor
from tests.support.tls import certificate

LOOPBACK = (ip_network("127.0.0.0/8"),)
SETTINGS = InterfaceSettings(proxy_protocol=True, trusted_proxies=LOOPBACK)
CLIENT = ["203.0.113.9", 5000]
SERVER = ["192.0.2.1", 443]
V1 = v1("TCP4 203.0.113.9 192.0.2.1 5000 443")
V2 = v2(
    0x21,
    0x11,
    socket.inet_aton("203.0.113.9") + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 5000, 443),
)


class Place:
    """A reactor, a site whose layer is there, and one port with a gate."""

    def __init__(self, reactor: HandReactor) -> None:
        self.reactor = reactor
        self.port: Any = None
        self.lab = Lab(SETTINGS)

    def listen(self, settings: InterfaceSettings = SETTINGS, **where: Any) -> Any:
        """Open an endpoint; its address."""
        self.lab = Lab(settings)
        context = self.lab.context
        gate = partial(GateFactory, context)
        [endpoint] = make_endpoints(self.reactor, **(where or {"port": 0}))
        done: list[Any] = []
        factory = HttpFactory(context, self.lab.upgrade)
        defer.ensureDeferred(listen(endpoint, factory, gate)).addBoth(done.append)
        self.port = done[0]
        address = self.port.getHost()
        return ("127.0.0.1", address.port) if hasattr(address, "port") else address.name

    def message(self) -> dict[str, Any]:
        """The next request that arrives."""
        self.reactor.until(lambda: self.lab.requests)
        return dict(self.lab.requests[-1].message)

    def closes(self, client: socket.socket) -> bool:
        """Wait until the server has closed a connection; whether not a byte came before."""
        self.reactor.until(lambda: select.select([client], [], [], 0)[0])
        try:
            return client.recv(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture
def place() -> Iterator[Place]:
    with hand_reactor() as reactor:
        this = Place(reactor)
        yield this
        if this.port is not None:
            this.port.stopListening()
        reactor.turn(0.01)


@pytest.mark.parametrize("header", [V1, V2])
@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_the_client_is_whom_the_proxy_says(header: bytes, pieces: int, place: Place) -> None:
    with socket.create_connection(place.listen()) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = header + GET
        for at in range(0, len(sent), pieces):
            client.sendall(sent[at : at + pieces])
            place.reactor.iterate(0.002)
        message = place.message()
        assert (message["client"], message["server"], message["scheme"]) == (CLIENT, SERVER, "http")
        place.lab.reply()
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        client.sendall(GET)
        place.reactor.until(lambda: len(place.lab.requests) == 2)
        assert place.lab.requests[1].message["client"] == CLIENT


def test_a_unix_socket_of_a_proxy(place: Place, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(place.listen(unix_socket=str(tmp_path / "s")))
        client.sendall(V2 + GET)
        assert place.message()["client"] == CLIENT


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL")  # Twisted does
@pytest.mark.parametrize("header", [V1, V2])
def test_the_header_comes_before_tls(header: bytes, place: Place, tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    address = place.listen(strings=[f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}"])
    context = ssl.create_default_context(cafile=str(pem))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")

    def shaken_hands() -> bool:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            exchange()
            return False
        return True

    def exchange() -> None:
        client.sendall(outgoing.read())
        place.reactor.iterate(0.01)
        if select.select([client], [], [], 0)[0]:
            incoming.write(client.recv(65536))

    with socket.create_connection(address) as client:
        client.sendall(header)
        place.reactor.until(shaken_hands)
        tls.write(GET)
        exchange()
        message = place.message()
        assert (message["client"], message["scheme"]) == (CLIENT, "https")


@pytest.mark.parametrize("header", [v1("UNKNOWN"), v2(0x20, 0), v2(0x21, 0)])
def test_where_the_client_is_not_said_it_is_the_proxy(header: bytes, place: Place) -> None:
    with socket.create_connection(place.listen()) as client:
        client.sendall(header + GET)
        message = place.message()
        assert message["client"] == list(client.getsockname())
        assert message["server"] == list(client.getpeername())


@pytest.mark.parametrize(
    ("header", "believed"),
    [
        (V1, False),
        (v1("TCP4 127.0.0.9 192.0.2.1 5000 443"), True),
        (v2(0x20, 0), True),
        (v1("UNKNOWN"), False),
        (v2(0x21, 0x31, bytes(216)), False),
    ],
)
def test_headers_are_believed_from_whom_the_proxy_names(header: bytes, believed: bool, place: Place) -> None:
    settings = InterfaceSettings(proxy_protocol=True, proxy_headers=True, trusted_proxies=LOOPBACK)
    with socket.create_connection(place.listen(settings)) as client:
        client.sendall(header + b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n")
        assert (place.message()["client"] == ["198.51.100.7", 0]) is believed


def test_the_access_log_names_the_client(place: Place, tmp_path: Path) -> None:
    address = place.listen()
    path = tmp_path / "log"
    place.lab.context.access_log = AccessLog(place.lab.clock, path=str(path), lines="json")
    with socket.create_connection(address) as client:
        client.sendall(V1 + GET)
        place.message()
        place.lab.reply()
        place.lab.context.access_log.close()
    assert json.loads(path.read_text(encoding="utf-8"))["client"] == CLIENT[0]


def refused(place: Place, caplog: pytest.LogCaptureFixture) -> str:
    """The one line that was logged; nothing reached HTTP, and nothing is left."""
    assert not place.lab.requests
    assert not place.lab.context.http_shells
    assert len(caplog.records) == 1
    return caplog.records[0].getMessage()


def test_a_stranger_is_closed_at_once_and_named(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    settings = InterfaceSettings(proxy_protocol=True, trusted_proxies=(ip_network("10.0.0.0/8"),))
    address = place.listen(settings)
    for sent in (b"", V1 + GET, GET):
        with socket.create_connection(address) as client:
            client.sendall(sent)
            assert place.closes(client)
    assert "127.0.0.1 is closed at once" in refused(place, caplog)
    assert place.lab.context.counters["strangers"] == 3
    place.lab.wait(20)
    assert caplog.records[-1].getMessage().startswith("3 connections were closed at once")


def test_a_unix_peer_is_a_stranger_where_it_is_not_trusted(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = InterfaceSettings(proxy_protocol=True, trust_unix=False)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(place.listen(settings, unix_socket=str(tmp_path / "s")))
        assert place.closes(client)
    assert "a unix socket is closed at once" in refused(place, caplog)


@pytest.mark.parametrize(
    "sent", [GET, b"\x16\x03\x01", v1("TCP4 nonsense") + GET, V1[:-2] + b"\n" + GET * 9, v2(0x31, 0) + GET]
)
def test_what_is_no_header_is_closed_before_http(
    sent: bytes, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    address = place.listen()
    for _ in range(2):
        with socket.create_connection(address) as client:
            client.sendall(sent)
            assert place.closes(client)
    assert "127.0.0.1 is closed, because its header of the PROXY protocol" in refused(place, caplog)
    place.lab.wait(20)
    assert caplog.records[-1].getMessage().startswith("2 connections of trusted proxies were closed")


def test_the_header_has_a_deadline(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_connection(place.listen()) as client:
        client.sendall(V1[:10])
        place.reactor.until(lambda: place.lab.context.http_shells)
        place.lab.wait(4.5)
        assert not caplog.records
        place.lab.wait(1)
        assert place.closes(client)
    assert "not whole within 5 s" in refused(place, caplog)


def test_who_only_looks_whether_we_are_there_is_nobodys_trouble(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(place.listen()) as client:
        place.reactor.until(lambda: place.lab.context.http_shells)
        client.close()
        place.reactor.until(lambda: not place.lab.context.http_shells)
    place.lab.wait(20)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


class Behind:
    """Stands for what takes over: notes what it is given."""

    def __init__(self) -> None:
        self.stopped = False

    def doStop(self) -> None:  # noqa: N802
        self.stopped = True


def gate(
    settings: InterfaceSettings, prepare: Callable[[Lab], None] = lambda lab: None
) -> tuple[Lab, Any, Any]:
    """A site, a gate and its transport, without sockets."""
    lab = Lab(settings)
    prepare(lab)
    this = GateFactory(lab.context, HttpFactory(lab.context, lab.upgrade)).buildProtocol(None)
    transport = StringTransport(peerAddress=_Peer())
    this.makeConnection(transport)
    return lab, this, transport


class _Peer:
    host, port = "127.0.0.1", 4


def test_a_gate_waits_a_second_when_the_process_ends(caplog: pytest.LogCaptureFixture) -> None:
    lab, this, transport = gate(SETTINGS)
    assert isinstance(this, ProxyGate)
    assert not this.busy
    lab.context.draining = True
    this.drain()
    lab.wait(0.75)
    assert not transport.disconnected
    lab.wait(0.75)
    assert transport.disconnected
    this.connectionLost(Failure(ConnectionDone()))
    assert not lab.context.http_shells
    assert not caplog.records


def test_a_connection_that_was_accepted_last_has_a_second_too() -> None:
    lab, this, transport = gate(SETTINGS, lambda lab: setattr(lab.context, "draining", True))
    assert this.due == lab.clock.seconds() + 1
    this.dataReceived(V1 + GET)
    lab.settle()
    assert len(lab.requests) == 1
    lab.reply()
    assert b"Connection: close" in transport.value()


def test_a_gate_can_be_cut() -> None:
    _, this, transport = gate(SETTINGS)
    this.abort()
    assert transport.disconnected


def test_what_is_behind_is_told_that_nobody_listens() -> None:
    behind = Behind()
    GateFactory(Lab().context, behind).doStop()
    assert behind.stopped
